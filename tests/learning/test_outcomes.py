"""Signals followed on 1m bars to the first of stop, targets and timeout."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptosignal.domain.market import Bar
from cryptosignal.domain.signal import Decision, PricePlan, Tier
from cryptosignal.ground.units import HOUR_MS, MINUTE_MS
from cryptosignal.learning.outcomes import OutcomeTracker
from cryptosignal.learning.settings import OutcomeSettings

T0 = 1_700_006_400_000
FREE = OutcomeSettings(fee_frac=0.0, slippage_frac=0.0)


def bar(
    minute: int, low: float, high: float, close: float | None = None, start: float | None = None
) -> Bar:
    first = start if start is not None else (low + high) / 2
    return Bar(
        T0 + minute * MINUTE_MS,
        first,
        high,
        low,
        close if close is not None else first,
        1,
        1,
        1,
        1,
        1,
    )


def signal(side: str = "long", name: str = "s", **plan) -> Decision:
    sign = 1 if side == "long" else -1
    base = {
        "entry_low": 99.9,
        "entry_high": 100.1,
        "stop_loss": 100 - 2 * sign,
        "take_profit_1": 100 + 2 * sign,
        "take_profit_2": 100 + 5 * sign,
        "atr": 1.0,
        "risk_frac": 0.02,
    }
    return Decision(
        signal_id=name,
        scan_id=1,
        time_ms=T0,
        symbol="BTCUSDT",
        side=side,
        score=1,
        confidence=1,
        edge=0,
        prime_strength=1,
        p=0.6,
        p_calibrated=0.6,
        ev=0,
        cost=0,
        tier=Tier.PRIME,
        reasons=(),
        factors={},
        contributions={},
        modulators={},
        gates=(),
        quality=1,
        plan=PricePlan(**{**base, **plan}),
        ttl_ms=HOUR_MS,
        params_version="v",
    )


def follow(decision: Decision, bars: list[Bar], settings: OutcomeSettings = FREE):
    tracker = OutcomeTracker(settings)
    assert tracker.follow(decision)
    return [o for b in bars for o in tracker.on_bar("BTCUSDT", b)], tracker


def test_stop():
    """The stop ends a signal at −1 R."""
    outcomes, _ = follow(signal(), [bar(0, 99.5, 100.5, start=100), bar(1, 97.5, 100)])
    (one,) = outcomes
    assert (one.exit_reason, one.traded) == ("stop", False)
    assert one.r_multiple == pytest.approx(-1)
    assert one.closed_ms == T0 + 2 * MINUTE_MS


def test_both_targets():
    """Half at TP1 (1 R), half at TP2 (2.5 R)."""
    outcomes, _ = follow(
        signal(), [bar(0, 99.5, 100.5, start=100), bar(1, 100, 102.5), bar(2, 101, 105.5)]
    )
    assert outcomes[0].exit_reason == "tp2"
    assert outcomes[0].r_multiple == pytest.approx(1.75)
    assert outcomes[0].mfe_r == pytest.approx(2.75)


def test_breakeven_after_first_target():
    """After TP1 the stop stands at breakeven plus cost."""
    outcomes, _ = follow(
        signal(), [bar(0, 99.5, 100.5, start=100), bar(1, 100.5, 102.5), bar(2, 99, 101, start=101)]
    )
    assert outcomes[0].exit_reason == "tp1"
    assert outcomes[0].r_multiple == pytest.approx(0.5 + 0.5 * 0.05)


def test_stop_first_when_ambiguous():
    """A bar that holds both barriers counts as the stop."""
    outcomes, _ = follow(signal(), [bar(0, 99.5, 100.5, start=100), bar(1, 97, 106)])
    assert outcomes[0].exit_reason == "stop"


def test_gap_through_the_stop():
    """A bar that opens beyond the stop fills at its open."""
    outcomes, _ = follow(signal(), [bar(0, 99.5, 100.5, start=100), bar(1, 95, 96.5, start=96)])
    assert outcomes[0].r_multiple == pytest.approx(-2)


def test_timeout():
    """The third barrier closes at the bar's close."""
    settings = msgspec.structs.replace(FREE, timeout_ms=3 * MINUTE_MS)
    outcomes, _ = follow(
        signal(), [bar(i, 99.5, 100.5, 100.4, start=100) for i in range(5)], settings
    )
    assert outcomes[0].exit_reason == "time"
    assert outcomes[0].closed_ms == T0 + 3 * MINUTE_MS
    assert outcomes[0].r_multiple == pytest.approx(0.2)


