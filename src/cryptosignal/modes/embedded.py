"""The embedded simulated venue as its own process, owned by the program that started it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from cryptosignal.binance.routes import Routes
from cryptosignal.binance.signing import HmacSigner
from cryptosignal.ground.secret import Secret
from cryptosignal.modes.child import started


class VenueReady(msgspec.Struct, frozen=True):
    """The venue's announcement (DESIGN D11): addresses, keys and the shared epoch of its time."""

    rest: str
    ws: str
    ws_api: str
    api_key: str
    api_secret: str
    start_time_ms: int
    epoch_mono_ns: int
    speed: float
    life_fd: int = -1
    """Ends with the process if it is ours (`modes.child`); -1 where somebody else owns it."""

    def routes(self) -> Routes:
        """Its base URLs."""
        return Routes(
            rest_url=self.rest,
            ws_url=self.ws,
            ws_api_url=self.ws_api,
            spot_url=self.rest,
            sapi_url=self.rest,
            name="embedded",
        )

    def signer(self) -> HmacSigner:
        """The key of its first account: worth nothing anywhere else."""
        return HmacSigner(Secret(self.api_key), Secret(self.api_secret))


@contextmanager
def embedded_venue(arguments: Sequence[str]) -> Iterator[VenueReady]:
    """Start `cryptosignal simulate` with `arguments`, yield its announcement, stop it at the end.

    Raises UserFault with the child's own line if it refuses to start.
    """
    command = ["cryptosignal", "simulate", "--json", "--until-stdin-closes", *arguments]
    lives: list[int] = []
    with started(command, "the embedded venue", lives.append) as line:
        ready = msgspec.json.decode(line, type=VenueReady)
        yield msgspec.structs.replace(ready, life_fd=lives[0])
