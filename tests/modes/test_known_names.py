"""Every name that the table of known names calls `here` can be imported, and does its work."""

from __future__ import annotations

import asyncio
import importlib
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from tests.modes.venue_beside import close_venue, venue_beside

import cryptosignal
from cryptosignal.domain.actions import RecordOutcome
from cryptosignal.domain.events import TimerFired
from cryptosignal.domain.outcome import Outcome
from cryptosignal.engine.schedule import LEARNING
from cryptosignal.ground.clock import ManualClock
from cryptosignal.ground.faults import UserFault
from cryptosignal.market.board import Board
from cryptosignal.modes.config import Config

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "FROM_THE_ORIGINALS.md").read_text()
NINE = [
    "results",
    "total_symbols",
    "signals_found",
    "skipped",
    "errors",
    "elapsed_seconds",
    "symbols_per_second",
    "api_calls",
    "cache_stats",
]
MINUTE = 60_000


@pytest.fixture(scope="module", autouse=True)
def _venue_ends_with_the_module():
    yield
    close_venue()


@pytest.fixture
def config(tmp_path):
    """A data folder of the test's own, and no account (its reads would use up the shared venue's weight)."""
    run = msgspec.structs.replace(Config().run, data_dir=str(tmp_path / "runs"), account="none")
    return msgspec.structs.replace(Config(), run=run)


@pytest.fixture
def trading_config(config):
    """The same with the venue's account."""
    run = msgspec.structs.replace(config.run, account="sim")
    return msgspec.structs.replace(config, run=run)


def rows_here():
    """(names, file) of each row of the table whose state is `here`."""
    found = []
    for line in TABLE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) >= 4 and cells[3].startswith("here"):
            names = re.findall(r"`cryptosignal\.([A-Za-z_]+)`", cells[1])
            found.append((names, re.findall(r"`([^`]+)`", cells[2])))
    return found


def test_every_name_of_the_table_is_importable_and_its_file_is_there():
    """A row that says `here` names things that can be imported, from the files it names."""
    listed = set()
    for names, files in rows_here():
        assert files
        for file in files:
            assert (ROOT / file).exists(), file
        for name in names:
            home = sys.modules[getattr(cryptosignal, name).__module__].__file__
            assert any(str(ROOT / file) == home for file in files), name
        listed |= set(names)
    assert listed == set(cryptosignal.__all__)


def test_the_table_of_modules_is_the_public_list():
    """Each name has one module, and the typed block, the table and `__all__` agree."""
    assert sorted(cryptosignal._WHERE) == sorted(cryptosignal.__all__)
    source = (ROOT / "src/cryptosignal/__init__.py").read_text()
    typed = source.split("if TYPE_CHECKING:")[1].split("__version__")[0]
    for name in cryptosignal.__all__:
        assert re.search(rf"\b{name}\b", typed), name


def test_an_unknown_name_is_an_attribute_error():
    """A name that nobody knows is refused as Python does."""
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = cryptosignal.Nothing
    old = importlib.import_module("ats_core")
    with pytest.raises(AttributeError, match="no attribute 'load_everything'"):
        _ = old.load_everything


def test_importing_the_package_loads_nothing_heavy():
    """`import cryptosignal` and the old package name import no library but Python's own."""
    code = "import cryptosignal, ats_core, sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"numpy", "msgspec", "aiohttp", "picows", "asyncio", "polars", "rich"})


def test_the_old_package_has_the_same_names():
    """`ats_core` hands on the documented names."""
    old = importlib.import_module("ats_core")
    for name in cryptosignal.__all__:
        assert getattr(old, name) is getattr(cryptosignal, name)


def test_scripts_are_short():
    """Each old entry point has at most ten lines."""
    scripts = sorted((ROOT / "scripts").iterdir())
    assert len(scripts) >= 4
    for script in scripts:
        assert len(script.read_text().splitlines()) <= 10, script.name


async def test_auto_trader_initializes_scans_and_stops(config):
    """The documented life of an AutoTrader: initialize, scan with no REST call, status, stop."""
    said = []
    trader = cryptosignal.AutoTrader(
        use_optimized_scan=True, config=config, venue=venue_beside(), say=said.append
    )
    await trader.initialize()
    result = await trader.scan_and_execute(min_score=75)
    assert list(result.to_dict()) == NINE
    assert result["api_calls"] == 0
    assert result["total_symbols"] >= 6
    assert trader.station.program.engine.params.gates.min_score == 75
    stats = trader.batch_scanner.kline_cache.get_stats()
    assert re.fullmatch(r"\d+\.\d%", stats["hit_rate"])
    assert isinstance(stats["memory_estimate_mb"], float)
    assert isinstance(stats["total_updates"], int)
    await trader.print_status()
    assert any("0 REST calls" in line for line in said)
    await trader.stop()
    await trader.stop()
    assert not trader.is_initialized


