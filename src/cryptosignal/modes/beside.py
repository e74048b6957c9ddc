"""Work in a thread that nobody waits for: a compiler can be neither stopped nor hurried.

An executor's threads are joined when Python ends, so a SIGTERM during the first compilation of the
kernels would take minutes on a busy machine. `leave` ends the process with such work under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn, TypeVar

T = TypeVar("T")
THREAD_NAME = "work-beside"


async def beside(work: Callable[[], T]) -> T:
    """What `work()` returns or raises, done in a thread that ends with the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where T holds it

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:  # broad-ok: raised again where the result is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=THREAD_NAME, daemon=True).start()
    return await future


def leave(code: int) -> NoReturn:
    """End the process with `code`; at once, if work beside is under way (everything that matters is
    on disk by then, and native code must not meet a Python that is being taken down)."""
    if any(thread.name == THREAD_NAME for thread in threading.enumerate()):
        with contextlib.suppress(OSError):  # the reader of our words went away
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
