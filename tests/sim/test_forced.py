"""Forced closing: liquidation in steps, deleveraging past the fund, clamped and partial fills."""

from decimal import Decimal

from tests.sim.driver import START_MS, Client, small
from tests.sim.test_money import check_ledger, crowd

from cryptosignal.ground.seeds import Seeds
from cryptosignal.sim.settings import AccountSettings
from cryptosignal.sim.venue import Venue


def test_a_bankrupt_position_is_deleveraged_when_the_fund_is_empty():
    """Past the insurance fund the best opposite position is closed too: adl_autoclose, NEW_ADL first."""
    venue, clients = crowd()
    events = []
    venue.exchange.private.on_emit = lambda account, event: events.append((account.number, event))
    small_one, winner = clients[0], clients[1]
    for c in (small_one, winner):
        c.signed("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=100)
    assert "orderId" in small_one.order(side="BUY", type="MARKET", quantity="1")
    assert "orderId" in winner.order(side="SELL", type="MARKET", quantity="0.6")
    desk = venue.exchange.desk
    account = desk.accounts[0]
    gone = account.wallet - 500
    account.wallet -= gone
    desk.ledger.deposits -= gone
    desk.book_income(account, 0, "TRANSFER", -gone, 0)
    desk.ledger.insurance = Decimal(0)
    position = account.position(venue.exchange.index_of["BTCUSDT"], "BOTH")
    position.cost += 2_000
    fund = desk.ledger.insurance
    desk.margin.check_liquidation(account)
    assert not position.qty
    other = desk.accounts[1].position(position.index, "BOTH")
    assert not other.qty
    adl = [e["o"] for n, e in events if n == 1 and e["e"] == "ORDER_TRADE_UPDATE"]
    assert [(o["c"], o["X"]) for o in adl[-2:]] == [
        ("adl_autoclose", "NEW_ADL"),
        ("adl_autoclose", "FILLED"),
    ]
    assert account.wallet >= 0
    assert desk.ledger.insurance >= fund - 2_000
    check_ledger(venue)


def test_liquidation_stops_when_the_margin_carries_the_rest():
    """A large position goes down a bracket at a time and keeps what its margin carries."""
    rich = (AccountSettings(deposit_usdt="5000000"),)
    c = Client(Venue(small(accounts=rich), Seeds(7), START_MS))
    index = c.venue.exchange.index_of["DOGEUSDT"]
    c.signed("POST", "/fapi/v1/leverage", symbol="DOGEUSDT", leverage=10)
    desk = c.venue.exchange.desk
    account, row = desk.accounts[0], desk.listed[index]
    third = row.brackets[2]
    mark = desk.mark(index)
    position = account.position(index, "BOTH")
    position.qty = (Decimal(third.floor) * Decimal("1.2") / mark).quantize(Decimal(1))
    position.cost = position.qty * mark
    before = position.qty
    need = desk.margin.margin_state(account)[1]
    account.wallet = need * Decimal("0.98")
    desk.margin.check_liquidation(account)
    assert 0 < position.qty < before
    balance, need = desk.margin.margin_state(account)
    assert balance > need


def test_hedge_mode_closing_orders_do_not_turn_the_position():
    """A SELL of the LONG side is cut to what is held."""
    c = Client()
    c.signed("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true")
    c.order(side="BUY", type="MARKET", quantity="0.01", positionSide="LONG")
    closing = c.order(side="SELL", type="MARKET", quantity="0.05", positionSide="LONG")
    assert closing["origQty"] == "0.010"
    assert c.venue.positions() == []


def test_resting_orders_fill_in_parts_by_fault():
    """With the fault on, an order at rest is filled by more than one trade."""
    c = Client(fault_rates={"partial_fill": 0.9})
    placed = c.order(
        side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.5", price=f"{c.price() - 1:.1f}"
    )
    c.run(900_000)
    fills = [f for f in c.venue.executions() if f.order_id == placed["orderId"]]
    assert len(fills) > 1
    assert all(f.is_maker for f in fills[1:])


def test_amendments_carry_the_modify_id_only_when_one_was_given():
    """`M` is a string and there only for an amendment that named a modifyId."""
    c = Client()
    c.open_private()
    far = f"{c.price() * 0.98:.1f}"
    order = {"side": "BUY", "quantity": "0.02", "price": far}
    placed = c.order(**{**order, "quantity": "0.01"}, type="LIMIT", timeInForce="GTC")
    c.signed("PUT", "/fapi/v1/order", symbol="BTCUSDT", orderId=placed["orderId"], **order)
    order["quantity"] = "0.03"
    c.signed(
        "PUT", "/fapi/v1/order", symbol="BTCUSDT", orderId=placed["orderId"], modifyId=7, **order
    )
    seen = [e["o"].get("M") for e in c.take(9) if e.get("o", {}).get("x") == "AMENDMENT"]
    assert seen == [None, "7"]
