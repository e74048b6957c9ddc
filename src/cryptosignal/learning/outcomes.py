"""Every published signal followed to its end on 1m bars, traded or not: the triple barrier.

Stop, targets or timeout, whichever comes first; when one bar holds both, the stop (DOMAIN §1.10).
Sizes are per 1 USDT of notional at entry, results net of fees and slippage. Only bars that closed
after the decision are looked at, each once and in order.
"""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec

from cryptosignal.domain.market import Bar
from cryptosignal.domain.outcome import Outcome
from cryptosignal.domain.signal import Decision
from cryptosignal.ground.units import MINUTE_MS, decimal_of
from cryptosignal.learning.settings import OutcomeSettings


class Followed(msgspec.Struct, gc=False):
    """One signal on its way. Times ms, prices in quote units; `left` is the share still open."""

    signal_id: str
    symbol: str
    direction: str
    tier: str
    params_version: str
    decided_ms: int
    entry_low: float
    entry_high: float
    stop: float
    stop_first: float
    tp1: float
    tp2: float
    funding_rate: float = 0.0
    entry: float = 0.0
    opened_ms: int = 0
    last_open_ms: int = 0
    left: float = 1.0
    value: float = 0.0
    best: float = 0.0
    worst: float = 0.0
    funding_paid: float = 0.0

    @property
    def sign(self) -> int:
        """+1 long, -1 short."""
        return 1 if self.direction == "long" else -1


