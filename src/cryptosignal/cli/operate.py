"""Commands to the running engine: kill switch, approvals, closing, what it holds and how it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from cryptosignal.ground.faults import UserFault

if TYPE_CHECKING:
    from cryptosignal.modes.kill_file import KillFile

ConfigPath = Annotated[str, Parameter(name=["--config", "-c"])]
EXIT_NO = 1


def kill(
    level: str = "",
    /,
    *,
    clear: bool = False,
    data_dir: str = "",
    config: ConfigPath = "",
    json: bool = False,
) -> int:
    """Throw the kill switch: 1 no new entries, 2 cancel resting entries too, 3 close everything.

    It stays thrown over restarts until `--clear`. Exits, cancels and stops are never blocked. Without
    a running engine it is kept in the data folder, and the next start obeys it first.

    Example: cryptosignal kill 3

    Parameters
    ----------
    level
        1, 2 or 3.
    clear
        Release the switch.
    data_dir
        The data folder of the run (run.data_dir).
    config
        A TOML file with settings.
    json
        One JSON object instead of text.
    """
    from cryptosignal.ground.faults import TimedOut, Unreachable
    from cryptosignal.modes.kill_file import LEVELS, KillFile

    if clear == bool(level) or (level and level not in LEVELS):
        found = " and ".join(filter(None, [repr(level) if level else "", "--clear" * clear]))
        raise UserFault(
            f"kill: found {found or 'nothing'}, allowed: {', '.join(LEVELS)}, or --clear"
        )
    folder = _folder(data_dir, config)
    name, arguments = ("unkill", {}) if clear else ("kill", {"level": level})
    try:
        answer = _command(folder, name, arguments)
    except (Unreachable, TimedOut) as fault:
        answer = _without_engine(KillFile(folder), 0 if clear else int(level), str(fault))
    return _tell(answer, json=json)


def _without_engine(file: KillFile, level: int, why: str) -> dict[str, Any]:
    file.write(level)
    said = f"{why}; written to {file.path}: the engine obeys it as soon as it runs"
    return {"ok": True, "level": level, "said": said}


def approve(
    signal_id: str = "",
    /,
    *,
    no: bool = False,
    data_dir: str = "",
    config: ConfigPath = "",
    json: bool = False,
) -> int:
    """List the signals that wait for a yes, or answer one: its plan, its price drift, its expiry.

    A late yes is refused with the reason (exit code 1).

    Example: cryptosignal approve Lnkto6kzv_htavr

    Parameters
    ----------
    signal_id
        The signal (its beginning is enough); none: list what waits.
    no
        Refuse it instead.
    data_dir
        The data folder of the run (run.data_dir).
    config
        A TOML file with settings.
    json
        JSON instead of text.
    """
    folder = _folder(data_dir, config)
    if signal_id:
        name = "reject" if no else "approve"
        return _tell(_command(folder, name, {"signal_id": signal_id}), json=json)
    if no:
        raise UserFault("approve --no: found no signal id, allowed: one that waits")
    body = _ask(folder, "desk")
    if json:
        _print_json(body["waiting"])
    else:
        print("\n".join(waiting_lines(body)))
    return 0


def close(
    symbol: str, /, *, data_dir: str = "", config: ConfigPath = "", json: bool = False
) -> int:
    """Close the position of one symbol, reduce-only.

    Example: cryptosignal close BTCUSDT

    Parameters
    ----------
    symbol
        The contract.
    data_dir
        The data folder of the run (run.data_dir).
    config
        A TOML file with settings.
    json
        One JSON object instead of text.
    """
    answer = _command(_folder(data_dir, config), "close", {"symbol": symbol.upper()})
    return _tell(answer, json=json)


def close_all(*, data_dir: str = "", config: ConfigPath = "", json: bool = False) -> int:
    """Close every position of ours, reduce-only. New entries stay allowed: `kill 3` forbids them too.

    Example: cryptosignal close-all

    Parameters
    ----------
    data_dir
        The data folder of the run (run.data_dir).
    config
        A TOML file with settings.
    json
        One JSON object instead of text.
    """
    return _tell(_command(_folder(data_dir, config), "close_all", {}), json=json)


def positions(*, data_dir: str = "", config: ConfigPath = "", json: bool = False) -> int:
    """What is held: size, entry, mark, profit and loss, the stop that rests at the venue.

    Example: cryptosignal positions

    Parameters
    ----------
    data_dir
        The data folder of the run (run.data_dir).
    config
        A TOML file with settings.
    json
        JSON instead of text.
    """
    body = _ask(_folder(data_dir, config), "desk")
    if json:
        _print_json(body["positions"])
    else:
        print("\n".join(position_lines(body)))
    return 0


def status(*, data_dir: str = "", config: ConfigPath = "", json: bool = False) -> int:
    """How the running engine is: mode, account, breakers, kill switch, connections, weight.

    Example: cryptosignal status

    Parameters
    ----------
    data_dir
        The data folder of the run (run.data_dir).
    config
        A TOML file with settings.
    json
        One JSON object instead of text.
    """
    body = _ask(_folder(data_dir, config), "status")
    if json:
        _print_json(body)
    else:
        print("\n".join(status_lines(body)))
    return 0


def desk_code(*, data_dir: str = "", config: ConfigPath = "") -> int:
    """A code that opens the page's desk once, within two minutes: only who may use the engine's socket
    gets one.

    Example: cryptosignal desk-code

    Parameters
    ----------
    data_dir
        The data folder of the run (run.data_dir).
    config
        A TOML file with settings.
    """
    print(_ask(_folder(data_dir, config), "code")["code"])
    return 0


# ---- words ----------------------------------------------------------------------------------
def waiting_lines(body: dict[str, Any]) -> list[str]:
    """What waits for a yes, three lines each."""
    lines = []
    for w in body["waiting"]:
        lines += [
            f"{w['signal_id']}  {w['symbol']} {w['direction']} {w['tier']}"
            f"  strength {w['strength']}  p {w['p']}  expires in {w['expires_in_s']} s",
            f"  plan: entry {w['entry_low']} to {w['entry_high']}, stop {w['stop']},"
            f" targets {w['tp1']} / {w['tp2']}",
            f"  price: {w['asked_price']} when it was asked, now {w['price'] or 'unknown'}"
            + (f" ({_drift(w['drift_bps'])})" if w["drift_bps"] else "")
            + (f"; a yes now would be refused: {w['late']}" if w["late"] else ""),
        ]
    if lines:
        return lines
    if body["mode"] == "approve":
        return ["nothing waits for a yes"]
    return [f"nothing waits for a yes: the mode is {body['mode']}"]


def _drift(bps: str) -> str:
    return f"{bps.lstrip('+-')} bps {'better' if bps.startswith('-') else 'worse'}"


def position_lines(body: dict[str, Any]) -> list[str]:
    """What is held, a line each."""
    rows = []
    for p in body["positions"]:
        guard = f"stop {p['stop']}" if p["is_protected"] else "NO CONFIRMED STOP"
        rows.append(
            f"{p['symbol']:<14} {p['direction']:<5} {p['quantity']:>12} at {p['entry_price']}"
            f"  mark {p['mark'] or '-'}  pnl {p['pnl_usdt'] or '-'} USDT  {guard}"
            + (f"  closing: {p['closing']}" if p["closing"] else "")
            + ("  (not ours)" if p["owner"] == "foreign" else "")
        )
    if rows:
        return rows
    return ["no positions" if body["is_reconciled"] else "unknown: the account was not read yet"]


def status_lines(s: dict[str, Any]) -> list[str]:
    """The status, grouped."""
    kill = f"{s['kill']} ({s['kill_reason']})" if s["kill"] else "off"
    read = "read" if s["is_reconciled"] else "not read yet"
    return [
        f"venue {s['venue']}, mode {s['mode']}, account {s['account']} ({read},"
        f" stream {'up' if s['is_stream_up'] else 'down'}), run {s['run_id']}",
        f"kill switch {kill}; state {s['account_state']}"
        + (f", shut: {s['shutdown_reason']}" if s["shutdown_reason"] else "")
        + f"; losses in a row {s['losses_in_row']}; lost today {s['day_loss_usdt']} USDT",
        f"wallet {s['wallet_usdt']} USDT; {s['positions']} positions, {s['waiting']} wait for a yes,"
        f" {s['open_orders']} open orders ({s['unknown_orders']} of unknown fate)",
        f"naked p99 {s['naked_ms_p99']} ms, max {s['naked_ms_max']} ms;"
        f" {s['symbols']} symbols, {s['scans']} scans, engine lag max {s['engine_lag_ms_max']} ms",
        f"connections {s['connections_subscribed']} of {s['connections']} subscribed;"
        f" weight {s['weight_used']} of {s['weight_limit']} this minute",
    ]


# ---- the way to the engine ------------------------------------------------------------------
def _folder(data_dir: str, config: str) -> str:
    from cryptosignal.modes.config import load_config

    return data_dir or load_config(config).run.data_dir


def _command(folder: str, name: str, arguments: dict[str, str]) -> dict[str, Any]:
    from cryptosignal.modes.snapshots import send_command
    from cryptosignal.modes.whereabouts import socket_of

    return asyncio.run(send_command(socket_of(folder), name, {**arguments, "actor": "cli"}))


def _ask(folder: str, name: str) -> dict[str, Any]:
    from cryptosignal.modes.snapshots import ask_once
    from cryptosignal.modes.whereabouts import socket_of

    return asyncio.run(ask_once(socket_of(folder), name))


def _tell(answer: dict[str, Any], *, json: bool) -> int:
    if json:
        _print_json(answer)
    else:
        print(answer["said"])
    return 0 if answer.get("ok") else EXIT_NO


def _print_json(body: Any) -> None:
    print(msgspec.json.encode(body).decode())
