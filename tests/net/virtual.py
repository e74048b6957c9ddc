"""Coroutines under virtual time: hours pass at once, and a run repeats exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from cryptosignal.ground.clock import LoopClock
from cryptosignal.ground.loop import VirtualLoop

T = TypeVar("T")
START_MS = 1_790_000_010_000


def run_virtual(main: Callable[[LoopClock], Coroutine[Any, Any, T]]) -> T:
    """Run `main(clock)` to its end on a virtual loop that starts at `START_MS`."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        clock = LoopClock(runner.get_loop(), START_MS)
        return runner.run(main(clock))
