"""REST: security, limits, error shapes, and market data that agrees with itself."""

import base64
import itertools
import json
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.sim.driver import Client

from cryptosignal.ground.units import HOUR_MS
from cryptosignal.sim.account import Account
from cryptosignal.sim.params import is_signed
from cryptosignal.sim.settings import AccountSettings, VenueSettings, speed_max

REFUSED = [
    ({"quantity": "0.0001"}, -1111),
    ({"quantity": "0"}, -4003),
    ({"quantity": "1e-3"}, -1100),
    ({"quantity": "99999"}, -4005),
    ({"price": "80000.05"}, -4014),
    ({"price": "80000.001"}, -1111),
    ({"price": "0"}, -4001),
    ({"price": "1"}, -4164),
    ({"price": "99000", "quantity": "0.01"}, -4016),
    ({"side": "SELL", "price": "60000", "quantity": "0.01"}, -4024),
    ({"side": "HOLD"}, -1117),
    ({"type": "STOP_MARKET"}, -4120),
    ({"type": "TRAILING_STOP_MARKET"}, -4120),
    ({"type": "ICEBERG"}, -1116),
    ({"timeInForce": "DAY"}, -1115),
    ({"timeInForce": "GTD", "goodTillDate": "1"}, -5040),
    ({"newClientOrderId": "a" * 37}, -4015),
    ({"newClientOrderId": "a b"}, -4015),
    ({"positionSide": "LONG"}, -4061),
    ({"reduceOnly": "true"}, -2022),
    ({"reduceOnly": "maybe"}, -1102),
    ({"symbol": "NOPEUSDT"}, -1121),
    ({"quantity": ""}, -1102),
    ({"price": "82000", "quantity": "20"}, -2019),
    ({"price": "84500", "timeInForce": "GTX"}, -5022),
    ({"priceMatch": "OPPONENT", "price": "82000"}, -5037),
    ({"selfTradePreventionMode": "MAYBE"}, -5039),
]


@pytest.mark.parametrize(("changes", "code"), REFUSED)
def test_refusals(changes, code):
    """Each broken order gets the venue's own code, and nothing rests."""
    c = Client()
    base = {
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01",
        "price": "82000",
    }
    reply = c.order(**{**base, **changes})
    assert reply.get("code") == code, reply
    assert c.venue.open_orders() == []


def test_signature_key_and_clock():
    """-1022, -1021, -2014, -2015, -1102: signature, window and key are checked on receipt."""
    c = Client()
    good = c.call("GET", "/fapi/v3/balance", signed=True)
    assert good.status == 200
    for query, code, status in [
        (f"timestamp={c.now}&signature=00", -1022, 400),
        (f"timestamp={c.now}", -1102, 400),
    ]:
        reply = c.raw("GET", "/fapi/v3/balance", query).response
        assert (json.loads(reply.body)["code"], reply.status) == (code, status)
    for shift, ok in [(-5_000, True), (-5_001, False), (999, True), (1_000, False)]:
        c.now, real = c.now + shift, c.now
        query_time = c.now
        c.now = real
        c2 = Client()
        c2.now = real
        reply = _signed_at(c2, query_time)
        assert (reply.status == 200) is ok, shift
        if not ok:
            assert json.loads(reply.body)["code"] == -1021
    assert (
        json.loads(c.raw("GET", "/fapi/v3/balance", "x=1", key=False).response.body)["code"]
        == -2014
    )
    c.key = "unknown"
    reply = c.call("GET", "/fapi/v3/balance", signed=True)
    assert (json.loads(reply.body)["code"], reply.status) == (-2015, 401)


def _signed_at(c, stamp):
    import hashlib
    import hmac

    query = f"timestamp={stamp}&recvWindow=5000"
    query += "&signature=" + hmac.new(c.secret.encode(), query.encode(), hashlib.sha256).hexdigest()
    return c.raw("GET", "/fapi/v3/balance", query).response


def test_documented_hmac_vector():
    """The documents' example signature verifies; any other case of hex too."""
    secret = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
    payload = (
        b"symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC"
        b"&recvWindow=5000&timestamp=1591702613943"
    )
    account = Account(0, "k", secret, "", 0, 10)
    signature = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
    assert is_signed(account, payload, signature)
    assert is_signed(account, payload, signature.upper())
    assert not is_signed(account, payload + b"0", signature)


