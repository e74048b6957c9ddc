"""Money is conserved, and the matching core keeps its books under any order of requests."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.sim.driver import START_MS, Client, small

from cryptosignal.ground.seeds import Seeds
from cryptosignal.ground.units import MINUTE_MS
from cryptosignal.sim.orders import OPEN_STATUSES
from cryptosignal.sim.settings import AccountSettings
from cryptosignal.sim.venue import Venue

ACCOUNTS = tuple(
    AccountSettings(api_key=f"key{i}", api_secret=f"secret{i}", deposit_usdt="50000")
    for i in range(4)
)
EIGHT = Decimal("1e-8")


def crowd(seed=3, **changes):
    venue = Venue(small(symbols=3, accounts=ACCOUNTS, **changes), Seeds(seed), START_MS)
    clients = []
    for i in range(len(ACCOUNTS)):
        c = Client(venue)
        c.key, c.secret = f"key{i}", f"secret{i}"
        clients.append(c)
    return venue, clients


def check_ledger(venue):
    """Wallets = deposits + realised + funding - fees - liquidation fees + insurance payments."""
    desk = venue.exchange.desk
    book = desk.ledger
    wallets = sum(a.wallet for a in desk.accounts)
    expected = (
        book.deposits
        + book.realised
        + book.funding
        - book.fees
        - book.liquidation_fees
        + book.insurance_paid
    )
    assert abs(wallets - expected) <= EIGHT
    for account in desk.accounts:
        flows = sum(i.amount for i in account.incomes)
        assert abs(account.wallet - flows) <= EIGHT


def check_cash(venue):
    """What accounts hold and owe equals what their executions paid: no profit from nowhere."""
    for account in venue.exchange.desk.accounts:
        cash = held_cost = Decimal(0)
        sizes = {}
        for f in account.fills:
            signed = f.qty if f.side == "BUY" else -f.qty
            cash -= signed * f.price
            key = (f.index, f.position_side)
            sizes[key] = sizes.get(key, 0) + signed
        for key, position in account.positions.items():
            assert position.qty == sizes.get(key, 0)
            held_cost += position.cost
        realised = sum(f.realised for f in account.fills)
        assert abs(cash + held_cost - realised) <= EIGHT


def test_a_day_of_trading_conserves_money():
    """Four accounts trade at random for a day, with funding: every wallet is explained to 1e-8."""
    venue, clients = crowd()
    rng = Seeds(11).stream("traders")
    now = START_MS
    for _ in range(260):
        now += rng.randrange(1, 11) * MINUTE_MS // 2
        c = rng.choice(clients)
        c.now = now
        symbol = rng.choice(["BTCUSDT", "ETHUSDT", "SOLUSDT"])
        price = c.price(symbol)
        notional = rng.uniform(200, 9_000)
        digits = 3 if symbol != "SOLUSDT" else venue.exchange.listed[2].qty_digits
        tick = (
            1
            if symbol == "BTCUSDT"
            else venue.exchange.listed[venue.exchange.index_of[symbol]].price_digits
        )
        params = {
            "symbol": symbol,
            "side": rng.choice(["BUY", "SELL"]),
            "quantity": f"{notional / price:.{digits}f}",
        }
        if rng.random() < 0.5:
            c.order(**params, type="MARKET")
        else:
            limit = price * rng.uniform(0.997, 1.003)
            c.order(**params, type="LIMIT", timeInForce="GTC", price=f"{limit:.{tick}f}")
        if rng.random() < 0.1:
            c.signed("DELETE", "/fapi/v1/allOpenOrders", symbol=symbol)
    venue.advance(START_MS + 26 * 60 * MINUTE_MS)
    desk = venue.exchange.desk
    assert sum(len(a.fills) for a in desk.accounts) > 120
    assert desk.ledger.funding != 0
    check_ledger(venue)
    check_cash(venue)


class MatchingMachine(RuleBasedStateMachine):
    """Any sequence of orders, cancels and time leaves the books consistent."""

    def __init__(self):
        super().__init__()
        self.venue, self.clients = crowd()
        self.now = START_MS
        self.before = {}

    def client(self, who):
        c = self.clients[who]
        c.now = self.now
        return c

    who = st.integers(0, 3)
    side = st.sampled_from(["BUY", "SELL"])
    size = st.integers(20, 400)

    @rule(
        who=who,
        side=side,
        size=size,
        off=st.integers(-30, 30),
        tif=st.sampled_from(["GTC", "IOC", "FOK", "GTX"]),
        reduce=st.booleans(),
    )
    def limit(self, who, side, size, off, tif, reduce):
        c = self.client(who)
        price = round(c.price("ETHUSDT") * (1 + off / 10_000), 1)
        c.signed(
            "POST",
            "/fapi/v1/order",
            symbol="ETHUSDT",
            side=side,
            type="LIMIT",
            timeInForce=tif,
            quantity=f"{size / 100:.2f}",
            price=f"{price:.1f}",
            reduceOnly=reduce,
        )

    @rule(
        who=who,
        side=side,
        size=size,
        stp=st.sampled_from(["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"]),
    )
    def market(self, who, side, size, stp):
        c = self.client(who)
        c.signed(
            "POST",
            "/fapi/v1/order",
            symbol="ETHUSDT",
            side=side,
            type="MARKET",
            quantity=f"{size / 100:.2f}",
            selfTradePreventionMode=stp,
        )

    @rule(who=who, pick=st.integers(0, 20))
    def cancel(self, who, pick):
        c = self.client(who)
        open_ = self.venue.open_orders(who)
        if open_:
            c.signed(
                "DELETE",
                "/fapi/v1/order",
                symbol="ETHUSDT",
                orderId=open_[pick % len(open_)].order_id,
            )

    @rule(who=who, pick=st.integers(0, 20), size=size)
    def amend(self, who, pick, size):
        c = self.client(who)
        open_ = self.venue.open_orders(who)
        if open_:
            o = open_[pick % len(open_)]
            c.signed(
                "PUT",
                "/fapi/v1/order",
                symbol="ETHUSDT",
                orderId=o.order_id,
                side=o.side,
                quantity=f"{size / 100:.2f}",
                price=f"{o.price / 10:.1f}",
            )

    @rule(who=who, side=side, off=st.integers(1, 20), size=size)
    def stop(self, who, side, off, size):
        c = self.client(who)
        sign = 1 if side == "BUY" else -1
        trigger = c.price("ETHUSDT") * (1 + sign * off / 10_000)
        c.signed(
            "POST",
            "/fapi/v1/algoOrder",
            algoType="CONDITIONAL",
            symbol="ETHUSDT",
            side=side,
            type="STOP_MARKET",
            quantity=f"{size / 100:.2f}",
            triggerPrice=f"{trigger:.1f}",
        )

    @rule(ms=st.sampled_from([1, 250, 3_000, 60_000, 600_000]))
    def wait(self, ms):
        self.now += ms
        self.venue.advance(self.now)

    @invariant()
    def books_hold(self):
        desk = self.venue.exchange.desk
        check_cash(self.venue)
        check_ledger(self.venue)
        book = desk.books[1]
        resting = [o for side in book.resting.values() for queue in side.values() for o in queue]
        open_ = [o for a in desk.accounts for o in a.open_orders.values()]
        assert sorted(o.order_id for o in resting) == sorted(o.order_id for o in open_)
        for account in desk.accounts:
            for order in account.orders.values():
                assert 0 <= order.executed <= order.qty
                assert (order.status in OPEN_STATUSES) == (order.order_id in account.open_orders)
                was = self.before.get(order.order_id, 0)
                assert order.executed >= was
                self.before[order.order_id] = order.executed
        if resting:
            bids = [o.price for o in resting if o.is_buy]
            asks = [o.price for o in resting if not o.is_buy]
            assert not bids or not asks or max(bids) < min(asks)


TestMatching = MatchingMachine.TestCase
TestMatching.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
