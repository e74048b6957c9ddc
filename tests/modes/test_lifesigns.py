"""Signs of life are given while there is life, and withheld when data or account are gone."""

from __future__ import annotations

import asyncio
import socket
import types

import pytest

from cryptosignal.domain.ports import HttpResponse
from cryptosignal.ground.faults import Unreachable, UserFault
from cryptosignal.modes.config import Config, RunSettings, load_config, without_secrets
from cryptosignal.modes.lifesigns import ACCOUNT_DOWN_S_MAX, SILENT_S_MAX, Lifesigns, watchdog_s
from cryptosignal.net.settings import TransportSettings


class Clock:
    ns = 1

    def mono_ns(self):
        return self.ns

    def pass_s(self, seconds):
        self.ns += int(seconds * 1e9)


class Program:
    """A program as the signs know it."""

    def __init__(self):
        self.clock, self.board = Clock(), types.SimpleNamespace(frames=1)
        self.is_running, self.is_stopping = True, False
        self.setup = types.SimpleNamespace(signer="key")
        self.desk = types.SimpleNamespace(errands=types.SimpleNamespace(is_stream_up=True))
        self.started, self.notes = asyncio.Event(), []
        self.started.set()

    def note(self, event, fields):
        self.notes.append((event, fields["reason"]))


class Transport:
    """Answers calls, and says when one was made."""

    def __init__(self, *answers):
        self.calls, self.answers, self.called = [], list(answers), asyncio.Event()

    async def request(self, base_url, request):
        self.calls.append(f"{base_url}{request.path}?{request.query}")
        self.called.set()
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return HttpResponse(answer, {}, b"")


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """A service manager's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2500")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield end


async def told(end, count):
    loop = asyncio.get_running_loop()
    return [(await loop.sock_recv(end, 100)).decode() for _ in range(count)]


async def test_the_service_manager_is_told(manager):
    """Ready, then the watchdog again and again, and that we stop at the end."""
    signs = Lifesigns(Program(), Transport(), "", 60.0)
    task = asyncio.create_task(signs.run())
    assert await told(manager, 4) == ["READY=1"] + ["WATCHDOG=1"] * 3
    task.cancel()
    await asyncio.wait([task])
    states = []
    while not states or states[-1] != "STOPPING=1":
        states += await told(manager, 1)
    assert set(states[:-1]) <= {"WATCHDOG=1"}


def test_the_watchdog_is_of_this_process(monkeypatch):
    """Less than half of the manager's time, and none where it waits for another process or for none."""
    assert watchdog_s("30000000", "") == pytest.approx(12.0)
    assert watchdog_s("30000000", "1") == 0.0
    assert watchdog_s("", "") == 0.0
    assert watchdog_s("soon", "") == 0.0


@pytest.mark.parametrize("harm", ["data", "account", "engine", "end"])
def test_signs_are_withheld_without_life(harm):
    """No frames, no account stream, no engine, or an end under way: nothing claims that all is well."""
    program = Program()
    signs = Lifesigns(program, Transport(), "", 60.0)
    assert signs.ailment() == ""
    if harm == "data":
        program.clock.pass_s(SILENT_S_MAX + 1)
    elif harm == "account":
        program.desk.errands.is_stream_up = False
        assert signs.ailment() == ""
        program.clock.pass_s(ACCOUNT_DOWN_S_MAX + 1)
        program.board.frames += 1
    elif harm == "engine":
        program.is_running = False
    else:
        program.is_stopping = True
    assert signs.ailment()
    program.board.frames += 1
    program.desk.errands.is_stream_up = program.is_running = True
    program.is_stopping = False
    assert signs.ailment() == ""


def test_a_run_without_an_account_needs_no_account_stream():
    """Public data alone are life enough where nothing is traded."""
    program = Program()
    program.setup.signer, program.desk.errands.is_stream_up = None, False
    signs = Lifesigns(program, Transport(), "", 60.0)
    signs.ailment()
    program.clock.pass_s(ACCOUNT_DOWN_S_MAX + 1)
    program.board.frames += 1
    assert signs.ailment() == ""


async def test_the_address_is_called_and_failures_are_noted_once(monkeypatch):
    """Each beat is one GET; a run of failures is one note without the address, its end another."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    program = Program()
    transport = Transport(200, Unreachable("no"), Unreachable("no"), 500, 200)
    signs = Lifesigns(program, transport, "https://hc.example/ping/planted-token?a=b", 0.001)
    task = asyncio.create_task(signs.run())
    while len(transport.calls) < 6:
        transport.called.clear()
        await transport.called.wait()
    task.cancel()
    await asyncio.wait([task])
    assert transport.calls[0] == "https://hc.example/ping/planted-token?a=b"
    assert program.notes == [
        ("heartbeat.was_not_heard", "Unreachable"),
        ("heartbeat.was_not_heard", "it works again"),
    ]


def test_what_opens_an_address_is_not_journaled():
    """The heartbeat's path and a proxy's password stay out of what is written down."""
    config = Config(
        run=RunSettings(heartbeat_url="https://hc.example/ping/planted-token"),
        transport=TransportSettings(proxy="http://me:planted-word@proxy.example:3128"),
    )
    shown = without_secrets(config)
    assert shown.run.heartbeat_url == "https://hc.example/***"
    assert shown.transport.proxy == "http://***@proxy.example:3128"
    assert without_secrets(Config()) == Config()


@pytest.mark.parametrize(
    "url", ["hc.example/planted", "ftp://hc.example/planted", "https:///planted"]
)
def test_a_wrong_address_is_one_line_without_it(tmp_path, url):
    """An address that cannot be called stops the start, and is not repeated."""
    path = tmp_path / "c.toml"
    path.write_text(f'[run]\nheartbeat_url = "{url}"\n')
    with pytest.raises(UserFault, match=r"run.heartbeat_url.*allowed: http") as caught:
        load_config(str(path))
    assert "planted" not in str(caught.value)
