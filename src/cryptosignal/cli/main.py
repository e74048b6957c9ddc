"""The map of the command line: every command on one page, each in a room of its own.

Nothing heavy is imported before a command runs. Exit codes: 0 done; 1 done, and the answer is no
(a check failed, a replay differs, a simulation found a violation); 2 the input is wrong (one line
says what, where and what is allowed); 3 the venue or the network cannot be reached; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group

import cryptosignal
from cryptosignal.ground.faults import EdgeFault, Fault, RateLimited, Refused, UserFault

EXIT_NO = 1
EXIT_INPUT = 2
EXIT_VENUE = 3
EXIT_INTERRUPTED = 130
_GEO_BLOCK = 451

_WATCH = Group("Watch the market", sort_key=1)
_TRADE = Group("Trade", sort_key=2)
_PROVE = Group("Prove and replay", sort_key=3)
_STUDY = Group("Study", sort_key=4)

_COMMANDS: tuple[tuple[str, str, Group], ...] = (
    ("run", "cryptosignal.cli.run:run", _WATCH),
    ("scan", "cryptosignal.cli.scan:scan", _WATCH),
    ("explain", "cryptosignal.cli.explain:explain", _WATCH),
    ("doctor", "cryptosignal.cli.doctor:doctor", _WATCH),
    ("kill", "cryptosignal.cli.operate:kill", _TRADE),
    ("approve", "cryptosignal.cli.operate:approve", _TRADE),
    ("positions", "cryptosignal.cli.operate:positions", _TRADE),
    ("close", "cryptosignal.cli.operate:close", _TRADE),
    ("close-all", "cryptosignal.cli.operate:close_all", _TRADE),
    ("status", "cryptosignal.cli.operate:status", _TRADE),
    ("desk-code", "cryptosignal.cli.operate:desk_code", _TRADE),
    ("paper-trade", "cryptosignal.cli.trade:paper_trade", _TRADE),
    ("report", "cryptosignal.cli.report:report", _TRADE),
    ("simulate", "cryptosignal.cli.venue:simulate", _PROVE),
    ("sim", "cryptosignal.cli.campaign:sim", _PROVE),
    ("replay", "cryptosignal.cli.replay:replay", _PROVE),
    ("decide", "cryptosignal.cli.study:decide", _STUDY),
    ("evaluate-factors", "cryptosignal.cli.study:evaluate_factors", _STUDY),
    ("config", "cryptosignal.cli.settings:config", _STUDY),
)


def build_app() -> App:
    """The command line as a value; commands are imported when they are called."""
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
    for name, target, group in _COMMANDS:
        app.command(target, name=name, group=group)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs a command and turns faults into one line and an exit code."""
    # spinning BLAS threads slow a scan sevenfold on a busy machine; set before numpy is imported
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # ambient-ok: before numpy is imported
    try:
        code = build_app()(
            list(arguments) if arguments is not None else None,
            exit_on_error=False,
            print_error=False,
        )
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
    sys.exit(code if isinstance(code, int) else 0)


def _say(text: str) -> None:
    print(f"cryptosignal: {text}", file=sys.stderr)
