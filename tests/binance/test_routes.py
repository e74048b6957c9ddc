"""Stream names to routes and URLs: a stream on the wrong route would be silent."""

from __future__ import annotations

import pytest

from cryptosignal.binance.routes import MAINNET, Routes, by_route, lower_stream, stream_route

ROUTES = [
    ("btcusdt@bookTicker", "public"),
    ("!bookTicker", "public"),
    ("btcusdt@depth5", "public"),
    ("btcusdt@depth20@100ms", "public"),
    ("btcusdt@depth@500ms", "public"),
    ("btcusdt@rpiDepth@500ms", "public"),
    ("btcusdt@trade", "public"),
    ("btcusdt@aggTrade", "market"),
    ("btcusdt@markPrice@1s", "market"),
    ("!markPrice@arr@1s", "market"),
    ("btcusdt@kline_1m", "market"),
    ("btcusdt_perpetual@continuousKline_1s", "market"),
    ("btcusdt@miniTicker", "market"),
    ("!miniTicker@arr", "market"),
    ("!ticker@arr", "market"),
    ("!forceOrder@arr", "market"),
    ("btcusdt@forceOrder", "market"),
    ("!contractInfo", "market"),
    ("!assetIndex@arr", "market"),
    ("tradingSession", "market"),
]


@pytest.mark.parametrize(("stream", "route"), ROUTES)
def test_every_stream_has_its_route(stream: str, route: str):
    """The routing table of BINANCE §1, row by row."""
    assert stream_route(stream) == route


def test_urls_name_the_route():
    """Combined, raw and bare URLs carry the route that delivers."""
    streams = ["btcusdt@kline_1m", "ethusdt@aggTrade"]
    base = "wss://fstream.binance.com/market"
    assert MAINNET.combined_url("market", streams) == f"{base}/stream?streams={'/'.join(streams)}"
    assert MAINNET.build_websocket_url(streams) == MAINNET.combined_url("market", streams)
    assert (
        MAINNET.build_websocket_url(streams, use_combined=False) == f"{base}/ws/{'/'.join(streams)}"
    )
    assert MAINNET.bare_url("public") == "wss://fstream.binance.com/public/stream"


def test_mixed_routes_are_refused():
    """One connection cannot carry two routes: the wrong half would be acknowledged and silent."""
    with pytest.raises(ValueError, match="one route"):
        MAINNET.build_websocket_url(["btcusdt@kline_1m", "btcusdt@bookTicker"])
    with pytest.raises(ValueError, match="not delivered"):
        MAINNET.combined_url("public", ["btcusdt@kline_1m"])
    assert by_route(["btcusdt@kline_1m", "btcusdt@bookTicker"]) == {
        "market": ["btcusdt@kline_1m"],
        "public": ["btcusdt@bookTicker"],
    }


def test_too_many_streams_are_refused():
    """The venue's 1,024 streams a connection are a limit of the URL too."""
    with pytest.raises(ValueError, match="1025"):
        MAINNET.combined_url("market", [f"s{n}@kline_1m" for n in range(1025)])


def test_private_url_names_its_events():
    """The private stream is opened in its query form with the events named, the key escaped."""
    url = MAINNET.private_url("a/b")
    assert url.startswith(
        "wss://fstream.binance.com/private/ws?listenKey=a%2Fb&events=ORDER_TRADE_UPDATE/"
    )
    assert "ALGO_UPDATE" in url
    assert "listenKeyExpired" in url
    assert MAINNET.private_url("k", ()) == "wss://fstream.binance.com/private/ws?listenKey=k"


def test_names_outside_ascii_are_percent_encoded():
    """Chinese symbols exist since 2025-10."""
    assert lower_stream("币安USDT", "kline_1m") == "币安usdt@kline_1m"
    url = MAINNET.combined_url("market", ["币安usdt@kline_1m"])
    assert url.endswith("streams=%E5%B8%81%E5%AE%89usdt@kline_1m")


@pytest.mark.parametrize(
    ("rest_url", "ws_url", "key"),
    [
        ("fapi.binance.com", "wss://x", "rest_url"),
        ("https://x/", "wss://x", "rest_url"),
        ("https://x", "https://x", "ws_url"),
        ("https://x", "", "ws_url"),
    ],
)
def test_a_bad_base_url_is_one_line(rest_url: str, ws_url: str, key: str):
    """The text names the key and what is allowed."""
    with pytest.raises(ValueError, match=f"{key}.*allowed"):
        Routes(rest_url, ws_url)
