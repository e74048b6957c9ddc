"""One connection in numbers."""

from types import SimpleNamespace

from cryptosignal.net.lines import Line


def test_the_lag_of_a_connection_is_that_of_its_own_streams():
    """Of its streams that spoke in the last minute the middle one counts, whatever a quiet stream or
    another connection's says; of a connection that heard nothing, none."""

    def stream(lag_ms, ago_ms=0, count=1):
        return SimpleNamespace(lag_ms=lag_ms, last_ms=1_000_000 - ago_ms, count=count)

    known = {"a": stream(30), "b": stream(50), "c": stream(9_000), "old": stream(70_000, 61_000),
             "silent": stream(80_000, 0, 0), "other": stream(5_000)}  # fmt: skip
    line = Line.__new__(Line)
    line.feed = SimpleNamespace(
        board=SimpleNamespace(inbox=SimpleNamespace(streams=known)),
        clock=SimpleNamespace(now_ms=lambda: 1_000_000),
    )
    line.session = SimpleNamespace(wanted=("a", "b", "c", "old", "silent", "unknown"))
    assert line._lag_ms() == 50
    line.session = SimpleNamespace(wanted=("old", "silent"))
    assert line._lag_ms() == 0
