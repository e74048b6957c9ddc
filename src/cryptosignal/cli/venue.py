"""`cryptosignal simulate`: the simulated venue on loopback, for our program and for any client."""

from __future__ import annotations

import msgspec

from cryptosignal.ground.faults import UserFault


def simulate(
    *,
    port: int = 18080,
    symbols: str = "60",
    seed: int = 7,
    speed: float = 1.0,
    faults: str = "calm",
    data: str = "",
    start: str = "",
    listed_min: int = 0,
    json: bool = False,
    until_stdin_closes: bool = False,
) -> int:
    """Serve a simulated Binance USDⓈ-M venue on 127.0.0.1: REST and WebSocket on one port.

    Prints one line when it is ready; ends on SIGTERM or Ctrl-C.

    Example: cryptosignal simulate --port 18080 --symbols 50 --seed 7 --faults storm

    Parameters
    ----------
    port
        The port; 0 takes a free one.
    symbols
        How many symbols to generate (2 to 600), or which, with commas.
    seed
        One seed, one market.
    speed
        Venue seconds per wall second.
    faults
        calm, weather or storm.
    data
        Walk the candles of this file (parquet or csv) instead of generating prices.
    start
        Venue time of the start (2025-01-31 or epoch ms); default: now, or bar 500 of the file.
    listed_min
        Without --start: begin the file's walk no earlier than when so many of its symbols are listed.
    json
        Announce as one JSON line.
    until_stdin_closes
        End when standard input closes: for a program that owns this venue.
    """
    from cryptosignal.cli.flags import PORT_MAX, parse_symbols, whole
    from cryptosignal.ground.calendar import parse_utc
    from cryptosignal.sim.server import run_server
    from cryptosignal.sim.settings import SYMBOLS_MAX, VenueSettings

    count, names = parse_symbols(symbols)
    whole("--port", port, 0, PORT_MAX)
    whole("--listed-min", listed_min, 0, SYMBOLS_MAX)
    try:
        start_ms = parse_utc(start) if start else 0
        settings = VenueSettings(
            symbols=count,
            symbol_names=names,
            speed=speed,
            faults=faults,
            start_ms=start_ms,
            walk_symbols_min=listed_min,
        )
    except ValueError as error:
        raise UserFault(f"simulate: {error}") from None
    run_server(
        settings,
        host="127.0.0.1",
        port=port,
        seed=seed,
        data_path=data,
        announce=lambda ready: print(
            msgspec.json.encode(ready).decode() if json else _words(ready), flush=True
        ),
        until_stdin_closes=until_stdin_closes,
    )
    return 0


def _words(ready: dict[str, object]) -> str:
    return f"simulated venue at {ready['rest']} (WebSocket {ready['ws']}), speed {ready['speed']}"
