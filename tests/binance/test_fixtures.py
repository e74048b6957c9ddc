"""Real payloads of the venue, collected from public sources, decode without a lost field."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import msgspec
import pytest
from tests.shared import SHARED

from cryptosignal.binance.decode import account, market, rest
from cryptosignal.binance.decode.market import Frame, Unmapped
from cryptosignal.binance.wire import account as account_wire
from cryptosignal.binance.wire import market as market_wire
from cryptosignal.binance.wire import rest as rest_wire

FIXTURES = SHARED / "fixtures"
pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason="no fixtures beside the project")

ACCOUNT_TAGS = {kind.__struct_config__.tag for kind in account_wire.AccountMessage.__args__}
MARKET_TAGS = {kind.__struct_config__.tag for kind in market_wire.MarketMessage.__args__}


def lines(name: str) -> list[dict[str, Any]]:
    path = FIXTURES / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def frames() -> list[Any]:
    """Every captured WebSocket frame of the fixture files."""
    found = []
    for name in ("frames_public_code.jsonl", "frames_tardis_node.jsonl", "frames_unicorn_fy.jsonl"):
        found += [row["payload"] for row in lines(name) if not is_synthetic(row["payload"])]
    found += [row["payload"] for row in lines("nautilus_futures.jsonl") if is_frame(row["payload"])]
    for row in lines("binance_net_usdfutures.jsonl"):
        if row["name"].startswith("Subscriptions/"):
            found += socket_frames(row["text"])
    return found


def is_synthetic(payload: Any) -> bool:
    return isinstance(payload, dict) and payload.get("generated", False)


def is_frame(payload: Any) -> bool:
    return isinstance(payload, dict) and ("e" in payload or "stream" in payload)


def socket_frames(text: str) -> list[Any]:
    """Frames of a recorded conversation: what follows `=` lines, whole JSON values only."""
    found = []
    for part in re.split(r"^=\d*\s*$|^=\d*(?=\s*\{)", text, flags=re.M)[1:]:
        body = re.split(r"^[<>]", part, flags=re.M)[0].strip()
        try:
            value = json.loads(body)
        except json.JSONDecodeError:
            continue  # a template with placeholders
        if is_frame(value):
            found.append(value)
    return found


def data_of(frame: Any) -> Any:
    return frame["data"] if isinstance(frame, dict) and "data" in frame else frame


def same(sent: Any, read: Any) -> bool:
    """Equal up to how numbers are written."""
    if isinstance(sent, list) and isinstance(read, list | tuple):
        return len(sent) == len(read) and all(map(same, sent, read))
    if isinstance(sent, dict) and isinstance(read, dict):
        return all(same(value, read.get(key)) for key, value in sent.items() if key in read)
    if isinstance(sent, str) and isinstance(read, int | float) and not isinstance(read, bool):
        return float(sent) == float(read)
    if isinstance(sent, int | float) and isinstance(read, int | float):
        return float(sent) == float(read)
    return sent == read


def named_fields(kind: Any) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


def lost(sent: dict[str, Any], read: Any, path: str = "") -> list[str]:
    """Keys of `sent` that `read` does not hold with the same value."""
    missing = []
    plain = msgspec.to_builtins(read)
    for key, value in sent.items():
        if key == "e":
            continue
        if key not in plain or not same(value, plain[key]):
            missing.append(f"{path}{key}")
        elif isinstance(value, dict):
            missing += lost(value, getattr(read, key), f"{path}{key}.")
    return missing


def test_every_market_frame_decodes_without_a_lost_field():
    """Each captured market message keeps every key and value it came with."""
    seen = set()
    for frame in frames():
        rows = data_of(frame)
        rows = rows if isinstance(rows, list) else [rows]
        if not rows or rows[0].get("e") not in MARKET_TAGS:
            continue
        if rows[0]["e"] == "kline" and "o" not in rows[0]["k"]:
            continue  # a stub in somebody's test, not a venue's message
        decoded = market.market_frame(json.dumps(frame).encode())
        assert isinstance(decoded, Frame), (frame, decoded)
        assert len(decoded.messages) == len(rows)
        for sent, read in zip(rows, decoded.messages, strict=True):
            seen.add(sent["e"])
            assert lost(sent, read) == [], sent
    assert seen >= {"aggTrade", "markPriceUpdate", "kline", "continuous_kline", "24hrMiniTicker"}
    assert seen >= {
        "24hrTicker",
        "bookTicker",
        "depthUpdate",
        "forceOrder",
        "trade",
        "contractInfo",
    }


RAW = {
    "usdm_4streams_20210722.jsonl.gz": 1,
    "usdm_btcusdt_20220811.jsonl.gz": 1,
    "usdm_btcusdt_20240808.jsonl.gz": 5,
}
"""Recordings of live connections, and of which every so-manieth frame is looked at whole."""
RAW_KINDS = {
    "usdm_4streams_20210722.jsonl.gz": {"aggTrade", "kline", "depth", "depthUpdate", "bookTicker"},
    "usdm_btcusdt_20220811.jsonl.gz": {"trade", "depthUpdate", "depth"},
    "usdm_btcusdt_20240808.jsonl.gz": {"trade", "depthUpdate", "bookTicker", "depth"},
}


def recorded(name: str, every: int) -> list[dict[str, Any]]:
    """What a recording holds: `{"stream", "data"}` of sockets, `{"url", "payload"}` of REST."""
    found = []
    with gzip.open(SHARED / "data/raw" / name, "rt") as recording:
        for number, line in enumerate(recording):
            is_depth_reply = '"lastUpdateId"' in line
            if number % every and not is_depth_reply:
                continue
            row = json.loads(line[line.index("{") :])
            found.append(row["payload"] if row.get("kind") == "ws" else row)
    return found


@pytest.mark.parametrize(("name", "every"), RAW.items(), ids=RAW)
def test_every_frame_of_a_recording_decodes_without_a_lost_field(name: str, every: int):
    """Each frame of a recorded connection keeps every key and value, each depth snapshot by REST
    every level."""
    seen = set()
    for row in recorded(name, every):
        if "stream" not in row:
            sent = row.get("payload", row)
            book = rest.depth(json.dumps(sent).encode())
            assert same(sent["bids"], book.bids.tolist())
            assert same(sent["asks"], book.asks.tolist())
            assert book.last_update_id == sent["lastUpdateId"]
            seen.add("depth")
            continue
        decoded = market.market_frame(json.dumps(row).encode())
        assert isinstance(decoded, Frame), (row, decoded)
        assert decoded.stream == row["stream"]
        (read,) = decoded.messages
        assert lost(row["data"], read) == [], row
        seen.add(row["data"]["e"])
    assert seen >= RAW_KINDS[name]


def test_every_account_frame_decodes_without_a_lost_field():
    """Each captured user-data message keeps every key and value, and becomes an event of ours."""
    decoder = msgspec.json.Decoder(account_wire.AccountMessage, strict=False)
    seen = set()
    for frame in frames():
        sent = data_of(frame)
        if not isinstance(sent, dict) or sent.get("e") not in ACCOUNT_TAGS:
            continue
        seen.add(sent["e"])
        assert lost(sent, decoder.decode(json.dumps(sent))) == [], sent
        event = account.account_frame(json.dumps(frame).encode())
        assert isinstance(event, Unmapped) == (sent["e"] == "ACCOUNT_CONFIG_UPDATE")
    assert seen >= {
        "ORDER_TRADE_UPDATE",
        "TRADE_LITE",
        "ACCOUNT_UPDATE",
        "ALGO_UPDATE",
        "MARGIN_CALL",
    }


def test_no_captured_frame_is_garbled():
    """Whatever a public capture holds is a message, a control answer or unmapped, never an error."""
    for frame in frames():
        body = json.dumps(frame).encode()
        market.market_frame(body) if not is_stub(frame) else None
        if isinstance(data_of(frame), dict):
            account.account_frame(body)


def is_stub(frame: Any) -> bool:
    data = data_of(frame)
    return isinstance(data, dict) and data.get("e") == "kline" and "o" not in data["k"]


def rest_answers() -> list[tuple[str, bytes]]:
    found = []
    for row in lines("binance_net_usdfutures.jsonl"):
        parts = row["text"].split("\n", 3)
        if len(parts) == 4 and parts[0] in ("GET", "POST", "PUT", "DELETE"):
            found.append((f"{parts[0]} {parts[1]}", parts[3].encode()))
    return found


READERS = {
    "GET /fapi/v1/openOrders": rest.orders,
    "GET /fapi/v1/order": rest.order,
    "POST /fapi/v1/order": rest.order,
    "DELETE /fapi/v1/order": rest.order,
    "POST /fapi/v1/algoOrder": rest.algo,
    "GET /fapi/v1/algoOrder": rest.algo,
    "GET /fapi/v1/openAlgoOrders": rest.algos,
    "GET /fapi/v1/allAlgoOrders": rest.algos,
    "GET /fapi/v3/positionRisk": rest.positions,
    "GET /fapi/v3/balance": rest.balances,
    "GET /fapi/v1/userTrades": rest.user_trades,
    "GET /fapi/v1/income": rest.income,
    "GET /fapi/v1/klines": rest.klines,
    "GET /fapi/v1/depth": rest.depth,
    "GET /fapi/v1/premiumIndex": rest.premium_index,
    "GET /fapi/v1/fundingRate": rest.funding,
    "GET /fapi/v1/exchangeInfo": rest.exchange_rules,
    "GET /futures/data/openInterestHist": rest.open_interest,
    "GET /fapi/v1/positionSide/dual": rest.hedge_mode,
}


def test_every_rest_answer_that_we_ask_for_decodes():
    """Recorded answers of the endpoints in use become values of ours."""
    read = set()
    for name, body in rest_answers():
        if name in READERS:
            READERS[name](body)
            read.add(name)
    assert len(read) >= 10, sorted(read)


def test_nautilus_rest_answers_decode():
    """Recorded REST answers of another client's test data become values of ours."""
    by_name = {
        row["name"]: json.dumps(row["payload"]).encode() for row in lines("nautilus_futures.jsonl")
    }
    assert rest.balances(by_name["balance"])[0].asset == "USDT"
    assert rest.positions(by_name["position_risk"])[0].symbol == "BTCUSDT"
    assert rest.positions(by_name["http_futures_account_positions_one_way"]) == ()
    assert rest.order(by_name["order_response"]).client_id == "testOrder123"
    assert len(rest.user_trades(by_name["http_futures_account_trades"])) >= 2
    assert rest.hedge_mode(by_name["http_futures_account_position_side_dual"])
    assert rest.depth(by_name["http_futures_market_depth"]).last_update_id == 1027024
    oi = rest.open_interest(by_name["http_futures_market_open_interest_historical"])
    assert oi[0].time_ms == 1583127900000
    assert rest.funding(by_name["http_futures_market_funding_rate"])[0].rate == -0.0375
    for name in ("http_futures_market_index_price_klines", "http_futures_market_mark_price_klines"):
        assert rest.klines(by_name[name]).shape == (1, 11)


