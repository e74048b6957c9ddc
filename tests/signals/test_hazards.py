"""Risk filters, funding pressure, contradicting causes, flickering gates, and new-coin rules of the
decision: what is left of the size, and what is no trade at all."""

import dataclasses

import msgspec
import numpy as np
import pytest
from tests.markets import START_MS, mirrored, random_market, with_ignition, young_market
from tests.signals.test_decide import EASY

from cryptosignal.domain.params import ParamSet
from cryptosignal.domain.signal import Tier, Verdict
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.factors.history import flatten
from cryptosignal.signals import hazards
from cryptosignal.signals.decide import SignalMemory, assess, decide, settle
from cryptosignal.signals.decisions import PRIME
from cryptosignal.signals.explain import explain
from cryptosignal.signals.memory import Held

PARAMS = ParamSet()
HOUR, MINUTE = 3_600_000, 60_000


@pytest.fixture(scope="module")
def rows():
    view = random_market(9, symbols=12, end_ms=START_MS + 3 * HOUR)
    return FactorEngine(PARAMS).compute(view, 1, "manual")


def changed(rows, **columns):
    new = {k.replace("__", "."): np.full(len(rows.symbols), v) for k, v in columns.items()}
    return dataclasses.replace(rows, columns={**rows.columns, **new})


def left(rows, side=1.0, **columns):
    calm = {"ctx__spread_bps": 2.0, "ctx__funding_rate": 0.0, "ctx__fwi": 0.0, **columns}
    return hazards.size_left(changed(rows, **calm), np.full(len(rows.symbols), side), PARAMS)[0]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, 1.0),
        ({"ctx__spread_bps": 5.1}, 0.8),
        ({"ctx__spread_bps": 10.1}, 0.5),
        ({"ctx__spread_bps": 20.1}, 0.0),
        ({"ctx__funding_rate": 0.0011}, 0.85),
        ({"ctx__funding_rate": -0.0016}, 0.7),
        ({"ctx__fwi": 2.1}, 0.3),
        ({"ctx__fwi": -2.1}, 0.8),
        ({"ctx__fwi": 1.9}, 1.0),
        ({"ctx__age_days": 2.0 / 1440}, 0.3),
        ({"ctx__age_days": 7.0 / 1440}, 0.5),
        ({"ctx__age_days": 14.0 / 1440}, 0.7),
        ({"ctx__age_days": 16.0 / 1440}, 1.0),
        ({"ctx__spread_bps": 6.0, "ctx__funding_rate": 0.002}, 0.8 * 0.7),
        ({"ctx__spread_bps": np.nan, "ctx__funding_rate": np.nan, "ctx__fwi": np.nan}, 1.0),
    ],
)
def test_what_is_left_of_the_size(rows, columns, expected):
    """Spread, |funding|, funding pressure and the phase of a new coin each take their part."""
    assert left(rows, **columns) == pytest.approx(expected)


def test_funding_pressure_is_worse_for_the_side_that_pays(rows):
    """A long that pays soon keeps .3 of the size, a short that receives .8, and mirrored alike."""
    assert left(rows, 1.0, ctx__fwi=3.0) == left(rows, -1.0, ctx__fwi=-3.0) == pytest.approx(0.3)
    assert left(rows, -1.0, ctx__fwi=3.0) == left(rows, 1.0, ctx__fwi=-3.0) == pytest.approx(0.8)


def test_a_wide_spread_is_skipped_and_said(rows):
    """Beyond 20 bps the risk gate fails, the decision is not Prime, and the explanation says skip."""
    found = decide(changed(rows, ctx__spread_bps=25.0), EASY, SignalMemory())
    assert not found.prime()
    decision = found.decision(3)
    assert {g.name: g.verdict for g in decision.gates}["risk"] == Verdict.FAIL
    assert "Risk: skip, 0 % of the planned size" in explain(decision)


@pytest.mark.parametrize(("size", "word"), [(1.0, "low"), (0.79, "medium"), (0.49, "high")])
def test_the_risk_level_is_named(size, word):
    """Low, medium below .8, high below .5."""
    assert hazards.level(size, PARAMS) == word


