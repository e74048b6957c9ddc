"""Lags of a running feed: the same figures whatever the local clock says."""

from __future__ import annotations

import asyncio

from tests.net_feed.rig import Rig, run


def lags_with(offset_ms: int) -> tuple[dict[str, tuple[int, int]], int, dict[str, object]]:
    """(p50 and p99 by stream, the newest lag of one as it reads, the cache's figures) after ten
    minutes by a clock that is off by so much."""
    found = []

    async def main(loop):
        rig = Rig(loop, ["BTCUSDT", "ETHUSDT"], ["1m"])
        rig.clock.offset_ms = offset_ms
        await rig.warm()
        await asyncio.sleep(600)
        rig.feed.flush()
        lags = rig.board.lags.by_stream()
        quantiles = {name: (lag.p50_ms, lag.p99_ms) for name, lag in lags.items()}
        found.append((quantiles, rig.board.lags_ms()["btcusdt@kline_1m"], rig.board.get_stats()))
        await rig.stop()

    run(main)
    return found[0]


def test_a_clock_behind_the_venue_gives_the_figures_of_a_right_one():
    """Three seconds behind, every lag reads below zero; p50 and p99 are those of a right clock to
    within the quickest event's own way, for every stream, and the cache tells p99 by kind."""
    right, newest_ms, stats = lags_with(0)
    behind, read_ms, _stats = lags_with(-3_000)
    assert newest_ms >= 0 > read_ms
    assert set(right) == set(behind) > {"btcusdt@kline_1m", "!ticker@arr"}
    for name, (p50_ms, p99_ms) in right.items():
        assert 0 <= p50_ms - behind[name][0] <= 60
        assert 0 <= p99_ms - behind[name][1] <= 60
    assert stats["lag_p99_ms"]["kline"] >= right["btcusdt@kline_1m"][0]
