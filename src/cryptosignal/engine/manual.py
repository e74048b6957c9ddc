"""A person's own trade as a decision: the plan for the side they chose, on the newest scan.

Size, stop and targets come by the same road as for a Prime signal; only the choice is a person's,
and the decision says so (`operator` first among its reasons, tier Watch: never counted as Prime).
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
from cryptosignal.signals.plan import plan

MANUAL_REASON = "operator: a person asked for this trade"


def manual_decision(
    scan: ScanDecisions, symbol: str, direction: Direction, now_ms: int
) -> Decision | None:
    """The decision for `symbol` in `direction` as of `scan`; None where bars for a plan are missing.

    The id carries `now_ms`, so every command is a signal of its own.
    """
    if symbol not in scan.rows.symbols:
        return None
    place = scan.rows.symbols.index(symbol)
    side = np.full(len(scan), float(direction.sign))
    plans = plan(scan.rows, side, scan.params)
    if math.isnan(float(plans.risk_log[place])):
        return None
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