def test_the_mirror_keeps_risk_and_swaps_pressure():
    """Under the mirror FWI changes sign and what is left of the size stays."""
    view = random_market(4, symbols=12, end_ms=START_MS + 3 * HOUR)
    soon = dataclasses.replace(
        view,
        next_funding_ms=np.full(12, view.time_ms + 5.0 * MINUTE),
        funding_rate=np.linspace(-0.003, 0.003, 12),
    )
    here = decide(FactorEngine(PARAMS).compute(soon, 1, "manual"), PARAMS, SignalMemory())
    there = decide(
        FactorEngine(PARAMS).compute(mirrored(soon), 1, "manual"), PARAMS, SignalMemory()
    )
    np.testing.assert_allclose(
        here.rows.columns["ctx.fwi"], -there.rows.columns["ctx.fwi"], atol=1e-9
    )
    np.testing.assert_allclose(
        here.rows.columns["score.B"], -there.rows.columns["score.B"], atol=1e-9
    )
    k = here.table.index("risk")
    np.testing.assert_allclose(here.table.values[k], there.table.values[k], atol=1e-12)
    assert (here.table.values[k] < 1.0).any()


def test_funding_about_to_be_paid_lifts_b():
    """B moves by up to 20 points with the funding of the next half hour, and not before (§1.3)."""

    def b(minutes):
        view = random_market(4, symbols=4, end_ms=START_MS + 3 * HOUR)
        near = dataclasses.replace(
            view,
            next_funding_ms=np.full(4, view.time_ms + minutes * MINUTE),
            funding_rate=np.full(4, 0.0012),
        )
        return FactorEngine(PARAMS).compute(near, 1, "manual").columns["score.B"]

    np.testing.assert_allclose(b(15.0) - b(60.0), 20.0 * (0.0012 / 0.0005) / 2.0 * 0.5, atol=1e-6)
    np.testing.assert_allclose(b(0.0) - b(60.0), 20.0)
    np.testing.assert_array_equal(b(31.0), b(60.0))


@pytest.mark.parametrize(
    ("causes", "verdict"),
    [
        ({"score__C": 20.0, "score__O": 20.0, "ctx__obi": -0.2, "score__B": -20.0}, Verdict.FAIL),
        ({"score__C": 20.0, "score__O": 20.0, "ctx__obi": -0.2, "score__B": -5.0}, Verdict.PASS),
        ({"score__C": 20.0, "score__O": 20.0, "ctx__obi": 0.2, "score__B": -20.0}, Verdict.PASS),
        (
            {"score__C": np.nan, "score__O": np.nan, "ctx__obi": np.nan, "score__B": np.nan},
            Verdict.NO_DATA,
        ),
    ],
)
def test_causes_two_against_two_are_no_trade(rows, causes, verdict):
    """Flow, open interest, book and funding split two to two beyond ±10 stop a signal (§1.5)."""
    found = assess(changed(rows, **causes), PARAMS)
    assert {
        g.verdict for i in range(12) for g in found.decision(i).gates if g.name == "cause_split"
    } == {verdict}


@pytest.mark.parametrize(
    ("column", "bad", "wait_ms"),
    [
        ("ctx__impact_buy_bps", 9.0, 120_000),
        ("ctx__spread_bps", 40.0, 90_000),
        ("ctx__quality", 0.87, 180_000),
    ],
)
def test_a_flickering_gate_cools_down(rows, column, bad, wait_ms):
    """A signal that one execution gate alone stopped stays out for that gate's cooldown (§1.5)."""
    params = msgspec.structs.replace(
        EASY, risk=msgspec.structs.replace(EASY.risk, spread_skip_bps=1e6, spread_wide_bps=1e5)
    )
    good = changed(rows, ctx__impact_buy_bps=2.0, ctx__impact_sell_bps=2.0, ctx__spread_bps=2.0)
    longs = {d.symbol for d in decide(good, params, SignalMemory()).prime() if d.side == "long"}
    assert longs
    memory = SignalMemory()
    assert not longs & {
        d.symbol for d in decide(changed(good, **{column: bad}), params, memory).prime()
    }
    saved = memory.to_bytes()
    decide(changed(good, **{column: bad}), params, memory)
    assert memory.to_bytes() == saved

    def later(ms):
        return dataclasses.replace(good, time_ms=good.time_ms + ms)

    early = decide(later(wait_ms - 1), params, memory)
    assert not longs & {d.symbol for d in early.prime()}
    blocked = early.find(min(longs))
    assert any(r.startswith("cooldown") for r in blocked.reasons)
    assert longs <= {d.symbol for d in decide(later(wait_ms), params, memory).prime()}


def test_what_makes_a_bad_environment_easier_is_put_back_to_neutral(rows):
    """With a θ of the wrong sign the modulators of a crowded coin are dropped and counted."""
    wrong = msgspec.structs.replace(
        PARAMS, gates=msgspec.structs.replace(PARAMS.gates, theta_f=-0.05)
    )
    crowded = changed(rows, mod__crowding_long=0.95, mod__crowding_short=0.95,
                      mod__gF_long=0.8, mod__gF_short=0.8, mod__gI=-0.5)  # fmt: skip
    found, right = assess(crowded, wrong), assess(crowded, PARAMS)
    assert found.stats()["reverted"] == 12
    assert right.stats()["reverted"] == 0
    assert (found.odds.g_f == 0.0).all()
    assert (found.odds.g_i == 0.0).all()
    k = found.table.index("probability")
    assert (found.table.limits[k] <= PARAMS.gates.p0 + 1e-12).all()
    with pytest.raises(ValueError, match=r"gates\.theta_f: found -0\.05, allowed: 0 to 1"):
        wrong.validate()


