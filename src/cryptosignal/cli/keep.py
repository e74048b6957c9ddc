"""`cryptosignal backup`, `restore` and `export`: what a run leaves, kept safe and given to accounting."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from cryptosignal.ground.faults import UserFault

JOURNAL_ROOT = "journal"


def backup(folder: str, /, *, data_dir: str = "runs", json: bool = False) -> int:
    """Copy a data folder, also while an engine works in it: journal, outcomes, reports, kill switch.

    Candles, tape and databases are left out, since they are made again. Every file gets a checksum.

    Example: cryptosignal backup ../kept-2025-01-31

    Parameters
    ----------
    folder
        A new or an empty folder.
    data_dir
        The data folder.
    json
        One JSON object instead of text.
    """
    from pathlib import Path

    from cryptosignal.ground.clock import host_epoch_ms
    from cryptosignal.store.backup import back_up

    made = back_up(Path(data_dir), Path(folder), host_epoch_ms())
    _tell("kept", folder, made, json=json)
    return 0


def restore(folder: str, /, *, data_dir: str = "runs", json: bool = False) -> int:
    """Put a backup into an empty data folder, after every checksum was compared.

    Refused while an engine works there, and over anything that is there already.

    Example: cryptosignal restore ../kept-2025-01-31 --data-dir runs

    Parameters
    ----------
    folder
        A folder that `backup` made.
    data_dir
        The data folder to fill.
    json
        One JSON object instead of text.
    """
    from pathlib import Path

    from cryptosignal.store.backup import restore as put_back

    _tell("restored", data_dir, put_back(Path(folder), Path(data_dir)), json=json)
    return 0


def export(
    *,
    what: str,
    out: str,
    from_: Annotated[str, Parameter(name="--from")] = "",
    to: str = "",
    data_dir: str = "runs",
    json: bool = False,
) -> int:
    """Write trades, fees or funding of the account as CSV for accounting, from the journal.

    Example: cryptosignal export --what trades --from 2025-01-01 --to 2025-02-01 --out trades.csv

    Parameters
    ----------
    what
        trades (each fill), fees (each fill's commission) or funding.
    out
        The CSV file; it must not exist.
    from_
        The first moment (2025-01-31, 2025-01-31T12:00, epoch ms; UTC); default: the beginning.
    to
        The first moment after; default: all.
    data_dir
        The data folder.
    json
        Say what was written as one JSON object.
    """
    import csv
    from pathlib import Path

    import msgspec

    from cryptosignal.reports.ledger import HEADS, WHATS, ledger_of
    from cryptosignal.store.disk import FileDisk
    from cryptosignal.store.runs import money_history

    if what not in WHATS:
        raise UserFault(f"--what: found {what!r}, allowed: {', '.join(WHATS)}")
    from_ms, to_ms = _moment("--from", from_, 0), _moment("--to", to, 2**62)
    if from_ms >= to_ms:
        raise UserFault(f"--from: found {from_}, allowed: before --to ({to})")
    disk = FileDisk(Path(data_dir), read_only=True)
    try:
        ledger = ledger_of(record.event for record in money_history(disk, JOURNAL_ROOT))
    finally:
        disk.close()
    rows = ledger.rows(what, from_ms, to_ms)
    try:
        with Path(out).open("x", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(HEADS[what])
            writer.writerows(rows)
    except FileExistsError:
        raise UserFault(f"--out: {out} exists (allowed: a new file)") from None
    except OSError as error:
        raise UserFault(f"--out: {out}: cannot be written: {error.strerror}") from None
    said = {"what": what, "rows": len(rows), "out": out, "fees_unknown": ledger.unpriced}
    note = f", {ledger.unpriced} fills without a known fee" if ledger.unpriced else ""
    print(msgspec.json.encode(said).decode() if json else f"{out}: {len(rows)} {what} rows{note}")
    return 0


def _moment(flag: str, text: str, default_ms: int) -> int:
    from cryptosignal.ground.calendar import parse_utc

    try:
        return parse_utc(text) if text else default_ms
    except ValueError as error:
        raise UserFault(f"{flag}: {error}") from None


def _tell(verb: str, where: str, made: object, *, json: bool) -> None:
    import msgspec

    from cryptosignal.store.backup import Manifest

    assert isinstance(made, Manifest)
    size = sum(kept.bytes for kept in made.files.values())
    body = {"folder": where, "files": len(made.files), "bytes": size, "runs": made.runs,
            "events": made.events}  # fmt: skip
    words = (
        f"{where}: {verb} {len(made.files)} files, {size / 1e6:.1f} MB, {made.runs} runs,"
        f" {made.events} money events"
    )
    print(msgspec.json.encode(body).decode() if json else words)
