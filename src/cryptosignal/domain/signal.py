"""The one decision object (DOMAIN §0.15): what was seen, scored, gated, planned, and why.

CLI, page, notifications, ledger and executor read this and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec


class Tier(StrEnum):
    """What a decision is good for."""

    PRIME = "prime"
    WATCH = "watch"
    REJECT = "reject"


class Verdict(StrEnum):
    """What a gate says; NO_DATA fails closed (DOMAIN §0.14)."""

    PASS = "pass"
    MARGINAL = "marginal"
    FAIL = "fail"
    NO_DATA = "no_data"
    WARMING = "warming"


class Gate(msgspec.Struct, frozen=True, gc=False):
    """One gate with the value it saw and the limit it held it against (`relation`: >=, <=, …)."""

    name: str
    value: float
    relation: str
    limit: float
    verdict: Verdict
    reason: str = ""


class PricePlan(msgspec.Struct, frozen=True, gc=False):
    """Where to enter, where to be wrong, where to take profit. Prices in quote units."""

    entry_low: float
    entry_high: float
    stop_loss: float
    take_profit_1: float
    take_profit_2: float
    atr: float
    risk_frac: float


class BarReceipt(msgspec.Struct, frozen=True, gc=False):
    """What a decision knew of the newest bar of one interval (D7)."""

    interval: str
    open_ms: int
    bars: int
    source: str
    finality: str
    lag_ms: float


class Decision(msgspec.Struct, frozen=True):
    """One symbol in one scan. Scores are ±100, probabilities and shares 0–1, `ev` and `cost` are
    fractions of notional for the chosen side; NaN in `factors` means no data (weight 0).
    `findings` say in words what stands out; `weights` are those that this symbol was scored with;
    `risk_level` is low, medium or high by what the risk filters leave of the size.
    `quality_reason` says which parts of DataQual cost it trust."""

    signal_id: str
    scan_id: int
    time_ms: int
    symbol: str
    side: str
    score: float
    confidence: float
    edge: float
    prime_strength: float
    p: float
    p_calibrated: float
    ev: float
    cost: float
    tier: Tier
    reasons: tuple[str, ...]
    factors: dict[str, float]
    contributions: dict[str, float]
    modulators: dict[str, float]
    gates: tuple[Gate, ...]
    quality: float
    plan: PricePlan | None
    ttl_ms: int
    params_version: str
    receipt: tuple[BarReceipt, ...] = ()
    findings: tuple[str, ...] = ()
    weights: dict[str, float] = {}
    risk_level: str = ""
    quality_reason: str = ""


def decision_to_json(decision: Decision) -> str:
    """A decision as JSON; numbers that are none (NaN, infinite) become null."""
    return msgspec.json.encode(decision).decode()


def decision_from_json(text: str) -> Decision:
    """Read a decision back; null numbers are NaN again. Raises ValueError (msgspec) if it is none."""
    return msgspec.convert(_with_nan(msgspec.json.decode(text)), Decision)


def _with_nan(value: object) -> object:
    """`value` with its nulls filled, in place; a decision without a plan keeps its null."""
    places: Iterable[tuple[Any, object]] = ()
    if isinstance(value, dict):
        places = value.items()
    elif isinstance(value, list):
        places = enumerate(value)
    box: Any = value
    for place, item in places:
        if isinstance(item, dict | list):
            _with_nan(item)
        elif item is None and place != "plan":
            box[place] = math.nan  # replaces a value: no key comes or goes while we look
    return value