def young_decisions(age_hours, seed=1):
    """Every five minutes of ninety, forty of them a run of ten coins up by a tenth."""
    view = young_market(seed, symbols=12, age_hours=age_hours, days=14)
    view = with_ignition(view, view.bars["1m"].data.shape[2] - 90)
    times = view.time_ms - MINUTE * np.arange(90, -1, -5)
    inside = (times > view.time_ms - 90 * MINUTE) & (times <= view.time_ms - 50 * MINUTE)
    shape = (12, len(times))
    facts = {
        "obi": np.where(inside, 0.12, 0.0), "Q": np.where(inside, 60.0, 0.0), "L": 80.0,
        "basis_bps": 0.0, "funding_rate": 0.0, "quality": 0.99, "spread_bps": 3.0,
        "impact_buy_bps": 3.0, "impact_sell_bps": 3.0, "bid_depth_usdt": 4e5,
        "ask_depth_usdt": 4e5, "book_age_ms": 100.0,
    }  # fmt: skip
    facts = {name: np.broadcast_to(np.float64(value), shape) for name, value in facts.items()}
    rows, moments = flatten(view, times, FactorEngine(PARAMS).columns(view, times, facts))
    found, memory = assess(rows, PARAMS), SignalMemory()
    for places, time_ms in moments:
        settle(found, memory, time_ms, places)
    return found, moments


def test_a_new_coin_that_ignites_can_be_prime_one_at_a_time():
    """Ten coins of eleven days ignite at once: one is Prime at the shipped limits, the rest are told
    why not, and nobody is Prime on the wrong side."""
    found, moments = young_decisions(260.0)
    primes = np.flatnonzero(found.tiers == PRIME)
    assert len(primes)
    assert all(found.side(int(i)) == "long" for i in primes)
    assert all((found.tiers[places] == PRIME).sum() <= 1 for places, _ in moments)
    words = found.decision(int(primes[0]))
    assert any("new-coin ignition up" in text for text in words.findings)
    # the stop of a new coin is measured in minutes
    assert words.plan.risk_frac < 1.8 * words.plan.atr / words.plan.entry_low


def test_a_coin_of_its_first_day_needs_more(rows):
    """p_min .70 and six factors on the first day, .65 and five in the first week, then .63 and four;
    in the first eight minutes .03 more, in the first three Watch at most (§1.8)."""

    def limits(hours):
        found = assess(changed(rows, ctx__age_days=hours / 24.0, mod__gF_long=0.0, mod__gF_short=0.0,
                               mod__gI=0.0, mod__crowding_long=0.5, mod__crowding_short=0.5), EASY_P0)  # fmt: skip
        return tuple(
            round(float(found.table.limits[found.table.index(name), 0]), 3)
            for name in ("probability", "dims")
        )

    assert limits(2.0) == (0.70, 6.0)
    assert limits(100.0) == (0.65, 5.0)
    assert limits(300.0) == (0.63, 4.0)
    assert limits(7.0 / 60.0) == (0.73, 6.0)
    assert limits(9.0 / 60.0) == (0.70, 6.0)
    found = assess(changed(rows, ctx__age_days=2.0 / 1440), PARAMS)
    assert (found.table.verdicts[found.table.index("listing_age")] != 0).all()


EASY_P0 = msgspec.structs.replace(
    PARAMS, tiers=msgspec.structs.replace(PARAMS.tiers, hysteresis=0.0)
)


def test_accumulation_is_named(rows):
    """Money and flow far ahead of a price that stands still is called accumulation."""
    still = changed(rows, mod__lead_long=90.0, mod__lead_short=-90.0, score__C=70.0, score__T=5.0)
    found = assess(still, PARAMS)
    said = [found.decision(i) for i in range(12)]
    longs = [d for d in said if d.side == "long"]
    assert longs
    assert all(any(f.startswith("accumulation") for f in d.findings) for d in longs)
    assert not any(
        f.startswith("accumulation") for d in said if d.side == "short" for f in d.findings
    )


def test_watch_is_the_most_while_new(rows):
    """In its first three minutes a coin is never Prime, whatever else passes."""
    found = decide(changed(rows, ctx__age_days=2.0 / 1440), EASY, SignalMemory())
    assert all(found.decision(i).tier != Tier.PRIME for i in range(12))


