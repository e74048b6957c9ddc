"""A person's own trade as a decision: the plan for the side they chose, laid at the price of now.

Size, stop and targets come by the same road as for a Prime signal; only the choice is a person's,
and the decision says so (`operator` first among its reasons, tier Watch: never counted as Prime).
A signal's plan waits for its price; a person who says "now" means the price of now, so the whole plan
is moved there, with all its distances kept.
"""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np

from cryptosignal.domain.order import Direction
from cryptosignal.domain.signal import Decision, Tier
from cryptosignal.signals.decisions import ScanDecisions
from cryptosignal.signals.keys import signal_key
from cryptosignal.signals.plan import Plans, plan

MANUAL_REASON = "operator: a person asked for this trade"


def manual_decision(
    scan: ScanDecisions,
    symbol: str,
    direction: Direction,
    now_ms: int,
    price: float | None = None,
) -> Decision | None:
    """The decision for `symbol` in `direction` as of `scan`; None where bars for a plan are missing.

    `price` is a fresh mark: the middle of the entry band lies there. Without one the plan stays where
    the last closed bars put it. The id carries `now_ms`, so every command is a signal of its own.
    """
    if symbol not in scan.rows.symbols:
        return None
    place = scan.rows.symbols.index(symbol)
    side = np.full(len(scan), float(direction.sign))
    plans = plan(scan.rows, side, scan.params)
    if math.isnan(float(plans.risk_log[place])):
        return None
    if price is not None:
        plans = _laid_at(plans, price)
    seen = scan.decision(place)
    own = msgspec.structs.replace(
        seen,
        signal_id=signal_key(symbol, now_ms, direction.value),
        time_ms=now_ms,
        side=direction.value,
        tier=Tier.WATCH,
        reasons=(MANUAL_REASON,),
        modulators={**seen.modulators, "size_left": 1.0},  # the person chose the moment
    )
    return msgspec.structs.replace(own, plan=replace(scan, plans=plans).plan(place))


def _laid_at(plans: Plans, price: float) -> Plans:
    """Every price times one factor: the band's middle at `price`, log distances as they were."""
    factor = price / np.sqrt(plans.entry_low * plans.entry_high)
    return replace(
        plans,
        entry_low=plans.entry_low * factor,
        entry_high=plans.entry_high * factor,
        stop=plans.stop * factor,
        tp1=plans.tp1 * factor,
        tp2=plans.tp2 * factor,
    )
