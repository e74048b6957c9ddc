"""The page as a process: it says where it is, ends with its starter, and refuses in one line."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys

import pytest
from tests.web.houses import SRC, PageProcess

from cryptosignal.ground.faults import UserFault
from cryptosignal.web.main import main, run_page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "nobody.sock"
    with contextlib.closing(PageProcess(str(path), "--port", "0", "--until-stdin-closes")) as page:
        yield page


def test_it_announces_its_address_in_one_line(page):
    """The first line of stdout is JSON with the address that can be opened."""
    assert re.fullmatch(r'\{"page":"http://127\.0\.0\.1:\d+/"\}\n', page.line)


def test_the_page_is_served_with_its_policy(page):
    """The page comes with a content policy, is never cached, and names nothing foreign."""
    status, headers, body = page.get()
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert re.findall(r"<script(?! nonce=)", body) == []
    assert re.findall(r"""(?:src|href)=["'](?!/|data:|\{)[^"']+""", body) == []


@pytest.mark.parametrize(
    "path", ["docs", "redoc", "openapi.json", "metrics", "api", "config", ".env"]
)
def test_there_is_no_other_route(page, path):
    """Nothing but the page and its assets is served: no interface, no description, no secret."""
    assert page.get(path)[0] == 404


@pytest.mark.parametrize("path", ["", "_nicegui_ws/socket.io/?EIO=4&transport=polling"])
def test_writing_is_refused(page, path):
    """No route takes a POST."""
    status, _, body = page.get(path, method="POST")
    assert (status, "method: found POST" in body) == (403, True)


def test_strangers_are_refused(page):
    """A foreign name or origin gets 403 and one line."""
    assert page.get(Host="evil.example")[0] == 403
    assert page.get(Origin="http://evil.example")[0] == 403


def test_it_ends_with_its_starter(tmp_path):
    """When the other end of stdin closes, the process ends by itself and cleanly."""
    options = ("--port", "0", "--until-stdin-closes")
    with contextlib.closing(PageProcess(str(tmp_path / "s"), *options)) as page:
        assert page.close_stdin() == 0
        assert page.process.stderr.read() == b""


def test_a_port_in_use_is_one_line(page, tmp_path):
    """A second page on the same port ends with code 2 and names the port."""
    port = page.url.rsplit(":", 1)[1].strip("/")
    with contextlib.closing(PageProcess(str(tmp_path / "s"), "--port", port)) as second:
        assert second.process.wait(20) == 2
        message = second.process.stderr.read().decode()
    assert message == (
        f"the page: port {port} on 127.0.0.1: Address already in use (allowed: a free port, --page-port)\n"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.org", ""])
def test_only_loopback_is_bound(host):
    """The page is never offered to a network."""
    with pytest.raises(UserFault, match=r"--host: found .*, allowed: 127.0.0.1, localhost, ::1"):
        run_page("/nowhere", host=host)


def loaded(module):
    """Every module of the project, and NiceGUI, that importing `module` loads."""
    code = (
        f"import sys, {module}\n"
        "print(*(n for n in sys.modules if n.split('.')[0] in ('cryptosignal', 'nicegui')))"
    )
    env = os.environ | {"PYTHONPATH": str(SRC)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_page_loads_no_engine_and_no_venue():
    """The page's process holds no module beyond ground, domain, the snapshot client and itself."""
    foreign = {
        name
        for name in loaded("cryptosignal.web.main")
        if name.startswith("cryptosignal.")
        and name.split(".")[1] not in {"ground", "domain", "web"}
        and name not in {"cryptosignal.modes", "cryptosignal.modes.snapshots"}
    }
    assert foreign == set()


def test_the_engines_end_loads_no_page():
    """The hub costs the engine's process nothing of the page's libraries."""
    names = loaded("cryptosignal.modes.snapshots")
    assert not {name for name in names if name.split(".")[0] == "nicegui"}
    assert not {name for name in names if name.startswith("cryptosignal.web")}


def test_a_port_out_of_range_is_one_line(capsys):
    """A mistake on the command line is one line on stderr and code 2."""
    assert main(["--socket", "/nowhere", "--port", "70000"]) == 2
    assert capsys.readouterr().err == "--port: found 70000, allowed: 0 to 65535\n"


def test_a_taken_port_leaves_no_socket_behind():
    """Refusing to start closes what was opened."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserFault, match="allowed: a free port"):
            run_page("/nowhere", port=taken.getsockname()[1])
