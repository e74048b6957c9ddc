"""The kill switch in the data folder: what is written is read, what cannot be read is thrown."""

from __future__ import annotations

import pytest

from cryptosignal.modes.kill_file import KillFile
from cryptosignal.modes.snapshots import PATH_BYTES_MAX
from cryptosignal.modes.whereabouts import socket_of


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_level_is_kept(tmp_path, level):
    """What was written is read again, also where the folder was missing."""
    file = KillFile(tmp_path / "new" / "folder")
    assert file.read() is None
    file.write(level)
    assert KillFile(tmp_path / "new" / "folder").read() == level
    assert [p.name for p in file.path.parent.iterdir()] == ["KILL"]
    file.remove()
    file.remove()
    assert file.read() is None


@pytest.mark.parametrize("text", ["", "\n", "yes", "4", "-1", "2.5", "\x00\xff", "stop now"])
def test_what_cannot_be_read_is_thrown(tmp_path, text):
    """An empty or garbled file counts as level 1: a switch nobody understands is not off."""
    (tmp_path / "KILL").write_text(text)
    assert KillFile(tmp_path).read() == 1


def test_words_may_follow_the_level(tmp_path):
    """A person may say why behind the level."""
    (tmp_path / "KILL").write_text("3 the exchange is on fire\n")
    assert KillFile(tmp_path).read() == 3


def test_a_folder_in_its_place_is_thrown(tmp_path):
    """A switch that cannot be opened counts as thrown."""
    (tmp_path / "KILL").mkdir()
    assert KillFile(tmp_path).read() == 1


def test_the_socket_follows_from_the_folder(tmp_path, monkeypatch):
    """Spellings of one folder give one path that a Unix socket can have, however deep it lies."""
    monkeypatch.chdir(tmp_path)
    assert socket_of("runs") == socket_of(tmp_path / "x" / ".." / "runs")
    assert socket_of("runs") != socket_of("others")
    deep = tmp_path / ("d" * 120) / "runs"
    assert len(socket_of(deep).encode()) <= PATH_BYTES_MAX
    assert socket_of(deep) != socket_of(deep / "more")
