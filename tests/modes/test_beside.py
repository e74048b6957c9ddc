"""Work in a thread that nobody waits for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cryptosignal.modes.beside import beside

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = """
import asyncio, threading
from cryptosignal.modes.beside import beside, leave

async def main():
    task = asyncio.create_task(beside(threading.Event().wait))
    await asyncio.sleep(0)
    task.cancel()

asyncio.run(main())
print("told")
leave(7)
"""


async def test_its_result_and_its_error_come_back():
    """What the work returns is awaited, what it raises is raised there."""
    assert await beside(lambda: 5) == 5

    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await beside(fail)


def test_a_process_ends_though_its_work_never_does():
    """With work under way that never ends, the process ends at once, with its code and its words."""
    done = subprocess.run(
        [sys.executable, "-c", ENDLESS],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "told\n", "")