async def test_a_trade_is_monitored_reported_and_read_by_the_known_faces(trading_config):
    """PositionController, WebSocketManager, DataService, AccountFeed, PoolManager, NewCoinWSFeed,
    SelfLearningTrader and DailyReporter see the same trade of the same station."""
    trader = cryptosignal.SelfLearningTrader(config=trading_config, venue=venue_beside())
    await trader.initialize()
    try:
        controller = cryptosignal.PositionController(trader)
        assert (await controller.monitor_position("BTCUSDT")).action == "NONE"
        controller.open("BTCUSDT", "long")
        held = await _until(trader, controller, "HOLD")
        assert held.size > 0
        assert held.stop_price < held.entry_price
        manager = cryptosignal.websocket_manager(trader.station, ["btcusdt"], "1m")
        assert set(manager.get_kline("BtcUsdt")) == {
            "open", "high", "low", "close", "volume", "timestamp",
        }  # fmt: skip
        position = manager.get_account_position("btcusdt")
        assert position["size"] == held.size
        assert position["entry_price"] > 0
        assert isinstance(trader.station.program.account_feed, cryptosignal.AccountFeed)
        bars = await cryptosignal.data_service(trader.station).get_klines("BTCUSDT", "1h", 50)
        assert len(bars) == 50
        context = trader.market_context("BTCUSDT")
        assert context["price"] > 0
        assert 0 <= context["adx"] <= 100
        assert context["trend_direction"] in ("up", "down", "flat")
        pools = cryptosignal.PoolManager(trader.batch_scanner)
        assert set(pools.get_merged_universe()) <= set(trader.station.program.symbols)
        assert pools.get_elite_pool() is pools.get_elite_pool()
        feed = cryptosignal.NewCoinWSFeed(trader.station.program.feed)
        assert feed.subscribe_newcoin("ethusdt") == [
            "ethusdt@kline_1m", "ethusdt@kline_5m", "ethusdt@kline_15m",
        ]  # fmt: skip
        watched = [a.action async for a in _closing(controller)]
        assert watched[-1] == "NONE"
        async with asyncio.timeout(20):
            while not trader.station.listener.outcomes:  # noqa: ASYNC110  # seen on the loop
                await asyncio.sleep(0.05)
        report = cryptosignal.DailyReporter(trader).generate_report()
        assert report.traded.count == 1
    finally:
        await trader.stop()
    later = cryptosignal.DailyReporter(data_dir=trading_config.run.data_dir)
    again = later.generate_report(report.day)
    assert again.traded == report.traded
    assert "BTCUSDT" in later.render(again)


async def _closing(controller):
    controller.close("BTCUSDT")
    async with asyncio.timeout(20):
        async for advice in controller.watch("BTCUSDT", every_s=0.05):
            yield advice


async def _until(trader, controller, action):
    """The advice once it is `action`; what the engine said if that never comes."""
    for _ in range(200):
        advice = await controller.monitor_position("BTCUSDT")
        if advice.action == action:
            return advice
        await asyncio.sleep(0.05)
    said = [f"{note.event} {note.fields}" for _, note in trader.station.listener.notes]
    raise AssertionError("\n".join([f"never {action}, the engine said:", *said[-15:]]))


async def test_scans_by_rest_on_purpose_count_their_calls_and_are_never_prime(config):
    """`use_optimized_scan=False` reads everything over REST, says how often, and does not trade."""
    trader = cryptosignal.AutoTrader(
        use_optimized_scan=False,
        config=config,
        venue=venue_beside(),
        symbols=("BTCUSDT", "ETHUSDT"),
    )
    result = await trader.scan_and_execute(min_score=0)
    await trader.stop()
    assert result.total_symbols == 2
    assert result.api_calls >= 12
    assert result.errors == 0
    assert result.signals_found == 0
    with pytest.raises(UserFault, match="allowed with scans by REST: signal"):
        cryptosignal.AutoTrader(use_optimized_scan=False, mode="auto")


