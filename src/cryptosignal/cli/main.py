"""The map of the command line: every command on one page, each in a room of its own.

Nothing heavy is imported before a command runs. Exit codes: 0 done; 1 done, and the answer is no
(a check failed, a replay differs, a simulation found a violation); 2 the input is wrong (one line
says what, where and what is allowed); 3 the venue or the network cannot be reached, or the disk not
written; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from cyclopts import App, CycloptsError, Group

import cryptosignal
from cryptosignal.ground.faults import EdgeFault, Fault, RateLimited, Refused, UserFault

EXIT_NO = 1
EXIT_INPUT = 2
EXIT_VENUE = 3
EXIT_INTERRUPTED = 130
_GEO_BLOCK = 451
_ASKS_FOR_MAP = ("--help", "-h")

_WATCH = Group("Watch the market", sort_key=1)
_TRADE = Group("Trade", sort_key=2)
_PROVE = Group("Prove and replay", sort_key=3)
_STUDY = Group("Study", sort_key=4)

_COMMANDS: tuple[tuple[str, str, Group, str], ...] = (
    (
        "run",
        "cryptosignal.cli.run:run",
        _WATCH,
        "watch, score and explain the market until Ctrl-C; the main job",
    ),
    (
        "scan",
        "cryptosignal.cli.scan:scan",
        _WATCH,
        "one scan from memory, as a table or as the nine known keys",
    ),
    (
        "explain",
        "cryptosignal.cli.explain:explain",
        _WATCH,
        "why a symbol was, or was not, a signal at any past scan",
    ),
    (
        "stats",
        "cryptosignal.cli.stats:stats",
        _WATCH,
        "what passes and what stops signals, over many scans",
    ),
    ("doctor", "cryptosignal.cli.doctor:doctor", _WATCH, "look the venue and our own streams over"),
    (
        "kill",
        "cryptosignal.cli.operate:kill",
        _TRADE,
        "the kill switch: 1 no entries, 2 cancel them, 3 close all",
    ),
    (
        "approve",
        "cryptosignal.cli.operate:approve",
        _TRADE,
        "what waits for a yes; yes or no by id",
    ),
    ("positions", "cryptosignal.cli.operate:positions", _TRADE, "what the running engine holds"),
    ("close", "cryptosignal.cli.operate:close", _TRADE, "close one position, reduce-only"),
    ("close-all", "cryptosignal.cli.operate:close_all", _TRADE, "close all positions of ours"),
    ("status", "cryptosignal.cli.operate:status", _TRADE, "how the running engine is"),
    (
        "desk-code",
        "cryptosignal.cli.operate:desk_code",
        _TRADE,
        "a code that opens the page's desk once",
    ),
    (
        "paper-trade",
        "cryptosignal.cli.trade:paper_trade",
        _TRADE,
        "one whole trade by hand on the embedded venue",
    ),
    (
        "export",
        "cryptosignal.cli.keep:export",
        _TRADE,
        "trades, fees and funding as CSV for accounting",
    ),
    (
        "backup",
        "cryptosignal.cli.keep:backup",
        _TRADE,
        "copy a data folder, also of a running engine",
    ),
    ("restore", "cryptosignal.cli.keep:restore", _TRADE, "put a backup into an empty data folder"),
    ("report", "cryptosignal.cli.report:report", _TRADE, "what a day brought"),
    (
        "simulate",
        "cryptosignal.cli.venue:simulate",
        _PROVE,
        "serve the simulated venue to any Binance client",
    ),
    (
        "sim",
        "cryptosignal.cli.campaign:sim",
        _PROVE,
        "the whole program in virtual time, with faults and kills",
    ),
    (
        "replay",
        "cryptosignal.cli.replay:replay",
        _PROVE,
        "decide a journal again and compare every digest",
    ),
    (
        "decide",
        "cryptosignal.cli.study:decide",
        _STUDY,
        "every decision of every closed hour of a candle archive",
    ),
    (
        "evaluate-factors",
        "cryptosignal.cli.study:evaluate_factors",
        _STUDY,
        "what each factor is worth on such an archive",
    ),
    (
        "config",
        "cryptosignal.cli.settings:config",
        _STUDY,
        "the configuration in force, or a check of a file",
    ),
)


def build_app(*, is_map: bool = False) -> App:
    """The command line as a value; commands are imported when they are called.

    For the map each carries its line of the table; for itself a command speaks by its docstring.
    """
    app = App(
        name="cryptosignal",
        help=(
            "Watches every Binance USDⓈ-M perpetual from memory, scores the whole market,\n"
            "publishes few and explained signals, and trades them safely if told to.\n\n"
            "First steps: `cryptosignal run` (no keys, no network: an embedded venue stands in),\n"
            "then `cryptosignal explain BTCUSDT`."
        ),
        version=cryptosignal.__version__,
        result_action="return_value",
    )
    for place, (name, target, group, summary) in enumerate(_COMMANDS):
        if is_map:
            app.command(target, name=name, group=group, help=summary, sort_key=place)
        else:
            app.command(target, name=name, group=group)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs a command and turns faults into one line and an exit code."""
    # spinning BLAS threads slow a scan sevenfold on a busy machine; set before numpy is imported
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # ambient-ok: before numpy is imported
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_map = not words or words[0] in _ASKS_FOR_MAP
    app = build_app(is_map=is_map)
    code = guarded(lambda: app(words, exit_on_error=False, print_error=False))
    if "cryptosignal.modes.beside" not in sys.modules:  # nothing that could be under way
        sys.exit(code)
    from cryptosignal.modes.beside import leave

    leave(code)


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; its exit code, with one line on stderr for a fault that has one."""
    try:
        code = command()
    except CycloptsError as error:
        _say(" ".join(str(error).split()) + " (see `cryptosignal --help`)")
        code = EXIT_INPUT
    except UserFault as fault:
        _say(str(fault))
        code = EXIT_INPUT
    except (EdgeFault, RateLimited) as fault:
        _say(str(fault))
        code = EXIT_VENUE
    except Refused as fault:
        is_blocked = fault.status == _GEO_BLOCK
        _say(fault.message if is_blocked else f"Refused: {fault}")
        code = EXIT_VENUE if is_blocked else EXIT_NO
    except Fault as fault:
        _say(f"{type(fault).__name__}: {fault}")
        code = EXIT_NO
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        code = 0  # the reader of our output went away (`| head`)
    return code if isinstance(code, int) else 0


def _say(text: str) -> None:
    print(f"cryptosignal: {text}", file=sys.stderr)
