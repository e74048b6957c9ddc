"""A chaos run: the real program on the real socket venue in a storm, killed, starved and lied to.

Every 20 to 90 s SIGKILL, mostly while an order is on its way; in between a full disk, a stepped
clock, a stopped process, a second start, a SIGTERM. Trades are asked for all the time over the
engine's socket and by the command line. At the end the weather clears, and both sides must agree.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from tests.chaos.books import Books, differences, doubles
from tests.chaos.disk import SmallDisk
from tests.chaos.processes import ROOT, ProgramProcess, VenueProcess, environment
from tests.e2e.loose import LOOSE

from cryptosignal.ground.faults import Fault
from cryptosignal.modes.embedded import VenueReady
from cryptosignal.modes.snapshots import ask_once, send_command
from cryptosignal.modes.whereabouts import socket_of
from cryptosignal.sim.settings import VenueSettings

KILL_S = (20.0, 90.0)
HOST_S = (25.0, 60.0)
TRADE_S = (0.4, 2.5)
HOLD_S = 7.0
RESTART_S = (0.1, 2.0)
AIM_WAIT_S = 8.0
AIM_MEAN_S = 0.6
AIMED_SHARE = 0.7
HEAL_S = 90.0
LOOK_S = 5.0
"""Reading all orders costs 85 of the 2,400 that an address may ask in a minute."""
CLI_SHARE = 0.1
CLOSE_SHARE = 0.25
CLOCK_STEPS_MS = (-3_600_000, 3_600_000, -1_500, 1_500, 0)
JUDGED_S = 500.0
"""A run so long must have met everything once."""
SPANS_JUDGED = 100
NAKED_P99_MS = 5_000
HOST_FAULTS = ("disk_full", "clock_step", "pause", "terminate", "double_start")

BUSY = """
position_max = 8
same_direction_max = 8
cooldown_stop_ms = 5000
cooldown_profit_ms = 5000
cooldown_manual_ms = 2000
losses_cautious = 500
losses_averse = 1000
losses_shutdown = 10000
daily_loss_max_frac = 0.5
entries_per_minute_max = 60
errors_per_minute_max = 600
orders_per_minute_max = 600
"""


class Chaos:
    """One run. `run` answers the JSON body; its `violations` are empty when all promises held."""

    def __init__(
        self, duration_s: float, seed: int, symbols: int = 8, faults: str = "storm", bug: str = ""
    ) -> None:
        self.duration_s = duration_s
        self.seed = seed
        self._symbols = symbols
        self._faults = faults
        self._bug = [bug] if bug else []
        self._chance = random.Random(seed)
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        self._disk = SmallDisk(self._folder / "data")
        self._step_file = self._folder / "clock-step"
        self._venue = VenueProcess()
        self._fill = asyncio.Event()
        self._counts: Counter[str] = Counter()
        self._violations: list[str] = []
        self._socket = socket_of(self._disk.folder)
        self._program = ProgramProcess([], self._folder / "program", lambda: 0.0)
        self._names: list[str] = []

    async def run(self) -> dict[str, Any]:
        """The whole run. Whatever happens, no process and no mount is left."""
        began_s = time.monotonic()
        books: Books | None = None
        try:
            settings = VenueSettings(symbols=self._symbols, faults=self._faults, events=False)
            await self._venue.start(self.seed, settings)
            self._venue.heard = self._fill.set
            (self._folder / "venue.json").write_bytes(self._venue.ready_line)
            self._write_config()
            books = Books(msgspec.json.decode(self._venue.ready_line, type=VenueReady))
            rules = await books.ask("/fapi/v1/exchangeInfo")
            self._names = sorted(
                row["symbol"] for row in rules["symbols"] if row["contractType"] == "PERPETUAL"
            )
            command = [self._folder / "venue.json", self._folder / "c.toml", self._step_file]
            self._program = ProgramProcess(
                [*map(str, command), str(self.seed), *self._bug],
                self._folder / "program",
                lambda: self._chance.uniform(*RESTART_S),
            )
            await self._weather_and_heal(books)
            return await self._result(books, time.monotonic() - began_s)
        finally:
            if books is not None:
                await books.close()
            await self._venue.stop()
            self.discard()

    def discard(self) -> None:
        """Take the disk away, and the logs too if nobody will want to read them."""
        self._disk.close()
        if not self._violations:
            self.forget()

    def forget(self) -> None:
        """Remove the logs of every life."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write_config(self) -> None:
        text = LOOSE.replace("[risk]", f"[risk]{BUSY}").replace(
            "[run]",
            f'[run]\nmode = "auto"\ndata_dir = "{self._disk.folder}"\nsymbols_max = {self._symbols}',
        )
        text += "\n[store]\ntape_bytes_max = 8388608\ntape_segment_bytes = 1048576\n"
        (self._folder / "c.toml").write_text(text)

    async def _weather_and_heal(self, books: Books) -> None:
        living = asyncio.create_task(self._program.run())
        doers = [asyncio.create_task(job()) for job in (self._kill, self._befall, self._trade)]
        try:
            done, _ = await asyncio.wait(
                [living, *doers], timeout=self.duration_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            await self._ended(doers)
            await self._heal(books)
            await self._end_program(living)
        finally:
            await self._ended([*doers, living])
            self._program.send(signal.SIGKILL)

    @staticmethod
    async def _ended(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- what befalls it ------------------------------------------------------------------
    async def _kill(self) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(*KILL_S) - AIM_WAIT_S)
            if self._chance.random() < AIMED_SHARE:
                await self._next_fill()
                await asyncio.sleep(self._chance.expovariate(1.0 / AIM_MEAN_S))
            if self._venue.held and self._program.pid is not None:
                self._counts["killed_while_held"] += 1
            if self._program.send(signal.SIGKILL):
                self._counts["kill"] += 1

    async def _next_fill(self) -> None:
        """Wait until the account changes: orders are under way then."""
        self._fill.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AIM_WAIT_S):
                await self._fill.wait()

    async def _befall(self) -> None:
        while True:
            faults = list(HOST_FAULTS)
            self._chance.shuffle(faults)
            for name in faults:
                await asyncio.sleep(self._chance.uniform(*HOST_S))
                if await getattr(self, f"_do_{name}")():
                    self._counts[name] += 1

    async def _do_disk_full(self) -> bool:
        self._venue.order("excuse")
        self._disk.fill(self._program.pid)
        try:
            await asyncio.sleep(self._chance.uniform(2.0, 8.0))
        finally:
            self._disk.free(self._program.pid)
            self._venue.order("accuse")
        return True

    async def _do_clock_step(self) -> bool:
        self._step_file.write_text(str(self._chance.choice(CLOCK_STEPS_MS)))
        with contextlib.suppress(Fault):
            await ask_once(
                self._socket, "status"
            )  # it listens, so its handler of the signal is set
            return self._program.send(signal.SIGUSR1)
        return False

    async def _do_pause(self) -> bool:
        if not self._program.send(signal.SIGSTOP):
            return False
        self._venue.order("excuse")
        try:
            await asyncio.sleep(self._chance.uniform(5.0, 15.0))
        finally:
            self._program.send(signal.SIGCONT)
            self._venue.order("accuse")
        return True

    async def _do_terminate(self) -> bool:
        await self._next_fill()
        return self._program.send(signal.SIGTERM)

    async def _do_double_start(self) -> bool:
        """A second program on the same data folder must be refused with one line."""
        if self._program.pid is None:
            return False
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.program"),
            *(str(self._folder / "venue.json"), str(self._folder / "c.toml")),
            *(str(self._step_file), str(self.seed)),
            env=environment(),
            cwd=ROOT,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(30.0):
                _, words = await second.communicate()
        except TimeoutError:
            if self._program.pid is None:
                return False  # the first had ended meanwhile: the folder was free
            self._violations.append("double start: the second program runs")
            return True
        finally:
            if second.returncode is None:
                second.kill()
                await second.wait()
        if (
            second.returncode != 2 or b"works in it" not in words
        ) and self._program.pid is not None:
            self._violations.append(f"double start: code {second.returncode} {words!r}")
        return True

    # ---- people ---------------------------------------------------------------------------
    async def _trade(self) -> None:
        closing: set[asyncio.Task[None]] = set()
        try:
            while True:
                await asyncio.sleep(self._chance.uniform(*TRADE_S))
                symbol = self._chance.choice(self._names)
                direction = self._chance.choice(("long", "short"))
                if await self._says("trade", {"symbol": symbol, "direction": direction}):
                    self._counts["asked_to_trade"] += 1
                for held in self._venue.held:
                    if self._chance.random() < CLOSE_SHARE:
                        task = asyncio.create_task(self._close(held))
                        closing.add(task)
                        task.add_done_callback(closing.discard)
        finally:
            for task in list(closing):
                task.cancel()

    async def _close(self, symbol: str) -> None:
        await asyncio.sleep(self._chance.expovariate(1.0 / HOLD_S))
        if self._chance.random() < CLI_SHARE:
            done = await self._command("close", symbol)
        else:
            done = await self._says("close", {"symbol": symbol})
        self._counts["asked_to_close"] += done

    async def _says(self, name: str, arguments: dict[str, str]) -> bool:
        try:
            answer = await send_command(self._socket, name, arguments)
        except Fault:
            return False
        return bool(answer.get("ok"))

    async def _command(self, *words: str) -> bool:
        """A command as a person types it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cryptosignal", *words, "--data-dir", str(self._disk.folder)),
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        if b"Traceback" in out:
            self._violations.append(f"crash: `{' '.join(words)}`: {out.decode()[-300:]}")
        return process.returncode == 0

    # ---- the end --------------------------------------------------------------------------
    async def _heal(self, books: Books) -> None:
        """The weather clears; no new entries; then both sides agree, first held, then flat."""
        self._disk.free(self._program.pid)
        self._program.send(signal.SIGCONT)
        self._venue.order("accuse")
        self._venue.order("calm")
        deadline_s = time.monotonic() + HEAL_S
        while not await self._command("kill", "1"):
            assert time.monotonic() < deadline_s, "the program did not take the kill switch"
        await self._agree(books, "after the storm")
        while not await self._command("close-all"):
            assert time.monotonic() < deadline_s, "the program did not close all"
        await self._agree(books, "after close-all", is_flat=True)
        self._violations += doubles(await books.entries(self._names))

    async def _agree(self, books: Books, when: str, *, is_flat: bool = False) -> None:
        deadline_s = time.monotonic() + HEAL_S
        found = ["the program never came up"]
        while time.monotonic() < deadline_s:
            await asyncio.sleep(LOOK_S)
            try:
                desk = await ask_once(self._socket, "desk")
            except Fault:
                continue
            here: dict[str, Decimal] = {}
            own = 0
            for row in desk["positions"]:
                sign = 1 if row["direction"] == "long" else -1
                quantity = here.get(row["symbol"], Decimal(0)) + sign * Decimal(row["quantity"])
                here[row["symbol"]] = quantity
                own += row["owner"] == "ours"
            resting = await books.own_orders()
            found = differences(here, await books.positions(), resting)
            if not desk["is_reconciled"]:
                found.append("the program has not reconciled")
            if is_flat and own:
                found.append(f"{own} own positions are still open")
            if not found:
                return
        self._violations += [f"{when}: {difference}" for difference in found]

    async def _end_program(self, living: asyncio.Task[None]) -> None:
        self._program.is_wanted = False
        self._program.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(30.0):
                await living
        except TimeoutError:
            self._violations.append("SIGTERM did not end the program within 30 s")

    async def _result(self, books: Books, duration_s: float) -> dict[str, Any]:
        report = await self._venue.report()
        spans = sorted(report["naked_spans_ms"])
        p99 = spans[-(-len(spans) * 99 // 100) - 1] if spans else 0
        self._violations += [f"crash: {words}" for words in self._program.crashes]
        self._violations += report["violations"]
        if len(spans) >= SPANS_JUDGED and p99 > NAKED_P99_MS:
            self._violations.append(f"naked p99 of {p99} ms, allowed {NAKED_P99_MS}")
        if self.duration_s >= JUDGED_S:
            self._violations += self.never(report)
        if self._violations and not self._bug:
            sys.stderr.write(f"chaos: logs of every life lie in {self._folder}\n")
        host = {name: self._counts[name] for name in HOST_FAULTS}
        return {
            "duration_s": round(duration_s, 1),
            "seed": self.seed,
            "faults_preset": self._faults,
            "kills": self._counts["kill"],
            "killed_while_held": self._counts["killed_while_held"],
            "restarts": self._program.starts - 1,
            "exits": {str(k): v for k, v in sorted(self._program.exits.items())},
            "disk": self._disk.kind,
            "faults": {**report["faults"], **host},
            "asked": {k: v for k, v in sorted(self._counts.items()) if k.startswith("asked")},
            "entries": report["entries"],
            "fills": report["fills"],
            "stops_filled": report["stops_filled"],
            "foreign_fills": report["foreign_fills"],
            "violations": self._violations,
            "naked_spans": len(spans),
            "naked_ms_p50": spans[len(spans) // 2] if spans else 0,
            "naked_ms_p99": p99,
            "naked_ms_max": spans[-1] if spans else 0,
        }

    def never(self, report: dict[str, Any]) -> list[str]:
        """What a run of this length must have met, and has not."""
        met = {
            **{name: self._counts[name] for name in (*HOST_FAULTS, "kill", "killed_while_held")},
            **{name: self._counts[name] for name in ("asked_to_trade", "asked_to_close")},
            **{name: report[name] for name in ("fills", "entries")},
        }
        return [f"never: {name}" for name, count in met.items() if not count]


async def _until_told(chaos: Chaos) -> dict[str, Any]:
    """The run; SIGINT and SIGTERM end it in order, so that no process and no mount is left."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    return await chaos.run()


def main() -> int:
    """`python -m tests.chaos [--duration S] [--seed N]`: one JSON line, code 1 on a violation."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=main.__doc__)
    parser.add_argument("--duration", type=float, default=600.0, help="seconds of weather")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--bug", default="", help="a planted bug of tests.sim_campaign.mutants")
    asked = parser.parse_args()
    body = asyncio.run(_until_told(Chaos(asked.duration, asked.seed, bug=asked.bug)))
    sys.stdout.write(json.dumps(body) + "\n")
    return 1 if body["violations"] else 0
