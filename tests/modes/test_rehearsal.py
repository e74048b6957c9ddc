"""The rehearsal of the kernels at set-up: a run compiles nothing after it, and it never fails."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from tests.modes.test_scanning import TURN_MS, Run, turned

from cryptosignal.domain.params import ParamSet
from cryptosignal.factors import kernels
from cryptosignal.ground.units import HOUR_MS
from cryptosignal.modes import rehearsal

ROOT = Path(__file__).resolve().parents[2]


def forms():
    """How many compiled forms there are of each kernel."""
    from cryptosignal.factors import compiled, compiled_row

    return {
        f"{module.__name__}.{name}": len(kernel.signatures)
        for module in (compiled, compiled_row)
        for name, kernel in vars(module).items()
        if hasattr(kernel, "signatures")
    }


def added_by_a_run():
    """Kernels of which a run needs a form that the rehearsal has not made."""
    assert rehearsal.rehearse()
    before, run = forms(), Run(ParamSet())
    for symbol in run.view.symbols:
        run.board.load_spot(symbol, rehearsal.waves(1, HOUR_MS, 300, TURN_MS - HOUR_MS), TURN_MS)
        hours = range(TURN_MS - 400 * HOUR_MS, TURN_MS, HOUR_MS)
        run.board.load_open_interest(symbol, [(at, 1e6 + at % 997, 1e8) for at in hours])
    asyncio.run(turned(run, *((symbol, "15m", "1h") for symbol in run.view.symbols)))
    assert run.loop.refreshed
    view = run.board.view(run.clock.ms)
    told = [run.loop._factors.glance(view, slot) for slot in range(len(view.symbols))]
    assert all(values is not None for values in told)
    run.loop.scan("bar:1h")
    return sorted(name for name, count in forms().items() if count > before[name])


def test_a_run_compiles_nothing_after_the_rehearsal():
    """Every argument type that a board's scan and refresh use has been rehearsed."""
    pytest.importorskip("numba")
    code = "from tests.modes.test_rehearsal import added_by_a_run as f; print(f())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_set_up_does_not_fail_for_what_cannot_be_compiled(monkeypatch, capsys):
    """A compiler that raises costs one line; so does one that is not there."""

    def broken(work):
        raise OSError("no room\nfor the cache")

    monkeypatch.setattr(kernels, "rehearse", broken)
    assert rehearsal.main() == 0
    assert capsys.readouterr().err == ("kernels: not compiled, numpy answers (OSError: no room)\n")
    monkeypatch.setattr(kernels, "rehearse", lambda work: False)
    assert rehearsal.main() == 0
    assert capsys.readouterr().err == "kernels: numba is not installed, numpy answers\n"
