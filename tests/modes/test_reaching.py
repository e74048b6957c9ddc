"""Venues that cannot be reached, or only in part: one clear line, or REST alone, marked degraded."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from tests.modes.real_run import run_once, settings_for, venue_process

from cryptosignal.cli.main import main
from cryptosignal.streams.settings import FeedSettings


@contextmanager
def blocking_server():
    """A venue that refuses our location."""

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{"code": 0, "msg": "Service unavailable from a restricted location"}'
            self.send_response(451)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ran(tmp_path, capsys, rest, transport=""):
    """Exit code and last line of `run --venue binance` against `rest`."""
    file = tmp_path / "venue.toml"
    file.write_text(f'[venue]\nrest_url = "{rest}"\nspot_url = "{rest}"\n{transport}')
    arguments = ["run", "--venue", "binance", "--scans", "1", "--config", str(file)]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--data-dir", str(tmp_path / "runs")])
    return ended.value.code, capsys.readouterr().err.strip().splitlines()[-1]


def test_a_blocked_location_is_one_clear_line(tmp_path, capsys):
    """HTTP 451 ends the run at once with code 3 and says what to do."""
    with blocking_server() as rest:
        code, line = ran(tmp_path, capsys, rest)
    assert code == 3
    assert "451" in line
    assert "proxy" in line


def test_a_name_that_does_not_resolve_is_one_clear_line(tmp_path, capsys):
    """DNS failure ends the run with code 3."""
    code, line = ran(tmp_path, capsys, "http://nowhere.invalid")
    assert code == 3
    assert "cannot be resolved" in line


def test_a_proxy_that_is_not_there_is_one_clear_line(tmp_path, capsys):
    """The proxy key is used: a dead proxy is what fails, with code 3."""
    proxy = '[transport]\nproxy = "http://127.0.0.1:9"\n'
    code, line = ran(tmp_path, capsys, "http://nowhere.invalid", proxy)
    assert code == 3
    assert "nowhere.invalid" in line or "127.0.0.1:9" in line
    assert "cannot be resolved" not in line


@pytest.mark.slow
def test_without_any_websocket_scans_go_on_by_rest_within_the_ledger(tmp_path):
    """Refused sockets: the feed gives the alarm, REST carries, nothing is Prime, no 429."""
    seen = []

    async def look(program, _recorder):
        await program.started.wait()
        while True:
            await asyncio.sleep(0.2)
            seen.append(
                (program.feed.is_failed, program.ledger.punished, program.repairer.requests)
            )

    with venue_process() as venue:
        config = settings_for(venue.rest, "ws://127.0.0.1:9", tmp_path)
        feed = FeedSettings(base_delay=0.05, max_delay=0.1, max_retries=3, repair_interval=0.5)
        witness = run_once(msgspec.structs.replace(config, websocket=feed), 5, conduct=look)
    assert len(witness.scans) == 5
    assert witness.said("connection.has_failed")
    assert sum(scan.prime for scan in witness.scans) == 0
    assert any(is_failed for is_failed, _, _ in seen)
    _, punished, requests = seen[-1]
    assert punished == 0
    assert requests > 0
    program = witness.program
    latest = program.engine.latest
    assert latest is not None
    assert not any(q >= 0.9 for q in program.quality.score[: len(program.symbols)])
