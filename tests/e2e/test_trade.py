"""One whole trade by hand, and what is left of it: journal, outcome, report; also when damaged."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.e2e.programs import Ended, is_refusal, run


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A folder with one paper trade in it, and what the command said."""
    folder = tmp_path_factory.mktemp("trade")
    ended = run(
        "paper-trade", "btcusdt", "long", "--hold", 3, "--symbols", 6, "--seed", 7, folder=folder
    )
    return folder, ended


def journal_of(folder):
    [journal] = (folder / "runs" / "journal").iterdir()
    return journal


def replayed(folder, journal) -> tuple[Ended, dict]:
    ended = run("replay", journal, "--json", folder=folder)
    assert "Traceback" not in ended.err
    return ended, json.loads(ended.out) if ended.out else {}


STEPS = [
    "intent journaled: protective stop", "sent: ", "at the venue: STOP_MARKET",
    "intent journaled: entry", "fill: BUY", "intent journaled: take-profit 1",
    "at the venue: TAKE_PROFIT_MARKET", "intent journaled: exit", "fill: SELL", "outcome ",
    "report: ", "journal: ",
]  # fmt: skip


def test_a_trade_goes_through_every_step(told):
    """The stop rests at the venue, then entry, fill, take-profit, exit, outcome, report: in order."""
    _, ended = told
    assert ended.code == 0, ended
    at = -1
    for step in STEPS:
        found = ended.out.find(step, at + 1)
        assert found >= 0, f"{step!r} is missing or out of order in:\n{ended.out}"
        at = found if step.startswith(("intent journaled", "sent", "report")) else at
    assert "naked" in ended.out


def test_its_outcome_is_on_disk(told):
    """The trade's outcome is one row under the data folder, with its money."""
    folder, _ = told
    rows = [
        json.loads(line)
        for path in (folder / "runs" / "outcomes").rglob("*")
        if path.is_file()
        for line in path.read_text().splitlines()
    ]
    [traded] = [row for row in rows if row["traded"]]
    assert traded["symbol"] == "BTCUSDT"
    assert float(traded["quantity"]) > 0
    assert float(traded["fees_usdt"]) > 0


def test_its_report_is_written(told):
    """The day's report can be read again, as text and as JSON."""
    folder, _ = told
    text = run("report", folder=folder)
    assert text.code == 0
    assert "BTCUSDT" in text.out or "trades" in text.out
    body = json.loads(run("report", "--json", folder=folder).out)
    assert "1" in json.dumps(body)


def test_its_journal_replays_equal(told):
    """Every digest and record of the trade's journal is reproduced."""
    folder, _ = told
    ended, report = replayed(folder, journal_of(folder))
    assert ended.code == 0, ended
    assert report["digests"] == report["equal"] > 3
    assert report["records"] > 5
    assert report["missing"] == []


def test_it_can_be_explained(told):
    """`explain` names gates and limits of the last scan, and in JSON the whole decision."""
    folder, _ = told
    words = run("explain", "btcusdt", folder=folder)
    assert words.code == 0
    assert "BTCUSDT" in words.out
    body = json.loads(run("explain", "BTCUSDT", "--json", folder=folder).out)
    assert body["symbol"] == "BTCUSDT"
    is_refusal(run("explain", "NOPEUSDT", folder=folder), "NOPEUSDT", "BTCUSDT")


@pytest.mark.parametrize("stream", ["money", "inputs", "blocks"])
@pytest.mark.parametrize("cut", [1, 50])
def test_a_truncated_journal_is_reported(told, tmp_path, stream, cut):
    """A cut stream is read up to the cut: what is missing is named, the answer is 1, bytes stay."""
    shutil.copytree(told[0], tmp_path, dirs_exist_ok=True)
    [segment] = journal_of(tmp_path).glob(f"{stream}-*.seg")
    left = segment.read_bytes()[:-cut]
    segment.write_bytes(left)
    ended, report = replayed(tmp_path, segment.parent)
    assert ended.code == 1, ended
    assert any("torn tail" in line and stream in line for line in report["missing"])
    assert report["digests"] == report["equal"]
    assert segment.read_bytes() == left


def test_a_truncated_journal_does_not_stop_the_next_run(told, tmp_path):
    """A run after a torn tail folds what is whole and starts; its own journal replays equal."""
    shutil.copytree(told[0], tmp_path, dirs_exist_ok=True)
    for segment in journal_of(tmp_path).glob("*.seg"):
        segment.write_bytes(segment.read_bytes()[:-9])
    ended = run("run", "--scans", 1, "--symbols", 4, folder=tmp_path)
    assert ended.code == 0, ended
    newest = sorted((tmp_path / "runs" / "journal").iterdir())[-1]
    again, report = replayed(tmp_path, newest)
    assert again.code == 0, again
    assert report["scans"] == 1


def test_damage_in_the_middle_is_refused(told, tmp_path):
    """A byte changed in the middle is one line with file and place; money is never folded over it."""
    shutil.copytree(told[0], tmp_path, dirs_exist_ok=True)
    [segment] = journal_of(tmp_path).glob("money-*.seg")
    body = bytearray(segment.read_bytes())
    body[len(body) // 2] ^= 0xFF
    segment.write_bytes(body)
    is_refusal(run("replay", segment.parent, folder=tmp_path), segment.name, "damaged at byte")
    refused = run("run", "--scans", 1, "--symbols", 4, folder=tmp_path)
    is_refusal(refused, segment.name, "damaged at byte")
    assert segment.read_bytes() == bytes(body)


def test_an_unknown_symbol_is_refused(tmp_path):
    """A trade in a symbol that the venue lacks is one line with some that it has."""
    ended = run("paper-trade", "NOPEUSDT", "long", "--symbols", 4, folder=tmp_path)
    is_refusal(ended, "NOPEUSDT", "BTCUSDT")
