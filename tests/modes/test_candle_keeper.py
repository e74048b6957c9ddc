"""Candles between runs: what the venue confirms is not fetched again, anything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.modes.real_run import run_once, settings_for, venue_process


@pytest.mark.slow
def test_the_second_run_fetches_only_what_it_missed_and_a_damaged_file_anew(tmp_path):
    """A restart asks for less than a tenth of the rows; a damaged file is noted and refetched."""
    with venue_process() as venue:
        config = settings_for(venue.rest, venue.ws, tmp_path)
        first = run_once(config)
        second = run_once(config)
        (hurt,) = Path(tmp_path).glob("candles/*/1h.bin")
        data = bytearray(hurt.read_bytes())
        data[-1000] ^= 0xFF
        hurt.write_bytes(bytes(data))
        third = run_once(config)
    assert first.report.rows > 4_000
    assert second.said("candles.were_loaded")[0]["rows"] == first.report.rows
    assert second.report.rows < first.report.rows / 10
    assert second.report.requests < first.report.requests / 2
    (refused,) = third.said("candles.were_refused")
    assert "1h.bin: rows fail their checksum" in refused["reason"]
    assert 900 < third.report.rows < 1_200  # one interval of two symbols, and what came since
    assert len(third.scans) == 1
    assert third.program.board.missing("BTCUSDT", "1h", third.program.clock.now_ms(), 400) == []


@pytest.mark.slow
def test_another_market_behind_the_same_address_is_refused(tmp_path):
    """Stored candles that the venue prints otherwise are not taken, whatever the address."""
    with venue_process(5) as venue:
        first = run_once(settings_for(venue.rest, venue.ws, tmp_path))
        port = venue.rest.rpartition(":")[2]
    with venue_process(6, port) as venue:
        second = run_once(settings_for(venue.rest, venue.ws, tmp_path))
    (refused,) = second.said("candles.were_refused")
    assert "another market" in refused["reason"]
    assert second.report.rows >= first.report.rows
