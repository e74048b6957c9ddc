"""The snapshot socket: newest values out, answers and commands back, and never a wait for a face."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat

import msgspec
import numpy as np
import pytest

from cryptosignal.ground.faults import Unreachable, UserFault
from cryptosignal.modes.snapshots import (
    PATH_BYTES_MAX,
    Snapshot,
    SnapshotClient,
    SnapshotHub,
    SnapshotSettings,
    send_command,
)

FAST = SnapshotSettings(beat_s=0.01, pace_s=0.001, retry_s=0.01)


def show_symbol(symbol, interval):
    if symbol != "BTCUSDT":
        raise UserFault(f"symbol: found {symbol}, allowed: BTCUSDT")
    return {"symbol": symbol, "interval": interval, "candles": [[0, 1.0, 2.0, 0.5, 1.5, 9.0]]}


class House:
    """A hub, what it was commanded, and clients that end with the test."""

    def __init__(self, path):
        self.path = path
        self.commands = []
        self.hub = self.build()
        self.tasks = []

    def build(self, settings=FAST):
        return SnapshotHub(self.path, self.take, show_symbol, settings)

    def take(self, name, arguments):
        if name == "panic":
            raise UserFault("panic: refused while testing")
        self.commands.append((name, arguments))

    def join(self):
        heard = asyncio.Queue()
        client = SnapshotClient(self.path, heard.put_nowait, FAST)
        self.tasks.append(asyncio.create_task(client.run()))
        return client, heard


@pytest.fixture
async def house(tmp_path):
    house = House(str(tmp_path / "s.sock"))
    await house.hub.start()
    yield house
    await house.hub.stop()
    for task in house.tasks:
        task.cancel()
    await asyncio.gather(*house.tasks, return_exceptions=True)


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - several conditions, none of them has an event
            await asyncio.sleep(0)


async def test_a_newcomer_gets_the_newest_of_each_kind(house):
    """A client that joins late first hears the latest value of every kind, once."""
    for price in (1, 2, 3):
        house.hub.publish("market", {"rows": [{"symbol": "A", "price": price}]})
    house.hub.publish("run", {"mode": "signal"})
    _, heard = house.join()
    got = [await heard.get(), await heard.get()]
    assert {s.kind: s.body for s in got} == {
        "market": {"rows": [{"symbol": "A", "price": 3}]},
        "run": {"mode": "signal"},
    }


async def test_updates_follow_with_rising_numbers(house):
    """Each value published after joining arrives with a higher sequence and its own time."""
    _, heard = house.join()
    await until(lambda: house.hub.viewers == 1)
    house.hub.publish("health", {"api_calls": 1})
    first = await heard.get()
    house.hub.publish("health", {"api_calls": 2})
    second = await heard.get()
    assert (first.seq, second.seq) == (1, 2)
    assert second.mono_ns >= first.mono_ns
    assert second.body == {"api_calls": 2}


async def test_a_slow_reader_is_conflated_and_never_blocks(house):
    """A reader that does not read costs the hub its newest values only, and gets them later."""
    reader, writer = await asyncio.open_unix_connection(house.path, limit=2**24)
    await until(lambda: house.hub.viewers == 1)
    blob = "x" * 400_000
    for number in range(300):
        house.hub.publish("market", {"rows": [], "blob": blob, "number": number})
        await asyncio.sleep(0)
    numbers = []
    while not numbers or numbers[-1] != 299:
        line = msgspec.json.decode(await reader.readline())
        numbers += [line["body"]["number"]] if line["kind"] == "market" else []
    assert len(numbers) < 20
    assert numbers == sorted(numbers)
    writer.close()


async def test_nothing_is_encoded_without_a_reader(house):
    """An engine that nobody watches hands over values that need not even be encodable."""
    house.hub.publish("market", {"rows": object()})
    house.hub.publish("market", {"rows": []})
    _, heard = house.join()
    assert (await heard.get()).body == {"rows": []}


async def test_numbers_of_arrays_and_missing_ones_travel(house):
    """numpy scalars and arrays arrive as numbers, NaN as null."""
    house.hub.publish(
        "market", {"rows": [np.float64(1.5), np.float32(0.5), np.int64(3), float("nan")]}
    )
    house.hub.publish("health", {"lag": np.array([1.0, np.nan])})
    _, heard = house.join()
    got = {s.kind: s.body for s in [await heard.get(), await heard.get()]}
    assert got == {"market": {"rows": [1.5, 0.5, 3, None]}, "health": {"lag": [1.0, None]}}


async def test_a_symbol_is_answered(house):
    """An ask returns what the engine shows for that symbol and interval."""
    client, _ = house.join()
    await until(lambda: client.is_connected)
    body = await client.ask_symbol("BTCUSDT", "4h")
    assert body == show_symbol("BTCUSDT", "4h")


async def test_an_unknown_symbol_is_refused_with_the_reason(house):
    """A refusal reaches the asker as its one line, and the connection lives on."""
    client, _ = house.join()
    await until(lambda: client.is_connected)
    with pytest.raises(UserFault, match="found NOPE, allowed: BTCUSDT"):
        await client.ask_symbol("NOPE", "1h")
    assert (await client.ask_symbol("BTCUSDT", "1h"))["symbol"] == "BTCUSDT"


async def test_commands_are_handed_over(house):
    """A command from a face reaches the engine with its arguments, and a refusal comes back."""
    await send_command(house.path, "pause", {"reason": "lunch"})
    assert house.commands == [("pause", {"reason": "lunch"})]
    with pytest.raises(UserFault, match="panic: refused while testing"):
        await send_command(house.path, "panic")


@pytest.mark.parametrize("path", ["nowhere.sock", "file.sock"])
async def test_a_command_to_nobody_says_so(tmp_path, path):
    """Without an engine a command fails as never delivered."""
    (tmp_path / "file.sock").write_text("")
    with pytest.raises(Unreachable, match="no engine answers"):
        await send_command(str(tmp_path / path), "pause")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nonsense\n", "not a question"),
        (b"[1]\n", "not a question"),
        (b'{"command": "x", "arguments": {"n": 1}}\n', "not a question"),
        (b'{"ask": "secrets"}\n', "found 'secrets', allowed: symbol"),
        (b"{}\n", "found '', allowed: symbol"),
        (b"\xff\xfe\n", "not a question"),
    ],
)
async def test_garbage_is_refused_in_words(house, line, reason):
    """Any line that is no question is answered with what was wrong."""
    reader, writer = await asyncio.open_unix_connection(house.path)
    writer.write(line)
    while (answer := msgspec.json.decode(await reader.readline()))["kind"] == "beat":
        pass
    assert answer["kind"] == "refused"
    assert reason in answer["reason"]
    writer.close()


async def test_an_endless_line_is_hung_up_on(house):
    """A line beyond the limit ends that connection and no other."""
    client, _ = house.join()
    await until(lambda: client.is_connected)
    reader, writer = await asyncio.open_unix_connection(house.path)
    writer.write(b"x" * (FAST.question_bytes_max * 3))
    with contextlib.suppress(OSError):
        while await reader.readline():
            pass
    writer.close()
    assert (await client.ask_symbol("BTCUSDT", "1h"))["symbol"] == "BTCUSDT"


async def test_beats_tell_that_the_engine_lives(house):
    """Without any news the client still hears a sign of life again and again."""
    client, heard = house.join()
    await until(lambda: client.heard_ns > 0)
    first = client.heard_ns
    await until(lambda: client.heard_ns > first)
    assert heard.empty()
    assert client.silent_s() < 5


async def test_a_client_comes_back_after_a_restart(house):
    """When the engine goes the client says why, and hears the next engine without being told."""
    client, heard = house.join()
    await until(lambda: house.hub.viewers == 1)
    await house.hub.stop()
    await until(lambda: not client.is_connected and "no engine" in client.fault)
    with pytest.raises(Unreachable):
        await client.ask_symbol("BTCUSDT", "1h")
    house.hub = house.build()
    house.hub.publish("run", {"scans": 7})
    await house.hub.start()
    assert (await heard.get()).body == {"scans": 7}
    assert client.fault == ""


async def test_a_question_in_flight_ends_with_the_engine(house):
    """An ask whose engine stops fails at once instead of waiting for its deadline."""
    client, _ = house.join()
    await until(lambda: client.is_connected and house.hub.viewers == 1)
    stopping = asyncio.ensure_future(house.hub.stop())
    asking = asyncio.ensure_future(client.ask_symbol("BTCUSDT", "1h"))
    with pytest.raises(Unreachable):
        await asking
    await stopping


async def test_a_mute_engine_is_left(tmp_path):
    """A socket that says nothing is given up after the silence limit, and the client says why."""
    path = str(tmp_path / "mute.sock")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(path)
        mute.listen(8)
        client = SnapshotClient(path, None, SnapshotSettings(silence_s=0.01, retry_s=0.001))
        running = asyncio.create_task(client.run())
        await until(lambda: "silent 0.01 s" in client.fault)
        assert client.silent_s() is None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_too_many_readers_are_refused_in_words(house):
    """The reader beyond the limit learns why, those inside are not disturbed."""
    await house.hub.stop()
    house.hub = house.build(SnapshotSettings(viewers_max=1, beat_s=0.01, pace_s=0.001))
    await house.hub.start()
    inside, _ = house.join()
    await until(lambda: inside.is_connected)
    await until(lambda: house.hub.viewers == 1)
    outside, _ = house.join()
    await until(lambda: "1 readers are connected" in outside.fault)
    assert (await inside.ask_symbol("BTCUSDT", "1h"))["symbol"] == "BTCUSDT"


async def test_the_file_is_the_owners_alone(house):
    """The socket's file has mode 0600 and goes away with the hub, however often it is stopped."""
    assert stat.S_IMODE(os.stat(house.path).st_mode) == 0o600
    await house.hub.stop()
    await house.hub.stop()
    assert os.listdir(os.path.dirname(house.path)) == []


