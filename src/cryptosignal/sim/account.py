"""One trading account: wallet, positions, margin. Decimal throughout; knows no wire format.

Realised profit and fees are rounded to 1e-8, and the rounding stays in the position's cost, so that
no money appears or disappears (`Ledger`).
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Any

import msgspec

from cryptosignal.sim.listing import Bracket, Listed
from cryptosignal.sim.orders import ZERO, Algo, Order

CENT8 = Decimal("0.00000001")
MAKER_FEE = Decimal("0.0002")
TAKER_FEE = Decimal("0.0005")
LEVERAGE_DEFAULT = 20


class Position(msgspec.Struct, eq=False):
    """Signed quantity with its cost (signed quantity x price, exact)."""

    index: int
    side: str
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    fees: Decimal = ZERO
    realised: Decimal = ZERO
    isolated: Decimal = ZERO
    update_ms: int = 0

    @property
    def entry(self) -> Decimal:
        """Average entry price, 0 when flat."""
        return self.cost / self.qty if self.qty else ZERO

    @property
    def break_even(self) -> Decimal:
        """Entry price with the fees paid for the open part."""
        return (self.cost + self.fees) / self.qty if self.qty else ZERO

    def unrealised(self, mark: Decimal) -> Decimal:
        """Profit at `mark` before fees."""
        return self.qty * mark - self.cost


class Ledger(msgspec.Struct, eq=False):
    """Where money goes: wallets change only by these sums (checked by the conservation test)."""

    deposits: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    realised: Decimal = ZERO
    insurance: Decimal = Decimal(1_000_000)
    insurance_paid: Decimal = ZERO
    liquidation_fees: Decimal = ZERO


class Fill(msgspec.Struct, frozen=True, gc=False):
    """One execution of one account's order, as userTrades and the events report it."""

    trade_id: int
    order_id: int
    client_id: str
    index: int
    side: str
    position_side: str
    price: Decimal
    qty: Decimal
    realised: Decimal
    fee: Decimal
    is_maker: bool
    time_ms: int


class Income(msgspec.Struct, frozen=True, gc=False):
    """One row of GET /fapi/v1/income."""

    index: int
    kind: str
    amount: Decimal
    time_ms: int
    tran_id: int
    trade_id: int
    info: str


