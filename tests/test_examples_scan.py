"""The example of a user factor runs as it is shown."""

import subprocess
import sys
import tomllib

import msgspec
import numpy as np
import pytest
from tests.markets import random_market
from tests.shared import ROOT

from cryptosignal.factors.catalogue import FactorEngine
from cryptosignal.ground.faults import UserFault
from cryptosignal.modes.config import Config
from cryptosignal.modes.user_factors import factor_table
from cryptosignal.signals.decide import SignalMemory, decide
from cryptosignal.signals.reachability import reachable
from cryptosignal.signals.screen import Screen

EXAMPLE = ROOT / "examples" / "user_factor.py"


def test_the_user_factor_example_prints_scores():
    """Running the example scores every symbol of its market with the new factor."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "user_factor.py")],
        capture_output=True, text=True, check=True, timeout=60,
        env={"PYTHONPATH": str(ROOT / "src"), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.count("CLV") == 5
    assert "nan" not in done.stdout


def shown_config():
    """The configuration in the example's own words, with the file's whole path."""
    text = EXAMPLE.read_text().split('"""')[1]
    body = "\n".join(line.strip() for line in text.splitlines() if line.startswith("    "))
    return msgspec.convert(
        tomllib.loads(body.replace("examples/user_factor.py", str(EXAMPLE))), Config
    )


def test_the_configuration_in_the_example_registers_it():
    """The TOML that the example shows is valid and brings the factor into the table of a run."""
    config = shown_config()
    config.params.validate()
    table = factor_table(config.run.factor_files, config.params)
    assert table[-1].name == "CLV"
    assert reachable(config.params).new_ok
    engine = FactorEngine(config.params, table)
    Screen(config.params, engine.lone.names)
    found = decide(engine.compute(random_market(3), 1, "manual"), config.params, SignalMemory())
    assert np.isfinite(found.scores.values[found.scores.names.index("CLV")]).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "found no file"),
        ("x = 1", "found no FACTORS"),
        ("FACTORS = (1,)", "found no FACTORS"),
        ("import nothing_like_this", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("from cryptosignal.factors.table import BAR_FACTORS as FACTORS", "found twice"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text, words):
    """A file that is not there, is no Python or holds no new factor is named with what is wrong."""
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserFault, match=words) as fault:
        factor_table((str(path),), Config().params)
    assert "\n" not in str(fault.value)


def test_a_factor_needs_a_weight_and_a_weight_a_factor():
    """A registered factor without weight, or a weight of nothing, stops the start."""
    with pytest.raises(UserFault, match="found none for the factor CLV"):
        factor_table((str(EXAMPLE),), Config().params)
    with pytest.raises(UserFault, match="unknown factor CLV"):
        factor_table((), shown_config().params)
