"""The lease: one writer a data folder, and no lease outlives its process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cryptosignal.ground.faults import UserFault
from cryptosignal.store.lease import Lease


def test_second_start_is_refused(tmp_path):
    """A folder that is held is refused with one line naming the process that holds it."""
    lease = Lease(tmp_path / "data")
    with pytest.raises(UserFault, match=rf"data: process {os.getpid()} works in it"):
        Lease(tmp_path / "data")
    lease.release()
    lease.release()
    Lease(tmp_path / "data").release()


def test_lease_dies_with_its_process(tmp_path):
    """A process that was killed leaves no lease behind."""
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from cryptosignal.store.lease import Lease\n"
        "lease = Lease(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=False)
    assert done.returncode == -9
    Lease(tmp_path).release()


def test_folder_that_cannot_be(tmp_path):
    """A folder that cannot be made is told in one line."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserFault, match="cannot be used"):
        Lease(tmp_path / "file" / "data")