class Account:
    """State of one account; orders live here too, keyed by id."""

    def __init__(
        self, number: int, api_key: str, secret: str, pem: str, deposit: Decimal, kept: int
    ) -> None:
        self.number = number
        self.api_key = api_key
        self.secret = secret
        self.public_pem = pem
        self.wallet = deposit
        self.is_hedge = False
        self.is_multi_asset = False
        self.is_fee_burn = False
        self.can_trade = True
        self.leverage: dict[int, int] = {}
        self.isolated_mode: set[int] = set()
        self.positions: dict[tuple[int, str], Position] = {}
        self.open_orders: dict[int, Order] = {}
        self.open_client_ids: dict[tuple[int, str], Order] = {}
        self.orders: dict[int, Order] = {}
        self.order_age: deque[int] = deque()
        self.algos: dict[int, Algo] = {}
        self.algo_age: deque[int] = deque()
        self.fills: deque[Fill] = deque(maxlen=kept)
        self.incomes: deque[Income] = deque(maxlen=kept)
        self.margin_rows: deque[dict[str, Any]] = deque(maxlen=1_000)
        self.amendments: deque[dict[str, Any]] = deque(maxlen=1_000)
        self.listen_key = ""
        self.listen_until_ms = 0
        self.countdown_ms: dict[int, int] = {}
        self.called_minute = -1
        self.margin_check_ms = 0
        """Nothing that prices do before this can endanger the account."""
        self.update_ms = 0
        self._kept = kept

    def keep(self, order: Order) -> None:
        """Remember an order; the oldest finished ones are forgotten past the limit."""
        self.orders[order.order_id] = order
        self.order_age.append(order.order_id)
        if order.is_open:
            self.open_orders[order.order_id] = order
            self.open_client_ids[order.index, order.client_id] = order
        for _ in range(2):
            if len(self.order_age) <= self._kept:
                return
            oldest = self.order_age.popleft()
            if oldest in self.open_orders:
                self.order_age.append(oldest)
            else:
                self.orders.pop(oldest, None)

    def keep_algo(self, algo: Algo) -> None:
        """Remember an algo order."""
        self.algos[algo.algo_id] = algo
        self.algo_age.append(algo.algo_id)
        if len(self.algo_age) > self._kept:
            oldest = self.algo_age.popleft()
            if self.algos[oldest].is_open:
                self.algo_age.append(oldest)
            else:
                del self.algos[oldest]

    def finish(self, order: Order) -> None:
        """An order left the book."""
        self.open_orders.pop(order.order_id, None)
        if self.open_client_ids.get((order.index, order.client_id)) is order:
            del self.open_client_ids[order.index, order.client_id]

    def position(self, index: int, side: str) -> Position:
        """The position of a symbol and position side, made on first use."""
        found = self.positions.get((index, side))
        if found is None:
            found = self.positions[index, side] = Position(index, side)
        return found

    def leverage_of(self, index: int) -> int:
        """Chosen leverage of a symbol."""
        return self.leverage.get(index, LEVERAGE_DEFAULT)

    @property
    def isolated_total(self) -> Decimal:
        """Wallet money set aside for isolated positions."""
        return sum((p.isolated for p in self.positions.values()), ZERO)

    @property
    def cross_wallet(self) -> Decimal:
        """Wallet money that is not set aside."""
        return self.wallet - self.isolated_total

    def apply(
        self, position: Position, qty: Decimal, price: Decimal, fee: Decimal, now_ms: int
    ) -> Decimal:
        """Trade signed `qty` at `price`: returns realised profit; wallet and position are updated."""
        realised = ZERO
        closing = -qty if abs(qty) <= abs(position.qty) else position.qty
        if position.qty and (qty > 0) != (position.qty > 0):
            realised = self._close_part(position, closing, price)
            qty += closing
        if qty:
            position.qty += qty
            position.cost += qty * price
            position.fees += fee
            if position.index in self.isolated_mode:
                share = (abs(qty) * price / self.leverage_of(position.index)).quantize(CENT8)
                position.isolated += share
        if not position.qty:
            position.isolated = ZERO
        self.margin_check_ms = 0
        position.realised += realised
        position.update_ms = self.update_ms = now_ms
        self.wallet += realised - fee
        return realised

    def _close_part(self, position: Position, closing: Decimal, price: Decimal) -> Decimal:
        """Close signed `closing` (same sign as the position); rounding stays in the cost."""
        if closing == position.qty:
            realised = (closing * price - position.cost).quantize(CENT8)
            lost = closing * price - position.cost - realised
            position.cost = -lost if lost else ZERO
            position.fees = ZERO
            position.isolated = ZERO
            position.qty = ZERO
            return realised
        share = closing / position.qty
        realised = (closing * price - position.cost * share).quantize(CENT8)
        position.cost -= closing * price - realised
        position.fees *= 1 - share
        position.isolated -= (position.isolated * share).quantize(CENT8)
        position.qty -= closing
        return realised


def bracket_of(listed: Listed, notional: Decimal) -> Bracket:
    """The bracket that a notional falls into (the last one beyond the table)."""
    for bracket in listed.brackets:
        if notional <= bracket.cap:
            return bracket
    return listed.brackets[-1]


def maint_margin(listed: Listed, notional: Decimal) -> Decimal:
    """Maintenance margin of a notional: rate x notional - cum (BINANCE §2.2 leverageBracket)."""
    if not notional:
        return ZERO
    bracket = bracket_of(listed, notional)
    return notional * bracket.maint_rate - bracket.cum


def max_notional(listed: Listed, leverage: int) -> int:
    """The largest notional allowed at a leverage."""
    return max((b.cap for b in listed.brackets if b.leverage >= leverage), default=0)
