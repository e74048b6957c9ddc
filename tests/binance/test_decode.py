"""Bytes to words: the odd corners that real payloads and careless peers have."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptosignal.binance.decode import account, market, rest
from cryptosignal.binance.decode.account import KeyExpired
from cryptosignal.binance.decode.garbled import Garbled
from cryptosignal.binance.decode.market import Control, Frame, Unmapped
from cryptosignal.binance.wire.market import AggTrade, Kline, MarkPriceUpdate
from cryptosignal.domain.events import AccountUpdated, AlgoUpdated, OrderUpdated, TradeSeen
from cryptosignal.domain.order import OrderKind, Side

MARK = {
    "e": "markPriceUpdate",
    "E": 1,
    "s": "BTCUSDT",
    "p": "68005.8",
    "P": "1",
    "i": "2",
    "r": "",
    "T": 3,
}
TRADE = {
    "e": "aggTrade",
    "E": 9,
    "a": 1,
    "s": "BTCUSDT",
    "p": "1.5",
    "q": "2",
    "f": 1,
    "l": 2,
    "T": 8,
    "m": True,
}
KLINE = {
    "e": "kline",
    "E": 5,
    "s": "BTCUSDT",
    "k": {
        "t": 0,
        "T": 59999,
        "s": "BTCUSDT",
        "i": "1m",
        "f": -1,
        "L": -1,
        "o": "1",
        "c": "2",
        "h": "3",
        "l": "0.5",
        "v": "4",
        "n": 0,
        "x": True,
        "q": "6",
        "V": "2",
        "Q": "3",
        "B": "0",
    },
}
ORDER = {
    "e": "ORDER_TRADE_UPDATE",
    "T": 1,
    "E": 2,
    "o": {
        "s": "BTCUSDT",
        "c": "csa-k-e0",
        "S": "BUY",
        "o": "MARKET",
        "f": "GTC",
        "q": "0.1",
        "p": "0",
        "ap": "60000.5",
        "sp": "0",
        "x": "TRADE",
        "X": "FILLED",
        "i": 7,
        "l": "0.1",
        "z": "0.1",
        "L": "60000.5",
        "n": "2.4",
        "N": "USDT",
        "T": 1,
        "t": 55,
        "b": "0",
        "a": "0",
        "m": False,
        "R": False,
        "wt": "CONTRACT_PRICE",
        "ot": "MARKET",
        "ps": "BOTH",
        "cp": False,
        "rp": "-1.5",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "NONE",
        "pm": "NONE",
        "gtd": 0,
        "er": "9",
    },
}
ALGO = {
    "e": "ALGO_UPDATE",
    "T": 1,
    "E": 2,
    "o": {
        "caid": "csa-k-s0",
        "aid": 3,
        "at": "CONDITIONAL",
        "o": "STOP_MARKET",
        "s": "BTCUSDT",
        "S": "SELL",
        "ps": "BOTH",
        "f": "GTC",
        "q": "38",
        "X": "TRIGGERING",
        "ai": "",
        "tp": "0.13855",
        "p": "0",
        "V": "EXPIRE_MAKER",
        "wt": "CONTRACT_PRICE",
        "pm": "NONE",
        "cp": False,
        "pP": False,
        "R": True,
        "tt": 0,
        "gtd": 0,
        "ia": False,
    },
}


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def one(payload: Any) -> Any:
    frame = market.market_frame(body(payload))
    assert isinstance(frame, Frame)
    [message] = frame.messages
    return message


def test_raw_and_combined_frames_are_the_same_message():
    """The envelope only adds the stream's name."""
    combined = market.market_frame(body({"stream": "btcusdt@aggTrade", "data": TRADE}))
    assert isinstance(combined, Frame)
    assert combined.stream == "btcusdt@aggTrade"
    assert combined.messages == (one(TRADE),)
    assert isinstance(one(TRADE), AggTrade)


def test_an_empty_funding_rate_is_nan():
    """`r:""` is no funding, never zero."""
    update = one(MARK)
    assert isinstance(update, MarkPriceUpdate)
    mark = market.mark_of(update)
    assert math.isnan(mark.funding_rate)
    assert (mark.mark, mark.index, mark.next_funding_ms) == (68005.8, 2.0, 3)


def test_a_mark_without_index_is_nan():
    """Old frames have no index."""
    assert math.isnan(market.mark_of(one({k: v for k, v in MARK.items() if k != "i"})).index)


def test_a_kline_becomes_a_bar():
    """All fields in our words, taker volume included; a tradeless bar has ids of -1."""
    kline = one(KLINE)
    assert isinstance(kline, Kline)
    bar = market.bar_of(kline)
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (1, 3, 0.5, 2, 4)
    assert (bar.quote_volume, bar.taker_buy_volume, bar.taker_buy_quote, bar.trades) == (6, 2, 3, 0)
    assert bar.is_closed
    assert market.bar_of(kline.k) == bar