class OutcomeTracker:
    """Follows signals; `on_bar` gives the outcomes that a bar decided.

    Its whole memory is `dump()`; `load()` takes it back after a restart.
    """

    def __init__(self, settings: OutcomeSettings) -> None:
        self.settings = settings
        self._followed: dict[str, list[Followed]] = {}
        self._seen: dict[str, int] = {}

    def follow(self, decision: Decision, funding_rate: float = 0.0) -> bool:
        """Begin to follow a published signal; False if it cannot be followed or already is."""
        plan = decision.plan
        if (
            plan is None
            or decision.signal_id in self._seen
            or decision.side not in ("long", "short")
        ):
            return False
        prices = (plan.entry_low, plan.entry_high, plan.stop_loss, plan.take_profit_1)
        if not all(math.isfinite(p) and p > 0 for p in (*prices, plan.take_profit_2)):
            return False
        if len(self._seen) >= self.settings.followed_max:
            return False
        self._seen[decision.signal_id] = decision.time_ms
        item = Followed(
            signal_id=decision.signal_id,
            symbol=decision.symbol,
            direction=decision.side,
            tier=decision.tier.value,
            params_version=decision.params_version,
            decided_ms=decision.time_ms,
            entry_low=plan.entry_low,
            entry_high=plan.entry_high,
            stop=plan.stop_loss,
            stop_first=plan.stop_loss,
            tp1=plan.take_profit_1,
            tp2=plan.take_profit_2,
            funding_rate=funding_rate if math.isfinite(funding_rate) else 0.0,
        )
        self._followed.setdefault(decision.symbol, []).append(item)
        return True

    def forget(self, signal_id: str) -> None:
        """Stop following a signal: its outcome is on record already."""
        self._seen.pop(signal_id, None)
        for symbol, items in list(self._followed.items()):
            rest = [item for item in items if item.signal_id != signal_id]
            if rest:
                self._followed[symbol] = rest
            else:
                del self._followed[symbol]

    def symbols(self) -> tuple[str, ...]:
        """Symbols whose 1m bars are needed."""
        return tuple(sorted(self._followed))

    def count(self) -> int:
        """Signals on their way."""
        return sum(len(items) for items in self._followed.values())

    def on_bar(self, symbol: str, bar: Bar) -> tuple[Outcome, ...]:
        """Take one closed 1m bar; outcomes it decided, in order of the signals' decision."""
        items = self._followed.get(symbol)
        if not items or not bar.is_closed:
            return ()
        outcomes, rest = [], []
        for item in items:
            outcome = self._step(item, bar)
            if outcome is None and self._is_missed(item, bar):
                del self._seen[item.signal_id]
                continue
            if outcome is None:
                rest.append(item)
            else:
                del self._seen[item.signal_id]
                outcomes.append(outcome)
        if rest:
            self._followed[symbol] = rest
        else:
            del self._followed[symbol]
        return tuple(outcomes)

    def dump(self) -> bytes:
        """Everything on its way, as JSON."""
        return msgspec.json.encode([i for items in self._followed.values() for i in items])

    def load(self, data: bytes) -> None:
        """Take back what `dump` gave (replaces what is followed)."""
        self._followed.clear()
        self._seen.clear()
        for item in msgspec.json.decode(data, type=list[Followed]):
            self._followed.setdefault(item.symbol, []).append(item)
            self._seen[item.signal_id] = item.decided_ms

    def _is_missed(self, item: Followed, bar: Bar) -> bool:
        """The price never came to the entry band while it waited: no entry, no outcome."""
        end_ms = bar.open_ms + MINUTE_MS
        return not item.opened_ms and end_ms > item.decided_ms + self.settings.entry_ms

    def _step(self, item: Followed, bar: Bar) -> Outcome | None:
        if bar.open_ms < item.decided_ms or bar.open_ms <= item.last_open_ms:
            return None
        item.last_open_ms = bar.open_ms
        if not item.opened_ms and not self._enter(item, bar):
            return None
        self._pay_funding(item, bar)
        sign = item.sign
        low, high = (bar.low, bar.high) if sign > 0 else (bar.high, bar.low)
        if (low - item.stop) * sign <= 0:
            gapped = (bar.open - item.stop) * sign < 0
            price = bar.open if gapped else item.stop
            item.worst = min(item.worst * sign, price * sign) * sign
            reason = "stop" if item.left == 1.0 else "tp1"
            return self._finish(item, price, bar, reason)
        item.best = max(item.best * sign, high * sign) * sign
        item.worst = min(item.worst * sign, low * sign) * sign
        if item.left == 1.0 and (high - item.tp1) * sign >= 0:
            self._take(item, self.settings.tp1_share_frac, item.tp1)
            even = item.entry * (1 + sign * self.settings.breakeven_cost_frac)
            item.stop = max(item.stop * sign, even * sign) * sign
        if (high - item.tp2) * sign >= 0:
            return self._finish(item, item.tp2, bar, "tp2")
        if bar.open_ms + MINUTE_MS >= item.opened_ms + self.settings.timeout_ms:
            return self._finish(item, bar.close, bar, "time")
        return None

    def _enter(self, item: Followed, bar: Bar) -> bool:
        """At the open inside the band, else at the band's near edge when the bar reaches it."""
        sign = item.sign
        edge = item.entry_high if sign > 0 else item.entry_low
        near = bar.low if sign > 0 else bar.high
        if (bar.open - edge) * sign <= 0:
            price = bar.open
        elif (near - edge) * sign <= 0:
            price = edge
        else:
            return False
        if (price - item.stop) * sign <= 0:
            return False
        item.entry = price * (1 + sign * self.settings.slippage_frac)
        item.opened_ms = bar.open_ms
        item.best = item.worst = item.entry
        return True

    def _pay_funding(self, item: Followed, bar: Bar) -> None:
        step = self.settings.funding_interval_ms
        if bar.open_ms % step == 0 and bar.open_ms > item.opened_ms:
            item.funding_paid += item.sign * item.funding_rate * item.left

    def _take(self, item: Followed, share: float, price: float) -> None:
        fill = price * (1 - item.sign * self.settings.slippage_frac)
        item.value += share * fill
        item.left -= share

    def _finish(self, item: Followed, price: float, bar: Bar, reason: str) -> Outcome:
        self._take(item, item.left, price)
        exit_price = item.value
        realized = (exit_price - item.entry) / item.entry * item.sign
        fees = self.settings.fee_frac * (1 + exit_price / item.entry)
        net = realized - fees - item.funding_paid
        unit = abs(item.entry - item.stop_first)
        risk = unit / item.entry
        return Outcome(
            signal_id=item.signal_id,
            symbol=item.symbol,
            direction=item.direction,
            tier=item.tier,
            traded=False,
            opened_ms=item.opened_ms,
            closed_ms=bar.open_ms + MINUTE_MS,
            entry_price=decimal_of(item.entry),
            exit_price=decimal_of(exit_price),
            quantity=Decimal(1) / decimal_of(item.entry),
            realized_usdt=decimal_of(realized),
            fees_usdt=decimal_of(fees),
            funding_usdt=decimal_of(-item.funding_paid),
            net_usdt=decimal_of(net),
            r_multiple=net / risk if risk > 0 else 0.0,
            mfe_r=(item.best - item.entry) * item.sign / unit if unit > 0 else 0.0,
            mae_r=(item.worst - item.entry) * item.sign / unit if unit > 0 else 0.0,
            exit_reason=reason,
            params_version=item.params_version,
        )
