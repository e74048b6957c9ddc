"""A bare client of the bytes face for tests: signs, sends, keeps what each link received."""

from __future__ import annotations

import hashlib
import hmac
import json
from urllib.parse import urlencode

from cryptosignal.domain.ports import HttpRequest
from cryptosignal.ground.seeds import Seeds
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.venue import Venue

START_MS = 1_789_999_980_000


def small(**changes) -> VenueSettings:
    """Six symbols, no announced events."""
    return VenueSettings(**{"symbols": 6, "events": False, **changes})


class Client:
    """One client with the first account's key."""

    def __init__(self, venue: Venue | None = None, seed: int = 7, **changes) -> None:
        self.venue = venue or Venue(small(**changes), Seeds(seed), START_MS)
        self.now = self.venue.start_ms
        self.inbox: dict[int, list] = {}
        self.closed: dict[int, int] = {}
        self.key, self.secret = self.venue.api_key, self.venue.api_secret

    def raw(self, method, path, query="", body=b"", key=True):
        headers = (("X-MBX-APIKEY", self.key),) if key else ()
        return self.venue.http(self.now, HttpRequest(method, path, query, body, headers))

    def call(self, method, path, signed=False, **params):
        query = urlencode(
            {k: str(v).lower() if isinstance(v, bool) else v for k, v in params.items()}
        )
        if signed:
            query += ("&" if query else "") + f"timestamp={self.now}&recvWindow=5000"
            query += (
                "&signature="
                + hmac.new(self.secret.encode(), query.encode(), hashlib.sha256).hexdigest()
            )
        return self.raw(method, path, query).response

    def get(self, path, **params):
        return json.loads(self.call("GET", path, **params).body)

    def signed(self, method, path, **params):
        return json.loads(self.call(method, path, signed=True, **params).body)

    def order(self, **params):
        return self.signed("POST", "/fapi/v1/order", **{"symbol": "BTCUSDT", **params})

    def algo(self, **params):
        base = {"symbol": "BTCUSDT", "algoType": "CONDITIONAL"}
        return self.signed("POST", "/fapi/v1/algoOrder", **{**base, **params})

    def open(self, link, target):
        self.inbox[link] = []
        return self.venue.ws_open(self.now, link, target)

    def open_private(self, link=9):
        key = json.loads(self.call("POST", "/fapi/v1/listenKey").body)["listenKey"]
        self.open(link, f"/private/ws?listenKey={key}")
        return key

    def send(self, link, message):
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.venue.ws_message(self.now, link, payload)

    def run(self, ms):
        """Advance and sort what came by link."""
        end = self.now + ms
        while self.now < end:
            self.now = min(end, max(self.venue.next_ms(), self.now + 1))
            self.collect()
        return self.inbox

    def collect(self):
        for delivery in self.venue.advance(self.now):
            if delivery.payload is None:
                self.closed[delivery.link] = delivery.close_code
            else:
                self.inbox.setdefault(delivery.link, []).append(json.loads(delivery.payload))

    def take(self, link):
        self.collect()
        out, self.inbox[link] = self.inbox.get(link, []), []
        return out

    def price(self, symbol="BTCUSDT"):
        return float(self.get("/fapi/v1/ticker/price", symbol=symbol)["price"])
