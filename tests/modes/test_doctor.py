"""The doctor on the embedded venue."""

from __future__ import annotations

import json

import pytest

from cryptosignal.cli.main import main


@pytest.mark.slow
def test_quick_finds_both_routes_delivering(capsys, tmp_path):
    """`doctor --quick --json` ends with 0 and shows limits, both routes and the nine keys."""
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--quick", "--json", "--symbols", "4", "--data-dir", str(tmp_path)])
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    assert found["is_well"]
    assert found["routes"] == {"market": True, "public": True}
    assert found["limits"]["weight"] == 2400
    assert len(found["scan"]) == 9
