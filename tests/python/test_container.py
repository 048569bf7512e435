"""The package where little is allowed, as in a container."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAVES = """
import persist

state = {"messages": ["Hello"] * 100_000}
for number in range(10):
    for ending in ("gz", "zst"):
        persist.snapshot(state, f"{number}.json.{ending}")
        assert persist.restore(f"{number}.json.{ending}") == state
print("saved and restored")
"""

# PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN: as systemd's MemoryDenyWriteExecute.
DENIED = """
import ctypes
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0) != 0:
    raise OSError(ctypes.get_errno(), "prctl")
"""

FEW_ADDRESSES = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (2_000_000 * 1024,) * 2)
"""


# The limits are Linux's.
LIMITS = ["", DENIED, FEW_ADDRESSES] if sys.platform == "linux" else [""]


@pytest.mark.parametrize("limit", LIMITS)
def test_it_works_without_a_home_and_under_limits(limit: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", limit + SAVES],
        cwd=tmp_path / "work",
        env={"PYTHONDONTWRITEBYTECODE": "1", "HOME": os.devnull},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "saved and restored\n"), done.stderr
    assert len(os.listdir(tmp_path / "work")) == 20
