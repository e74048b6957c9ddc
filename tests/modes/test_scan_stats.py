"""Statistics over the scans of a journal: they are those of its decisions, and drift is noticed."""

import json

import numpy as np
import pytest
from tests.markets import START_MS, random_market
from tests.replay.record import GOLDEN
from tests.signals.test_decide import EASY

from cryptosignal.cli.main import main
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.ground.faults import UserFault
from cryptosignal.modes import scan_stats as st
from cryptosignal.modes.scan_stats import scan_stats, words
from cryptosignal.signals.decide import SignalMemory, decide
from cryptosignal.signals.decisions import PRIME
from cryptosignal.signals.gates import PASS


def decided(seed, columns=None):
    view = random_market(seed, symbols=12, end_ms=START_MS + 3 * 3_600_000)
    rows = FactorEngine(EASY).compute(view, 1, "manual")
    rows.columns.update(columns or {})
    return decide(rows, EASY, SignalMemory())


def test_the_journal_alone_gives_them():
    """Counts and shares of the kept journal's newest run add up; the command says them as text and as
    JSON, of fewer scans where fewer are asked for."""
    found = scan_stats(str(GOLDEN), "", 96, None)
    assert found.scans >= 2
    assert sum(found.tiers.values()) == found.decisions > 0
    assert all(0.0 <= g.passed + g.no_data <= 1.0 for g in found.gates.values())
    assert {"ev", "spread", "correlation", "cooldown"} <= set(found.gates)
    assert found.percentiles["score"]["min"] <= found.percentiles["score"]["max"]
    one = scan_stats(str(GOLDEN), "", 1, None)
    assert one.scans == 1
    assert one.last_ms == found.last_ms
    assert np.isnan(one.drift)
    assert scan_stats(str(GOLDEN), "", 96, found.first_ms).scans == 1


def test_the_command_says_them(capsys):
    """`stats` prints what was found, or one JSON object."""

    def said(*more):
        with pytest.raises(SystemExit) as ended:
            main(["stats", "--data-dir", str(GOLDEN), *more])
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert "expected value after costs" in said()
    assert json.loads(said("--json"))["scans"] >= 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nowhere", "", 5, None), "no such folder"),
        ((str(GOLDEN), "", 0, None), "--last: found 0, allowed: 1 to 2000"),
        ((str(GOLDEN), "", 5, 1), "no run as old as that"),
    ],
)
def test_what_cannot_be_counted_is_refused(arguments, text):
    """A missing folder, a foolish number and a time before all runs are one line each."""
    with pytest.raises(UserFault, match=text) as caught:
        scan_stats(*arguments)
    assert "\n" not in str(caught.value)


def test_shares_are_those_of_the_decisions():
    """Over three scans a gate's share is that of its verdicts, and what it alone stopped is what would
    be Prime without it."""
    late = {"ctx.book_age_ms": np.full(12, 1e6)}
    scans = [decided(9, late), decided(10), decided(11)]
    found = st._together("run", [st._told(scan) for scan in scans])
    table = scans[0].table
    for name in ("ev", "strength", "dims"):
        k = table.index(name)
        passed = sum(int((scan.table.verdicts[k] == PASS).sum()) for scan in scans)
        assert found.gates[name].passed == pytest.approx(passed / 36.0)
    primes = int((decided(9).tiers == PRIME).sum())
    assert found.gates["book_age"].alone >= primes > 0


def test_a_market_that_turned_is_called_a_drift():
    """Scores that all move to one side are a drift, the same market again is none."""
    turned = {f"score.{n}": np.full(12, 90.0) for n in "TMCSVOBQ"}
    same = st._together("run", [st._told(decided(9)) for _ in range(4)])
    assert same.drift == pytest.approx(0.0)
    assert not same.is_drifting
    calm, other = st._told(decided(9)), st._told(decided(9, turned))
    changed = st._together("run", [calm, calm, other, other])
    assert changed.is_drifting
    assert "fall differently now" in words(changed)[-1]
