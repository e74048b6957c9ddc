"""The page's process: one port on loopback, one socket to the engine, and an end when told.

Killing it changes nothing for the engine, and it survives the engine: it then says since when it
hears nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Sequence

import msgspec
import uvicorn
from fastapi import FastAPI
from nicegui import app as gui
from nicegui import ui
from starlette.middleware.gzip import GZipMiddleware

from cryptosignal.ground.faults import UserFault
from cryptosignal.modes.snapshots import SnapshotClient
from cryptosignal.web.desk import Desk
from cryptosignal.web.guard import Guard
from cryptosignal.web.mirror import Mirror
from cryptosignal.web.page import House, Tab, Views
from cryptosignal.web.settings import LOOPBACK, PageSettings

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" '
    'fill="#0b0f14"/><path d="M2 11l4-4 3 3 5-6" stroke="#4c9aff" stroke-width="2" fill="none"/></svg>'
)
_STOP_S = 1


def run_page(
    socket_path: str,
    host: str = "127.0.0.1",
    port: int = 8787,
    *,
    announce: bool = True,
    until_stdin_closes: bool = False,
    settings: PageSettings | None = None,
) -> None:
    """Serve the page until stopped by a signal, or by the end of stdin if so asked.

    `port` 0 takes a free one. With `announce`, one JSON line `{"page": URL}` goes to stdout once
    the page can be opened. Raises `UserFault` for a port in use or a host beyond loopback.
    """
    listener = _listen(host, port)
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{listener.getsockname()[1]}/"
    app = build_app(socket_path, settings or PageSettings(), url if announce else "")
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="wsproto",
        timeout_graceful_shutdown=_STOP_S,
    )
    server = uvicorn.Server(config)
    if until_stdin_closes:
        threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def build_app(socket_path: str, settings: PageSettings, announced_url: str = "") -> FastAPI:
    """The guarded application: the page at `/`, NiceGUI's own assets, and nothing else."""
    mirror = Mirror(settings)
    client = SnapshotClient(socket_path, mirror.take)
    house = House(client, mirror, Views(client, settings.symbol_refresh_s))

    @contextlib.asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        listening = asyncio.create_task(client.run())
        if announced_url:
            sys.stdout.write(msgspec.json.encode({"page": announced_url}).decode() + "\n")
            sys.stdout.flush()
        yield
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    app = FastAPI(lifespan=live, docs_url=None, redoc_url=None, openapi_url=None)

    Desk(client).add_to(app)

    @ui.page("/")
    def page(symbol: str = "", interval: str = "") -> None:
        Tab(house, symbol, interval)

    gui.config.socket_io_js_transports = ["websocket"]  # polling would need POST
    ui.run_with(
        app,
        title="CryptoSignal",
        favicon=_ICON,
        dark=True,
        tailwind=False,
        show_welcome_message=False,
        message_history_length=30,
        reconnect_timeout=5.0,
        gzip_middleware_factory=None,
    )
    app.add_middleware(Guard)
    app.add_middleware(GZipMiddleware, minimum_size=2_000, compresslevel=4)
    return app


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket on loopback, so that the port is ours before anything is announced."""
    if host not in LOOPBACK:
        raise UserFault(f"--host: found {host}, allowed: {', '.join(LOOPBACK)} (use SSH from afar)")
    if not 0 <= port <= 65_535:
        raise UserFault(f"--port: found {port}, allowed: 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UserFault(
            f"the page: port {port} on {host}: {error.strerror} (allowed: a free port, --page-port)"
        ) from error
    return listener


def _stop_at_end_of_stdin(server: uvicorn.Server) -> None:
    """Runs in a thread of its own: whoever started the page holds the other end of its stdin."""
    with contextlib.suppress(OSError):  # no stdin at all is the end of it, too
        while os.read(0, 4_096):
            pass
    server.should_exit = True


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of `python -m cryptosignal.web`; 2 after a user's mistake."""
    parser = argparse.ArgumentParser("cryptosignal.web", description=__doc__)
    parser.add_argument("--socket", required=True, help="the engine's snapshot socket")
    parser.add_argument("--host", default="127.0.0.1", help="loopback only (default %(default)s)")
    parser.add_argument("--port", type=int, default=8787, help="default %(default)s, 0: a free one")
    parser.add_argument("--quiet", action="store_true", help="do not announce the address")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the starter")
    given = parser.parse_args(arguments)
    try:
        run_page(
            given.socket,
            given.host,
            given.port,
            announce=not given.quiet,
            until_stdin_closes=given.until_stdin_closes,
        )
    except UserFault as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    return 0
