"""How much to buy: from the real stop distance and a risk budget, under every cap, rounded down.

`size_position` answers with a size or with a refusal that says which limit spoke (DOMAIN §1.9).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from cryptosignal.domain.instrument import Instrument, LeverageBracket
from cryptosignal.domain.order import Direction
from cryptosignal.ground.units import floor_to_step
from cryptosignal.risk.exposure import ZERO, Exposure
from cryptosignal.risk.settings import RiskSettings


class SizeRequest(msgspec.Struct, frozen=True, gc=False):
    """What is to be sized. `strength` is Prime strength 0–100, `p` the probability 0–1,
    `confidence` 0–100, `scale_frac` what breaker state and phase leave of the budget (0–1),
    `cost_frac` the expected round-trip cost as a share of notional, `is_cost_accepted` that a person
    who chose the trade takes them whatever they are, `correlations` symbol -> ρ."""

    direction: Direction
    price: Decimal
    stop_price: Decimal
    strength: Decimal = ZERO
    p: Decimal = ZERO
    confidence: Decimal = ZERO
    scale_frac: Decimal = Decimal(1)
    cost_frac: Decimal = ZERO
    is_cost_accepted: bool = False
    is_market: bool = True
    is_ramp: bool = False
    is_unlimited_allowed: bool = False
    correlations: Mapping[str, Decimal] = {}
    brackets: tuple[LeverageBracket, ...] = ()


class Size(msgspec.Struct, frozen=True, gc=False):
    """An accepted size; `risk_usdt` is the loss at the stop, without cost. `bound_by` names the cap."""

    quantity: Decimal
    leverage: int
    notional_usdt: Decimal
    risk_usdt: Decimal
    bound_by: str


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """No size: the limit that spoke, in words."""

    reason: str


def size_position(
    request: SizeRequest, exposure: Exposure, instrument: Instrument, settings: RiskSettings
) -> Size | Refusal:
    """The largest quantity that no limit forbids, or why there is none (RELIABILITY §5.9, §5.12)."""
    refusal = _refuse_outright(request, exposure, instrument, settings)
    if refusal is not None:
        return refusal
    distance = abs(request.price - request.stop_price)
    leverage = choose_leverage(request, settings)
    budget = risk_budget_usdt(exposure.equity_usdt, request.scale_frac, settings)
    if request.is_unlimited_allowed and settings.unlimited_leverage:
        wanted = Decimal("0.8") * exposure.equity_usdt * leverage
        bound_by = "unlimited"
    else:
        wanted = budget / distance * request.price
        bound_by = "risk"
    for name, cap in _notional_caps(request, exposure, instrument, leverage, settings):
        if cap < wanted:
            wanted, bound_by = cap, name
    filters = instrument.filters
    step = filters.market_step_size if request.is_market else filters.step_size
    low = filters.market_min_qty if request.is_market else filters.min_qty
    floor_usdt = max(filters.min_notional_usdt, settings.notional_min_usdt) * Decimal("1.02")
    if request.is_ramp and floor_usdt < wanted:
        wanted, bound_by = floor_usdt + step * request.price, "ramp"
    quantity = floor_to_step(wanted / request.price, step)
    notional = quantity * request.price
    if quantity < low or quantity <= ZERO:
        return Refusal(f"{bound_by}: {quantity} is below the least quantity {low}")
    if notional < floor_usdt:
        return Refusal(f"{bound_by}: {notional:.2f} USDT is below the least notional {floor_usdt}")
    return Size(quantity, leverage, notional, quantity * distance, bound_by)


def risk_budget_usdt(equity: Decimal, scale: Decimal, settings: RiskSettings) -> Decimal:
    """R = min(share of equity, cap) × what the state of the account leaves (DOMAIN §1.9)."""
    return min(equity * settings.risk_frac, settings.risk_max_usdt) * scale


def choose_leverage(request: SizeRequest, settings: RiskSettings) -> int:
    """5/3/2 by strength above .8, above .6, else (DOMAIN §1.9), never above the cap.

    With the opt-in simulation policy: (1 + 11·max(0, (p−.55)/.15)) · max(1, conf/.5) (DOMAIN §2).
    """
    if request.is_unlimited_allowed and settings.unlimited_leverage:
        wish = unlimited_leverage(request.p, request.confidence / 100)
        return max(1, min(int(wish), settings.unlimited_leverage_max))
    if request.strength > 80:
        wanted = settings.leverage_strong
    elif request.strength > 60:
        wanted = settings.leverage_good
    else:
        wanted = settings.leverage_weak
    return max(1, min(wanted, settings.leverage_max))


def unlimited_leverage(p: Decimal, confidence: Decimal) -> Decimal:
    """The rule of DOMAIN §2 as written: no cap of its own but the exchange's 125, never below .5."""
    base = 1 + 11 * max(ZERO, (p - Decimal("0.55")) / Decimal("0.15"))
    return min(
        Decimal(125), max(Decimal("0.5"), base * max(Decimal(1), confidence / Decimal("0.5")))
    )


