"""The embedded simulated venue as its own process, owned by the program that started it.

The child prints one JSON line when it is ready and ends when its standard input closes, so that no
venue outlives its owner, however the owner dies.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from cryptosignal.ground.faults import UserFault

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 1.0
_ERROR_BYTES_MAX = 4_000


class VenueReady(msgspec.Struct, frozen=True):
    """The venue's announcement (DESIGN D11): addresses, keys and the shared epoch of its time."""

    rest: str
    ws: str
    ws_api: str
    api_key: str
    api_secret: str
    start_time_ms: int
    epoch_mono_ns: int
    speed: float
    symbols: int = 0
    history: str = ""


@asynccontextmanager
async def embedded_venue(arguments: Sequence[str]) -> AsyncIterator[VenueReady]:
    """Start `cryptosignal simulate` with `arguments`, yield its announcement, stop it at the end.

    Raises UserFault with the child's own line if it refuses to start.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cryptosignal",
        "simulate",
        "--json",
        "--until-stdin-closes",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C at the terminal is for the owner, who then stops the child
    )
    try:
        yield await _announcement(process)
    finally:
        await _stop(process)


async def _announcement(process: asyncio.subprocess.Process) -> VenueReady:
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            line = await process.stdout.readline()
    except TimeoutError:
        raise UserFault(
            f"the embedded venue did not come up within {READY_TIMEOUT_S:.0f} s"
        ) from None
    if line:
        return msgspec.json.decode(line, type=VenueReady)
    words = (await process.stderr.read(_ERROR_BYTES_MAX)).decode("utf-8", "replace").strip()
    reason = words.splitlines()[-1].removeprefix("cryptosignal: ") if words else "no reason given"
    raise UserFault(reason)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
