"""The venue's bytes face: HTTP requests and WebSocket messages in, replies and frames out.

Pure: time comes with every call and only moves forward; nothing happens between calls. The socket
face (`sim.server`) and the deterministic simulation both stand on this class.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from cryptosignal.domain.ports import HttpRequest, HttpResponse
from cryptosignal.domain.position import VenueBalance
from cryptosignal.ground.seeds import Seeds
from cryptosignal.sim.account import Account, Fill, Position
from cryptosignal.sim.candles import CandlePath, CandleSource, candle_listing
from cryptosignal.sim.exchange import Exchange
from cryptosignal.sim.links import (
    API,
    LEGACY,
    PRIVATE,
    Link,
    check_control,
    control_error,
    parse_target,
)
from cryptosignal.sim.listing import generated_listing
from cryptosignal.sim.mischief import TORN, Mischief
from cryptosignal.sim.orders import Algo, Order
from cryptosignal.sim.path import CutPath, GeneratedPath
from cryptosignal.sim.rest import Router
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.wsapi import WsApi

HANDSHAKE_WEIGHT = 5
API_PINGS_PER_SECOND_MAX = 5
STREAM_NAME_LENGTH_MAX = 256
"""Longer names are acknowledged like any unknown stream, but not remembered."""
GOING_AWAY, POLICY, TOO_BIG, ABNORMAL = 1001, 1008, 1009, 1006
SYNTHETIC_ALWAYS = ("trades", "book", "mark", "open_interest", "funding", "liquidations", "spot")


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """Something for one connection: a text message, or its end (`payload` None) with `close_code`."""

    link: int
    payload: bytes | None
    close_code: int = 0
    delay_ms: int = 0


class HttpReply(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a request: the response after `delay_ms`, or None when it never arrives."""

    response: HttpResponse | None
    delay_ms: int = 0
    is_torn: bool = False
    """The connection ends before anything was read."""


