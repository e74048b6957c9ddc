"""Account events on their way to the private connections that hold the account's listenKey."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from cryptosignal.sim import dialect_user
from cryptosignal.sim.account import Account, Fill, Position
from cryptosignal.sim.desk import Desk
from cryptosignal.sim.dialect_rest import number
from cryptosignal.sim.links import Link
from cryptosignal.sim.orders import Algo, Order
from cryptosignal.sim.streams import Hub, Post


class PrivateEvents:
    """Implements `sim.desk.UserOut`."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._links: list[Link] = []
        self.drop_event: Callable[[str], bool] = lambda _event: False
        """A fault: this event is lost."""
        self.on_emit: Callable[[Account, dict[str, Any]], None] = lambda _account, _event: None

    def bind(self, desk: Desk, hub: Hub) -> None:
        """Late wiring: the desk reports here and is read from here."""
        self._desk = desk
        self._hub = hub

    def bind_algos(self, child_event: Callable[[Account, Order], None]) -> None:
        """Where events of triggered orders go first."""
        self._child_event = child_event

    def attach(self, link: Link) -> None:
        """A private connection opened or got a key."""
        if link not in self._links:
            self._links.append(link)

    def detach(self, link: Link) -> None:
        """A connection is gone."""
        if link in self._links:
            self._links.remove(link)

    def emit(self, account: Account, event: dict[str, Any]) -> None:
        """One event to every connection with the account's live key that asked for its type."""
        self.on_emit(account, event)
        key, kind = account.listen_key, event["e"]
        if not key or self._desk.now_ms >= account.listen_until_ms or self.drop_event(kind):
            return
        payload = b""
        for link in list(self._links):
            if key not in link.keys:
                continue
            wanted = link.keys[key]
            if wanted is not None and not _is_wanted(kind, wanted):
                continue
            if not payload:
                payload = msgspec.json.encode(event)
            if link.is_combined:
                self._post(link, b'{"stream":"' + key.encode() + b'","data":' + payload + b"}")
            else:
                self._post(link, payload)

    def order(self, account: Account, order: Order, kind: str, fill: Fill | None) -> None:
        """ORDER_TRADE_UPDATE, after TRADE_LITE and after the algo's TRIGGERED."""
        if kind == "NEW" and order.algo_id:
            self._child_event(account, order)
        if fill is not None and not order.forced:
            self.emit(account, dialect_user.trade_lite(self._desk, order, fill))
        self.emit(account, dialect_user.order_update(self._desk, account, order, kind, fill))

    def balance(
        self, account: Account, reason: str, touched: list[Position], change: Decimal, symbol: str
    ) -> None:
        """ACCOUNT_UPDATE."""
        self.emit(
            account,
            dialect_user.account_update(self._desk, account, reason, touched, change, symbol),
        )

    def algo(self, account: Account, algo: Algo) -> None:
        """ALGO_UPDATE."""
        self.emit(account, dialect_user.algo_update(self._desk, algo))

    def algo_filled(self, account: Account, order: Order) -> None:
        """The child of an algo order executed or ended."""
        self._child_event(account, order)

    def margin_call(self, account: Account, touched: list[Position]) -> None:
        """MARGIN_CALL, at most once a minute."""
        minute = self._desk.now_ms // 60_000
        if account.called_minute != minute:
            account.called_minute = minute
            self.emit(account, dialect_user.margin_call(self._desk, account, touched))

    def forced(self, order: Order) -> None:
        """A liquidation, for the public stream."""
        self._hub.on_forced(order.index, order.side, order.price, order.executed)

    def contract_info(self, index: int) -> None:
        """!contractInfo: a symbol's status, delivery or rules changed."""
        channel = self._hub.channels.get("!contractInfo")
        if channel is None:
            return
        row, now = self._desk.listed[index], self._desk.now_ms
        announced = now >= row.delist_notice_ms > 0
        event = {
            "e": "contractInfo",
            "E": now,
            "s": row.symbol,
            "ps": row.symbol,
            "ct": row.contract_type,
            "dt": row.delivery_ms if announced else 4_133_404_800_000,
            "ot": row.onboard_ms,
            "cs": self._desk.status_of(index),
            "bks": [
                {
                    "bs": b.number,
                    "bnf": b.floor,
                    "bnc": b.cap,
                    "mmr": float(b.maint_rate),
                    "cf": number(b.cum),
                    "mi": 1,
                    "ma": b.leverage,
                }
                for b in row.brackets
            ],
            "st": 1,
        }
        self._hub.send(channel, msgspec.json.encode(event).decode())


def _is_wanted(kind: str, wanted: frozenset[str]) -> bool:
    """Whether an `events=` list asks for an event; algo events go by two names (BINANCE §8.1), and
    the end of a key is told to everybody."""
    names = (kind, "ALGO_ORDER_UPDATE") if kind == "ALGO_UPDATE" else (kind,)
    return kind == "listenKeyExpired" or any(name in wanted for name in names)
