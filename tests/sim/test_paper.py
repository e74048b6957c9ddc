"""The paper account: real quotes decide what fills, triggers and settles, and it outlives its process."""

from __future__ import annotations

import hashlib
import hmac
from decimal import Decimal
from urllib.parse import urlencode

import msgspec
import pytest

from cryptosignal.domain.instrument import PERPETUAL_DELIVERY_MS, Filters, Instrument
from cryptosignal.domain.ports import HttpRequest
from cryptosignal.sim.paper import PaperState, PaperVenue, Quote, Slept
from cryptosignal.sim.settings import AccountSettings, VenueSettings

START = 1_763_690_400_000
D = Decimal


def contract(symbol, tick="0.10"):
    filters = Filters(
        tick_size=D(tick), min_price=D(tick), max_price=D("1000000"), step_size=D("0.001"),
        min_qty=D("0.001"), max_qty=D("1000"), market_step_size=D("0.001"),
        market_min_qty=D("0.001"), market_max_qty=D("100"), min_notional_usdt=D(5),
    )  # fmt: skip
    return Instrument(
        symbol, symbol[:-4], "USDT", "TRADING", "PERPETUAL", "COIN", START - 10**10,
        PERPETUAL_DELIVERY_MS, filters,
    )  # fmt: skip


class Rig:
    """A paper account and a client of it."""

    def __init__(self, symbols=("BTCUSDT", "ETHUSDT"), start=START):
        settings = VenueSettings(accounts=(AccountSettings(deposit_usdt="10000"),), events=False)
        self.venue = PaperVenue(tuple(contract(s) for s in symbols), settings, start)
        self.now = start

    def quote(self, bid, ask, *, mark=None, symbol="BTCUSDT", qty=1.0, rate=0.0, due=0, after=100):
        self.now += after
        levels = ((bid, qty), (bid - 10.0, 50.0)), ((ask, qty), (ask + 10.0, 50.0))
        self.venue.quote(self.now, symbol, Quote(*levels, mark or (bid + ask) / 2, rate, due))
        self.venue.advance(self.now)

    def ask(self, method, path, **params):
        query = urlencode({**params, "timestamp": self.now, "recvWindow": 5000})
        secret = self.venue.api_secret.encode()
        signature = hmac.new(secret, query.encode(), hashlib.sha256).hexdigest()
        request = HttpRequest(
            method,
            path,
            f"{query}&signature={signature}",
            b"",
            (("X-MBX-APIKEY", self.venue.api_key),),
        )
        response = self.venue.http(self.now, request).response
        self.venue.advance(self.now)
        return response.status, msgspec.json.decode(response.body)

    def order(self, side, qty, kind="MARKET", symbol="BTCUSDT", **more):
        return self.ask(
            "POST", "/fapi/v1/order", symbol=symbol, side=side, type=kind, quantity=qty, **more
        )

    def stop(self, side, trigger, qty, kind="STOP_MARKET"):
        return self.ask(
            "POST", "/fapi/v1/algoOrder", algoType="CONDITIONAL", symbol="BTCUSDT", side=side,
            type=kind, triggerPrice=trigger, quantity=qty, reduceOnly="true",
            workingType="MARK_PRICE", clientAlgoId=f"stop-{trigger}",
        )  # fmt: skip

    @property
    def position(self):
        return sum((p.qty for p in self.venue.positions()), D(0))

    @property
    def fills(self):
        return [(f.side, f.price, f.qty) for f in self.venue.executions()]


def test_a_taker_walks_the_quoted_levels():
    """A market order takes the best level and then the next, and pays the taker's fee on each."""
    rig = Rig()
    rig.quote(79_990.0, 80_010.0, qty=0.01)
    assert rig.order("BUY", "0.015")[0] == 200
    assert rig.fills == [("BUY", D("80010.0"), D("0.010")), ("BUY", D("80020.0"), D("0.005"))]
    paid = D("0.01") * 80_010 + D("0.005") * 80_020
    assert rig.venue.account().wallet == 10_000 - (paid * D("0.0005")).quantize(D("0.00000001"))


def test_what_was_taken_is_gone_until_the_next_quote():
    """A second order finds the first level eaten; a new quote brings it back."""
    rig = Rig()
    rig.quote(79_990.0, 80_010.0, qty=0.01)
    rig.order("BUY", "0.010")
    rig.order("BUY", "0.001")
    rig.quote(79_990.0, 80_010.0, qty=0.01)
    rig.order("BUY", "0.001")
    assert [price for _, price, _ in rig.fills] == [D("80010.0"), D("80020.0"), D("80010.0")]


def test_without_a_quote_nothing_fills():
    """An order on a symbol that nobody has quoted gets no price, and no position."""
    rig = Rig()
    rig.order("BUY", "0.01")
    assert rig.fills == []
    assert rig.position == 0


