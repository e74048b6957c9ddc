"""`cryptosignal doctor`: is the venue reached, does every stream deliver, what do the streams save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

if TYPE_CHECKING:
    from cryptosignal.modes.config import Config
    from cryptosignal.modes.doctor import Findings

_SHOWN_MAX = 10
_TESTED = 10
_COMPARE_SPEED = 60.0
_ASKED_WITH = "BTCUSDT"


def doctor(
    *,
    quick: bool = False,
    full: bool = False,
    compare: bool = False,
    settle: bool = False,
    venue: str = "embedded",
    symbols: str = "10",
    seed: int = 7,
    data_dir: str = "",
    config: Annotated[str, Parameter(name=["--config", "-c"])] = "",
    json: bool = False,
) -> int:
    """Look the venue and our own streams over. Exit code 0: all is well; 1: something is not.

    Example: cryptosignal doctor --quick

    Parameters
    ----------
    quick
        Connection, clock, limits, and that each route delivers (the default).
    full
        The same, the comparison, and that every single stream delivers.
    compare
        Count the REST calls that the streams save (half an hour of venue time).
    settle
        Ask a venue of play money what its documents leave open, with smallest orders (two minutes
        of venue time): needs the key of a testnet account, or the embedded venue.
    venue
        embedded, binance or testnet.
    symbols
        How many symbols, or which (--settle: the one to ask with, default BTCUSDT).
    seed
        The embedded venue's market.
    data_dir
        Where the short run leaves its journal; default: a folder that is removed.
    config
        A TOML file with settings.
    json
        One JSON object instead of text.
    """
    import tempfile

    from cryptosignal.cli.flags import parse_symbols
    from cryptosignal.modes.config import load_config
    from cryptosignal.modes.doctor import examine
    from cryptosignal.modes.live import EMBEDDED, Run

    settings = load_config(config)
    count, names = parse_symbols(symbols)
    if settle:
        return _settle(settings, venue, names[0] if names else _ASKED_WITH, seed, json=json)
    with tempfile.TemporaryDirectory() as folder:
        own = msgspec.structs.replace(
            settings.run, data_dir=data_dir or folder, symbols_max=max(count, len(names))
        )
        with_compare = compare or full
        request = Run(
            config=msgspec.structs.replace(settings, run=own),
            venue=venue,
            symbols=names,
            symbol_count=max(count, len(names)),
            seed=seed,
            speed=_COMPARE_SPEED if with_compare and venue == EMBEDDED else 1.0,
        )
        found = examine(request, _Silent(), every_stream=full, compare=with_compare)
    print(as_json(found) if json else "\n".join(lines_of(found)))
    return 0 if found.is_well else 1


def self_test(
    settings: Config, *, venue: str, names: tuple[str, ...], seed: int, json: bool
) -> int:
    """`run --test`: the 10 most liquid symbols, one scan, every stream; 0 only if all delivered."""
    from cryptosignal.modes.doctor import examine
    from cryptosignal.modes.live import Run

    own = msgspec.structs.replace(settings.run, symbols_max=_TESTED)
    settings = msgspec.structs.replace(settings, run=own)
    request = Run(config=settings, venue=venue, symbols=names, symbol_count=2 * _TESTED, seed=seed)
    found = examine(request, _Silent(), every_stream=True, compare=False)
    print(as_json(found) if json else "\n".join(lines_of(found)))
    return 0 if found.is_well else 1


def _settle(settings: Config, venue: str, symbol: str, seed: int, *, json: bool) -> int:
    import sys

    from cryptosignal.modes.settle import settle

    def tell(line: str) -> None:
        print(f"asking: {line}", file=sys.stderr, flush=True)

    found = settle(settings, venue, symbol, seed, tell)
    if json:
        print(msgspec.json.encode(found).decode())
        return 0 if found.is_clean else 1
    for one in found.answers:
        print(f"{one.question}\n  {one.answer}: {one.seen}")
        if one.advice:
            print(f"  {one.advice}")
    print("nothing was left behind" if found.is_clean else f"left behind: {found.left}")
    return 0 if found.is_clean else 1


class _Silent:
    """Nobody is told until the end."""

    def _nothing(self, *_arguments: Any) -> None:
        pass

    on_progress = on_ready = on_decision = on_scan = on_outcome = _nothing
    on_report = on_note = _nothing


def as_json(found: Findings) -> str:
    """Everything found as one JSON object."""
    body: dict[str, Any] = msgspec.to_builtins(found)
    for row, saving in zip(body["savings"], found.savings, strict=True):
        row["saved_percent"] = saving.saved_percent
    return msgspec.json.encode(body).decode()


def lines_of(found: Findings) -> list[str]:
    """Everything found, for a person."""
    lines = [
        f"venue         {found.venue}, clock known to {found.clock_error_ms} ms",
        "limits        " + ", ".join(f"{name} {limit}" for name, limit in found.limits.items()),
    ]
    lines += [
        f"connection {line['conn_id']:<2} /{line['route']:<7} {line['state']:<12}"
        f" {line['streams']:>4} streams  {line['frames']:>7} frames  {line['age_s']:>7.1f} s"
        for line in found.connections
    ]
    lines += [f"lost          {n} x {reason}" for reason, n in found.reconnects.items()]
    lines += [
        f"preload       {step:<20} {seconds:8.3f} s" for step, seconds in found.preload_s.items()
    ]
    lines.append(f"streams       {found.streams - len(found.unheard)} of {found.streams} delivered")
    if found.unheard:
        lines.append(f"  silent      {', '.join(found.unheard[:_SHOWN_MAX])}")
    if found.scan:
        shown = {key: value for key, value in found.scan.items() if key != "cache_stats"}
        shown["results"] = len(found.scan["results"])
        lines.append("scan          " + ", ".join(f"{key} {value}" for key, value in shown.items()))
        lines.append(f"cache_stats   {found.scan['cache_stats']}")
    if found.savings:
        lines.append(f"{'REST calls an hour':<52} {'polling':>9} {'streams':>9} {'saved':>8}")
    for row in found.savings:
        lines.append(
            f"{row.what:<52} {row.polling_per_h:>9.1f} {row.streams_per_h:>9.1f}"
            + (f" {row.saved_percent:>6.1f} %" if row.polling_per_h else "")
        )
    lines.append("all is well" if found.is_well else "something is not well")
    return lines
