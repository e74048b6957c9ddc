"""`cryptosignal run`: watch the market, scan, publish; the main job."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from cryptosignal.cli.flags import (
    PORT_MAX,
    SCANS_MAX,
    parse_symbols,
    whole,
    with_params,
    with_run,
)


# long-ok: one line a flag; apart they would be harder to find
def run(
    *,
    venue: str = "embedded",
    data: str = "",
    start: str = "",
    speed: float = 1.0,
    scans: int = 0,
    symbols: str = "60",
    seed: int = 7,
    faults: str = "calm",
    interval: float | None = None,
    min_score: float | None = None,
    top: int | None = None,
    data_dir: str = "",
    mode: str = "",
    account: str = "",
    live: bool = False,
    synthetic_flow: bool = False,
    page: bool = False,
    page_port: int = 8787,
    metrics_port: int | None = None,
    config: Annotated[str, Parameter(name=["--config", "-c"])] = "",
    test: bool = False,
    every_table: bool = False,
    verbose: bool = False,
    json: bool = False,
) -> int:
    """Watch the market, scan it from memory, print it ranked and explained, until Ctrl-C.

    Without keys and network an embedded simulated venue stands in.

    Example: cryptosignal run --scans 3 --symbols 60

    Parameters
    ----------
    venue
        embedded, binance or testnet.
    data
        A candle file (parquet or csv) that the embedded venue walks instead of generated prices.
    start
        Where the embedded venue's time starts (2025-06-01, or epoch ms); default: now, or bar 500
        of the candle file (of a file with 100 symbols and more: when 100 of them are listed).
    speed
        Venue time against wall time (embedded venue only).
    scans
        End by itself after so many scans; 0 goes on until Ctrl-C.
    symbols
        How many symbols, or which: 60, or BTCUSDT,ETHUSDT.
    seed
        The run's seed: the embedded venue's market follows from it.
    faults
        What the embedded venue does to us: calm, weather or storm.
    interval
        Seconds between scans (run.scan_interval_s).
    min_score
        Prime strength (0-100) that a signal must reach (params.gates.min_score).
    top
        Rows of the ranked table.
    data_dir
        Where journal, outcomes and reports go.
    mode
        signal, approve or auto (run.mode).
    account
        none, sim, paper, testnet or live (run.account). Default: the embedded venue's own, paper at a
        real one. The last two read a key of yours and trade with it.
    live
        Arm a live account: it also needs live.enabled, [live.limits] and a key that cannot do harm.
    synthetic_flow
        Let flow count that the candle file lacks and the venue made up (params.accept_synthetic_flow).
    page
        Start the page too, in a process of its own on 127.0.0.1, and print its address.
    page_port
        Its port; 8787 gives way to a free one if it is taken.
    metrics_port
        Prometheus figures on 127.0.0.1 at this port (run.metrics_port); default: none.
    config
        A TOML file with settings.
    test
        The 10 most liquid symbols, one scan, every connection; code 0 only if all streams deliver.
    every_table
        Print the whole table after each scan, not only after the first.
    verbose
        Show notes of streams and connections too.
    json
        One JSON object a line instead of text.
    """
    from cryptosignal.cli.console import Terminal
    from cryptosignal.ground.calendar import utc_text
    from cryptosignal.modes.config import load_config
    from cryptosignal.modes.live import Run, run_live

    whole("--scans", scans, 0, SCANS_MAX)
    whole("--page-port", page_port, 0, PORT_MAX)
    changes = {
        "scan_interval_s": interval,
        "top": top,
        "data_dir": data_dir or None,
        "mode": mode or None,
        "account": account or None,
        "metrics_port": metrics_port,
    }
    settings = with_run(load_config(config), changes)
    settings = with_params(settings, min_score, synthetic_flow=synthetic_flow)
    count, names = parse_symbols(symbols)
    if test:
        from cryptosignal.cli.doctor import self_test

        return self_test(settings, venue=venue, names=names, seed=seed, json=json)
    face = Terminal(top=settings.run.top, scans_table=every_table, as_json=json, verbose=verbose)
    request = Run(
        config=settings,
        venue=venue,
        data=data,
        start=start,
        speed=speed,
        scans=scans,
        symbols=names,
        symbol_count=count,
        seed=seed,
        faults=faults,
        is_armed=live,
        page_port=page_port if page else None,
        on_page=lambda address: face.say(f"page: {address}"),
        on_venue=lambda name, ready: face.say(
            f"venue: {name}"
            + (
                f" at {ready.rest}, speed {ready.speed:g}, its time {utc_text(ready.start_time_ms)}"
                if ready
                else ""
            )
        ),
    )
    reason = run_live(request, face)
    face.say(f"ended: {reason}")
    return 0