def test_price_that_never_comes():
    """A band that is not reached in time gives no outcome and is forgotten."""
    outcomes, tracker = follow(signal(), [bar(i, 100.5, 101.5, start=101) for i in range(8)])
    assert outcomes == []
    assert tracker.count() == 0


def test_net_of_costs():
    """Fees and slippage of both sides lower the result; costs are in the row."""
    outcomes, _ = follow(
        signal(), [bar(0, 99.5, 100.5, start=100), bar(1, 97.5, 100)], OutcomeSettings()
    )
    one = outcomes[0]
    assert one.net_usdt == pytest.approx(one.realized_usdt - one.fees_usdt)
    assert one.r_multiple < -1.05


def test_funding():
    """A long pays a positive rate at each funding time that it is held over."""
    tracker = OutcomeTracker(FREE)
    tracker.follow(signal(), funding_rate=0.001)
    first = T0 % (8 * HOUR_MS)
    minutes = (8 * HOUR_MS - first) // MINUTE_MS
    bars = [bar(0, 99.5, 100.5, start=100), bar(minutes, 99.5, 100.5), bar(minutes + 1, 97, 99)]
    one = next(o for b in bars for o in tracker.on_bar("BTCUSDT", b))
    assert float(one.funding_usdt) == pytest.approx(-0.001)


def test_bars_before_the_decision_are_not_seen():
    """Nothing that was known before the decision decides it, and no bar counts twice."""
    old = bar(-1, 90, 110)
    outcomes, tracker = follow(signal(), [old, bar(0, 99.5, 100.5, start=100), bar(0, 90, 110)])
    assert outcomes == []
    assert tracker.count() == 1


def test_dump_and_load():
    """A restart in the middle changes nothing."""
    bars = [bar(0, 99.5, 100.5, start=100), bar(1, 100, 102.5), bar(2, 101, 105.5)]
    whole, _ = follow(signal(), bars)
    first = OutcomeTracker(FREE)
    first.follow(signal())
    first.on_bar("BTCUSDT", bars[0])
    first.on_bar("BTCUSDT", bars[1])
    second = OutcomeTracker(FREE)
    second.load(first.dump())
    assert second.symbols() == ("BTCUSDT",)
    assert list(second.on_bar("BTCUSDT", bars[2])) == whole


def test_follows_once_and_only_with_a_plan():
    """A signal is followed once; without a usable plan not at all; the number is bounded."""
    tracker = OutcomeTracker(msgspec.structs.replace(FREE, followed_max=1))
    assert not tracker.follow(msgspec.structs.replace(signal(), plan=None))
    assert not tracker.follow(signal(stop_loss=math.nan))
    assert tracker.follow(signal())
    assert not tracker.follow(signal())
    assert not tracker.follow(signal(name="other"))


@given(
    moves=st.lists(
        st.tuples(st.floats(-3, 3), st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=40
    )
)
def test_mirror(moves):
    """Long and short are mirror images around 100: equal results on mirrored bars."""
    longs = [bar(0, 99.5, 100.5, start=100)]
    for n, (middle, down, up) in enumerate(moves, 1):
        longs.append(bar(n, 100 + middle - down, 100 + middle + up, 100 + middle, 100 + middle))
    shorts = [
        bar(
            int((b.open_ms - T0) // MINUTE_MS),
            200 - b.high,
            200 - b.low,
            200 - b.close,
            200 - b.open,
        )
        for b in longs
    ]
    left, _ = follow(signal("long"), longs)
    right, _ = follow(signal("short"), shorts)
    assert [o.exit_reason for o in left] == [o.exit_reason for o in right]
    for a, b in zip(left, right, strict=True):
        assert a.r_multiple == pytest.approx(b.r_multiple, abs=1e-6)


@pytest.mark.parametrize("bad", [{"tp1_share_frac": 1.0}, {"timeout_ms": 0}, {"fee_frac": 0.5}])
def test_settings_are_validated(bad):
    """A setting that cannot be right names itself."""
    with pytest.raises(ValueError, match=r"outcomes\."):
        OutcomeSettings(**bad)
