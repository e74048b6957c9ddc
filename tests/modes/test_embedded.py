"""The embedded venue and the run that owns it."""

from __future__ import annotations

import os

import msgspec
import pytest
from tests.modes.real_run import Witness, venue_process

from cryptosignal.ground.faults import Unreachable
from cryptosignal.modes.config import Config, RunSettings
from cryptosignal.modes.live import Run, run_live


@pytest.mark.slow
def test_a_run_ends_with_the_venue_that_it_owns(tmp_path):
    """When the embedded venue's process dies the run ends at once and says so, instead of calling an
    address that nobody will ever answer again."""
    gone, life = os.pipe()

    async def conduct(program, _recorder):
        await program.started.wait()
        os.close(life)

    config = Config(run=RunSettings(data_dir=str(tmp_path), scan_interval_s=1.0))
    with venue_process() as venue:
        ready = msgspec.structs.replace(venue, life_fd=gone)
        run = Run(config=config, attached=ready, symbols=("BTCUSDT",))
        with pytest.raises(Unreachable, match="embedded venue has ended"):
            run_live(run, Witness(), conduct)
    os.close(gone)