def test_a_stop_triggers_on_the_quoted_mark_alone():
    """A stop on the mark rests through a bid below its trigger, and fills at the bid once the mark is."""
    rig = Rig()
    rig.quote(79_990.0, 80_010.0)
    rig.order("BUY", "0.01")
    assert rig.stop("SELL", "79000", "0.01")[0] == 200
    rig.quote(78_900.0, 78_920.0, mark=79_100.0)
    assert rig.position == D("0.01")
    rig.quote(78_800.0, 78_820.0, mark=78_990.0)
    assert rig.position == 0
    assert rig.fills[-1] == ("SELL", D("78800.0"), D("0.010"))
    assert rig.venue.open_algos() == []


def test_a_stop_beyond_the_mark_is_refused():
    """As at the real venue, a stop that would trigger at once is refused with its code."""
    rig = Rig()
    rig.quote(79_990.0, 80_010.0)
    rig.order("BUY", "0.01")
    status, body = rig.stop("SELL", "80500", "0.01")
    assert (status, body["code"]) == (400, -2021)


def test_a_resting_order_fills_when_it_is_passed_not_when_it_is_touched():
    """A limit buy at 79,900 stays while the ask is 79,900 and fills at its price once the ask is lower."""
    rig = Rig()
    rig.quote(79_990.0, 80_010.0)
    rig.order("BUY", "0.01", "LIMIT", price="79900", timeInForce="GTC")
    rig.quote(79_880.0, 79_900.0)
    assert rig.fills == []
    rig.quote(79_870.0, 79_890.0)
    assert rig.fills == [("BUY", D("79900.0"), D("0.010"))]


def test_funding_is_settled_once_the_quotes_have_passed_it():
    """A long pays the quoted rate on its notional when the next settlement moves on, once."""
    rig = Rig()
    due = START + 60_000
    rig.quote(79_990.0, 80_010.0, rate=0.0001, due=due)
    rig.order("BUY", "0.01")
    before = rig.venue.account().wallet
    rig.quote(79_990.0, 80_010.0, rate=0.0001, due=due, after=50_000)
    assert rig.venue.account().wallet == before
    rig.quote(79_990.0, 80_010.0, rate=0.0003, due=due + 28_800_000, after=20_000)
    paid = before - rig.venue.account().wallet
    assert paid == pytest.approx(D("0.08"), abs=D("0.001"))
    rig.quote(79_990.0, 80_010.0, rate=0.0003, due=due + 28_800_000)
    assert before - rig.venue.account().wallet == paid


