"""The new-coin channel: its minute factors, ignition, momentum, exhaustion, modulators, anchors."""

import dataclasses

import msgspec
import numpy as np
import pytest
from tests.markets import mirrored, permuted, poisoned, scaled, with_ignition, young_market

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import newcoin, now
from cryptosignal.factors.age import lane_hours, newness
from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.factors.panel import Panel

PARAMS = ParamSet()
OWN = PARAMS.new_coin
MINUTE, HOUR = 60_000, 3_600_000
COLUMNS = (
    *(f"score.{n}{lag}" for n in "TMSVC" for lag in ("", ".1", ".2")),
    "mod.I", "mod.gI", "mod.gF_long", "mod.crowding_long", "ctx.ignition_up", "ctx.ignition_down",
    "ctx.exhausted_up", "ctx.thrust_up", "ctx.thrust_down", "ctx.avwap", "ctx.zlema_5m", "ctx.atr_1m",
)  # fmt: skip


@pytest.fixture(scope="module")
def market():
    view = young_market(3, symbols=8, age_hours=60.0, days=9)
    return with_ignition(view, view.bars["1m"].data.shape[2] - 12, length=12, move=0.03)


def columns(view):
    return FactorEngine(PARAMS).compute(view, 1, "manual").columns


def minute_panel(change=None, rows=1, bars=80):
    """Eighty quiet minutes at price 100, `change(data)` on top; fields as in a view."""
    data = np.ones((9, rows, bars))
    wobble = 1e-4 * np.sin(np.arange(bars))
    data[0] = data[3] = 100.0 * np.exp(wobble)
    data[1], data[2] = data[3] * 1.001, data[3] / 1.001
    data[4] = 10.0
    data[5] = data[4] * data[3]
    data[7] = 5.0
    if change is not None:
        change(data)
    return Panel(data, "1m", 1)


def lit(panel, obi=0.0, anchor=100.0):
    return newcoin.ignite(panel, np.log(np.array([anchor])), np.array([[obi]]), OWN)


def test_a_run_ignites_on_its_own_side_only(market):
    """Coins that run up on volume show four or more signs up and hardly any down."""
    found = columns(market)
    assert (found["ctx.ignition_up"][2:] >= 4).all()
    assert (found["ctx.ignition_down"][2:] < 3).all()
    assert np.isnan(found["ctx.ignition_up"][:2]).all()


def test_signs_of_both_directions_do_not_add_up():
    """Speed up with takers, book and flow down is no ignition either way (the old pseudo-code's hole)."""

    def mixed(data):
        data[3, 0, -3:] = 100.0 * np.exp([0.0, 0.004, 0.008])
        data[1, 0, -3:] = data[3, 0, -3:]
        data[7, 0, -10:] = 1.0

    up, down, _, _ = lit(minute_panel(mixed), obi=-0.2, anchor=100.0)
    assert up[0, 0] < 4
    assert down[0, 0] < 4
    assert up[0, 0] + down[0, 0] <= 6


def test_five_loud_minutes_are_enough():
    """Volume counts at 2 times over five minutes, or 3 times over ten (§1.8)."""

    def louder(width, times):
        def change(data):
            data[4, 0, -width:] *= times

        return newcoin._loud(minute_panel(change), OWN)[0, 0]

    assert louder(5, 2.1)
    assert not louder(5, 1.9)
    assert louder(10, 3.1)
    assert not louder(10, 1.9)


@pytest.mark.parametrize("side", [1, -1])
def test_each_exhaustion_is_seen(side):
    """Adverse speed, a turned book with takers against, and turnover without progress exhaust."""
    at = 0 if side > 0 else 1

    def adverse(data):
        data[3, 0, -3:] = 100.0 * np.exp(-side * np.array([0.0, 0.004, 0.008]))

    def takers_against(data):
        data[7, 0, -5:] = data[4, 0, -5:] * (0.5 - 0.2 * side)

    def churn(data):
        data[4:6, 0, -3:] *= 60.0

    assert lit(minute_panel())[2 + at][0, 0] == 0.0
    assert lit(minute_panel(adverse))[2 + at][0, 0] == 1.0
    assert lit(minute_panel(takers_against), obi=-0.2 * side)[2 + at][0, 0] == 1.0
    assert lit(minute_panel(takers_against), obi=0.2 * side)[2 + at][0, 0] == 0.0
    assert lit(minute_panel(churn))[2 + at][0, 0] == 1.0


def test_far_off_the_anchor_with_flow_against_is_exhausted():
    """More than two ATR beyond the anchor while the flow has turned against it."""

    def sold(data):
        data[7, 0, -10:] = 3.0

    assert lit(minute_panel(sold), anchor=99.0)[2][0, 0] == 1.0
    assert lit(minute_panel(), anchor=99.0)[2][0, 0] == 0.0