async def test_the_batch_scanner_takes_symbols_and_intervals(config):
    """`initialize(symbols=, intervals=)` watches exactly those; `scan(max_symbols=)` scans fewer."""
    scanner = cryptosignal.OptimizedBatchScanner(config, venue=venue_beside())
    await scanner.initialize(symbols=["BTCUSDT", "ethusdt"], intervals=["1h", "4h"])
    try:
        assert scanner.station.program.symbols == ("BTCUSDT", "ETHUSDT")
        assert (await scanner.scan(min_score=50, max_symbols=1)).total_symbols == 1
        assert scanner.kline_cache.get("BTCUSDT", "1h", 10)
        assert scanner.kline_cache.get("BTCUSDT", "15m", 10) == []
        assert len(scanner.decisions) == 2
    finally:
        await scanner.stop()


async def test_the_scan_coroutines_start_and_end_by_themselves(config):
    """`run_single_scan` and `run_periodic_scan` leave nothing running; `test_connection` answers."""
    options = {"config": config, "venue": venue_beside(), "symbols": ("BTCUSDT", "ETHUSDT")}
    single = await cryptosignal.run_single_scan(min_score=75, **options)
    assert list(single.to_dict()) == NINE
    seen = []
    taken = await cryptosignal.run_periodic_scan(
        0.0001, 75, scans=2, on_scan=seen.append, **options
    )
    assert taken == len(seen) == 2
    said = []
    assert await cryptosignal.test_connection(venue=venue_beside(), say=said.append)
    assert len(said) == 4


async def test_a_venue_that_is_not_there_is_a_no(config):
    """`test_connection` says no where nothing answers."""
    address = msgspec.structs.replace(config.venue, rest_url="http://127.0.0.1:9")
    away = msgspec.structs.replace(config, venue=address)
    said = []
    assert not await cryptosignal.test_connection(config=away, say=said.append)
    assert said[-1].startswith("no: ")


async def test_the_scheduler_cycles_until_it_is_stopped(config):
    """A UnifiedScheduler runs its cycles and ends cleanly."""
    scheduler = None

    def on_scan(result):
        seen.append(scheduler.get_status())
        if len(seen) == 2:
            stopping.append(asyncio.ensure_future(scheduler.stop()))

    seen, stopping = [], []
    scheduler = cryptosignal.UnifiedScheduler(
        cycle_s=0.01,
        on_scan=on_scan,
        config=config,
        venue=venue_beside(),
        symbols=("BTCUSDT", "ETHUSDT"),
        say=lambda _: None,
    )
    await scheduler.start()
    assert scheduler.cycles == 2
    assert "report" in " ".join(seen[-1]["due"])
    await asyncio.gather(*stopping)


