"""The account's leverage brackets reach the sizes, and outlive a venue that does not answer."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from tests.exchange.worlds import SYMBOL, in_world
from tests.trading.toy_venue import Rig, decision, instrument

from cryptosignal.domain.instrument import LeverageBracket
from cryptosignal.domain.order import Leg
from cryptosignal.ground.faults import Unreachable
from cryptosignal.modes.brackets import Brackets
from cryptosignal.risk.settings import RiskSettings

D = Decimal


def test_they_are_read_and_kept_when_the_venue_is_silent():
    """Ascending by notional, put onto the contract; a later read that fails is said and changes nothing."""

    async def live(world):
        notes = []
        client = world.exchange._client
        brackets = Brackets(client, lambda event, fields: notes.append(event), has_account=True)
        await brackets.read()
        listed = {item.symbol: item for item in await world.exchange.instruments()}
        found = brackets.onto(listed[SYMBOL]).brackets
        assert len(found) > 2
        caps = [bracket.notional_max_usdt for bracket in found]
        leverages = [bracket.leverage for bracket in found]
        assert caps == sorted(caps)
        assert leverages == sorted(leverages, reverse=True)

        async def silent():
            raise Unreachable("no route")

        client.leverage_brackets = silent
        await brackets.read()
        assert notes == ["brackets.were_not_read"]
        assert brackets.onto(listed[SYMBOL]).brackets == found
        none = Brackets(client, lambda event, fields: notes.append(event), has_account=False)
        await none.read()
        assert none.onto(listed[SYMBOL]).brackets == ()

    in_world("binance", live)


def test_an_entry_stays_within_the_bracket_of_its_leverage():
    """What the bracket allows at the leverage that is set binds the size, in every way to an entry."""
    tier = (LeverageBracket(D(100), 10), LeverageBracket(D(5_000), 1))
    small = msgspec.structs.replace(instrument(), brackets=tier)
    for mode in ("auto", "approve"):
        rig = Rig(mode=mode)
        rig.run(1_000)
        rig.open(decision(time_ms=rig.now), instrument=small)
        if mode == "approve":
            rig.say("approve", signal_id="s1")
        rig.run(500)
        [entry] = [i for i in rig.venue.sent_requests if i.leg is Leg.ENTRY]
        assert entry.quantity * rig.venue.price("BTCUSDT") <= 100
        assert rig.noted("trade.opened")[0].fields["bound_by"] == "bracket"


def test_what_moves_with_btc_as_measured_uses_the_room():
    """Two coins that move with BTC closely take each other's room; that others hardly do frees none."""
    risk = RiskSettings(correlated_notional_max_frac=D("0.03"))
    quantities = {}
    for rho in (None, D("0.1"), D("0.95")):
        rig = Rig(risk=risk)
        rig.desk.errands.rho_btc = lambda _symbol, rho=rho: rho
        rig.run(1_000)
        for number, symbol in enumerate(("ETHUSDT", "BTCUSDT")):
            rig.open(decision(f"s{number}", symbol=symbol, time_ms=rig.now))
            rig.run(500)
        sent = {i.symbol: i.quantity for i in rig.venue.sent_requests if i.leg is Leg.ENTRY}
        quantities[rho] = sent.get("BTCUSDT", D(0))
    assert quantities[D("0.1")] == quantities[None] > quantities[D("0.95")]
