"""Faults by name, rate and seed: each strikes, is counted, and can be switched off."""

import json

import pytest
from tests.sim.driver import Client, small

from cryptosignal.ground.units import HOUR_MS, MINUTE_MS
from cryptosignal.sim.mischief import MENU, parse_faults, rates_of

REQUESTS = sorted(n for n, row in MENU.items() if row[0] == "request")


def busy(rates, minutes=40, **changes):
    """A client that reads, trades and listens under faults."""
    c = Client(fault_rates=rates, **changes)
    c.seen = []
    for n in range(minutes):
        if not c.venue.links():
            for link, target in (
                (10 + 3 * n, "/market/ws/btcusdt@kline_1m/btcusdt@aggTrade"),
                (11 + 3 * n, "/public/ws/btcusdt@bookTicker"),
            ):
                c.open(link, target)
        c.seen.append(c.call("POST", "/fapi/v1/listenKey"))
        c.seen.append(
            c.call(
                "POST",
                "/fapi/v1/order",
                signed=True,
                symbol="BTCUSDT",
                side="BUY" if n % 2 else "SELL",
                type="MARKET",
                quantity="0.05",
            )
        )
        c.seen.append(
            c.call(
                "POST",
                "/fapi/v1/algoOrder",
                signed=True,
                algoType="CONDITIONAL",
                symbol="BTCUSDT",
                side="SELL",
                type="STOP_MARKET",
                quantity="0.01",
                triggerPrice=f"{float(c.venue.mark('BTCUSDT')) * 0.9997:.1f}",
            )
        )
        c.seen.append(c.call("GET", "/fapi/v1/order", signed=True, symbol="BTCUSDT", orderId=1))
        c.run(MINUTE_MS)
    return c


@pytest.mark.parametrize("name", REQUESTS)
def test_each_request_fault_strikes(name):
    """With rate 1 a request fault strikes and is counted; with rate 0 it never does."""
    c = busy({name: 1.0}, minutes=3)
    assert c.venue.faults_injected[name] > 0
    assert sum(c.venue.faults_injected.values()) == c.venue.faults_injected[name]


@pytest.mark.parametrize("name", sorted(set(MENU) - set(REQUESTS)))
def test_each_other_fault_strikes(name):
    """Every fault of the menu can be switched on by name alone."""
    kind = MENU[name][0]
    rate = {"hour": 60.0, "frame": 0.2, "case": 0.5}[kind]
    c = busy({name: rate}, minutes=25 if name == "trigger_reject" else 12)
    counts = c.venue.faults_injected
    assert counts[name] > 0
    assert sum(counts.values()) == counts[name]


def test_lost_requests_and_lost_responses_differ():
    """A lost request is not executed, a lost response is; a late one arrives after the timeout."""
    for name, executed in (("http_request_lost", 0), ("http_response_lost", 1), ("http_late", 0)):
        c = Client(fault_rates={name: 1.0})
        reply = c.call(
            "POST",
            "/fapi/v1/order",
            signed=True,
            symbol="BTCUSDT",
            side="BUY",
            type="MARKET",
            quantity="0.01",
        )
        assert reply is None
        assert len(c.venue.executions()) == executed
    c.venue.mischief.calm()
    c.run(20_000)
    assert c.venue.executions() == []


def test_late_request_within_recv_window_executes():
    """A late request is judged by recvWindow on receipt: inside the window it is executed."""
    from cryptosignal.domain.ports import HttpRequest

    c = Client(fault_rates={"http_late": 1.0})
    c.venue.http(
        c.now, HttpRequest("POST", "/fapi/v1/listenKey", "", b"", (("X-MBX-APIKEY", c.key),), 100)
    )
    c.run(5_000)
    assert c.venue.account().listen_key


def test_throttling_spares_what_reduces_risk():
    """-1008 exempts reduce-only, closePosition and cancels."""
    c = Client(fault_rates={"http_1008": 1.0})
    first = c.order(side="BUY", type="MARKET", quantity="0.01")
    assert first["code"] == -1008
    assert c.order(side="SELL", type="MARKET", quantity="0.01", reduceOnly=True)["code"] == -2022
    assert c.signed("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")["code"] == 200


def test_silent_links():
    """A half-open link delivers nothing and answers no ping; a stalled one answers pings."""
    for name, answers in (("ws_half_open", False), ("ws_stall", True)):
        c = Client(fault_rates={name: 3_600.0})
        c.open(1, "/market/ws/btcusdt@aggTrade")
        c.run(MINUTE_MS)
        before = len(c.inbox[1])
        c.run(10_000)
        assert len(c.inbox[1]) == before
        assert c.venue.answers_pings(1) is answers


