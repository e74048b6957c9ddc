"""Planted keys, secrets, listenKeys and PEMs are in no file, log, snapshot, metric, page or crash."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import subprocess
import sys
import urllib.request
import zlib
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.chaos.books import Books
from tests.chaos.processes import environment
from tests.e2e.canaries import files_under, leaks
from tests.e2e.loose import LOOSE
from tests.e2e.programs import ROOT, run

from cryptosignal.modes.embedded import VenueReady
from cryptosignal.modes.page import page_process
from cryptosignal.modes.snapshots import Snapshot, SnapshotClient, ask_once, send_command
from cryptosignal.modes.whereabouts import socket_of
from cryptosignal.sim.settings import AccountSettings, VenueSettings

KEY = "CANARYkey" + "Kq7Zr2Lw" * 7
SECRET = "CANARYsecret" + "Xy9Vb4Nc" * 6
WRONG = "CANARYwrong" + "Hj3Gd8Ps" * 6
LIMIT_S = 60.0
REFUSALS = (b"-1022", b"-2014", b"-2015")
"""What the venue says to a wrong signature and to a wrong key."""
ROUGH = {
    "ws_refused": 0.3,
    "ws_reset": 200.0,
    "ws_disconnect": 100.0,
    "listen_key_lost": 120.0,
    "http_request_lost": 0.02,
    "http_503_unknown": 0.03,
    "http_503_unavailable": 0.04,
    "http_1007": 0.02,
    "http_garbled": 0.03,
    "stop_reject": 0.3,
}
CRASH = """
import sys
from cryptosignal.cli import main
from cryptosignal.modes import live
from cryptosignal.modes.program import Program
from tests.chaos import program

def crash(self, scan):
    client = self.client
    raise RuntimeError(f"{vars(self.setup)} {vars(client)} {vars(self.setup.signer)}")

Program._take_scan = crash
sys.exit(main.guarded(lambda: program.start(sys.argv[1:])))
"""


@pytest.fixture(scope="module")
def venue():
    """A rough venue whose account has the planted keys: its announcement."""
    account = AccountSettings(api_key=KEY, api_secret=SECRET)
    settings = VenueSettings(symbols=4, fault_rates=ROUGH, accounts=(account,), events=False)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.venue", "5", msgspec.json.encode(settings).decode()],
        cwd=ROOT,
        env={**environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def started(folder: Path, line: bytes, *, script: str = "", more: str = "") -> subprocess.Popen:
    """The program on that venue, in `folder`; its words go to files beside the data folder."""
    folder.mkdir(exist_ok=True)
    (folder.parent / "venue.json").write_bytes(line)
    text = LOOSE.replace("[run]", f'[run]\nmode = "auto"\ndata_dir = "{folder / "runs"}"\n{more}')
    (folder.parent / "c.toml").write_text(text)
    arguments = [str(folder.parent / n) for n in ("venue.json", "c.toml", "step")]
    what = ["-c", script] if script else ["-m", "tests.chaos.program"]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return subprocess.Popen(
            [sys.executable, *what, *arguments, "5"],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )


def free_port() -> int:
    """A port of the loopback that nobody holds now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


async def listen_key(ready: VenueReady) -> str:
    """The account's listenKey: whoever asks with its key gets the same."""
    books = Books(ready)
    try:
        while True:
            body = await books.post_key("/fapi/v1/listenKey")
            if body:
                return body["listenKey"]
    finally:
        await books.close()


async def watched(path: str) -> dict[str, bytes]:
    """Commands are given until something was traded; snapshots and answers as they were."""
    told: dict[str, bytes] = {}
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await send_command(path, "trade", {"symbol": "ETHUSDT", "direction": "long"})
                desk = await ask_once(path, "desk")
            except Exception:  # broad-ok: it starts, or the venue is away
                await asyncio.sleep(0.2)
                continue
            if any(row["is_protected"] for row in desk["positions"]):
                break
            await asyncio.sleep(0.2)
    heard = asyncio.Event()

    def hear(snapshot: Snapshot) -> None:
        told[snapshot.kind] = json.dumps(snapshot.body).encode()
        if {"run", "health", "market"} <= set(told):
            heard.set()

    client = SnapshotClient(path, hear)
    await client.connect()
    listening = asyncio.create_task(client.listen())
    async with asyncio.timeout(LIMIT_S):
        await heard.wait()
    for name in ("status", "desk"):
        told[f"answer {name}"] = json.dumps(await client.ask(name)).encode()
    told["symbol"] = json.dumps(await client.ask_symbol("ETHUSDT", "1h")).encode()
    listening.cancel()
    return told


