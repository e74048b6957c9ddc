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
    fault_seed: int = 0,
    public_key: str = "",
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
        calm, weather or storm; then, with commas, single faults as NAME or NAME=RATE (per hour, or
        the chance of a request, frame or case), such as storm,halt=0 or ws_reset=4,http_429.
    fault_seed
        Another seed for the faults alone, over the same market; 0: the venue's own.
    public_key
        PEM file of an Ed25519 or RSA public key, for clients that sign with one (the API key stays
        the announced one).
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
    from cryptosignal.sim.mischief import parse_faults
    from cryptosignal.sim.params import read_public_key
    from cryptosignal.sim.server import run_server
    from cryptosignal.sim.settings import SYMBOLS_MAX, AccountSettings, VenueSettings

    count, names = parse_symbols(symbols)
    whole("--port", port, 0, PORT_MAX)
    whole("--fault-seed", fault_seed, 0, 1 << 62)
    whole("--listed-min", listed_min, 0, SYMBOLS_MAX)
    try:
        preset, rates = parse_faults(faults)
        pem = read_public_key(public_key) if public_key else ""
        settings = VenueSettings(
            symbols=count,
            symbol_names=names,
            speed=speed,
            faults=preset,
            fault_rates=rates,
            fault_seed=fault_seed,
            start_ms=parse_utc(start) if start else 0,
            walk_symbols_min=listed_min,
            accounts=(AccountSettings(ed25519_public_pem=pem),),
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
