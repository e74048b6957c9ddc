"""An engine's end in a thread and the page as the process it is, for tests that need both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

from tests.web.feed import Feed

from cryptosignal.modes.snapshots import SnapshotHub

SRC = Path(__file__).resolve().parents[2] / "src"
KINDS = ("market", "health", "run", "signals")


class EngineThread:
    """A hub on a loop of its own that publishes a moving market until it is stopped."""

    def __init__(self, path, feed=None):
        self.path = path
        self.feed = feed or Feed()
        self.commands = []
        self.is_moving = True
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._hub = None
        self._publishing = None

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def start(self):
        self._call(self._start())

    async def _start(self):
        take = lambda name, arguments: self.commands.append((name, arguments))  # noqa: E731
        self._hub = SnapshotHub(self.path, take, self.feed.symbol)
        await self._hub.start()
        self._publishing = asyncio.create_task(self._publish())

    async def _publish(self):
        while True:
            if self.is_moving:
                self.feed.step()
                for kind in KINDS:
                    self._hub.publish(kind, getattr(self.feed, kind)())
            await asyncio.sleep(0.5)

    def stop(self):
        self._call(self._stop())

    async def _stop(self):
        if self._publishing is not None:
            self._publishing.cancel()
            await asyncio.gather(self._publishing, return_exceptions=True)
            self._publishing = None
            await self._hub.stop()

    def close(self):
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


class PageProcess:
    """`python -m cryptosignal.web` and the line with which it says that it is ready."""

    def __init__(self, socket_path, *options):
        env = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cryptosignal.web", "--socket", socket_path, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env | {"PYTHONPATH": str(SRC)},
        )
        self.line = self.process.stdout.readline().decode()
        self.url = json.loads(self.line)["page"] if self.line else ""

    def rss_mb(self):
        """Resident memory of the page's process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kilobytes.split()[1]) / 1024

    def get(self, path="", method="GET", **headers):
        """Status, headers and body of one request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, method=method, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.headers, response.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode("utf-8", "replace")

    def close_stdin(self):
        """What the starter's death does to the page; its exit code."""
        self.process.stdin.close()
        return self.process.wait(20)

    def kill(self):
        self.process.kill()
        self.process.wait(20)

    def close(self):
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()
