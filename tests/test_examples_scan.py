"""The example of a user factor runs as it is shown."""

import subprocess
import sys

from tests.shared import ROOT


def test_the_user_factor_example_prints_scores():
    """Running the example scores every symbol of its market with the new factor."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "user_factor.py")],
        capture_output=True, text=True, check=True, timeout=60,
        env={"PYTHONPATH": str(ROOT / "src"), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.count("CLV") == 5
    assert "nan" not in done.stdout
