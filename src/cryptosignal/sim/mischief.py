"""Faults of the venue and of the network between it and its clients, by name, rate and seed.

The menu follows RELIABILITY §6; host faults (kills, disks, clocks) are the simulation's business.
Everything injected is counted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from cryptosignal.domain.ports import HttpRequest, HttpResponse
from cryptosignal.ground.seeds import Rng, Seeds
from cryptosignal.ground.units import HOUR_MS
from cryptosignal.sim.links import Link
from cryptosignal.sim.mishaps import FOREVER, Mishaps
from cryptosignal.sim.orders import Order
from cryptosignal.sim.settings import PRESETS, VenueSettings

if TYPE_CHECKING:
    from cryptosignal.sim.venue import Venue

PER_REQUEST = "request"
PER_FRAME = "frame"
PER_HOUR = "hour"
PER_CASE = "case"
HELD_FRAMES_MAX = 20_000
RATE_PER_HOUR_MAX = 36_000.0

MENU: dict[str, tuple[str, float, float]] = {
    # name: (how its rate counts, weather, storm)
    "ws_reset": (PER_HOUR, 0.3, 4.0),
    "ws_half_open": (PER_HOUR, 0.05, 1.0),
    "ws_stall": (PER_HOUR, 0.2, 3.0),
    "ws_silent_subscribe": (PER_CASE, 0.002, 0.03),
    "ws_duplicate": (PER_FRAME, 0.00005, 0.001),
    "ws_reorder": (PER_FRAME, 0.00002, 0.0005),
    "ws_lost": (PER_FRAME, 0.00005, 0.001),
    "ws_disconnect": (PER_HOUR, 0.1, 1.5),
    "ws_burst": (PER_HOUR, 0.1, 2.0),
    "ws_refused": (PER_CASE, 0.01, 0.15),
    "listen_key_lost": (PER_HOUR, 0.05, 0.8),
    "event_lost": (PER_CASE, 0.0, 0.01),
    "kline_late": (PER_CASE, 0.002, 0.03),
    "kline_missing": (PER_CASE, 0.0005, 0.01),
    "http_request_lost": (PER_REQUEST, 0.001, 0.01),
    "http_response_lost": (PER_REQUEST, 0.001, 0.01),
    "http_late": (PER_REQUEST, 0.0005, 0.008),
    "http_503_unknown": (PER_REQUEST, 0.0005, 0.008),
    "http_503_unavailable": (PER_REQUEST, 0.001, 0.01),
    "http_1007": (PER_REQUEST, 0.0002, 0.004),
    "http_1008": (PER_REQUEST, 0.0003, 0.006),
    "http_429": (PER_HOUR, 0.02, 0.3),
    "http_torn": (PER_REQUEST, 0.0003, 0.004),
    "http_slow": (PER_REQUEST, 0.002, 0.02),
    "http_garbled": (PER_REQUEST, 0.0003, 0.004),
    "stale_read": (PER_REQUEST, 0.001, 0.02),
    "partial_fill": (PER_CASE, 0.02, 0.2),
    "stop_reject": (PER_CASE, 0.002, 0.03),
    "trigger_reject": (PER_CASE, 0.002, 0.03),
    "stop_vanish": (PER_HOUR, 0.02, 0.4),
    "forced_fill": (PER_HOUR, 0.005, 0.15),
    "halt": (PER_HOUR, 0.01, 0.2),
    "delist": (PER_HOUR, 0.001, 0.1),
    "filter_change": (PER_HOUR, 0.02, 0.3),
    "maintenance": (PER_HOUR, 0.004, 0.06),
    "manual_order": (PER_HOUR, 0.01, 0.3),
    "mode_flip": (PER_HOUR, 0.005, 0.1),
}
TORN = HttpResponse(0, {}, b"")
"""In place of a response: the connection was torn before the request was read, as when a name does
not resolve or a TLS handshake fails."""
_READS = ("/fapi/v1/order", "/fapi/v1/openOrder", "/fapi/v1/algoOrder")
_UNKNOWN = "Unknown error, please check your request or try again later."
_TIMED_OUT = (
    "Timeout waiting for response from backend server."
    " Send status unknown; execution status unknown."
)
_THROTTLED = (
    "Request throttled by system-level protection. Reduce-only/close-position orders are exempt."
    " Please try again."
)


def parse_faults(text: str) -> tuple[str, dict[str, float]]:
    """(preset, single rates) from `storm`, `ws_reset=4,http_429` or `weather,halt=0`.

    A name without a rate has its storm rate. Rates are per hour, or chances of a request, frame or
    case (`MENU`). Raises ValueError naming what is wrong and what is allowed.
    """
    preset, rates = "calm", {}
    for number, part in enumerate(p.strip() for p in text.split(",")):
        name, has_rate, value = part.partition("=")
        if not has_rate and name in PRESETS and number == 0:
            preset = name
        elif name not in MENU:
            allowed = f"{', '.join(PRESETS)}, or with commas NAME or NAME=RATE of {', '.join(MENU)}"
            raise ValueError(f"faults: {name!r} (allowed: {allowed})")
        else:
            rates[name] = _rate(name, value) if has_rate else MENU[name][2]
    return preset, rates


def _rate(name: str, text: str) -> float:
    most = RATE_PER_HOUR_MAX if MENU[name][0] == PER_HOUR else 1.0
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= most:
        raise ValueError(f"faults: {name}={text} (allowed: 0..{most:g})")
    return rate


def rates_of(settings: VenueSettings) -> dict[str, float]:
    """Rate of every fault: the preset's, then single overrides. Raises ValueError for unknown names."""
    rates = dict.fromkeys(MENU, 0.0)
    if settings.faults != "calm":
        is_storm = settings.faults == "storm"
        rates = {name: storm if is_storm else mild for name, (_, mild, storm) in MENU.items()}
    for name, rate in settings.fault_rates.items():
        if name not in MENU:
            raise ValueError(f"fault_rates: {name!r} (allowed: {', '.join(MENU)})")
        rates[name] = rate
    return rates


