"""`cryptosignal simulate` as users start it: what it announces, how it ends, keys of their own."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "rest",
    "ws",
    "ws_api",
    "api_key",
    "api_secret",
    "start_time_ms",
    "epoch_mono_ns",
    "speed",
}


@contextmanager
def simulated(*arguments):
    """The command as a process; its announcement; checks the clean end on SIGTERM."""
    command = [sys.executable, "-m", "cryptosignal", "simulate", "--port", "0", "--json"]
    environ = dict(os.environ, PYTHONPATH=str(ROOT / "src"))
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )
    try:
        line = process.stdout.readline()
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


async def test_one_line_of_exactly_the_keys_and_a_clean_end_under_storm():
    """Ready is one JSON line; SIGTERM closes every connection with 1001 and ends with 0."""
    async with aiohttp.ClientSession() as http:
        with simulated("--symbols", "10", "--faults", "storm,maintenance=0,ws_refused=0") as ready:
            assert set(ready) == KEYS
            ws = await http.ws_connect(ready["ws"] + "/market/ws/btcusdt@aggTrade")
        async with asyncio.timeout(10):
            while not ws.closed:
                await ws.receive()
        assert ws.close_code in (1001, 1006)  # 1006: the storm itself may have torn it before


async def test_requests_that_hang_end_with_the_venue():
    """While every answer is lost or late, SIGTERM still ends the process cleanly and without a word."""
    async with aiohttp.ClientSession() as http:
        with simulated(
            "--symbols", "4", "--faults", "http_response_lost=0.5,http_slow=0.5"
        ) as ready:
            url = ready["rest"] + "/fapi/v1/ping"
            hanging = [asyncio.create_task(http.get(url)) for _ in range(20)]
            _, pending = await asyncio.wait(hanging, timeout=1)
            assert len(pending) == 20
        ended = await asyncio.wait_for(asyncio.gather(*hanging, return_exceptions=True), 20)
    assert all(isinstance(end, aiohttp.ClientError) for end in ended)


def signed(key, params):
    """A WebSocket-API request's parameters with their Ed25519 signature."""
    text = "&".join(f"{k}={params[k]}" for k in sorted(params))
    return {**params, "signature": base64.b64encode(key.sign(text.encode())).decode()}


async def test_an_own_ed25519_key_logs_on(tmp_path):
    """With --public-key the private half signs session.logon; orders then need no signature."""
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "key.pem").write_bytes(pem)
    with simulated("--symbols", "4", "--public-key", str(tmp_path / "key.pem")) as ready:
        async with aiohttp.ClientSession() as http, http.ws_connect(ready["ws_api"]) as ws:

            async def ask(number, method, params):
                await ws.send_json({"id": number, "method": method, "params": params})
                return await asyncio.wait_for(ws.receive_json(), 10)

            now = int(time.time() * 1000)
            logon = signed(key, {"apiKey": ready["api_key"], "timestamp": now})
            said = await ask("a1", "session.logon", logon)
            assert (said["id"], said["status"]) == ("a1", 200)
            assert said["result"]["apiKey"] == ready["api_key"]
            order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
            now = int(time.time() * 1000)
            placed = await ask(2, "order.place", {**order, "timestamp": now})
            assert (placed["status"], placed["result"]["symbol"]) == (200, "BTCUSDT")
            other = signed(Ed25519PrivateKey.generate(), logon | {"timestamp": now})
            other.pop("signature")
            wrong = signed(Ed25519PrivateKey.generate(), other)
            assert (await ask(3, "session.logon", wrong))["error"]["code"] == -1022