def test_kline_faults():
    """Closes can come up to 26 s late, or never; trades and REST stay right."""
    late = Client(fault_rates={"kline_late": 1.0})
    never = Client(fault_rates={"kline_missing": 1.0})
    for c in (late, never):
        c.open(1, "/market/ws/btcusdt@kline_1m")
        c.run(5 * MINUTE_MS)
    lags = [f["E"] - f["k"]["T"] for f in late.inbox[1] if f["k"]["x"]]
    assert lags
    assert min(lags) > 2_000
    assert not [f for f in never.inbox[1] if f["k"]["x"]]
    assert len(never.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=5)) == 5


def test_storm_breaks_nothing_inside():
    """Ten hours of storm: money adds up, every fault kind that fits strikes, and calm ends it."""
    from tests.sim.test_money import check_cash, check_ledger

    c = Client(
        faults="storm",
        latency_ms=20,
        tick_ms=1_000,
        ticks_per_minute=4,
        block_minutes=60,
        book_levels=20,
    )
    rng_side = ["BUY", "SELL"]
    link = 0
    for n in range(300):
        if len(c.venue.links()) < 3:
            link += 1
            c.open(link, "/market/ws/btcusdt@kline_1m/ethusdt@aggTrade")
        c.call("POST", "/fapi/v1/listenKey")
        c.call(
            "POST",
            "/fapi/v1/order",
            signed=True,
            symbol="BTCUSDT",
            side=rng_side[n % 2],
            type="MARKET",
            quantity="0.01",
        )
        c.run(2 * MINUTE_MS)
    check_ledger(c.venue)
    check_cash(c.venue)
    assert sum(1 for v in c.venue.faults_injected.values() if v) > 20
    c.venue.mischief.calm()
    counts = c.venue.faults_injected
    assert c.get("/fapi/v1/time")["serverTime"] == c.now
    c.run(HOUR_MS)
    assert c.venue.faults_injected == counts


def test_same_seed_same_storm():
    """One seed gives one storm, fault for fault."""
    runs = [busy({}, minutes=15, faults="storm") for _ in range(2)]
    assert runs[0].venue.faults_injected == runs[1].venue.faults_injected
    assert json.dumps(runs[0].inbox) == json.dumps(runs[1].inbox)


def test_unknown_faults_are_named():
    """A fault that is not on the menu is refused by name."""
    with pytest.raises(ValueError, match=r"'hail'.*allowed"):
        rates_of(small(fault_rates={"hail": 1.0}))


@pytest.mark.parametrize(
    ("text", "preset", "rates"),
    [
        ("calm", "calm", {}),
        ("storm,halt=0", "storm", {"halt": 0.0}),
        ("ws_reset=4,http_429", "calm", {"ws_reset": 4.0, "http_429": MENU["http_429"][2]}),
        ("weather, ws_lost=0.5", "weather", {"ws_lost": 0.5}),
    ],
)
def test_faults_by_name_and_rate(text, preset, rates):
    """A preset first, then single faults with or without a rate; everything else keeps the preset's."""
    assert parse_faults(text) == (preset, rates)
    settings = small(faults=preset, fault_rates=rates)
    wanted = {**rates_of(small(faults=preset)), **rates}
    assert rates_of(settings) == wanted


@pytest.mark.parametrize("text", ["", "hail", "halt,storm", "ws_reset=-1", "ws_lost=1.5", "halt=x"])
def test_wrong_faults_are_named(text):
    """One line that names the part that is wrong, and what is allowed."""
    with pytest.raises(ValueError, match=r"^faults: .*allowed") as refused:
        parse_faults(text)
    assert "\n" not in str(refused.value)


def test_the_fault_seed_changes_the_weather_alone():
    """With another fault seed other requests are hit, over the very same trades."""
    storms = [
        busy({"http_request_lost": 0.3}, minutes=20, fault_seed=seed, events=False)
        for seed in (0, 1, 1, 2)
    ]
    hits = [[reply is None for reply in c.seen] for c in storms]
    assert hits[1] == hits[2]
    assert len({tuple(h) for h in hits}) == 3
    paths = [
        c.venue.exchange.path.bars(0, "1m", c.venue.start_ms, c.now).close.tolist() for c in storms
    ]
    assert paths[0] == paths[1] == paths[3]
