"""The configuration file: complete, strict, one line for a mistake."""

from __future__ import annotations

import tomllib

import msgspec
import pytest

from cryptosignal.domain.params import SHIPPED
from cryptosignal.ground.faults import UserFault
from cryptosignal.modes.config import Config, load_config, render
from cryptosignal.modes.pace import at_speed

MISTAKES = [
    ("[run]\nmod = 'auto'\n", ("unknown key run.mod", "did you mean 'mode'", "allowed")),
    ("[rum]\n", ("unknown key rum", "did you mean 'run'")),
    ("[run]\nmode = 'yolo'\n", ("run.mode",)),
    ("[run]\nscan_interval_s = 0\n", ("scan_interval_s", "allowed: 1 to 86400")),
    ("[websocket]\nmax_connections = 99\n", ("max_connections", "99")),
    ("[params.weights]\nT = 50\n", ("weights", "allowed")),
    ("[run]\nblacklist = ['AUSDT']\nwatchlist = ['ausdt']\n", ("run.watchlist", "AUSDT")),
    ("[pools]\nelite_chase = 3.0\n", ("pools.elite_chase", "0 to 1")),
    ("[params.risk]\nspread_wide_bps = 99.0\n", ("risk.spread_wide_bps", "allowed")),
    ("[run\n", ("not valid TOML",)),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES)
def test_a_mistake_is_one_line_that_names_the_place(tmp_path, text, words):
    """A wrong key or value is one line with the file, the key and what is allowed."""
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(UserFault) as caught:
        load_config(str(path))
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    for word in words:
        assert word in line


def test_a_missing_file_is_one_line(tmp_path):
    """A configuration file that is not there is named."""
    with pytest.raises(UserFault, match="cannot be read"):
        load_config(str(tmp_path / "none.toml"))


def test_the_rendered_configuration_reads_back_equal(tmp_path):
    """What `config` prints is a complete file that gives the same configuration."""
    path = tmp_path / "c.toml"
    path.write_text(render(Config(), as_json=False))
    assert load_config(str(path)) == Config()
    assert tomllib.loads(path.read_text())["run"]["mode"] == "signal"


def test_json_has_the_same_values():
    """The JSON form carries the same configuration."""
    assert msgspec.json.decode(render(Config(), as_json=True), type=Config) == Config()


def test_the_account_can_be_read_at_any_speed():
    """Stretched patience stays within what the venue takes: a window of a minute is refused."""
    fast = at_speed(Config(), 3600.0)
    assert fast.client.recv_window_ms < 60_000
    assert fast.client.timeout_ms == Config().client.timeout_ms * 3600
    assert at_speed(Config(), 2.0).client.recv_window_ms == 2 * Config().client.recv_window_ms


def test_a_shipped_set_is_chosen_by_its_version_and_overlaid(tmp_path):
    """`params.version` brings the weights of the set that it names; other keys overlay that set."""
    file = tmp_path / "c.toml"
    file.write_text('[params]\nversion = "evidence-2025-03"\n[params.gates]\nmin_score = 60.0\n')
    params = load_config(str(file)).params
    shipped = SHIPPED["evidence-2025-03"]
    assert params.weights == shipped.weights
    assert params.weights["T"] == 0.0
    assert params.regime_weights == shipped.regime_weights
    assert params.gates.min_score == 60.0
    assert msgspec.structs.replace(params.gates, min_score=shipped.gates.min_score) == shipped.gates


def test_an_unknown_set_is_not_the_default_by_another_name(tmp_path):
    """A version that nobody shipped is refused alone, and is a name for keys of one's own."""
    file = tmp_path / "c.toml"
    file.write_text('[params]\nversion = "evidence-2025-3"\n')
    with pytest.raises(
        UserFault, match=r"params\.version: found 'evidence-2025-3', allowed: v6\.1"
    ):
        load_config(str(file))
    file.write_text('[params]\nversion = "mine"\n[params.gates]\nmin_score = 60.0\n')
    assert load_config(str(file)).params.version == "mine"


@pytest.mark.parametrize(("speed", "guard_ms"), [(1, 1_500), (2, 3_000), (60, 10_000)])
def test_the_guard_around_a_minutes_end_grows_with_the_speed(speed, guard_ms):
    """A process is late by the wall's clock: in scaled time the ledger keeps so much more distance."""
    assert at_speed(Config(), speed).ledger.guard_ms == guard_ms
