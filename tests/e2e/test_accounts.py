"""The real venue's accounts end to end, with a simulated venue at configured addresses in its place."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from decimal import Decimal

import pytest
from tests.e2e.loose import asked, loose_config, until
from tests.e2e.programs import is_refusal, run, running
from tests.modes.real_run import venue_process

LIMITS = """
[live]
enabled = true
[live.limits]
risk_max_usdt = 5
position_max = 2
symbol_notional_max_usdt = 800
gross_notional_max_usdt = 1200
leverage_max = 3
daily_loss_max_usdt = 100
"""


def address(venue, key, *, secret=None):
    key.write_text(f'api_key = "{venue.api_key}"\nsecret = "{secret or venue.api_secret}"\n')
    key.chmod(0o600)
    return f"""
[venue]
rest_url = "{venue.rest}"
ws_url = "{venue.ws}"
ws_api_url = "{venue.ws_api}"
spot_url = "{venue.rest}"
sapi_url = "{venue.rest}"
key_file = "{key}"
"""


@pytest.fixture(scope="module")
def venue():
    with venue_process(seed=7) as ready:
        yield ready


@contextmanager
def live(folder, venue, *more, name="live", extra=LIMITS):
    config = loose_config(folder, address(venue, folder / "key") + extra)
    flags = ("--live",) if name == "live" else ()
    place = "binance" if name == "live" else "testnet"
    with running(
        folder, "run", "--venue", place, "--account", name, *flags, "-c", config, *more
    ) as engine:
        yield engine


def test_a_live_account_trades_small_within_its_limits_and_survives_a_kill(tmp_path, venue):
    """An armed live account checks its key, opens at the minimum size within its own limits with a stop
    at the venue, refuses a twin, and finds its positions again after kill -9."""
    with live(tmp_path, venue, "--mode", "auto") as engine:
        engine.until("key.was_checked")
        engine.until("trade.opened")
        held = until(
            tmp_path,
            "positions",
            lambda p: len(p) == 2 and all(x["is_protected"] for x in p),
        )
        for position in held:  # the ramp: the least that the venue takes, plus a step
            assert Decimal(position["quantity"]) * Decimal(position["entry_price"]) < 400
        other = tmp_path / "other"
        other.mkdir()
        with live(other, venue, "--mode", "signal") as twin:
            is_refusal(twin.end(), "another instance", "run.bot")
        assert len(asked(tmp_path, "desk")["positions"]) == 2
        engine.send(signal.SIGKILL)
        engine.end()
    with live(tmp_path, venue, "--mode", "auto") as engine:
        engine.until("scan 1 ")
        again = until(tmp_path, "positions", lambda p: len(p) == 2)
        assert [(p["symbol"], p["quantity"]) for p in again] == [
            (p["symbol"], p["quantity"]) for p in held
        ]
        assert run("kill", 3, folder=tmp_path).code == 0
        until(tmp_path, "positions", lambda p: p == [])
        engine.send(signal.SIGTERM)
        assert engine.end().code == 0
    is_refusal(
        run("run", "--scans", 1, "--symbols", 4, folder=tmp_path), "live@", "sim", "--data-dir"
    )
    for path in (tmp_path / "runs").rglob("*"):
        if path.is_file():
            assert venue.api_secret.encode() not in path.read_bytes(), path
            assert venue.api_key.encode() not in path.read_bytes(), path


@pytest.mark.long
def test_a_paper_account_trades_the_real_streams_and_survives_a_kill(tmp_path, venue):
    """At the real venue without a key the account is paper: it trades at the streams' prices, sends the
    venue no order, and has the same positions and stops after kill -9."""
    config = loose_config(tmp_path, address(venue, tmp_path / "unused"))
    (tmp_path / "unused").unlink()
    command = ("run", "--venue", "binance", "--mode", "auto", "-c", config)
    with running(tmp_path, *command) as engine:
        engine.until("trade.opened")
        held = until(
            tmp_path,
            "positions",
            lambda p: len(p) >= 2 and all(x["is_protected"] and x["mark"] for x in p),
        )
        assert asked(tmp_path, "desk")["account"] == "paper"
        for row in held:
            assert abs(Decimal(row["entry_price"]) / Decimal(row["mark"]) - 1) < Decimal("0.01")
        engine.send(signal.SIGKILL)
        engine.end()
    with running(tmp_path, *command) as engine:
        engine.until("scan 1 ")
        again = until(tmp_path, "positions", lambda p: len(p) >= len(held))
        known = {(p["symbol"], p["quantity"], p["stop"]) for p in again}
        assert {(p["symbol"], p["quantity"], p["stop"]) for p in held} <= known
        assert run("close-all", folder=tmp_path).code == 0
        engine.until("trade.closed")
    out = tmp_path / "trades.csv"
    assert run("export", "--what", "trades", "--out", out, folder=tmp_path).code == 0
    assert len(out.read_text().splitlines()) > 2 * 2
    made = run("backup", "kept", folder=tmp_path)
    assert made.code == 0, made
    is_refusal(run("restore", "kept", folder=tmp_path), "allowed: an empty")
    assert run("restore", "kept", "--data-dir", "again", folder=tmp_path).code == 0
    assert (tmp_path / "again" / "paper" / "account.json").exists()


def test_what_is_missing_is_one_line_and_nothing_is_made(tmp_path, venue):
    """Without the flag, or with a key that the venue does not know, a live run ends with one line before it
    writes anything."""
    config = loose_config(tmp_path, address(venue, tmp_path / "key"))
    base = ("run", "--venue", "binance", "--account", "live", "-c", config)
    is_refusal(run(*base, folder=tmp_path), "--live")
    loose_config(tmp_path, address(venue, tmp_path / "key", secret="wrong") + LIMITS)
    is_refusal(run(*base, "--live", folder=tmp_path), "the venue refuses the key", "-1022")
    assert not (tmp_path / "runs" / "journal").exists()
