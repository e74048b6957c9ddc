"""Runs third-party clients, each in a virtual environment of its own, through a scripted day at the venue.

    python conformance/run.py [--build build/conformance] [--only python-binance]

Sets up what is missing, starts the simulated venue on a free port, prints one line per check, and
ends with 0 only if every check of every client held.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLIENTS = {
    "python-binance": ("python-binance>=1.0.30,<2", "drive_python_binance.py"),
    "official-sdk": (
        "binance-sdk-derivatives-trading-usds-futures>=17,<19",
        "drive_official_sdk.py",
    ),
}
DRIVE_WITHIN_S = 400
READY_WITHIN_S = 60


def environment(build: Path, name: str, package: str) -> Path:
    """The interpreter of the client's own environment, made on first use."""
    home = build / name
    python = home / "bin" / "python"
    if not (home / "installed").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", package], check=True)
        (home / "installed").write_text(package + "\n")
    return python


def start_venue() -> tuple[subprocess.Popen[str], str]:
    """The venue process and its ready line."""
    environ = dict(os.environ, PYTHONPATH=str(HERE.parent / "src"))
    command = [sys.executable, "-m", "cryptosignal.sim.server", "--symbols", "60", "--seed", "7"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise SystemExit("the venue did not start")
    return process, line.strip()


def drive(build: Path, name: str) -> bool:
    """One client's scripted day."""
    package, script = CLIENTS[name]
    python = environment(build, name, package)
    venue, ready = start_venue()
    try:
        done = subprocess.run(
            [str(python), str(HERE / script), ready], timeout=DRIVE_WITHIN_S, check=False
        )
        return done.returncode == 0
    except subprocess.TimeoutExpired:
        print(f"FAIL {name} did not end within {DRIVE_WITHIN_S} s")
        return False
    finally:
        venue.send_signal(signal.SIGTERM)
        code = venue.wait(timeout=10)
        print(f"{'ok  ' if code == 0 else 'FAIL'} {name}: the venue ended with {code}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default=str(HERE.parent / "build" / "conformance"))
    parser.add_argument("--only", choices=sorted(CLIENTS), default="")
    asked = parser.parse_args()
    build = Path(asked.build)
    build.mkdir(parents=True, exist_ok=True)
    names = [asked.only] if asked.only else list(CLIENTS)
    results = [drive(build, name) for name in names]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
