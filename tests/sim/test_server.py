"""The socket face in a process of its own: real sockets, real signals."""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from cryptosignal.ground.faults import UserFault
from cryptosignal.sim.server import check_speed, frame_of, main
from cryptosignal.sim.settings import VenueSettings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def served():
    command = [sys.executable, "-m", "cryptosignal.sim.server", "--symbols", "10", "--seed", "3"]
    environ = dict(os.environ, PYTHONPATH=str(ROOT / "src"))
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    )
    ready = json.loads(process.stdout.readline())
    yield ready
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert (out, err) == ("", "")


async def test_rest_and_streams_on_one_port(served):
    """REST answers and streams deliver on the one announced port; the error body is JSON."""
    assert set(served) >= {
        "rest",
        "ws",
        "ws_api",
        "api_key",
        "api_secret",
        "start_time_ms",
        "epoch_mono_ns",
        "speed",
    }
    async with aiohttp.ClientSession() as http:
        async with http.get(served["rest"] + "/fapi/v1/time") as reply:
            assert (await reply.json())["serverTime"] >= served["start_time_ms"]
            assert reply.headers["X-MBX-USED-WEIGHT-1M"]
        async with http.get(served["rest"] + "/fapi/v1/klines") as reply:
            assert (reply.status, reply.content_type) == (400, "application/json")
        url = served["ws"] + "/market/stream?streams=btcusdt@aggTrade/btcusdt@kline_1m"
        async with http.ws_connect(url) as ws:
            await ws.send_str('{"method":"SUBSCRIBE","params":["ethusdt@aggTrade"],"id":7}')
            seen = set()
            async with asyncio.timeout(20):
                while len(seen) < 4:
                    frame = json.loads((await ws.receive()).data)
                    seen.add(frame.get("stream", frame.get("id")))
            assert seen == {7, "btcusdt@aggTrade", "btcusdt@kline_1m", "ethusdt@aggTrade"}
            await ws.ping(b"x")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(served["ws"] + "/nope")
        assert refused.value.status == 404


async def test_hostile_clients(served):
    """Garbage bytes, oversized bodies and floods end that client's connection, not the venue."""
    host, port = served["rest"].removeprefix("http://").split(":")
    for junk in (
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /fapi/v1/order HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(junk)
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
    async with aiohttp.ClientSession() as http:
        async with http.post(
            served["rest"] + "/fapi/v1/order", data=io.BytesIO(b"a" * 3_000_000)
        ) as reply:
            assert reply.status == 413
        async with http.get(served["rest"] + "/fapi/v1/klines?symbol=" + "A" * 70_000) as reply:
            assert (reply.status, reply.content_type) == (413, "application/json")
            assert (await reply.json())["code"] == -1104
        async with http.ws_connect(served["ws"] + "/market/ws") as ws:
            with contextlib.suppress(ConnectionError):
                for number in range(500):
                    await ws.send_str(
                        json.dumps({"method": "SUBSCRIBE", "params": [], "id": number})
                    )
            codes = []
            async with asyncio.timeout(10):
                async for message in ws:
                    codes.append(message.type)
            assert ws.close_code == 1008
            assert len(codes) <= 10
        async with http.get(served["rest"] + "/fapi/v1/ping") as reply:
            assert reply.status == 200


def test_bad_starts_are_one_line(served, capsys, tmp_path):
    """A port in use, a speed past the machine, an unreadable or wrong-columned file: one line, code 2."""
    port = served["rest"].rsplit(":", 1)[1]
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    cases = [
        (["--port", port, "--symbols", "4"], f"port {port} on 127.0.0.1: in use"),
        (["--speed", "99999"], "speed: 99999 with 60 symbols (allowed: at most"),
        (["--symbols", "9999"], "symbols: 9999 (allowed"),
        (["--faults", "hail"], "faults: 'hail' (allowed"),
        (["--data", "/none.parquet"], "candle file /none.parquet: not found"),
        (["--data", str(wrong)], "missing column symbol"),
    ]
    for arguments, text in cases:
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert text in err
        assert err.count("\n") == 1


def test_frames():
    """The three length forms of a server frame."""
    assert frame_of(b"ab") == b"\x81\x02ab"
    assert frame_of(b"a" * 300)[:4] == b"\x81\x7e\x01\x2c"
    assert frame_of(b"a" * 70_000)[:2] == b"\x81\x7f"


def test_speed_limit_is_named():
    """Past what the machine holds the venue names the fastest speed."""
    with pytest.raises(UserFault, match="allowed: at most"):
        check_speed(VenueSettings(speed=5_000), 600)