def test_momentum_wants_one_and_five_minutes_to_agree():
    """Same sign at 1m and 5m, 15m not against; without one of the two there is no data."""
    one, two = np.array([[1.0]]), np.array([[-1.0]])
    assert newcoin.thrust([one, one, one])[0, 0] == 1.0
    assert newcoin.thrust([one, one, two])[0, 0] == 0.0
    assert newcoin.thrust([one, two, one])[0, 0] == 0.0
    assert newcoin.thrust([one, one])[0, 0] == 1.0
    assert np.isnan(newcoin.thrust([one])[0, 0])


def test_crowding_is_neutral_for_the_first_72_hours(market):
    """F is .5 and its pull 0 until a coin is 72 h old, and what it is afterwards (§1.8)."""
    young = columns(market)
    older = columns(dataclasses.replace(market, onboard_ms=market.onboard_ms - 40 * HOUR))
    assert (young["mod.crowding_long"][2:] == 0.5).all()
    assert (young["mod.gF_long"][2:] == 0.0).all()
    assert (older["mod.crowding_long"][2:] != 0.5).all()
    assert (young["mod.crowding_long"][:2] == older["mod.crowding_long"][:2]).all()


def test_independence_of_a_new_coin_counts_less_of_the_market(market):
    """β is .5 BTC + .3 ETH instead of .6 and .4, so a new coin is at least as independent."""
    old = dataclasses.replace(market, onboard_ms=market.onboard_ms - 900 * 24 * HOUR)
    young, mature = columns(market), columns(old)
    assert (young["mod.I"][2:] >= mature["mod.I"][2:] - 1e-9).all()
    assert (young["mod.I"][2:] > mature["mod.I"][2:] + 0.1).any()
    np.testing.assert_array_equal(young["mod.I"][:2], mature["mod.I"][:2])


def test_the_channel_is_left_over_48_hours(market):
    """1 until the 400th hour, half a day later less, 0 after 448 hours; unknown age is not new."""
    hours = np.array([0.0, 399.0, 424.0, 448.0, 5000.0, np.nan])
    np.testing.assert_allclose(newness(hours, OWN), [1.0, 1.0, 0.5, 0.0, 0.0, 0.0])


def test_minutes_are_read_as_long_as_they_are_blended_in():
    """The lane's feed ends when the coin's minutes no longer count, whatever the parameters."""
    for own in (OWN, msgspec.structs.replace(OWN, age_days=30.0, blend_hours=10.0)):
        until = lane_hours(own)
        assert newness(np.array([until - 1.0]), own)[0] > 0.0
        assert newness(np.array([float(until)]), own)[0] == 0.0


def test_the_mirror_swaps_the_channel(market):
    """Under the mirror minute scores change sign, votes and exhaustion swap, anchors invert."""
    here, there = columns(market), columns(mirrored(market))
    for name in "TMSVC":
        np.testing.assert_allclose(there[f"score.{name}"], -here[f"score.{name}"], atol=1e-9)
    for name in ("ignition", "thrust", "exhausted"):
        np.testing.assert_array_equal(there[f"ctx.{name}_down"], here[f"ctx.{name}_up"])
    np.testing.assert_allclose((there["ctx.avwap"] * here["ctx.avwap"])[2:], 1.0, rtol=1e-9)
    np.testing.assert_allclose((there["ctx.zlema_5m"] * here["ctx.zlema_5m"])[2:], 1.0, rtol=1e-9)


def test_units_and_order_do_not_matter(market):
    """Prices × 1000 and permuted slots leave the channel as it is."""
    here = columns(market)
    there = columns(scaled(market, 1000.0))
    order = np.random.default_rng(1).permutation(len(market.symbols))
    moved = columns(permuted(market, order))
    for name in COLUMNS:
        scale = 1000.0 if name in ("ctx.avwap", "ctx.zlema_5m") else 1.0
        np.testing.assert_allclose(there[name], scale * here[name], atol=1e-7, err_msg=name)
        np.testing.assert_allclose(moved[name], here[name][order], atol=1e-9, err_msg=name)


def test_later_minutes_are_never_read(market):
    """Poisoned minutes after the decision change nothing."""
    past = dataclasses.replace(market, time_ms=market.time_ms - 7 * MINUTE)
    here, there = columns(past), columns(poisoned(past, past.time_ms))
    for name in COLUMNS:
        np.testing.assert_allclose(here[name], there[name], atol=1e-9, err_msg=name)


def test_a_history_of_a_new_coin_equals_step_by_step(market):
    """Several moments at once give what each gives alone, ignition and anchors included."""
    times = np.array([market.time_ms - k * HOUR for k in (30, 3, 1, 0)])
    facts = now.facts(market, PARAMS)
    wide = {name: np.repeat(value, len(times), axis=1) for name, value in facts.items()}
    batch = FactorEngine(PARAMS).columns(market, times, wide)
    for k, time_ms in enumerate(times):
        alone = FactorEngine(PARAMS).columns(market, np.array([time_ms]), facts)
        for name in COLUMNS:
            np.testing.assert_allclose(
                batch[name][:, k], alone[name][:, 0], atol=1e-9, err_msg=f"{name} at {time_ms}"
            )