def test_coin_margined_rows_of_merged_arrays_are_left_out():
    """Since 2026-06 the all-market arrays carry st=2 too; those are not ours."""
    rows = [MARK | {"st": 1}, MARK | {"s": "BTCUSD_PERP", "st": 2}, MARK]
    frame = market.market_frame(body({"stream": "!markPrice@arr", "data": rows}))
    assert isinstance(frame, Frame)
    assert [message.s for message in frame.messages] == ["BTCUSDT", "BTCUSDT"]
    assert isinstance(market.market_frame(body(rows)), Frame)


def test_controls_are_not_data():
    """Acknowledgements, listings and errors of SUBSCRIBE come back as such."""
    assert market.market_frame(b'{"result":null,"id":1}') == Control(1)
    assert market.market_frame(b'{"result":["a","b"],"id":"x"}') == Control("x", "", ("a", "b"))
    refused = market.market_frame(b'{"error":{"code":2,"msg":"Invalid request"},"id":3}')
    assert isinstance(refused, Control)
    assert "Invalid request" in refused.error
    assert market.market_frame(b'{"code":2,"msg":"bad","id":4}') == Control(4, "2: bad")


def test_unknown_types_are_unmapped_and_unknown_fields_ignored():
    """The venue adds messages and fields every month: neither is an error."""
    assert market.market_frame(body({"e": "novelty", "x": 1})) == Unmapped("novelty")
    assert market.market_frame(body({"stream": "s", "data": {"e": "novelty"}})) == Unmapped(
        "novelty", "s"
    )
    assert one(TRADE | {"zz": {"deep": [1]}}) == one(TRADE)


@pytest.mark.parametrize(
    "number", ["NaN", "nan", "Infinity", "-inf", "1e999", "", "1_0", "0x1", "abc", None]
)
def test_numbers_that_are_none_are_refused(number: str | None):
    """A price is a finite decimal or the frame is garbled, on every route."""
    with pytest.raises(Garbled):
        market.market_frame(body(TRADE | {"p": number}))
    with pytest.raises(Garbled):
        account.account_frame(body(ORDER | {"o": ORDER["o"] | {"ap": number}}))
    with pytest.raises(Garbled):
        rest.klines(body([[0, number, "1", "1", "1", "1", 1, "1", 1, "1", "1", "0"]]))
    with pytest.raises(Garbled):
        rest.balances(body([{"asset": "USDT", "balance": number, "availableBalance": "1"}]))
    if number:
        with pytest.raises(Garbled):
            market.market_frame(body(MARK | {"r": number}))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_garbage_is_garbled_and_nothing_else(payload: bytes):
    """Any bytes give a value or `Garbled`."""
    for read in (
        market.market_frame,
        account.account_frame,
        rest.klines,
        rest.order,
        rest.server_time,
    ):
        try:
            read(payload)
        except Garbled:
            continue


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([ORDER, ALGO, KLINE, MARK, TRADE]), st.data())
def test_damaged_messages_are_garbled_and_nothing_else(message: dict[str, Any], data: Any):
    """A field lost or of a wrong type never escapes as a foreign exception."""
    target = json.loads(json.dumps(message))
    inner = target.get("o") or target.get("k") or target
    key = data.draw(st.sampled_from(sorted(inner)))
    inner[key] = data.draw(st.sampled_from([None, 1.5, "x", [], {}, True, -(2**70)]))
    for read in (market.market_frame, account.account_frame):
        try:
            read(body(target))
        except Garbled:
            continue


def test_an_order_update_in_our_words():
    """A fill with fee, realised PnL and expiry reason."""
    event = account.account_frame(body({"stream": "key", "data": ORDER}))
    assert isinstance(event, OrderUpdated)
    assert (event.client_id, event.order_id, event.trade_id) == ("csa-k-e0", 7, 55)
    assert (event.side, event.execution, event.status) == (Side.BUY, "TRADE", "FILLED")
    assert (event.last_quantity, event.last_price) == (Decimal("0.1"), Decimal("60000.5"))
    assert (event.fee, event.fee_asset, event.realized_usdt) == (
        Decimal("2.4"),
        "USDT",
        Decimal("-1.5"),
    )
    assert event.expiry_reason == "9"


def test_nulls_of_liquidation_frames_read_as_nothing():
    """Liquidations send null for prices and fees that do not exist."""
    inner = ORDER["o"] | {"sp": None, "N": None, "n": None, "AP": None, "cr": None, "er": None}
    event = account.account_frame(body(ORDER | {"o": inner}))
    assert isinstance(event, OrderUpdated)
    assert (event.fee, event.fee_asset, event.expiry_reason) == (Decimal(0), "", "")


@pytest.mark.parametrize("name", ["ALGO_UPDATE", "ALGO_ORDER_UPDATE"])
def test_both_names_of_algo_updates_are_one_event(name: str):
    """The venue's documents and its users disagree on the name."""
    event = account.account_frame(body(ALGO | {"e": name}))
    assert isinstance(event, AlgoUpdated)
    assert (event.client_id, event.status, event.child_order_id) == ("csa-k-s0", "TRIGGERING", "")
    assert (event.executed, event.average_price) == (Decimal(0), Decimal(0))


