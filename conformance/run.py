"""Runs third-party clients, each in a virtual environment of its own, through a scripted day at the venue.

    python conformance/run.py [--build build/conformance] [--only python-binance]

Sets up what is missing, starts the simulated venue on a free port, prints one line per check, and
ends with 0 only if every check of every client held. Installing, starting and driving are bounded in
time. The two clients named first must be there; the others are passed over, with a word, where they
cannot be installed.
"""

from __future__ import annotations

import argparse
import os
import select
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
    "ccxt": ("ccxt>=4.5,<5", "drive_ccxt.py"),
    "futures-connector": ("binance-futures-connector>=4,<5", "drive_futures_connector.py"),
    "unicorn": ("unicorn-binance-websocket-api>=2.10,<3", "drive_unicorn.py"),
}
NEEDED = ("python-binance", "official-sdk")
INSTALL_WITHIN_S = 300
DRIVE_WITHIN_S = 400
READY_WITHIN_S = 60


def environment(build: Path, name: str, package: str) -> Path | None:
    """The interpreter of the client's own environment, made on first use; None if that failed."""
    home = build / name
    python = home / "bin" / "python"
    if (home / "installed").exists():
        return python
    command = [str(python), "-m", "pip", "install", "-q", "--no-input", "--prefer-binary"]
    command += ["--disable-pip-version-check", "--timeout", "20", "--retries", "2", package]
    try:
        venv.create(home, with_pip=True, clear=True)
        subprocess.run(command, check=True, timeout=INSTALL_WITHIN_S)
    except subprocess.TimeoutExpired:
        print(f"{name}: not installed within {INSTALL_WITHIN_S} s", flush=True)
        return None
    except subprocess.CalledProcessError as error:
        print(f"{name}: cannot be installed (code {error.returncode})", flush=True)
        return None
    (home / "installed").write_text(package + "\n")
    return python


def start_venue() -> tuple[subprocess.Popen[str], str]:
    """The venue process and its ready line."""
    environ = dict(os.environ, PYTHONPATH=str(HERE.parent / "src"))
    command = [sys.executable, "-m", "cryptosignal.sim.server", "--symbols", "60", "--seed", "7"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    assert process.stdout is not None
    is_ready, _, _ = select.select([process.stdout], [], [], READY_WITHIN_S)
    line = process.stdout.readline() if is_ready else ""
    if not line:
        process.kill()
        raise SystemExit(f"the venue was not ready within {READY_WITHIN_S} s")
    return process, line.strip()


def drive(build: Path, name: str) -> bool:
    """One client's scripted day."""
    package, script = CLIENTS[name]
    python = environment(build, name, package)
    if python is None:
        is_needed = name in NEEDED
        print(f"{'FAIL' if is_needed else 'none'} {name}: not there", flush=True)
        return not is_needed
    venue, ready = start_venue()
    try:
        done = subprocess.run(
            [str(python), str(HERE / script), ready], timeout=DRIVE_WITHIN_S, check=False
        )
        held = done.returncode == 0
    except subprocess.TimeoutExpired:
        print(f"FAIL {name} did not end within {DRIVE_WITHIN_S} s")
        held = False
    venue.send_signal(signal.SIGTERM)
    try:
        code: int | str = venue.wait(timeout=20)
    except subprocess.TimeoutExpired:
        venue.kill()
        code = "no end at all"
    print(f"{'ok  ' if code == 0 else 'FAIL'} {name}: the venue ended with {code}", flush=True)
    return held and code == 0


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