def test_an_overlay_coin_keeps_seven_tenths_of_its_size(rows):
    """A member of the Overlay pool risks .7 of what another does; without a pool nobody is one."""
    assert left(rows, ctx__is_overlay=1.0) == pytest.approx(0.7)
    assert left(rows, ctx__is_overlay=0.0) == 1.0
    assert left(rows, ctx__is_overlay=np.nan) == 1.0
    assert left(rows, side=-1.0, ctx__is_overlay=1.0) == pytest.approx(0.7)


def pooled(members):
    """Every candidate Prime but for what is decided between symbols; sides in turn."""
    view = random_market(9, symbols=12, end_ms=START_MS + 3 * HOUR)
    found = assess(FactorEngine(EASY).compute(view, 1, "manual"), EASY)
    inside = np.zeros(len(found))
    inside[members] = 1.0
    found.rows.columns["ctx.is_overlay"] = inside
    found.rows.columns["ctx.rho_btc"] = np.zeros(len(found))
    found.tiers[:] = PRIME
    found.scores.side[:] = np.where(np.arange(len(found)) % 2, -1.0, 1.0)
    found.strength[:] = 90.0 - np.arange(len(found))
    return found


def test_no_overlay_signal_stands_against_another():
    """The strongest Overlay signal sets the side of all that are out; others are told why not, and
    coins outside the pool are free."""
    found, memory = pooled([0, 1, 2, 5]), SignalMemory()
    settle(found, memory)
    assert [i for i in range(len(found)) if found.tiers[i] != PRIME] == [1, 5]
    gate = next(g for g in found.decision(1).gates if g.name == "opposite_overlay")
    assert gate.verdict is Verdict.FAIL
    assert gate.reason == "an Overlay signal or position of the other side is out"
    assert found.contested()["opposite_overlay"].tolist() == [i in (1, 5) for i in range(12)]


def test_a_refreshed_overlay_coin_sees_what_is_out_of_others():
    """One symbol decided alone is held against the Overlay signals that stand; one of its own that
    is out already is not ended by them."""
    memory = SignalMemory()
    settle(pooled([0]), memory)
    whole = pooled([1])
    columns = {name: value[1:2] for name, value in whole.rows.columns.items()}
    alone = dataclasses.replace(whole.rows, symbols=whole.rows.symbols[1:2], columns=columns,
                                trigger="symbol")  # fmt: skip

    def tier():
        one = assess(alone, EASY)
        one.tiers[:], one.scores.side[:] = PRIME, -1.0
        settle(one, memory)
        return one.tiers[0]

    assert tier() == PRIME  # it was out before it came into the pool
    del memory.published[alone.symbols[0]]
    assert tier() != PRIME


def test_a_held_overlay_coin_counts_as_a_signal_that_is_out():
    """While an Overlay position is open, whatever became of its signal, no Overlay coin of the other
    side is Prime; its own side, and a position outside the pool, stop nobody."""

    def stopped(*held):
        found = pooled([1, 2, 5])
        settle(found, SignalMemory(), held=held)
        return [i for i in range(len(found)) if found.tiers[i] != PRIME]

    assert stopped() == [2]
    assert stopped(Held("XUSDT", "long", is_new=False, is_overlay=True)) == [1, 5]
    assert stopped(Held("XUSDT", "short", is_new=False, is_overlay=True)) == [2]
    assert stopped(Held("XUSDT", "long", is_new=False, is_overlay=False)) == [2]


def test_a_held_new_coin_is_the_one_new_coin():
    """While a new coin is held no other new coin is Prime, itself may stay it."""

    def stopped(*held):
        found = pooled([])
        found.rows.columns["ctx.age_days"] = np.where(np.arange(len(found)) < 2, 5.0, 900.0)
        settle(found, SignalMemory(), held=held)
        return [i for i in range(len(found)) if found.tiers[i] != PRIME]

    own = pooled([]).rows.symbols[1]
    assert stopped() == [1]
    assert stopped(Held("XUSDT", "long", is_new=True, is_overlay=False)) == [0, 1]
    assert stopped(Held(own, "short", is_new=True, is_overlay=False)) == [0]


def test_what_a_held_coin_was_is_kept_as_long_as_it_is_held():
    """A signal that ended days ago is remembered while its position is open, and no longer."""
    memory, found = SignalMemory(), pooled([0])
    settle(found, memory)
    symbol, later = found.rows.symbols[0], found.rows.time_ms + 72 * HOUR
    memory.end(symbol, found.rows.time_ms)
    memory.forget(later, [symbol])
    assert memory.published[symbol].is_overlay
    memory.forget(later)
    assert symbol not in memory.published