def test_a_thin_account_is_liquidated():
    """A position that the quotes have ruined is closed by the venue."""
    rig = Rig()
    rig.ask("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=10)
    rig.quote(79_990.0, 80_010.0)
    assert rig.order("BUY", "1")[0] == 200
    for mark in (75_000.0, 70_100.0, 70_050.0):
        rig.quote(mark - 10, mark + 10, after=2_000)
    assert rig.position == 0


def test_the_account_outlives_its_process():
    """Money, position, stop and ids come back, also when the contracts are listed in another order."""
    rig = Rig()
    rig.quote(79_990.0, 80_010.0)
    rig.order("BUY", "0.01")
    rig.stop("SELL", "79000", "0.01")
    revision = rig.venue.revision()
    kept = msgspec.json.decode(msgspec.json.encode(rig.venue.state()), type=PaperState)
    later = Rig(("ETHUSDT", "SOLUSDT", "BTCUSDT"), START + 3_600_000)
    assert later.venue.resume(kept) == []
    assert later.venue.account().wallet == rig.venue.account().wallet
    assert later.position == D("0.01")
    assert later.fills == rig.fills
    later.quote(79_990.0, 80_010.0)
    assert [a.client_id for a in later.venue.open_algos()] == ["stop-79000"]
    later.order("SELL", "0.001", reduceOnly="true")
    old, new = {f.order_id for f in rig.venue.executions()}, later.venue.executions()[-1]
    assert new.order_id not in old
    assert new.trade_id > max(f.trade_id for f in rig.venue.executions())
    later.quote(78_800.0, 78_820.0)
    assert later.position == 0
    assert later.venue.revision() != revision


def test_a_symbol_that_is_no_longer_listed_is_named():
    """A position in a contract that is gone is told, and the rest goes on."""
    rig = Rig()
    rig.quote(79_990.0, 80_010.0)
    rig.order("BUY", "0.01")
    assert Rig(("ETHUSDT",)).venue.resume(rig.venue.state()) == ["BTCUSDT"]


@pytest.mark.parametrize("is_isolated", [True, False])
def test_nobody_is_liquidated_without_a_price(is_isolated):
    """After a restart nothing is judged before the first quote, however late that is."""
    rig = Rig()
    rig.quote(79_990.0, 80_010.0)
    rig.ask("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=20)
    if is_isolated:
        rig.ask("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
    rig.order("BUY", "0.1")
    later = Rig(start=rig.now)
    later.venue.resume(rig.venue.state())
    later.now += 60_000
    later.venue.advance(later.now)
    assert later.position == D("0.1")
    later.quote(70_000.0, 70_010.0)
    later.now += 2_000
    later.venue.advance(later.now)
    assert later.position == (0 if is_isolated else D("0.1"))


MINUTE = 60_000


def asleep(side, *, stop, target, tick="0.10"):
    """An account that went to sleep with a position at 80 000, a stop and a target."""
    rig = Rig()
    rig.quote(79_990.0, 80_010.0)
    rig.order(side, "0.01")
    away = "SELL" if side == "BUY" else "BUY"
    rig.stop(away, stop, "0.01")
    rig.stop(away, target, "0.01", "TAKE_PROFIT_MARKET")
    kept = msgspec.json.decode(msgspec.json.encode(rig.venue.state()), type=PaperState)
    assert kept.at_ms == rig.now
    later = Rig(start=kept.at_ms)
    later.venue = PaperVenue((contract("ETHUSDT"), contract("BTCUSDT", tick)),
                             later.venue.settings, kept.at_ms)  # fmt: skip
    later.venue.resume(kept)
    return later


def bars(*rows, start=START + MINUTE):
    """Minutes of (open, high, low, close), one after the other."""
    return tuple(
        (start + n * MINUTE, start + (n + 1) * MINUTE - 1, *row) for n, row in enumerate(rows)
    )


@pytest.mark.parametrize(
    ("side", "stop", "target", "rows", "price"),
    [
        # both are within the one candle: the stop comes first
        ("BUY", "79000", "81000", [(80_000, 81_500, 78_500, 81_200)], 79_000),
        ("SELL", "81000", "79000", [(80_000, 81_500, 78_500, 78_600)], 81_000),
        # the target alone
        ("BUY", "79000", "81000", [(80_000, 81_500, 79_500, 79_600)], 81_000),
        # the market opened beyond the stop: there is no better price than that
        ("BUY", "79000", "81000", [(80_000, 80_100, 79_900, 80_000),
                                   (78_000, 82_000, 77_000, 80_000)], 78_000),
        ("BUY", "79000", "81000", [(80_000, 80_900, 79_100, 80_000)] * 5, None),
    ],
)  # fmt: skip
def test_what_was_slept_through_is_lived_through_the_worse_end_first(
    side, stop, target, rows, price
):
    """A stop or a target that the candles passed has filled there, a little worse; else nothing has."""
    rig = asleep(side, stop=stop, target=target)
    rig.venue.live_through({"BTCUSDT": Slept(bars(*rows))})
    if price is None:
        assert abs(rig.position) == D("0.01")
        assert len(rig.venue.open_algos()) == 2
        return
    assert rig.position == 0
    fill = rig.venue.executions()[-1]
    worse = (price - float(fill.price)) * (1 if side == "BUY" else -1)
    assert 0 <= worse <= 0.001 * price
    assert START + MINUTE <= fill.time_ms < START + MINUTE * (len(rows) + 1)


def test_funding_of_the_sleep_is_paid_once():
    """Each settlement that was slept through is booked at its rate, none twice by the next quotes."""
    rig = asleep("BUY", stop="70000", target="90000")
    rows = [(80_000, 80_010, 79_990, 80_000)] * 10
    times = (START + 3 * MINUTE, START + 6 * MINUTE)
    slept = Slept(bars(*rows), tuple((at, 0.001) for at in times))
    rig.venue.live_through({"BTCUSDT": slept})
    rig.now = rig.venue.exchange.now_ms
    rig.quote(79_990.0, 80_010.0, due=START + 8 * 60 * MINUTE)
    paid = [i.amount for i in rig.venue.account().incomes if i.kind == "FUNDING_FEE"]
    assert [round(float(p), 2) for p in paid] == [-0.8, -0.8]


def test_orders_keep_their_prices_over_a_new_grid():
    """A contract whose tick has changed meanwhile: the waiting stop is where it was."""
    rig = asleep("BUY", stop="79000", target="81000", tick="0.01")
    shown = rig.ask("GET", "/fapi/v1/openAlgoOrders", symbol="BTCUSDT")[1]
    assert sorted(D(row["triggerPrice"]) for row in shown) == [79_000, 81_000]
    assert {D(row["quantity"]) for row in shown} == {D("0.01")}
    rig.venue.live_through({"BTCUSDT": Slept(bars((80_000, 80_000, 78_900, 79_000)))})
    assert rig.position == 0


def test_the_revision_moves_with_every_change():
    """Whatever has to be kept changes the revision; a quote that does nothing does not."""
    rig = Rig()
    rig.quote(79_990.0, 80_010.0)
    seen = [rig.venue.revision()]
    for act in (
        lambda: rig.ask("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=3),
        lambda: rig.order("BUY", "0.01"),
        lambda: rig.stop("SELL", "79000", "0.01"),
        lambda: rig.order("BUY", "0.01", "LIMIT", price="79000", timeInForce="GTC"),
        lambda: rig.ask(
            "DELETE", "/fapi/v1/algoOrder", symbol="BTCUSDT", clientAlgoId="stop-79000"
        ),
    ):
        assert act()[0] == 200
        assert rig.venue.revision() not in seen
        seen.append(rig.venue.revision())
    rig.quote(79_991.0, 80_011.0)
    assert rig.venue.revision() == seen[-1]