def test_an_algo_type_of_somebody_else_is_other():
    """A manual order of a type that we do not know is still an order."""
    event = account.account_frame(body(ALGO | {"o": ALGO["o"] | {"o": "NOVEL_STOP"}}))
    assert isinstance(event, AlgoUpdated)
    assert event.kind is OrderKind.OTHER


def test_trade_lite_is_a_fill_without_fee():
    """TRADE_LITE passes as TradeSeen with last quantity and price, at the execution's own time."""
    lite = {
        "e": "TRADE_LITE",
        "E": 3,
        "T": 1,
        "s": "BTCUSDT",
        "q": "0.10",
        "p": "0",
        "m": False,
        "c": "c1",
        "S": "SELL",
        "L": "80.19",
        "l": "0.04",
        "t": 3,
        "i": 4,
    }
    event = account.account_frame(body(lite))
    assert event == TradeSeen(
        "BTCUSDT", "c1", 4, Side.SELL, Decimal("0.04"), Decimal("80.19"), 3, 1
    )


def test_an_account_update_carries_only_what_changed():
    """Funding on a cross position: balances alone, with the symbol that paid."""
    update = {
        "e": "ACCOUNT_UPDATE",
        "E": 2,
        "T": 1,
        "a": {
            "m": "FUNDING_FEE",
            "S": "BTCUSDT",
            "B": [{"a": "USDT", "wb": "10", "cw": "9", "bc": "-0.5"}],
        },
    }
    event = account.account_frame(body(update))
    assert isinstance(event, AccountUpdated)
    assert (event.reason, event.funding_symbol, event.positions) == ("FUNDING_FEE", "BTCUSDT", ())
    assert event.balance_change_usdt == Decimal("-0.5")


def test_an_expired_key_is_told_apart():
    """listenKeyExpired ends the connection's use though its socket stays open."""
    expired = {"e": "listenKeyExpired", "E": 5, "listenKey": "hush"}
    assert account.account_frame(body(expired)) == KeyExpired(5)


@pytest.mark.parametrize(
    "name", ["STRATEGY_UPDATE", "GRID_UPDATE", "CONDITIONAL_ORDER_TRIGGER_REJECT", "NEWS"]
)
def test_account_events_of_no_concern_are_unmapped(name: str):
    """They are counted, not dropped in silence and no error."""
    assert account.account_frame(body({"e": name, "E": 1})) == Unmapped(name)


@pytest.mark.parametrize("stamp", [1583127900000, "1583127900000"])
def test_statistics_timestamps_come_as_int_or_text(stamp: int | str):
    """futures/data quotes its timestamps in places."""
    row = {"symbol": "X", "sumOpenInterest": "1.5", "sumOpenInterestValue": "2", "timestamp": stamp}
    assert rest.open_interest(body([row])) == (rest.OpenInterest(1583127900000, 1.5, 2.0),)


def test_error_bodies_of_every_shape():
    """Codes as number or text, and pages of proxies, give something to judge by."""
    assert rest.error_body(b'{"code":-1121,"msg":"Invalid symbol."}') == (-1121, "Invalid symbol.")
    assert rest.error_body(b'{"code":"-2011","msg":"x"}') == (-2011, "x")
    assert rest.error_body(b'{"code":"abc","msg":"x"}')[0] == 0
    assert rest.error_body(b"<html>Bad Gateway</html>") == (0, "<html>Bad Gateway</html>")
    assert rest.error_body(b"") == (0, "")


def test_a_cancelled_algo_order_answers_in_either_shape():
    """Some hosts answer with the order, some with a code as text: both are fine for us."""
    assert (
        rest.algo(body({"algoId": 1, "clientAlgoId": "x", "symbol": "S", "side": "BUY"})).status
        == "NEW"
    )


def test_no_klines_is_an_empty_table():
    """An empty answer keeps its eleven columns."""
    assert rest.klines(b"[]").shape == (0, 11)


def test_isolated_positions_are_told_by_their_wallet():
    """v3 names no margin type; v2 does, in its own spelling."""
    row = {"symbol": "X", "positionAmt": "1", "entryPrice": "2"}
    kinds = [
        rest.positions(body([row | extra]))[0].margin_type
        for extra in (
            {},
            {"isolatedWallet": "5"},
            {"marginType": "isolated"},
            {"marginType": "cross"},
        )
    ]
    assert kinds == ["cross", "isolated", "isolated", "cross"]


RIGHTS = [
    ({}, ""),
    ({"enableWithdrawals": True}, "withdraw"),
    ({"enableInternalTransfer": True}, "transfer"),
    ({"permitsUniversalTransfer": True}, "transfer"),
    ({"ipRestrict": False}, "IP"),
    ({"enableFutures": False}, "futures"),
]


@pytest.mark.parametrize(("change", "word"), RIGHTS)
def test_keys_that_can_do_harm_are_refused(change: dict[str, bool], word: str):
    """The refusal names what to change; a good key has none."""
    good = {
        "ipRestrict": True,
        "enableWithdrawals": False,
        "enableInternalTransfer": False,
        "permitsUniversalTransfer": False,
        "enableFutures": True,
    }
    refusal = rest.key_rights(body(good | change)).refusal()
    assert (word in refusal) if word else refusal == ""
