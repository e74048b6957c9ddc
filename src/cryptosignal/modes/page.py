"""The page beside a run: the hub in the engine's process, the page in one of its own.

The page may come, fail and go: the run is the same without it (DESIGN §5, RELIABILITY §5.26).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from cryptosignal.ground.faults import UserFault
from cryptosignal.modes.child import started

PORT_DEFAULT = 8787


@contextmanager
def page_process(socket_path: str, port: int) -> Iterator[str]:
    """Start the page and yield its address, stop it at the end.

    Port `PORT_DEFAULT` gives way to a free one if it is taken; any other must be free.
    Raises UserFault with one line where the page cannot be started.
    """
    if importlib.util.find_spec("nicegui") is None:
        raise UserFault("the page needs the extra `web` (pip install 'cryptosignal[web]')")
    try:
        with _page(socket_path, port) as address:
            yield address
            return
    except UserFault:
        if port != PORT_DEFAULT:
            raise
    with _page(socket_path, 0) as address:
        yield address


@contextmanager
def _page(socket_path: str, port: int) -> Iterator[str]:
    command = ["cryptosignal.web", "--socket", socket_path, "--port", str(port)]
    with started([*command, "--until-stdin-closes"], "the page") as line:
        address: str = msgspec.json.decode(line, type=dict[str, str])["page"]
        yield address