class Mischief:
    """Decides and performs faults. With all rates 0 it is never in the way."""

    def __init__(self, settings: VenueSettings, seeds: Seeds, venue: Venue) -> None:
        self._rates = rates_of(settings)
        self._venue = venue
        self._x = venue.exchange
        self._latency = settings.latency_ms
        self.counts: dict[str, int] = dict.fromkeys(MENU, 0)
        self.is_quiet = not any(self._rates.values()) and not settings.latency_ms
        self._http: Rng = seeds.stream("http")
        self._frames: Rng = seeds.stream("frames")
        self._cases: Rng = seeds.stream("cases")
        self._hours: Rng = seeds.stream("hours")
        self._mishaps = Mishaps(venue, self._hours, settings.latency_ms)
        self._names = [n for n, row in MENU.items() if row[0] == PER_HOUR]
        self._fates = [n for n, row in MENU.items() if row[0] == PER_REQUEST]
        self._frame_rate = sum(self._rates[n] for n, row in MENU.items() if row[0] == PER_FRAME)
        if not self.is_quiet:
            self._hook()

    def _hook(self) -> None:
        x = self._x
        x.algos.reject_trigger = lambda _algo: self._strikes("trigger_reject")
        x.private.drop_event = lambda _event: self._strikes("event_lost")
        x.hub.close_fault = self._close_fault
        x.desk.matcher.offer_cap = self._offer_cap
        for number in range(len(self._names)):
            self._plan(x.now_ms, number)

    def set_rates(self, rates: dict[str, float]) -> None:
        """Change rates while running (0 for all ends the weather)."""
        was_quiet = self.is_quiet
        for name, rate in rates.items():
            if name not in MENU:
                raise ValueError(f"fault_rates: {name!r} (allowed: {', '.join(MENU)})")
            self._rates[name] = rate
        self._frame_rate = sum(self._rates[n] for n, row in MENU.items() if row[0] == PER_FRAME)
        self.is_quiet = not any(self._rates.values()) and not self._latency
        if was_quiet and not self.is_quiet:
            self._hook()

    def calm(self) -> None:
        """No more faults: rates to 0, silent links end, maintenance is over."""
        self.set_rates(dict.fromkeys(MENU, 0.0))
        self._mishaps.down_until_ms = 0
        for link in self._venue.links():
            if link.silent_until_ms > self._x.now_ms:
                self._venue.close(link, 1006)

    @property
    def is_down(self) -> bool:
        """The venue is in maintenance."""
        return self._x.now_ms < self._mishaps.down_until_ms

    def _strikes(self, name: str) -> bool:
        rate = self._rates[name]
        if rate <= 0 or self._cases.random() >= rate:
            return False
        self.counts[name] += 1
        return True

    # --- requests ---------------------------------------------------------------------------------

    def http(self, request: HttpRequest, client: str) -> tuple[HttpResponse | None, int]:
        """The fate of one request."""
        delay = self._delay()
        if self._x.now_ms < self._mishaps.down_until_ms:
            return _error(503, 0, "Service Unavailable."), delay
        roll = self._http.random()
        for name in self._fates:
            roll -= self._rates[name]
            if roll < 0:
                return self._strike(name, request, client, delay)
        if self._is_stop(request) and self._strikes("stop_reject"):
            return _error(400, -2021, "Order would immediately trigger."), delay
        return self._answer(request, client), delay

    def _delay(self) -> int:
        """One-way latency with a long tail."""
        if not self._latency:
            return 0
        return int(self._latency * (0.5 + self._http.random() ** 3 * 2.0))

    def _answer(self, request: HttpRequest, client: str) -> HttpResponse:
        return self._venue.router.answer(request, client)

    def _is_stop(self, request: HttpRequest) -> bool:
        return request.method == "POST" and request.path == "/fapi/v1/algoOrder"

    def _strike(
        self, name: str, request: HttpRequest, client: str, delay: int
    ) -> tuple[HttpResponse | None, int]:
        if name == "stale_read" and not (request.method == "GET" and request.path in _READS):
            return self._answer(request, client), delay
        if name == "http_1008" and _is_exempt(request):
            return self._answer(request, client), delay
        self.counts[name] += 1
        if name == "http_request_lost":
            return None, delay
        if name == "http_torn":
            return TORN, delay
        if name == "http_late":
            wait = request.timeout_ms + int(self._http.random() * 4_000)
            self._x.agenda.at(self._x.now_ms + wait, lambda _ms, _n: self._arrive(request, client))
            return None, delay
        if name == "http_503_unavailable":
            return _error(503, 0, "Service Unavailable."), delay
        if name == "http_1008":
            return _error(503, -1008, _THROTTLED), delay
        if name == "stale_read":
            return _error(400, -2013, "Order does not exist."), delay
        return self._executed(name, request, client, delay)

    def _arrive(self, request: HttpRequest, client: str) -> None:
        """A request that its sender has given up on."""
        self._x.desk.now_ms = self._x.now_ms
        self._answer(request, client)

    def _executed(
        self, name: str, request: HttpRequest, client: str, delay: int
    ) -> tuple[HttpResponse | None, int]:
        """Faults of requests that may have been executed."""
        if name == "http_503_unknown" and self._http.random() < 0.5:
            return _error(503, 0, _UNKNOWN), delay
        response = self._answer(request, client)
        if name == "http_response_lost":
            return None, delay
        if name == "http_503_unknown":
            return _error(503, 0, _UNKNOWN), delay
        if name == "http_1007":
            return _error(408, -1007, _TIMED_OUT), delay
        if name == "http_slow":
            return response, delay + 5_000 + int(self._http.random() * 25_000)
        return self._garbled(response), delay

    def _garbled(self, response: HttpResponse) -> HttpResponse:
        kind = self._http.randrange(3)
        if kind == 0:
            return HttpResponse(
                response.status, response.headers, response.body[: len(response.body) // 2]
            )
        if kind == 1:
            page = (
                b"<html><head><title>502 Bad Gateway</title></head><body>cloudfront</body></html>"
            )
            return HttpResponse(502, {"content-type": "text/html"}, page)
        if response.body.startswith(b"{") and len(response.body) > 2:
            return HttpResponse(
                response.status, response.headers, b'{"newField":"1",' + response.body[1:]
            )
        return response

    # --- connections ------------------------------------------------------------------------------

    def refuses_link(self) -> bool:
        """Whether a connection attempt fails."""
        return self._x.now_ms < self._mishaps.down_until_ms or self._strikes("ws_refused")

    def link_opened(self, link: Link) -> None:
        """A connection was accepted."""

    def ignores_subscribe(self, link: Link) -> bool:
        """Acknowledged, but no data will come."""
        return self._strikes("ws_silent_subscribe")

    def loses_message(self, link: Link) -> bool:
        """A half-open connection swallows what is sent."""
        return link.drops_new

    def frame(self, link: Link, payload: bytes) -> None:
        """One outgoing frame on its way through the weather."""
        now = self._x.now_ms
        if link.silent_until_ms > now:
            return
        if link.hold_until_ms > now:
            if len(link.held) < HELD_FRAMES_MAX:
                link.held.append(payload)
            return
        if self._frame_rate and self._frames.random() < self._frame_rate:
            self._spoil(link, payload)
            return
        self._venue.push(link, payload, self._latency)

    def _spoil(self, link: Link, payload: bytes) -> None:
        roll = self._frames.random() * self._frame_rate
        for name in ("ws_lost", "ws_duplicate", "ws_reorder"):
            roll -= self._rates[name]
            if roll < 0:
                break
        self.counts[name] += 1
        if name == "ws_duplicate":
            self._venue.push(link, payload, self._latency)
            self._venue.push(link, payload, self._latency)
        elif name == "ws_reorder":
            self._x.agenda.at(
                self._x.now_ms + 50 + self._frames.randrange(500),
                lambda _ms, _n: self._venue.push(link, payload, self._latency),
            )

    def _close_fault(self) -> tuple[bool, int]:
        if self._strikes("kline_missing"):
            return True, 0
        if self._strikes("kline_late"):
            return False, 2_000 + int(self._cases.random() * 22_000)
        return False, 0

    def _offer_cap(self, order: Order) -> int:
        if order.qty > 3 and self._strikes("partial_fill"):
            return max(1, int(order.qty * (0.2 + 0.6 * self._cases.random())))
        return FOREVER

    # --- things that happen now and then ----------------------------------------------------------

    def _plan(self, now: int, number: int) -> None:
        rate = self._rates[self._names[number]]
        wait = -math.log(1.0 - self._hours.random()) / rate * HOUR_MS if rate > 0 else 6 * HOUR_MS
        self._x.agenda.at(now + 1 + int(min(wait, 1_000 * HOUR_MS)), self._happen, number)

    def _happen(self, now: int, number: int) -> None:
        if self.is_quiet:
            return
        name = self._names[number]
        if self._rates[name] > 0:
            self.befall(name)
        self._plan(now, number)

    def befall(self, name: str) -> bool:
        """Let a fault of the hourly kind happen now; false when there was nothing it could hit."""
        self._x.desk.now_ms = self._x.now_ms
        has_struck = self._mishaps.strike(name, self._x.now_ms)
        self.counts[name] += has_struck
        return has_struck


def _is_exempt(request: HttpRequest) -> bool:
    """Requests that system-level protection lets pass (BINANCE §6)."""
    text = request.query + "&" + request.body.decode(errors="replace")
    return request.method == "DELETE" or "reduceOnly=true" in text or "closePosition=true" in text


def _error(status: int, code: int, message: str) -> HttpResponse:
    body = msgspec.json.encode({"code": code, "msg": message})
    return HttpResponse(status, {"content-type": "application/json;charset=UTF-8"}, body)
