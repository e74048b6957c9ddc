"""CryptoSignal: the whole Binance USDⓈ-M market watched from memory, scored, explained, traded safely.

The names that users know can be imported from here; each is loaded when it is first asked for, so
that importing the package costs nothing (docs/FROM_THE_ORIGINALS.md says what they are).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cryptosignal.binance.routes import build_websocket_url
    from cryptosignal.market.caches import AggTradeCache, KlineCache, KlineFeed, RealtimeKlineCache
    from cryptosignal.modes.config import Config, load_config
    from cryptosignal.modes.duties import (
        BinanceFuturesClient,
        DailyReporter,
        PositionController,
        UnifiedScheduler,
        data_service,
        websocket_manager,
    )
    from cryptosignal.modes.scanner import (
        OptimizedBatchScanner,
        PoolManager,
        RestScanner,
        ScanResult,
    )
    from cryptosignal.modes.station import Station
    from cryptosignal.modes.trader import (
        AutoTrader,
        SelfLearningTrader,
        run_periodic_scan,
        run_single_scan,
    )
    from cryptosignal.modes.trader import connection_works as test_connection
    from cryptosignal.net.account_feed import AccountFeed
    from cryptosignal.net.faces import DataService, NewCoinWSFeed, WebSocketManager
    from cryptosignal.quality.reconcile import compare_bars, compare_books
    from cryptosignal.quality.score import QualityBook
    from cryptosignal.streams.backoff import ExponentialBackoff
    from cryptosignal.streams.heartbeat import HeartbeatMonitor
    from cryptosignal.streams.names import create_combined_streams
    from cryptosignal.streams.pool import WebSocketConnectionPool
    from cryptosignal.streams.states import ConnectionState

__version__ = "0.1.0"

_WHERE: Final[dict[str, str]] = {
    "AccountFeed": "net.account_feed",
    "AggTradeCache": "market.caches",
    "AutoTrader": "modes.trader",
    "BinanceFuturesClient": "modes.duties",
    "Config": "modes.config",
    "ConnectionState": "streams.states",
    "DailyReporter": "modes.duties",
    "DataService": "net.faces",
    "ExponentialBackoff": "streams.backoff",
    "HeartbeatMonitor": "streams.heartbeat",
    "KlineCache": "market.caches",
    "KlineFeed": "market.caches",
    "NewCoinWSFeed": "net.faces",
    "OptimizedBatchScanner": "modes.scanner",
    "PoolManager": "modes.scanner",
    "PositionController": "modes.duties",
    "QualityBook": "quality.score",
    "RealtimeKlineCache": "market.caches",
    "RestScanner": "modes.scanner",
    "ScanResult": "modes.scanner",
    "SelfLearningTrader": "modes.trader",
    "Station": "modes.station",
    "UnifiedScheduler": "modes.duties",
    "WebSocketConnectionPool": "streams.pool",
    "WebSocketManager": "net.faces",
    "build_websocket_url": "binance.routes",
    "compare_bars": "quality.reconcile",
    "compare_books": "quality.reconcile",
    "create_combined_streams": "streams.names",
    "data_service": "modes.duties",
    "load_config": "modes.config",
    "run_periodic_scan": "modes.trader",
    "run_single_scan": "modes.trader",
    "test_connection": "modes.trader",
    "websocket_manager": "modes.duties",
}
"""Name -> the module that defines it."""

_OTHERWISE_CALLED: Final = {"test_connection": "connection_works"}
"""Names that their module spells differently."""

__all__ = [
    "AccountFeed",
    "AggTradeCache",
    "AutoTrader",
    "BinanceFuturesClient",
    "Config",
    "ConnectionState",
    "DailyReporter",
    "DataService",
    "ExponentialBackoff",
    "HeartbeatMonitor",
    "KlineCache",
    "KlineFeed",
    "NewCoinWSFeed",
    "OptimizedBatchScanner",
    "PoolManager",
    "PositionController",
    "QualityBook",
    "RealtimeKlineCache",
    "RestScanner",
    "ScanResult",
    "SelfLearningTrader",
    "Station",
    "UnifiedScheduler",
    "WebSocketConnectionPool",
    "WebSocketManager",
    "build_websocket_url",
    "compare_bars",
    "compare_books",
    "create_combined_streams",
    "data_service",
    "load_config",
    "run_periodic_scan",
    "run_single_scan",
    "test_connection",
    "websocket_manager",
]


def __getattr__(name: str) -> Any:
    """Load a known name when it is first asked for."""
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"cryptosignal.{where}")
    found = getattr(module, _OTHERWISE_CALLED.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