def test_ed25519_is_accepted_on_rest_and_ws_api():
    """A registered Ed25519 key signs REST requests and session.logon."""
    key = Ed25519PrivateKey.generate()
    pem = (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    c = Client(accounts=(AccountSettings(ed25519_public_pem=pem),))
    query = f"timestamp={c.now}"
    signature = quote(base64.b64encode(key.sign(query.encode())).decode(), safe="")
    assert c.raw("GET", "/fapi/v3/balance", f"{query}&signature={signature}").response.status == 200
    c.open(5, "/ws-fapi/v1")
    params = {"apiKey": c.key, "timestamp": c.now}
    text = "&".join(f"{k}={v}" for k, v in sorted(params.items()))
    params["signature"] = base64.b64encode(key.sign(text.encode())).decode()
    c.send(5, {"id": "a", "method": "session.logon", "params": params})
    c.send(5, {"id": 2, "method": "v2/account.balance", "params": {"timestamp": c.now}})
    logon, balance = c.take(5)
    assert (logon["id"], logon["status"], logon["result"]["apiKey"]) == ("a", 200, c.key)
    assert balance["result"][0]["balance"] == "10000.00000000"
    assert balance["rateLimits"][0]["rateLimitType"] == "REQUEST_WEIGHT"


def test_body_and_query_are_signed_together():
    """Form-body parameters work, signed over query and body joined without a separator."""
    import hashlib
    import hmac

    c = Client()
    body = f"symbol=BTCUSDT&leverage=9&timestamp={c.now}"
    mac = hmac.new(
        c.secret.encode(), b"recvWindow=4000" + body.encode(), hashlib.sha256
    ).hexdigest()
    reply = c.raw(
        "POST", "/fapi/v1/leverage", "recvWindow=4000", f"{body}&signature={mac}".encode()
    ).response
    assert json.loads(reply.body)["leverage"] == 9


WEIGHTS = [
    ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=99", 1),
    ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=100", 2),
    ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=500", 5),
    ("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1001", 10),
    ("/fapi/v1/depth?symbol=BTCUSDT&limit=50", 2),
    ("/fapi/v1/depth?symbol=BTCUSDT&limit=1000", 20),
    ("/fapi/v1/ticker/24hr", 40),
    ("/fapi/v1/ticker/24hr?symbol=BTCUSDT", 1),
    ("/fapi/v1/premiumIndex", 10),
    ("/futures/data/openInterestHist?symbol=BTCUSDT&period=5m", 0),
    ("/fapi/v1/fundingRate", 0),
    ("/api/v3/klines?symbol=BTCUSDT&interval=1m", 0),
    ("/fapi/v1/nope", 1),
]


@pytest.mark.parametrize(("target", "weight"), WEIGHTS)
def test_weights(target, weight):
    """Every endpoint costs what the documents say; separate pools cost no IP weight."""
    c = Client()
    path, _, query = target.partition("?")
    c.raw("GET", path, query)
    header = c.raw("GET", "/fapi/v1/ping").response.headers["x-mbx-used-weight-1m"]
    assert int(header) == weight + 1


def test_429_then_418_then_free():
    """Excess gives 429 with Retry-After, what was on its way then too; going on gives 418 with a ban
    time; silence ends it."""
    c = Client(weight_limit_1m=100)
    codes = [c.raw("GET", "/fapi/v1/ticker/24hr").response for _ in range(40)]
    assert [r.status for r in codes[:3]] == [200, 200, 429]
    assert codes[2].headers["retry-after"]
    assert codes[-1].status == 429
    c.now += 1_001
    codes = [c.raw("GET", "/fapi/v1/ticker/24hr").response for _ in range(11)]
    assert codes[-2].status == 429
    assert codes[-1].status == 418
    text = json.loads(codes[-1].body)["msg"]
    until = int(text.split("banned until ")[1].split(".")[0])
    assert until > c.now
    c.now = until
    assert c.raw("GET", "/fapi/v1/ping").response.status == 200


def test_order_counts():
    """Order responses count on 10 s and 1 min; past the limit -1015."""
    c = Client(order_limit_10s=3)
    heads = [c.call("POST", "/fapi/v1/order", signed=True, symbol="BTCUSDT") for _ in range(4)]
    assert heads[1].headers["x-mbx-order-count-10s"] == "2"
    assert json.loads(heads[3].body)["code"] == -1015
    assert heads[3].status == 429


MALFORMED = [
    b"\xff\xfe=1",
    b"{}",
    b"a" * 70_000,
    b"symbol=" + b"%" * 50,
    b"&&&===",
    b'batchOrders=[{"a":1}',
]


@pytest.mark.parametrize("body", MALFORMED)
@pytest.mark.parametrize(
    "path", ["/fapi/v1/order", "/fapi/v1/batchOrders", "/fapi/v1/leverage", "/nope"]
)
def test_malformed_bodies(body, path):
    """Garbage gets a documented JSON error, never a crash."""
    c = Client()
    response = c.raw("POST", path, "", body).response
    assert response.status in (400, 401, 404, 413)
    assert set(json.loads(response.body)) == {"code", "msg"}


BAD_QUERIES = [
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=7m", -1120),
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1m&limit=2000", -1130),
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1m&limit=x", -1102),
    ("/fapi/v1/klines", "interval=1m", -1102),
    ("/fapi/v1/depth", "symbol=BTCUSDT&limit=7", -4021),
    ("/futures/data/openInterestHist", "symbol=BTCUSDT&period=1m", -1130),
    ("/fapi/v1/aggTrades", "symbol=BTCUSDT&startTime=1&endTime=9999999999999", -4166),
    ("/fapi/v1/order", "symbol=BTCUSDT", -1102),
]


@pytest.mark.parametrize(("path", "query", "code"), BAD_QUERIES)
def test_bad_queries(path, query, code):
    """Wrong parameters are named by code."""
    assert json.loads(Client().raw("GET", path, query).response.body)["code"] == code


def test_history_paging_is_seamless():
    """Pages by startTime join without gap or overlap, and end at the running bar."""
    c = Client()
    last = c.get("/fapi/v1/klines", symbol="ETHUSDT", interval="5m", limit=600)
    first, got = last[0][0], []
    while True:
        start = got[-1][0] + 1 if got else first
        page = c.get("/fapi/v1/klines", symbol="ETHUSDT", interval="5m", limit=250, startTime=start)
        if not page:
            break
        got += page
    assert got == last


def test_spot_and_derived_data():
    """Spot maps 1000PEPE to PEPE; open interest, ratios and funding have the documented keys."""
    c = Client(symbols=8)
    fut = c.get("/fapi/v1/klines", symbol="1000PEPEUSDT", interval="1h", limit=2)
    spot = c.get("/api/v3/klines", symbol="PEPEUSDT", interval="1h", limit=2)
    assert float(spot[0][4]) * 1_000 == pytest.approx(float(fut[0][4]), rel=0.01)
    assert [r[0] for r in spot] == [r[0] for r in fut]
    hist = c.get("/futures/data/openInterestHist", symbol="BTCUSDT", period="1h", limit=200)
    assert len(hist) == 200
    assert all(b["timestamp"] - a["timestamp"] == HOUR_MS for a, b in itertools.pairwise(hist))
    rates = c.get("/fapi/v1/fundingRate", symbol="BTCUSDT", limit=3)
    assert [r["fundingTime"] % (8 * HOUR_MS) for r in rates] == [0, 0, 0]
    assert c.get("/sapi/v1/account/apiRestrictions")["code"] == -1102
    rules = c.signed("GET", "/sapi/v1/account/apiRestrictions")
    assert (rules["enableWithdrawals"], rules["enableFutures"]) == (False, True)


def test_speed_refuses_past_the_machine():
    """The fastest speed falls with the number of symbols."""
    assert speed_max(600) < speed_max(60) < speed_max(4)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"symbols": 1}, "symbols"),
        ({"faults": "hail"}, "faults"),
        ({"ticks_per_minute": 2}, "ticks_per_minute"),
        ({"block_minutes": 7}, "block_minutes"),
        ({"accounts": ()}, "accounts"),
    ],
)
def test_settings_name_the_key(changes, key):
    """A bad setting is one line with the key and what is allowed."""
    with pytest.raises(ValueError, match=rf"^{key}.*allowed") as caught:
        VenueSettings(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["income", "order", "trade"])
