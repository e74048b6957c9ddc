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


def counted():
    """A run of the kept journal that holds scans."""
    for run in sorted((GOLDEN / "journal").iterdir(), reverse=True):
        try:
            return str(run), scan_stats("", str(run), 96, None)
        except UserFault:
            continue
    raise AssertionError("no scan in the kept journal")


def test_the_journal_alone_gives_them():
    """Counts and shares of a kept journal's run add up."""
    run, found = counted()
    assert found.scans >= 1
    assert sum(found.tiers.values()) == found.decisions > 0
    assert all(0.0 <= g.passed + g.no_data <= 1.0 for g in found.gates.values())
    assert {"ev", "spread", "correlation", "cooldown"} <= set(found.gates)
    assert found.percentiles["score"]["min"] <= found.percentiles["score"]["max"]
    assert scan_stats("", run, 96, found.first_ms).scans == 1
    with pytest.raises(UserFault, match="no scan of the market at or before"):
        scan_stats("", run, 96, found.first_ms - 1)


def test_the_newest_scans_count(monkeypatch):
    """Of three scans two are asked for: the newest two."""
    told = [st._told(decided(seed)) for seed in (9, 10, 11)]
    for k, one in enumerate(told):
        one.time_ms = 1_000 * k
    monkeypatch.setattr(st, "_scans", lambda *_: iter(told))
    found = scan_stats(str(GOLDEN), "", 2, None)
    assert (found.scans, found.first_ms, found.last_ms) == (2, 1_000, 2_000)
    assert not np.isnan(found.drift)
    assert np.isnan(scan_stats(str(GOLDEN), "", 1, None).drift)


def test_the_command_says_them(capsys):
    """`stats` prints what was found, or one JSON object."""

    def said(*more):
        with pytest.raises(SystemExit) as ended:
            main(["stats", *more])
        assert ended.value.code == 0
        return capsys.readouterr().out

    run, found = counted()
    assert "expected value after costs" in said("--run", run)
    assert json.loads(said("--run", run, "--json"))["decisions"] == found.decisions


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
