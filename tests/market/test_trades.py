"""The trade ring, taker flow and large trades."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.market.made import T0, trade

from cryptosignal.market.board import Board


def test_a_maker_buyer_is_a_taker_sale():
    """isBuyerMaker true counts as a sale by a taker."""
    board = Board(capacity=4)
    board.feed(trade(1, 100, 2, T0, maker=True))
    board.feed(trade(2, 100, 3, T0 + 1, maker=False))
    flow = board.view(T0 + 10).flow
    assert (flow.sell_usdt[0], flow.buy_usdt[0], flow.trades[0]) == (200, 300, 2)


def test_flow_and_recent_follow_exchange_time():
    """Trades leave the window by their own time, whatever the local clock did meanwhile."""
    board = Board(capacity=4)
    board.feed(trade(1, 100, 1, T0))
    board.feed(trade(2, 100, 1, T0 + 30_000))
    assert board.view(T0 + 59_000).flow.trades[0] == 2
    assert board.view(T0 + 61_000).flow.trades[0] == 1
    assert board.view(T0 + 200_000).flow.trades[0] == 0
    assert board.tapes.recent(0, 60, T0 + 60_000)[0].tolist() == [T0 + 30_000]
    assert board.tapes.recent(0, 60, T0 + 29_999)[0].tolist() == [T0]


def test_a_symbol_without_a_tape_has_no_flow():
    """No trades stream: NaN, not zero."""
    board = Board(capacity=4)
    board.slot("ETHUSDT")
    board.feed(trade(1, 100, 1, T0))
    flow = board.view(T0).flow
    assert np.isnan(flow.buy_usdt[board.find("ETHUSDT")])
    assert flow.buy_usdt[board.find("BTCUSDT")] == 100


def test_duplicates_are_dropped_and_reordered_ones_kept():
    """The same id counts once, at once or later; an id that was overtaken still counts."""
    board = Board(capacity=4)
    for number in (1, 2, 4, 3, 3, 4, 1):
        board.feed(trade(number, 100, 1, T0 + number))
        if number == 4:
            board.flush(T0 + 5, whole=True)
    board.flush(T0 + 10, whole=True)
    assert board.tapes.total(0) == 4
    assert board.tapes.duplicates == 3


def test_missing_ids_are_counted():
    """A jump in trade ids is a miss of so many messages."""
    board = Board(capacity=4)
    board.feed(trade(10, 100, 1, T0))
    board.feed(trade(14, 100, 1, T0 + 1))
    board.flush(T0 + 5, whole=True)
    assert board.take_tally().ids_missed.sum() == 3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 400))
def test_batches_do_not_matter(seed, cut):
    """Flow, large flow and ring are the same however the trades were batched, and equal a plain sum."""
    rng = random.Random(seed)
    trades = [
        (
            n,
            round(rng.uniform(90, 110), 2),
            round(rng.expovariate(1) + 0.01, 3),
            T0 + n * 90,
            rng.random() < 0.5,
        )
        for n in range(1, 500)
    ]
    one, two = Board(capacity=4), Board(capacity=4)
    for index, (n, price, qty, at, maker) in enumerate(trades):
        one.feed(trade(n, price, qty, at, maker))
        two.feed(trade(n, price, qty, at, maker))
        if index % cut == 0:
            two.flush(at, whole=True)
    now = trades[-1][3]
    a, b = one.view(now).flow, two.view(now).flow
    for name in ("buy_usdt", "sell_usdt", "large_buy_usdt", "large_sell_usdt", "trades"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-12)
    oldest = now // 1000 - 60
    buys = sum(p * q for _, p, q, at, maker in trades if at // 1000 > oldest and not maker)
    np.testing.assert_allclose(a.buy_usdt[0], buys, rtol=1e-12)
    assert 0 < a.large_buy_usdt[0] + a.large_sell_usdt[0] < 0.6 * (a.buy_usdt[0] + a.sell_usdt[0])
