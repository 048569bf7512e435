"""The package works where little is allowed, as in a container."""

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

# PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN, like systemd's MemoryDenyWriteExecute.
DENIED = """
import ctypes
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0) != 0:
    raise OSError(ctypes.get_errno(), "prctl")
"""

FEW_ADDRESSES = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (2_000_000 * 1024,) * 2)
"""


# Only Linux has these limits.
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


def in_a_process(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env={}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


NESTED = """
import logging, os, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
import persist

for depth in range(4):
    persist.snapshot({"depth": depth}, f"{depth}.json.zst")
    assert persist.restore(f"{depth}.json.zst") == {"depth": depth}
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status))
os._exit(0)
"""


@pytest.mark.parametrize("limit", ["", DENIED] if sys.platform == "linux" else [""])
def test_children_of_children_run_the_same_code(limit: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", limit + NESTED], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(os.listdir(tmp_path)) == 4
    assert done.stderr.count("the component is loaded") == 4
    assert "each gets its own" not in done.stderr
    assert "it is copied" not in done.stderr


CALLS = """
import sys, time
began = time.process_time()
import persist
times = [time.process_time() - began]
for number in range(10):
    began = time.process_time()
    persist.snapshot({}, f"{number}.json.zst")
    times.append(time.process_time() - began)
print(*times)
"""


def test_the_first_and_the_tenth_call_are_fast(tmp_path: Path) -> None:
    # Processor time, which does not depend on what else runs.
    runs = [[float(taken) for taken in in_a_process(CALLS, tmp_path).split()] for _ in range(5)]
    first, tenth = min(run[1] for run in runs), min(run[10] for run in runs)
    assert first < 0.06, first
    assert tenth < 0.06, tenth