def test_recorded_daily_klines_decode_row_for_row():
    """Klines keep every one of the eleven meaningful columns."""
    for row in lines("rest_klines_1d.jsonl"):
        table = rest.klines(json.dumps(row["payload"]).encode())
        assert table.shape == (len(row["payload"]), 11)
        for sent, read in zip(row["payload"], table, strict=True):
            assert [float(value) for value in sent[:11]] == read.tolist()


def test_mainnet_excerpt_decodes():
    """The newest mainnet excerpt yields instruments, marks and open interest."""
    parts = json.loads((FIXTURES / "mainnet_rest_excerpt_20260930.json").read_text())
    rules = rest.exchange_rules(json.dumps(parts["exchangeInfo"]).encode())
    btc = next(i for i in rules.instruments if i.symbol == "BTCUSDT")
    assert btc.is_tradable_perpetual
    assert str(btc.filters.tick_size) == "0.10"
    assert rest.premium_index(json.dumps(parts["premiumIndex"]).encode())[0].mark == 83829.8
    assert rest.open_interest(json.dumps(parts["openInterestHist_5m"]).encode())[0].contracts > 0
    assert rest.funding_hours(json.dumps(parts["fundingInfo"]).encode())["GTCUSDT"] == 8


@pytest.mark.parametrize(
    "name", ["exchangeInfo_20210722.json.gz", "exchangeInfo_TESTNET_20251126.json.gz"]
)
def test_whole_exchange_infos_decode(name: str):
    """Every symbol of a full exchangeInfo that has a tick and a step becomes an instrument."""
    body = gzip.decompress((FIXTURES / name).read_bytes())
    sent = json.loads(body)
    rules = rest.exchange_rules(body)
    usable = [row for row in sent["symbols"] if float(row["filters"][0]["tickSize"]) > 0]
    assert [i.symbol for i in rules.instruments] == [row["symbol"] for row in usable]
    assert len(usable) > 100
    assert rules.limits.weight == next(
        r["limit"] for r in sent["rateLimits"] if r["rateLimitType"] == "REQUEST_WEIGHT"
    )
    for instrument in rules.instruments:
        assert instrument.filters.tick_size > 0
        assert instrument.filters.step_size > 0


def test_order_reply_names_all_that_recovery_needs():
    """The fields by which an order is found again are part of the typed answer."""
    assert {"clientOrderId", "orderId", "executedQty", "status"} <= named_fields(
        rest_wire.OrderReply
    )