def test_the_search_finds_what_is_there():
    """Raw, in base64 at any place, in hex, percent-encoded and compressed, a secret is found."""
    assert leaks([KEY], {"a": b"nothing", "b": b"CANARYkey"}) == []
    hidden = {
        "raw": f"x{KEY}y".encode(),
        "hex": KEY.encode().hex().encode(),
        "zlib": b"head" + zlib.compress(f"..{KEY}".encode()) + b"tail",
        **{f"base64 {n}": base64.b64encode(b"abc"[:n] + KEY.encode() + b"z") for n in range(3)},
    }
    assert len(leaks([KEY], hidden)) == len(hidden)
    assert leaks(["secret/with+signs=and more"], {"url": b"secret%2Fwith%2Bsigns%3Dand%20more"})


def test_a_run_through_errors_writes_no_key_down(venue, tmp_path):
    """Trading through refused sockets, lost keys and garbled answers: no secret in its files, words,
    snapshots, answers, metrics, page, explanations and reports."""
    folder = tmp_path / "told"
    port = free_port()
    process = started(folder, venue, more=f"metrics_port = {port}")
    try:
        told = asyncio.run(watched(socket_of(folder / "runs")))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
            told["metrics"] = reply.read()
        with (
            page_process(socket_of(folder / "runs"), 0) as address,
            urllib.request.urlopen(address, timeout=30) as reply,
        ):
            told["page"] = reply.read()
        key = asyncio.run(listen_key(msgspec.json.decode(venue, type=VenueReady)))
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_S)
    finally:
        process.kill()
        process.wait()
    for words in (["report"], ["explain", "ETHUSDT", "--json"], ["status"]):
        done = run(*words, "--data-dir", folder / "runs", folder=tmp_path)
        told[words[0]] = (done.out + done.err).encode()
    texts = {**told, **files_under(folder)}
    assert len(texts) > 10
    assert b"<html" in texts["page"]
    assert leaks([KEY, SECRET, key], texts) == []


@pytest.mark.parametrize("wrong", ["api_key", "api_secret"])
def test_a_refusal_by_the_venue_does_not_repeat_the_key(venue, tmp_path, wrong):
    """A wrong key and a wrong signature are refused by the venue; neither is shown."""
    folder = tmp_path / "told"
    line = msgspec.json.encode({**json.loads(venue), wrong: WRONG})
    process = started(folder, line)

    async def refused() -> None:
        async with asyncio.timeout(LIMIT_S):
            while not any(code in read(folder) for code in REFUSALS):
                assert process.poll() is None, read(folder)
                await asyncio.sleep(0.2)

    try:
        asyncio.run(refused())
    finally:
        process.kill()
        process.wait()
    assert leaks([KEY, SECRET, WRONG], files_under(folder)) == []


def read(folder: Path) -> bytes:
    """Everything that was written, in one."""
    return b"".join(files_under(folder).values())


def test_a_crash_shows_no_key(venue, tmp_path):
    """A bug that ends the process with a traceback full of its own objects shows no secret."""
    folder = tmp_path / "told"
    process = started(folder, venue, script=CRASH)
    try:
        assert process.wait(LIMIT_S) != 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" in (folder / "err").read_text()
    assert "RuntimeError" in (folder / "err").read_text()
    assert leaks([KEY, SECRET], files_under(folder)) == []


def test_a_pem_is_not_shown_by_its_errors():
    """A private key that cannot be read, or is of the wrong kind, is refused without a word of it."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    body = pem.decode().splitlines()[1]
    script = (
        "import sys\n"
        "from cryptosignal.binance.signing import Ed25519Signer\n"
        "from cryptosignal.ground.secret import Secret\n"
        "good = Ed25519Signer(Secret('k'), Secret(sys.stdin.read()))\n"
        "good.sign('a=1')\n"
        "print(good, vars(good), [good])\n"
        "Ed25519Signer(Secret('k'), Secret(sys.argv[0] + 'broken'))\n"
    )
    for text in (pem.decode(), pem.decode().replace("PRIVATE", "PUBLIC"), pem.decode()[:-40]):
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=text,
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
            timeout=LIMIT_S,
        )
        assert "Traceback" in done.stderr
        assert leaks([body], {"out": done.stdout.encode(), "err": done.stderr.encode()}) == []
