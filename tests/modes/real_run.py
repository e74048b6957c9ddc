"""One run of the program on real sockets against a venue process, and what its face saw."""

from __future__ import annotations

from contextlib import contextmanager

import msgspec

from cryptosignal.modes.child import started
from cryptosignal.modes.config import Config, RunSettings, VenueAddress
from cryptosignal.modes.embedded import VenueReady
from cryptosignal.modes.live import Run, run_live

SYMBOLS = ("BTCUSDT", "ETHUSDT")


class Witness:
    """A face that keeps everything."""

    def __init__(self):
        self.notes, self.scans, self.progress = [], [], []
        self.report = None
        self.program = None

    def on_progress(self, *step):
        self.progress.append(step)

    def on_ready(self, program, report):
        self.program, self.report = program, report

    def on_decision(self, action):
        pass

    def on_scan(self, action):
        self.scans.append(action)

    def on_outcome(self, action):
        pass

    def on_report(self, action):
        pass

    def on_note(self, now_ms, action):
        self.notes.append((action.event, action.fields))

    def said(self, event):
        return [fields for name, fields in self.notes if name == event]


@contextmanager
def venue_process(seed=5, port="0"):
    """A simulated venue of its own, at speed 1, as if it were the real one."""
    command = ["cryptosignal", "simulate", "--json", "--until-stdin-closes", "--port", port]
    with started([*command, "--symbols", "4", "--seed", str(seed)], "the venue") as line:
        yield msgspec.json.decode(line, type=VenueReady)


def settings_for(rest, ws, data_dir, **run):
    """A configuration that points the real venue's name at these addresses."""
    return Config(
        run=RunSettings(data_dir=str(data_dir), scan_interval_s=1.0, **run),
        venue=VenueAddress(rest_url=rest, ws_url=ws, spot_url=rest),
    )


def run_once(config, scans=1, symbols=SYMBOLS, conduct=None):
    """Run until so many scans are done; answers what was seen."""
    witness = Witness()
    run_live(Run(config=config, venue="binance", scans=scans, symbols=symbols), witness, conduct)
    return witness