class Venue:
    """One simulated exchange. All times are UTC epoch milliseconds of the venue."""

    def __init__(
        self,
        settings: VenueSettings,
        seeds: Seeds,
        start_ms: int,
        candles: CandleSource | None = None,
    ) -> None:
        self.settings = settings
        self.start_ms = start_ms
        self._out: list[Delivery] = []
        self._links: dict[int, Link] = {}
        """Open connections, oldest first."""
        self._is_watching = False
        path: CutPath
        synthetic: tuple[str, ...] = ()
        seed = seeds.number("market")
        if candles is not None:
            listed = candle_listing(candles, settings, seed)
            path = CandlePath(listed, candles, seed, settings.tick_ms)
            synthetic = SYNTHETIC_ALWAYS + candles.missing
        else:
            listed = generated_listing(
                settings.symbols,
                settings.symbol_names,
                seed,
                start_ms,
                settings.ticks_per_minute,
                settings.pace,
                events=settings.events,
            )
            path = GeneratedPath(listed, seed, start_ms, settings.tick_ms)
        self.synthetic_flow = synthetic
        self.exchange = Exchange(settings, seeds, start_ms, listed, path, self._post)
        self.router = Router(self.exchange, synthetic)
        self._ws_api = WsApi(self.exchange, self.router)
        faults = Seeds(settings.fault_seed) if settings.fault_seed else seeds.child("mischief")
        self.mischief = Mischief(settings, faults, self)
        self.api_key = settings.accounts[0].api_key
        self.api_secret = settings.accounts[0].api_secret

    @property
    def faults_injected(self) -> dict[str, int]:
        """How often each fault has struck, by name."""
        return dict(self.mischief.counts)

    # --- time -------------------------------------------------------------------------------------

    def advance(self, now_ms: int) -> list[Delivery]:
        """Everything due until `now_ms`, in order: frames, acknowledgements, closes."""
        self.exchange.run_to(now_ms)
        out, self._out = self._out, []
        return out

    def next_ms(self) -> int:
        """When `advance` next has something to do (now, if something waits to be collected)."""
        return self.exchange.now_ms if self._out else self.exchange.agenda.next_ms()

    def _post(self, link: Link, payload: bytes) -> None:
        """Every frame passes here on its way out."""
        if link.is_dead:
            return
        if self.mischief.is_quiet:
            self._out.append(Delivery(link.number, payload))
            return
        self.mischief.frame(link, payload)

    def push(self, link: Link, payload: bytes, delay_ms: int = 0) -> None:
        """Queue one frame for delivery (used by `mischief`)."""
        if not link.is_dead:
            self._out.append(Delivery(link.number, payload, 0, delay_ms))

    # --- HTTP -------------------------------------------------------------------------------------

    def http(self, now_ms: int, request: HttpRequest, client: str = "local") -> HttpReply:
        """Receive one request at `now_ms`."""
        self.exchange.run_to(now_ms)
        if self.mischief.is_quiet:
            return HttpReply(self.router.answer(request, client), self.settings.latency_ms)
        response, delay_ms = self.mischief.http(request, client)
        if response is TORN:
            return HttpReply(None, delay_ms, is_torn=True)
        return HttpReply(response, delay_ms)

    # --- WebSocket --------------------------------------------------------------------------------

    def ws_open(
        self, now_ms: int, link: int, target: str, client: str = "local"
    ) -> HttpResponse | None:
        """A connection attempt to `target` (path?query): None when upgraded, else the refusal.

        A handshake of the WebSocket API costs 5 weight of the client's address (BINANCE §3).
        """
        self.exchange.run_to(now_ms)
        parsed = parse_target(target)
        headers = {"content-type": "application/json;charset=UTF-8"}
        if parsed is None:
            return HttpResponse(404, headers, b'{"code":-5000,"msg":"Path is invalid"}')
        if len(self._links) >= self.settings.links_max:
            return HttpResponse(503, headers, b'{"code":-1003,"msg":"Too many connections."}')
        if self.mischief.refuses_link():
            return HttpResponse(503, headers, b'{"code":0,"msg":"Service Unavailable."}')
        if parsed.route == API:
            over = self.router.charge_handshake(client, HANDSHAKE_WEIGHT)
            if over is not None:
                return over
        fresh = Link(link, parsed.route, parsed.is_combined, self.exchange.now_ms, client)
        self._links[link] = fresh
        for key, events in parsed.keys:
            fresh.keys[key] = events
        if parsed.route == PRIVATE:
            self.exchange.private.attach(fresh)
        for name in parsed.names[: self.settings.streams_per_link_max]:
            self._subscribe(fresh, name)
        self._watch_life()
        self.mischief.link_opened(fresh)
        return None

    def _watch_life(self) -> None:
        """One timer for the oldest connection: opening and closing many leaves nothing behind."""
        if self._links and not self._is_watching:
            self._is_watching = True
            oldest = next(iter(self._links.values()))
            due = oldest.opened_ms + self.settings.link_life_ms
            self.exchange.agenda.at(due, self._life_over)

    def _life_over(self, now: int, _argument: int) -> None:
        for link in list(self._links.values()):
            if now - link.opened_ms < self.settings.link_life_ms:
                break
            self.close(link, GOING_AWAY)
        self._is_watching = False
        self._watch_life()

    def close(self, link: Link, code: int) -> None:
        """End a connection from the venue's side."""
        if link.is_dead:
            return
        self._forget(link)
        self._out.append(Delivery(link.number, None, code))

    def _forget(self, link: Link) -> None:
        link.is_dead = True
        self.exchange.hub.drop(link)
        self.exchange.private.detach(link)
        self._links.pop(link.number, None)

    def ws_close(self, now_ms: int, link: int) -> None:
        """The client's side of a connection is gone."""
        self.exchange.run_to(now_ms)
        found = self._links.get(link)
        if found is not None:
            self._forget(found)

    def ws_ping(self, now_ms: int, link: int) -> None:
        """A ping or pong frame: counts as an incoming message."""
        self.exchange.run_to(now_ms)
        found = self._links.get(link)
        if found is not None:
            most = self.settings.messages_per_second_max
            self._is_flooding(found, API_PINGS_PER_SECOND_MAX if found.route == API else most)

    def answers_pings(self, link: int) -> bool:
        """Whether a ping gets its pong: false on a half-open connection."""
        found = self._links.get(link)
        return found is not None and not found.drops_new

    def ws_message(self, now_ms: int, link: int, payload: bytes) -> None:
        """One text message from a client. Acknowledgements come with the next `advance`."""
        self.exchange.run_to(now_ms)
        found = self._links.get(link)
        if found is None:
            return
        most = self.settings.messages_per_second_max
        if found.route != API and self._is_flooding(found, most):
            return
        if len(payload) > self.settings.message_bytes_max:
            self.close(found, TOO_BIG)
            return
        if self.mischief.loses_message(found):
            return
        if found.route == API:
            self._post(found, self._ws_api.answer(found, payload))
            return
        self._control(found, payload)

    def _is_flooding(self, link: Link, most: int) -> bool:
        """More than 10 incoming messages in a second end a stream connection, more than 5 pings one
        of the WebSocket API (BINANCE §3); its requests are held back by weight instead."""
        now = self.exchange.now_ms
        recent = link.messages
        recent.append(now)
        while recent and recent[0] <= now - 1_000:
            recent.popleft()
        if len(recent) > most:
            self.close(link, POLICY)
            return True
        return False

    def _control(self, link: Link, payload: bytes) -> None:
        message, error = check_control(payload)
        if message is None:
            self.push(link, error)
            return
        answer = self._control_answer(link, message)
        self.push(link, answer, self.settings.latency_ms)

    def _control_answer(self, link: Link, message: dict[str, Any]) -> bytes:
        method, request_id = message["method"], message.get("id")
        params = message.get("params", [])
        if method == "LIST_SUBSCRIPTIONS":
            return msgspec.json.encode({"result": [*link.names, *link.keys], "id": request_id})
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return self._property(link, method, params, request_id)
        if not all(isinstance(p, str) for p in params):
            return control_error(2, "Invalid request: params must be strings", request_id)
        if method == "SUBSCRIBE":
            if len(link.names) + len(link.keys) + len(params) > self.settings.streams_per_link_max:
                self.close(link, POLICY)
                return b""
            for name in params:
                self._subscribe(link, name)
        else:
            for name in params:
                link.keys.pop(name, None)
                self.exchange.hub.unsubscribe(link, name)
        return msgspec.json.encode({"result": None, "id": request_id})

    def _subscribe(self, link: Link, name: str) -> None:
        if len(name) > STREAM_NAME_LENGTH_MAX:
            return
        if link.route in (PRIVATE, LEGACY) and self._is_listen_key(name):
            if link.route == PRIVATE:
                link.keys[name] = None
                self.exchange.private.attach(link)
            return
        if self.mischief.ignores_subscribe(link):
            link.names[name] = None
            return
        self.exchange.hub.subscribe(link, name)

    def _is_listen_key(self, name: str) -> bool:
        return "@" not in name and len(name) >= 32

    def _property(self, link: Link, method: str, params: list[Any], request_id: Any) -> bytes:
        if len(params) > 2:
            return control_error(2, "Invalid request: too many parameters", request_id)
        if not params or not isinstance(params[0], str):
            return control_error(2, "Invalid request: property name must be a string", request_id)
        if params[0] != "combined":
            return control_error(0, "Unknown property", request_id)
        if method == "GET_PROPERTY":
            return msgspec.json.encode({"result": link.is_combined, "id": request_id})
        if len(params) < 2 or not isinstance(params[1], bool):
            return control_error(1, "Invalid value type: expected Boolean", request_id)
        self.exchange.hub.switch_mode(link, combined=params[1])
        return msgspec.json.encode({"result": None, "id": request_id})

    def links(self) -> list[Link]:
        """Open connections."""
        return list(self._links.values())

    # --- inspection ---------------------------------------------------------------------------------

    def account(self, number: int = 0) -> Account:
        """An account's whole state, for monitors; not to be changed."""
        return self.exchange.desk.accounts[number]

    def positions(self, account: int = 0) -> list[Position]:
        """Open positions."""
        return self.exchange.positions(account)

    def open_orders(self, account: int = 0) -> list[Order]:
        """Open ordinary orders."""
        return self.exchange.open_orders(account)

    def open_algos(self, account: int = 0) -> list[Algo]:
        """Untriggered algo orders."""
        return self.exchange.open_algos(account)

    def executions(self, account: int = 0) -> list[Fill]:
        """Executions, oldest first, as far as they are kept."""
        return self.exchange.executions(account)

    def balances(self, account: int = 0) -> list[VenueBalance]:
        """Wallets."""
        found = self.account(account)
        return [VenueBalance("USDT", found.wallet, self.exchange.desk.available(found))]

    def mark(self, symbol: str) -> Decimal:
        """Mark price now."""
        return self.exchange.desk.mark(self.exchange.index_of[symbol])
