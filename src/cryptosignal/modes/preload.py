"""What fills from streams after the start, told as the steps of the preload (DOMAIN §0.17).

Order books and trades of the warm tier come by stream, never by REST; they are counted here until
each symbol has its own or patience ends: a coin that does not trade has none to give.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from cryptosignal.ground.clock import Clock
from cryptosignal.market.board import Board

BOOKS: Final = "order books (streams)"
TRADES: Final = "trades (streams)"
LOOK_S: Final = 1.0
PATIENCE_S: Final = 60.0
"""A minute: so long a quiet coin may need for its first trade."""

Tell = Callable[[str, int, int, float], None]


def filled(board: Board, symbols: Sequence[str], now_ms: int) -> dict[str, int]:
    """How many of `symbols` have a book, and a trade of the last minute."""
    slots = [slot for slot in map(board.find, symbols) if slot >= 0]
    board.intake.read_books(set(slots))
    count = len(board.symbols)
    books = board.tops.view(now_ms, count).age_ms[slots]
    trades = board.tapes.flow(now_ms, count).trades[slots]
    return {
        BOOKS: int(np.isfinite(books).sum()),
        TRADES: int((np.nan_to_num(trades) > 0.0).sum()),
    }


async def tell_streams(
    board: Board,
    kinds: Sequence[str],
    warm: Callable[[], Sequence[str]],
    clock: Clock,
    tell: Tell,
) -> None:
    """Tell `(step, done, total, seconds)` as books and trades of the warm tier arrive; in the end
    a step that is not whole is told once more without those that stayed silent. `kinds` are the
    streams of the warm tier (`aggTrade`, `depth20@…`); what is not streamed is no step."""
    began_ns = clock.mono_ns()
    streamed = {BOOKS: "depth", TRADES: "aggTrade"}
    most = {
        step: 0 for step, name in streamed.items() if any(kind.startswith(name) for kind in kinds)
    }
    open_steps = dict.fromkeys(most)
    while open_steps:
        symbols, seconds = warm(), (clock.mono_ns() - began_ns) / 1e9
        if not symbols:
            return
        found = filled(board, symbols, clock.now_ms())
        for step in tuple(open_steps):
            done, total = max(most[step], min(found[step], len(symbols))), len(symbols)
            if done >= total:
                tell(step, total, total, seconds)
                del open_steps[step]
            elif seconds >= PATIENCE_S:
                tell(f"{step}, {total - done} silent", done, done, seconds)
                del open_steps[step]
            elif done != most[step]:
                tell(step, done, total, seconds)
            most[step] = done
        if open_steps:
            await asyncio.sleep(LOOK_S)