@pytest.mark.parametrize("answer", ["a new set", "nothing", "the same set", "an error"])
async def test_a_function_of_the_users_fills_the_learning_slot(config, answer):
    """It gets what closed since the slot before; a new parameter set it answers is journaled and in force,
    anything else changes nothing and ends nothing."""
    given, notes = [], []

    def learn(due):
        given.append(due)
        if answer == "an error":
            raise ZeroDivisionError("no outcomes")
        if answer == "a new set":
            gates = msgspec.structs.replace(due.params.gates, min_score=61.0)
            return msgspec.structs.replace(due.params, gates=gates, version="learnt-1")
        return due.params if answer == "the same set" else None

    async def follow():
        station = scheduler.trader.station
        ended = asyncio.Event()

        def hear(note):
            notes.append(note.event)
            if note.event in ("learning.has_ended", "learning.has_failed"):
                ended.set()

        station.listener.hear.append(hear)
        engine = station.program.engine
        slot_ms = engine.schedule.next_ms(LEARNING.name) - LEARNING.every_ms
        engine.schedule._done[LEARNING.name] -= LEARNING.every_ms  # a slot that was missed
        closed = [outcome(f"s{n}", slot_ms - n * LEARNING.every_ms // 2 - 1) for n in range(3)]
        for row in closed:
            station.recorder.on_outcome(RecordOutcome(row))
        station.program.rim.post(TimerFired(LEARNING.name))
        await ended.wait()
        await station.program.rim.ask(TimerFired("whatever was posted before is handled"))
        version.append(engine.params.version)
        assert [row.signal_id for row in given[0].outcomes] == ["s1", "s0"]
        await scheduler.stop()

    version = []
    following = []
    scheduler = cryptosignal.UnifiedScheduler(
        cycle_s=60.0,
        on_learning=learn,
        on_scan=lambda _: following.append(asyncio.ensure_future(follow())),
        config=config,
        venue=venue_beside(),
        symbols=("BTCUSDT",),
        say=lambda _: None,
    )
    await scheduler.start()
    await asyncio.gather(*following)
    assert (version == ["learnt-1"]) == (answer == "a new set")
    failed = answer in ("the same set", "an error")
    assert ("learning.has_failed" in notes) == failed


def outcome(signal_id, closed_ms):
    """A followed signal that closed then."""
    price = Decimal(1)
    return Outcome(
        signal_id, "BTCUSDT", "long", "prime", False, closed_ms - 1, closed_ms, price, price, price,
        price, price, price, price, 1.0, 1.0, 1.0, "tp1", 0,
    )  # fmt: skip


async def test_the_rest_client_reads_the_market_and_the_account():
    """BinanceFuturesClient reads candles, ticker, premium, depth and the account."""
    client = cryptosignal.BinanceFuturesClient(venue=venue_beside())
    await client.initialize()
    try:
        assert len(await client.get_klines("btcusdt", "1h", 5)) == 5
        assert (await client.get_ticker("BTCUSDT"))["symbol"] == "BTCUSDT"
        assert (await client.get_premium_index("BTCUSDT"))["symbol"] == "BTCUSDT"
        assert await client.get_depth("BTCUSDT", 5)
        assert (await client.get_account())["balances"]
    finally:
        await client.close()
    with pytest.raises(UserFault, match="not started"):
        _ = client.rest


def test_caches_keep_what_they_are_given():
    """KlineCache, RealtimeKlineCache, AggTradeCache and KlineFeed work on a board of their own."""
    clock, board = ManualClock(10 * MINUTE + 5_000), Board(capacity=4)
    cache = cryptosignal.RealtimeKlineCache(board, clock)
    assert isinstance(cache, cryptosignal.KlineCache)
    for k in range(10):
        cache.add("btcusdt", "1m", {"t": k * MINUTE, "o": 1, "h": 2, "l": 0.5, "c": 1.5, "v": k})
    assert [bar["volume"] for bar in cache.get("BTCUSDT", "1m", 3)] == [7, 8, 9]
    assert cache.get_latest("BTCUSDT", "1m")["timestamp"] == 9 * MINUTE
    feed = cryptosignal.KlineFeed(["btcusdt"], "1m", board=board, clock=clock)
    assert feed.get_latest_kline("BTCUSDT")["close"] == 1.5
    trades = cryptosignal.AggTradeCache(board, clock)
    trades.add("BTCUSDT", {"a": 1, "p": "1.5", "q": "2", "T": 10 * MINUTE, "m": False})
    assert [t["quantity"] for t in trades.get_recent("btcusdt", 60)] == [2.0]


def test_connections_and_streams_have_their_known_faces():
    """Pool, states, back-off, stream names, URLs, heartbeat and reconciliation answer as documented."""
    pool = cryptosignal.WebSocketConnectionPool()
    streams = cryptosignal.create_combined_streams(["BTCUSDT"], ["1h", "4h"])
    assert streams == ["btcusdt@kline_1h", "btcusdt@kline_4h"]
    first = pool.create_connection()
    assert pool.allocate_stream(streams[0]) == first
    assert pool.get_status()["streams"] == 1
    assert [s.name for s in cryptosignal.ConnectionState] == [
        "DISCONNECTED", "CONNECTING", "CONNECTED", "SUBSCRIBED", "LOST", "RECONNECTING", "FAILED",
    ]  # fmt: skip
    backoff = cryptosignal.ExponentialBackoff()
    assert [backoff.next_delay() for _ in range(3)] == [1.0, 2.0, 4.0]
    assert cryptosignal.build_websocket_url(streams, use_combined=True).endswith(
        "/market/stream?streams=" + "/".join(streams)
    )
    settings = Config().websocket
    assert cryptosignal.HeartbeatMonitor(settings).limit_ms("!markPrice@arr@1s") > 0
    ours = tuple(float(k) for k in range(1, 12))
    assert not cryptosignal.compare_bars(ours, ours, settings).is_mismatch
    assert callable(cryptosignal.compare_books)
    board = Board(capacity=2)
    book = cryptosignal.QualityBook(capacity=2)
    assert list(book.refresh(board, 1_000)) == []


def test_the_exchange_is_a_port():
    """Ports are protocols: what has the methods is an adapter, whoever wrote it."""
    ports = importlib.import_module("cryptosignal.domain.ports")
    for port in ("Transport", "Disk", "WsLink", "WsListener"):
        assert getattr(ports, port)._is_protocol, port