async def test_a_dead_engines_file_is_replaced(tmp_path):
    """A socket file that nobody serves does not stand in the way of the next start."""
    house = House(str(tmp_path / "s.sock"))
    await house.hub.start()
    os.link(house.path, str(tmp_path / "kept"))
    await house.hub.stop()
    os.rename(tmp_path / "kept", house.path)
    await house.hub.start()
    await send_command(house.path, "pause")
    await house.hub.stop()


async def test_a_living_engine_is_not_pushed_aside(house):
    """A second engine on the same path stops with one line; the first serves on."""
    with pytest.raises(UserFault, match="another engine answers there"):
        await house.build().start()
    await send_command(house.path, "pause")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/tmp/" + "x" * PATH_BYTES_MAX, f"{PATH_BYTES_MAX + 5} bytes .*, allowed: 107"),
        ("/nowhere/at/all.sock", "No such file or directory"),
    ],
)
async def test_a_path_that_cannot_be_bound_is_one_line(path, words):
    """A path too long for a Unix socket, or without a folder, stops the start with one line."""
    with pytest.raises(UserFault, match=words) as caught:
        await House(path).hub.start()
    assert "\n" not in str(caught.value)


def test_a_kind_nobody_knows_is_a_mistake(tmp_path):
    """Publishing under an unknown name fails at the publisher."""
    with pytest.raises(ValueError, match="found 'secrets'"):
        House(str(tmp_path / "s.sock")).hub.publish("secrets", {})


@pytest.mark.parametrize("name", SnapshotSettings.__struct_fields__)
def test_limits_are_positive(name):
    """A limit of nothing is refused with its key, the value found and what is allowed."""
    with pytest.raises(ValueError, match=rf"snapshots.{name}: found 0, allowed: above 0"):
        SnapshotSettings(**{name: 0})


def test_a_snapshot_is_a_plain_value():
    """Two snapshots of equal content are equal."""
    assert Snapshot("run", 1, 2, {}) == Snapshot("run", 1, 2, {})
