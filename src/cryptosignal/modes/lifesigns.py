"""Signs of life for others: the service manager's watchdog, and an address that expects a call.

Both are given only while the engine's loop turns and its newest bars and account are alive: a process
that hangs, or runs without data, falls silent, and whoever waits for the signs notices (RELIABILITY
§4). Nothing here can stop the run; what fails is noted once until it works again.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cryptosignal.domain.ports import HttpRequest, Transport
from cryptosignal.ground.faults import Fault
from cryptosignal.modes.snapshots import loop_seconds

if TYPE_CHECKING:
    from cryptosignal.modes.program import Program

SILENT_S_MAX: Final = 120.0
"""Without a market frame for so long there is no life to report."""
ACCOUNT_DOWN_S_MAX: Final = 120.0
_WATCHDOG_SHARE: Final = 0.4
_OK: Final = range(200, 300)
_TIMEOUT_MS: Final = 10_000


def notifier(address: str) -> Callable[[str], None]:
    """Sends states to the service manager (sd_notify(3)); does nothing without an address.

    `address` is `$NOTIFY_SOCKET`: a path, or `@name` for an abstract socket.
    """
    if not address:
        return lambda _state: None
    target = "\0" + address[1:] if address.startswith("@") else address

    def send(state: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(0)  # never wait for a manager that does not read
            out.sendto(state.encode(), target)

    return send


def watchdog_s(microseconds: str, pid: str) -> float:
    """How often `WATCHDOG=1` is due, 0 where the manager expects none of this process."""
    if not microseconds.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(microseconds) * 1e-6 * _WATCHDOG_SHARE


class Lifesigns:
    """Gives the signs for one program until cancelled."""

    def __init__(self, program: Program, transport: Transport, url: str, every_s: float) -> None:
        self._program = program
        self._transport = transport
        self._url = url
        self._every_s = every_s
        self._send = notifier(os.environ.get("NOTIFY_SOCKET", ""))  # a path, not a secret
        self._watchdog_s = watchdog_s(
            os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
        )
        self._account_down_ns = 0
        self._frames = 0
        self._frames_ns = 0
        self._failing: set[str] = set()
        self.beats = 0

    async def run(self) -> None:
        """Tell that we are ready, then go on giving signs; tell that we stop at the end."""
        await self._program.started.wait()
        self._tell("READY=1")
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._watchdog_s:
                    tasks.create_task(self._each(self._watchdog_s, self._pet))
                if self._url:
                    tasks.create_task(self._each(self._every_s, self._call))
        finally:
            self._tell("STOPPING=1")

    def ailment(self) -> str:
        """What keeps us from claiming to be alive, "" if nothing does."""
        program = self._program
        if not program.is_running or program.is_stopping:
            return "the engine does not run"
        silent_s = self._market_silent_s()
        if silent_s > SILENT_S_MAX:
            return f"no market data for {silent_s:.0f} s"
        down_s = self._account_down_s()
        return f"no account stream for {down_s:.0f} s" if down_s > ACCOUNT_DOWN_S_MAX else ""

    def _market_silent_s(self) -> float:
        now_ns, frames = self._program.clock.mono_ns(), self._program.board.frames
        if frames != self._frames or not self._frames_ns:
            self._frames, self._frames_ns = frames, now_ns
        return (now_ns - self._frames_ns) * 1e-9

    def _account_down_s(self) -> float:
        program, now_ns = self._program, self._program.clock.mono_ns()
        if program.setup.signer is None or program.desk.errands.is_stream_up:
            self._account_down_ns = now_ns
        return (now_ns - (self._account_down_ns or now_ns)) * 1e-9

    async def _each(self, every_s: float, give: Callable[[], object]) -> None:
        while True:
            ailment = self.ailment()
            self._note("lifesigns.are_withheld", ailment)
            if not ailment:
                made = give()
                if asyncio.iscoroutine(made):
                    await made
            await asyncio.sleep(loop_seconds(every_s))

    def _pet(self) -> None:
        self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        try:
            self._send(state)
        except OSError as error:
            self._note("watchdog.was_not_told", str(error.strerror))
        else:
            self._note("watchdog.was_not_told", "")

    async def _call(self) -> None:
        parts = urlsplit(self._url)
        request = HttpRequest("GET", parts.path or "/", parts.query, timeout_ms=_TIMEOUT_MS)
        try:
            answer = await self._transport.request(f"{parts.scheme}://{parts.netloc}", request)
        except Fault as fault:
            self._note("heartbeat.was_not_heard", type(fault).__name__)
            return
        self.beats += 1
        self._note("heartbeat.was_not_heard", "" if answer.status in _OK else f"{answer.status}")

    def _note(self, event: str, reason: str) -> None:
        """Once when it begins, once when it ends."""
        if bool(reason) is (event in self._failing):
            return
        if reason:
            self._failing.add(event)
        else:
            self._failing.discard(event)
        self._program.note(event, {"reason": reason or "it works again"})