def _refuse_outright(
    request: SizeRequest, exposure: Exposure, instrument: Instrument, settings: RiskSettings
) -> Refusal | None:
    if not instrument.is_tradable_perpetual:
        return Refusal(f"instrument is {instrument.status} or about to be delivered")
    if exposure.equity_usdt <= ZERO:
        return Refusal("no equity")
    if request.price <= ZERO or request.stop_price <= ZERO:
        return Refusal("no price")
    if (request.price - request.stop_price) * request.direction.sign <= ZERO:
        return Refusal("the stop is on the wrong side of the price")
    stop_frac = abs(request.price - request.stop_price) / request.price
    if not settings.stop_min_frac <= stop_frac <= settings.stop_max_frac:
        return Refusal(
            f"stop distance {stop_frac:.4f} outside {settings.stop_min_frac} to {settings.stop_max_frac}"
        )
    cost_r = max(request.cost_frac, 2 * settings.taker_fee_frac) / stop_frac
    if cost_r > settings.cost_max_r and not request.is_cost_accepted:
        return Refusal(f"cost {cost_r:.2f} R above {settings.cost_max_r} R")
    if request.scale_frac <= ZERO:
        return Refusal("the account state allows no entry")
    if exposure.of(instrument.symbol) is not None:
        return Refusal("the symbol is already at stake")
    if exposure.count >= settings.position_max:
        return Refusal(f"{exposure.count} positions of at most {settings.position_max}")
    if exposure.count_of(request.direction) >= settings.same_direction_max:
        return Refusal(f"{settings.same_direction_max} positions already look {request.direction}")
    return None


def _notional_caps(
    request: SizeRequest,
    exposure: Exposure,
    instrument: Instrument,
    leverage: int,
    settings: RiskSettings,
) -> list[tuple[str, Decimal]]:
    equity = exposure.equity_usdt
    gross_max = min(equity * settings.gross_notional_max_frac, settings.gross_notional_max_usdt)
    gross_left = gross_max - exposure.gross_usdt
    caps = [
        ("symbol notional", settings.symbol_notional_max_usdt),
        ("symbol share", equity * settings.symbol_notional_max_frac * leverage),
        ("gross notional", max(ZERO, gross_left)),
        ("correlation", max(ZERO, _correlated_room(request, exposure, settings))),
        ("venue quantity", _venue_max_quantity(instrument) * request.price),
    ]
    for bracket in request.brackets:
        if bracket.leverage >= leverage:
            continue
        lower = [b.notional_max_usdt for b in request.brackets if b.leverage >= leverage]
        caps.append(("bracket", max(lower, default=ZERO)))
        break
    return caps


def _correlated_room(request: SizeRequest, exposure: Exposure, settings: RiskSettings) -> Decimal:
    used = ZERO
    for held in exposure.symbols:
        rho = request.correlations.get(held.symbol, settings.correlation_default_frac)
        same = held.direction is request.direction
        used += max(ZERO, rho if same else -rho) * held.notional_usdt
    return exposure.equity_usdt * settings.correlated_notional_max_frac - used


def _venue_max_quantity(instrument: Instrument) -> Decimal:
    """The market limit binds limit entries too: their stop is a market order."""
    return min(instrument.filters.market_max_qty, instrument.filters.max_qty)
