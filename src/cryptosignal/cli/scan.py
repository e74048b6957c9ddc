"""`cryptosignal scan`: one scan of the market, printed as a table or as the nine known keys."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

if TYPE_CHECKING:
    from cryptosignal.signals.decisions import ScanDecisions


def scan(
    *,
    once: bool = True,
    top: int = 20,
    min_score: float | None = None,
    symbols: str = "60",
    venue: str = "embedded",
    data: str = "",
    speed: float = 1.0,
    seed: int = 7,
    data_dir: str = "",
    config: Annotated[str, Parameter(name=["--config", "-c"])] = "",
    verbose: bool = False,
    json: bool = False,
) -> int:
    """Warm up, scan once from memory, print the ranked market.

    With --json: results, total_symbols, signals_found, skipped, errors, elapsed_seconds,
    symbols_per_second, api_calls (counted during the scan), cache_stats.

    Example: cryptosignal scan --once --top 20 --json

    Parameters
    ----------
    once
        Scan once and end (--no-once goes on until Ctrl-C).
    top
        Rows of the table.
    min_score
        Prime strength (0-100) that a signal must reach.
    symbols
        How many symbols, or which, with commas.
    venue
        embedded, binance or testnet.
    data
        A candle file that the embedded venue walks.
    speed
        Venue time against wall time.
    seed
        The run's seed.
    data_dir
        Where the journal goes.
    config
        A TOML file with settings.
    verbose
        One line a symbol: bars per interval, age class, time (with --json on stderr).
    json
        The nine keys as one JSON object.
    """
    from cryptosignal.cli.console import Terminal
    from cryptosignal.cli.flags import parse_symbols, replaced, with_params
    from cryptosignal.modes.config import load_config
    from cryptosignal.modes.live import Run, run_live

    settings = load_config(config)
    changes: dict[str, Any] = {"top": top, "data_dir": data_dir or settings.run.data_dir}
    settings = msgspec.structs.replace(settings, run=replaced(settings.run, changes))
    settings = with_params(settings, min_score)
    count, names = parse_symbols(symbols)
    face = _OneScan(Terminal(top=top, scans_table=not json, as_json=False, verbose=False), json)
    request = Run(
        config=settings,
        venue=venue,
        data=data,
        speed=speed,
        scans=1 if once else 0,
        symbols=names,
        symbol_count=count,
        seed=seed,
    )
    run_live(request, face)
    if json:
        print(msgspec.json.encode(face.body).decode())
    if verbose:
        print("\n".join(face.lines), file=sys.stderr if json else sys.stdout)
    return 0


class _OneScan:
    """The terminal's face, silent in JSON mode, that keeps the newest scan's result."""

    def __init__(self, terminal: Any, is_silent: bool) -> None:
        self._terminal = terminal
        self._is_silent = is_silent
        self._program: Any = None
        self.body: dict[str, Any] = {}
        self.lines: list[str] = []

    def __getattr__(self, name: str) -> Any:
        """Everything else is the terminal's, or nobody's in JSON mode."""
        return _nothing if self._is_silent else getattr(self._terminal, name)

    def on_ready(self, program: Any, report: Any) -> None:
        """Everything is loaded."""
        self._program = program
        if not self._is_silent:
            self._terminal.on_ready(program, report)

    def on_scan(self, action: Any) -> None:
        """Keep the result in the user's own keys."""
        program = self._program
        decisions = program.engine.latest
        self.body = decisions.to_dict(
            api_calls=program.api_calls_at_scan,
            cache_stats=program.board.get_stats(),
            elapsed_s=program.scans.elapsed_ms / 1000,
        )
        each_ms = program.scans.elapsed_ms / max(len(decisions), 1)
        self.lines = [symbol_line(decisions, i, each_ms) for i in range(len(decisions))]
        if not self._is_silent:
            self._terminal.on_scan(action)


def symbol_line(decisions: ScanDecisions, place: int, each_ms: float) -> str:
    """One symbol: bars of each interval, age class, when it was decided, its share of the scan."""
    from cryptosignal.ground.calendar import utc_text

    d = decisions.decision(place)
    bars = " ".join(f"{r.interval}:{r.bars}" for r in d.receipt) or "no bars"
    return (
        f"{d.symbol:<14} {bars}  {decisions.age_class(place)}  {utc_text(d.time_ms)}  "
        f"{each_ms:.2f} ms  {d.tier.value} {d.side} {d.score:+.1f}"
    )


def _nothing(*_arguments: Any) -> None:
    return None
