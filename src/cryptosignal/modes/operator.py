"""What people ask of a running engine: checked here, decided by the engine, answered with its words.

One door for the command line and the page. Commands are events like any other: journaled, durable
before the answer, decided on by the engine. The kill switch is mirrored in the data folder's `KILL`
file, so that it can be thrown without an engine too.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from cryptosignal.domain.actions import Note
from cryptosignal.ground.clock import host_mono_ns
from cryptosignal.ground.faults import UserFault
from cryptosignal.modes.desk_body import DeskBody, desk_body
from cryptosignal.modes.kill_file import LEVELS, KillFile
from cryptosignal.modes.snapshots import loop_seconds

if TYPE_CHECKING:
    from cryptosignal.modes.program import Program

KILL_MEANS: Final = {
    0: "off: entries are allowed",
    1: "no new entries",
    2: "no new entries, resting entries are cancelled",
    3: "everything is closed, no new entries",
}
FILE_CHECK_S = 1.0
CODE_LIFE_S = 120.0
CODES_MAX = 8
_REFUSALS = ("command.refused", "approval.refused", "trade.refused", "entry.refused")
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


class Operator:
    """Commands and questions of people about one program."""

    def __init__(self, program: Program, kill_file: KillFile) -> None:
        self._program = program
        self._file = kill_file
        self._codes: dict[str, int] = {}
        self._commands: dict[str, Callable[[dict[str, str], str], Any]] = {
            "kill": self._kill,
            "unkill": self._unkill,
            "approve": self._answer_yes,
            "reject": self._answer_no,
            "close": self._close,
            "close_all": self._close_all,
            "trade": self._trade,
        }

    # ---- doors ----------------------------------------------------------------------------
    async def command(self, name: str, arguments: dict[str, str]) -> Mapping[str, Any]:
        """Perform a command: `{"ok", "said"}` and what belongs to it. Raises UserFault for one that
        makes no sense; a refusal by the engine is an answer with `ok` false."""
        perform = self._commands.get(name)
        if perform is None:
            raise UserFault(f"command: found {name!r}, allowed: {', '.join(self._commands)}")
        if self._program.engine.account == "none" and name not in ("kill", "unkill"):
            reason = "the run has no account: nothing is traded"
            return {"ok": False, "reason": reason, "said": f"refused: {reason}"}
        answer: Mapping[str, Any] = await perform(arguments, arguments.get("actor", "") or "cli")
        return answer

    def ask(self, name: str, arguments: dict[str, str]) -> Mapping[str, Any]:
        """Answer a question: `desk`, `status`, `code` (a new login code of the page), `redeem`."""
        if name == "desk":
            return desk_body(self._program)
        if name == "status":
            return self._status()
        if name == "code":
            return {"code": self._new_code(), "life_s": CODE_LIFE_S}
        if name == "redeem":
            return {"ok": self._redeem(arguments.get("code", ""))}
        raise UserFault(f"ask: found {name!r}, allowed: symbol, desk, status, code, redeem")

    async def watch_file(self) -> None:
        """Obey the `KILL` file: as soon as the engine runs, then once a second, until cancelled."""
        await self._program.started.wait()
        while True:
            level = self._file.read()
            kill = int(self._program.desk.state.breaker.kill)
            if level == 0 and kill:
                self._program.command("unkill", {}, "file")
            elif level == 0:
                await self._program.rim.durable()
                self._file.remove()
            elif level is not None and level > kill:
                self._program.command("kill", {"level": str(level)}, "file")
            await asyncio.sleep(loop_seconds(FILE_CHECK_S))

    # ---- the kill switch ------------------------------------------------------------------
    async def _kill(self, arguments: dict[str, str], actor: str) -> Mapping[str, Any]:
        level = arguments.get("level", "")
        if level not in LEVELS:
            raise UserFault(f"kill level: found {level!r}, allowed: {', '.join(LEVELS)}")
        kill = int(self._program.desk.state.breaker.kill)
        if int(level) < kill:
            raise UserFault(
                f"kill level: found {level}, it stands at {kill}: release it first (kill --clear)"
            )
        self._file.write(int(level))
        await self._program.operate("kill", {"level": level}, actor)
        return self._kill_answer()

    async def _unkill(self, _: dict[str, str], actor: str) -> Mapping[str, Any]:
        await self._program.operate("unkill", {}, actor)
        self._file.remove()
        return self._kill_answer()

    def _kill_answer(self) -> Mapping[str, Any]:
        level = int(self._program.desk.state.breaker.kill)
        return {
            "ok": True,
            "level": level,
            "said": f"kill switch {level}: {KILL_MEANS[level]}",
            "positions": len(self._program.desk.positions()),
        }

    # ---- approvals ------------------------------------------------------------------------
    async def _answer_yes(self, arguments: dict[str, str], actor: str) -> Mapping[str, Any]:
        return await self._answer("approve", "opened", arguments, actor)

    async def _answer_no(self, arguments: dict[str, str], actor: str) -> Mapping[str, Any]:
        return await self._answer("reject", "rejected", arguments, actor)

    async def _answer(
        self, name: str, verdict: str, arguments: dict[str, str], actor: str
    ) -> Mapping[str, Any]:
        signal_id = self._waiting_id(arguments.get("signal_id", ""))
        notes = await self._program.operate(name, {"signal_id": signal_id}, actor)
        if any(note.event == f"approval.{verdict}" for note in notes):
            return {"ok": True, "signal_id": signal_id, "said": f"{signal_id}: {verdict}"}
        return _refused(signal_id, notes)

    def _waiting_id(self, given: str) -> str:
        """The id of a waiting signal from its beginning; what is not waiting goes on as it is, since
        the engine knows what has become of it."""
        if not given:
            raise UserFault("signal id: found nothing, allowed: one that waits (see `approve`)")
        waiting = [w.ticket.signal_id for w in self._program.desk.waiting()]
        found = [one for one in waiting if one.startswith(given)]
        if len(found) > 1 and given not in found:
            raise UserFault(f"signal id: {given} begins {len(found)} of them: {', '.join(found)}")
        return found[0] if len(found) == 1 else given

    # ---- positions ------------------------------------------------------------------------
    async def _close(self, arguments: dict[str, str], actor: str) -> Mapping[str, Any]:
        symbol = arguments.get("symbol", "").upper()
        if not symbol:
            raise UserFault("symbol: found nothing, allowed: one with a position")
        notes = await self._program.operate("close", {"symbol": symbol}, actor)
        refused = _refused(symbol, notes)
        return refused if refused["reason"] else {"ok": True, "said": f"{symbol}: closing"}

    async def _close_all(self, _: dict[str, str], actor: str) -> Mapping[str, Any]:
        symbols = sorted(self._program.desk.state.trades)
        await self._program.operate("close_all", {}, actor)
        said = f"closing: {', '.join(symbols)}" if symbols else "nothing is open"
        return {"ok": True, "said": said, "symbols": symbols}

    async def _trade(self, arguments: dict[str, str], actor: str) -> Mapping[str, Any]:
        symbol = arguments.get("symbol", "").upper()
        wish = {"symbol": symbol, "direction": arguments.get("direction", "")}
        refused = _refused(symbol, await self._program.operate("trade", wish, actor))
        return refused if refused["reason"] else {"ok": True, "said": f"{symbol}: opening"}

    # ---- questions ------------------------------------------------------------------------
    def _status(self) -> Mapping[str, Any]:
        program = self._program
        desk: DeskBody = desk_body(program)
        ledger = program.ledger.snapshot()
        lines: Any = program.feed.stats()["connections"]
        return {
            **{key: value for key, value in desk.items() if key not in ("positions", "waiting")},
            "venue": program.setup.routes.name,
            "run_id": program.setup.run_id,
            "scans": program.engine.scans,
            "symbols": len(program.symbols),
            "positions": len(desk["positions"]),
            "waiting": len(desk["waiting"]),
            "connections": len(lines),
            "connections_subscribed": sum(1 for c in lines if c["state"] == "SUBSCRIBED"),
            "weight_used": ledger.used.get("weight", 0),
            "weight_limit": ledger.limits.get("weight", 0),
            "engine_lag_ms_max": round(program.rim.lag_ms_max, 3) if program.is_running else 0.0,
            "due": program.engine.timers.pending(),
        }

    # ---- the page's login codes -----------------------------------------------------------
    def _new_code(self) -> str:
        """A code that opens the page's desk once, soon: whoever may use this socket may act."""
        self._forget_old()
        while len(self._codes) >= CODES_MAX:
            del self._codes[next(iter(self._codes))]
        code = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3))
        self._codes[code] = host_mono_ns()
        return code

    def _redeem(self, code: str) -> bool:
        self._forget_old()
        given = code.strip().upper().encode()
        known = [one for one in self._codes if secrets.compare_digest(one.encode(), given)]
        for one in known:
            del self._codes[one]
        return bool(known)

    def _forget_old(self) -> None:
        oldest_ns = host_mono_ns() - int(CODE_LIFE_S * 1e9)
        self._codes = {code: ns for code, ns in self._codes.items() if ns >= oldest_ns}


def _refused(what: str, notes: list[Note]) -> dict[str, Any]:
    reasons = [str(n.fields.get("reason", "")) for n in notes if n.event in _REFUSALS]
    reason = "; ".join(filter(None, reasons))
    return {"ok": False, "reason": reason, "said": f"{what}: refused: {reason}"}
