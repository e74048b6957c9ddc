"""The questions to a test venue, put over the virtual wire to venues that behave differently."""

from __future__ import annotations

import asyncio

import pytest

from cryptosignal.binance.limits import Limits
from cryptosignal.binance.signing import HmacSigner
from cryptosignal.cli.main import main
from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.faults import UserFault
from cryptosignal.ground.loop import VirtualLoop
from cryptosignal.ground.secret import Secret
from cryptosignal.ground.seeds import Seeds
from cryptosignal.modes import settle
from cryptosignal.modes.virtual_net import MemoryTransport, VirtualNetwork
from cryptosignal.net.client import VenueClient
from cryptosignal.net.ledger import WeightLedger
from cryptosignal.sim.settings import VenueSettings
from cryptosignal.sim.venue import Venue

START_MS = 1_790_000_010_000


class _World:
    """A simulated venue and a client of its account."""

    def __init__(self, **settings):
        self.loop = VirtualLoop()
        clock = self.clock = LoopClock(self.loop, START_MS)
        wanted = VenueSettings(
            symbols=2, events=False, ticks_per_minute=60, block_minutes=5, **settings
        )
        self.venue = Venue(wanted, Seeds(3), START_MS)
        network = VirtualNetwork(self.loop, clock, self.venue, Seeds(4))
        network.start()
        signer = HmacSigner(Secret(self.venue.api_key), Secret(self.venue.api_secret))
        ledger = WeightLedger(Limits(), clock, host="venue")
        self.client = VenueClient(MemoryTransport(network), "http://venue", ledger, clock, signer)
        self.told = []

    def ask(self):
        asked = settle.ask(self.client, self.clock, "BTCUSDT", self.told.append)
        answers, left = self.loop.run_until_complete(asked)
        return {one.question: one for one in answers}, left

    def is_clean(self):
        held = [one for one in self.venue.positions() if one.qty]
        return not held and not self.venue.open_orders() and not self.venue.open_algos()

    def close(self):
        self.loop.close()


@pytest.fixture
def world_of():
    """Makes worlds, and closes their loops."""
    worlds = []

    def make(**settings):
        worlds.append(_World(**settings))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def _starting(found, start):
    (one,) = [answer for question, answer in found.items() if question.startswith(start)]
    return one


def test_a_venue_that_takes_stops_first_and_spares_them(world_of):
    """Stop-first is found taken, neither sweep touches the stop, and the account is left as it was."""
    world = world_of()
    found, left = world.ask()
    assert left == ""
    assert world.is_clean()
    assert _starting(found, "is a reduce-only stop taken").answer == settle.YES
    assert _starting(found, "does countdownCancelAll").answer == settle.NO
    assert _starting(found, "does DELETE allOpenOrders").answer == settle.NO
    assert _starting(found, "do resting stops vanish").answer == settle.NO
    assert "holds" in _starting(found, "how late is an order").advice
    assert len(found) == 6


def test_a_venue_that_wants_a_position_first(world_of):
    """Where a stop needs a position the smallest one is bought, stopped, and closed again."""
    world = world_of(stop_needs_position=True)
    found, left = world.ask()
    first = _starting(found, "is a reduce-only stop taken")
    assert (first.answer, first.advice) == (settle.NO, "trading.stop_first = false")
    assert len(found) == 6
    assert world.venue.executions()
    assert left == ""
    assert world.is_clean()


def test_stops_that_vanish_are_noticed(world_of):
    """A venue that drops resting stops without a word is told apart, with the seconds it took."""
    world = world_of(fault_rates={"stop_vanish": 3600.0})
    found, left = world.ask()
    assert _starting(found, "do resting stops vanish").answer == settle.YES
    assert left == ""
    assert world.is_clean()


def test_a_cancelled_questioning_cleans_up(world_of):
    """Cut short in the middle, it still cancels and closes what it placed."""
    world = world_of(stop_needs_position=True)

    async def cut():
        task = asyncio.ensure_future(
            settle.ask(world.client, world.clock, "BTCUSDT", world.told.append)
        )
        await asyncio.sleep(12.0)
        assert not world.is_clean()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    world.loop.run_until_complete(cut())
    assert world.is_clean()


def test_a_symbol_in_use_is_refused(world_of):
    """It does not ask with a symbol that has orders or a position already."""
    world = world_of()

    async def occupied():
        asking = await settle._prepared(world.client, world.clock, "BTCUSDT", world.told.append)
        await asking.client.place(asking._resting())
        await settle.ask(world.client, world.clock, "BTCUSDT", world.told.append)

    with pytest.raises(UserFault, match="found 0 positions and 1 orders on BTCUSDT"):
        world.loop.run_until_complete(occupied())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--venue", "binance"], "--settle: found venue 'binance', allowed: testnet, embedded"),
        (["--venue", "testnet"], "account testnet: found no key"),
    ],
)
def test_only_play_money_is_asked(words, said, capsys, monkeypatch):
    """The real venue is refused by name, and a testnet without a key in one line."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--settle", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_real_host_as_testnet_is_refused(tmp_path, capsys):
    """A base URL of the venue of real money does not pass as a testnet."""
    path = tmp_path / "c.toml"
    path.write_text('[venue]\nrest_url = "https://fapi.binance.com"\n')
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--settle", "--venue", "testnet", "-c", str(path)])
    assert ended.value.code == 2
    assert "allowed: a venue of play money" in capsys.readouterr().err