def test_downloads_are_answered(kind):
    """A download has an id; its file stays in progress, with the documented keys."""
    c = Client()
    span = {"startTime": c.now - 86_400_000, "endTime": c.now}
    begun = c.signed("GET", f"/fapi/v1/{kind}/asyn", **span)
    assert set(begun) == {"avgCostTimestampOfLast30d", "downloadId"}
    link = c.signed("GET", f"/fapi/v1/{kind}/asyn/id", downloadId=begun["downloadId"])
    assert (link["downloadId"], link["status"]) == (begun["downloadId"], "processing")


def test_what_is_not_here_says_so_in_json():
    """Unknown endpoints: 404 with code -5000; switches of the account are read and set."""
    c = Client()
    for path in ("/fapi/v1/pmAccountInfo", "/fapi/v1/convert/exchangeInfo", "/dapi/v1/ping"):
        reply = c.call("GET", path, signed=True)
        assert reply.status == 404
        assert json.loads(reply.body)["code"] == -5000
        assert reply.headers["content-type"].startswith("application/json")
    assert c.signed("GET", "/fapi/v1/multiAssetsMargin") == {"multiAssetsMargin": False}
    assert c.signed("POST", "/fapi/v1/feeBurn", feeBurn="true")["code"] == 200
    assert c.signed("GET", "/fapi/v1/feeBurn") == {"feeBurn": True}
