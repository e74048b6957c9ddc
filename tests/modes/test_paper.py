"""The paper account in its process: new contracts join it, and a sleep is lived through at the next start."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
from tests.net.virtual import START_MS as START
from tests.net.virtual import run_virtual
from tests.sim.test_paper import contract

from cryptosignal.binance.limits import Limits
from cryptosignal.domain.order import Leg, OrderIntent, OrderKind, Side
from cryptosignal.domain.ports import HttpResponse
from cryptosignal.ground.faults import Unreachable
from cryptosignal.modes.paper import STATE_NAME, PaperTransport, paper_signer
from cryptosignal.net.client import VenueClient
from cryptosignal.net.ledger import WeightLedger

D = Decimal
MINUTE = 60_000


class Memory:
    """A disk of one file."""

    def __init__(self):
        self.files = {}

    def read(self, name):
        return self.files.get(name, b"")

    def replace(self, name, data):
        self.files[name] = data


class Venue:
    """The real venue as far as the account needs it: candles and funding by REST."""

    def __init__(self, rows=(), fails=False):
        self.rows, self.fails = list(rows), fails
        self.asked = []

    async def klines(self, symbol, interval, limit, start_ms, end_ms):
        self.asked.append((symbol, interval, start_ms, end_ms))
        if self.fails:
            raise Unreachable("no route")
        found = [row for row in self.rows if start_ms <= row[0] <= end_ms]
        return np.array(found, dtype=float).reshape(-1, 11)

    async def funding_history(self, symbol, limit, start_ms, end_ms):
        return ()

    async def request(self, base_url, request):
        return HttpResponse(200, {}, b"{}")

    async def open_ws(self, url, listener, timeout_ms):
        raise AssertionError(url)

    async def close(self):
        pass


class Fresh:
    """A moment that is always now, for every slot."""

    def __init__(self, clock):
        self.clock = clock

    def __getitem__(self, slot):
        return self.clock.now_ms()


class Program:
    """A program's market and clock: a fresh mark of 100, no books."""

    def __init__(self, clock, venue):
        self.clock, self.client = clock, venue
        self.instruments = {"BTCUSDT": contract("BTCUSDT", "0.01")}
        self.notes = []
        nothing = np.zeros((1, 4))
        tops = SimpleNamespace(
            bid_price=nothing, bid_qty=nothing, ask_price=nothing, ask_qty=nothing, event_ms=[0]
        )
        marks = SimpleNamespace(
            mark=[100.0], mark_ms=Fresh(clock), funding_rate=[0.0], next_funding_ms=[0.0]
        )
        self.board = SimpleNamespace(find=lambda symbol: 0, marks=marks, tops=tops)

    def note(self, event, fields):
        self.notes.append((event, fields))


def bar(minute, high, low):
    return [START + minute * MINUTE, 100.0, high, low, 100.0, 1, 0, 1, 1, 1, 1]


def account(disk, clock, venue):
    program = Program(clock, venue)
    transport = PaperTransport(venue, disk, 10_000.0)
    transport.bind(program)
    ledger = WeightLedger(Limits(), clock, host="venue")
    client = VenueClient(transport, "http://venue", ledger, clock, paper_signer())
    return transport, program, client


def intent(client_id, side, kind, **more):
    symbol = more.pop("symbol", "BTCUSDT")
    return OrderIntent(client_id, "k", symbol, Leg.ENTRY, side, kind, D(1), 1, **more)


async def enter(client):
    """A position of one at 100, with a stop at 95."""
    await client.place(intent("csa-k-e0", Side.BUY, OrderKind.MARKET))
    stop = intent(
        "csa-k-s0", Side.SELL, OrderKind.STOP_MARKET, trigger_price=D(95), reduce_only=True
    )
    assert (await client.place(stop)).code == 0


async def held(client):
    taken = await client.snapshot("test", ("BTCUSDT",))
    return [(p.symbol, p.quantity) for p in taken.positions if p.quantity], taken


@pytest.mark.parametrize(
    ("low", "fails", "is_stopped"), [(94.0, False, True), (96.0, False, False), (94.0, True, False)]
)
def test_a_stop_that_the_sleep_passed_has_filled_there(low, fails, is_stopped):
    """The next start reads the candles since the last sign of life; where it cannot, it says so and the
    stop wakes with the first quote."""

    async def main(clock):
        disk = Memory()
        transport, _, client = account(disk, clock, Venue())
        await enter(client)
        await asyncio.sleep(90.0)
        await transport.close()
        slept_at = clock.now_ms()
        await asyncio.sleep(3_600.0)
        first = (slept_at - START) // MINUTE
        rows = [bar(first + n, 101.0, low if n == 30 else 99.0) for n in range(61)]
        venue = Venue(rows, fails)
        transport, program, client = account(disk, clock, venue)
        positions, taken = await held(client)
        assert positions == ([] if is_stopped else [("BTCUSDT", 1)])
        [note] = program.notes
        assert note[0] == ("paper.sleep_was_not_read" if fails else "paper.sleep_was_settled")
        if is_stopped:
            last = taken.trades[-1]
            assert D("94.9") < last.price < D(95)
            assert abs(last.time_ms - START - (first + 30) * MINUTE) < MINUTE
        [(symbol, interval, start_ms, _)] = venue.asked
        assert (symbol, interval) == ("BTCUSDT", "1m")
        assert 0 <= start_ms - slept_at <= MINUTE
        await transport.close()

    run_virtual(main)


def test_a_new_contract_joins_a_running_account():
    """A listing that comes while the account runs can be traded at once; what was held stays held."""

    async def main(clock):
        transport, program, client = account(Memory(), clock, Venue())
        await enter(client)
        refused = await client.place(
            intent("csa-n-e0", Side.BUY, OrderKind.MARKET, symbol="NEWUSDT")
        )
        assert refused.outcome == "rejected"
        program.instruments = {s: contract(s, "0.01") for s in ("NEWUSDT", "BTCUSDT")}
        taken = await client.place(intent("csa-n-e1", Side.BUY, OrderKind.MARKET, symbol="NEWUSDT"))
        assert taken.outcome == "acked", taken
        program.instruments = {"NEWUSDT": contract("NEWUSDT", "0.001")}
        positions, snapshot = await held(client)
        assert sorted(positions) == [("BTCUSDT", 1), ("NEWUSDT", 1)]
        assert [a.client_id for a in snapshot.algos] == ["csa-k-s0"]
        await transport.close()

    run_virtual(main)


def test_what_is_held_stays_listed_whatever_is_watched():
    """A position in a contract that the next run does not watch is still there."""

    async def main(clock):
        disk = Memory()
        transport, _, client = account(disk, clock, Venue())
        await enter(client)
        await transport.close()
        transport, program, client = account(disk, clock, Venue())
        program.instruments = {"ETHUSDT": contract("ETHUSDT", "0.01")}
        positions, snapshot = await held(client)
        assert positions == [("BTCUSDT", 1)]
        assert [a.client_id for a in snapshot.algos] == ["csa-k-s0"]
        assert program.notes == []
        await transport.close()

    run_virtual(main)


def test_a_sign_of_life_is_kept_while_something_is_held():
    """The file tells when the account lived last, to the minute, though nothing happens to it."""

    async def main(clock):
        disk = Memory()
        transport, _, client = account(disk, clock, Venue())
        await enter(client)
        before = disk.files[STATE_NAME]
        await asyncio.sleep(61.0)
        assert disk.files[STATE_NAME] != before
        await transport.close()

    run_virtual(main)
