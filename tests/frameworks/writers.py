"""What the programs about live stores share: where they store, and processes that add items until they are
killed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

LOCATION = os.environ.get("PERSIST_TEST_LOCATION", "")
IS_S3 = LOCATION.startswith("s3://")
SEEDS = range(int(os.environ.get("PERSIST_SEEDS", "3")))
KILLS = int(os.environ.get("PERSIST_KILLS", "3"))
SESSION = "case-1"

Contents = Callable[[str], list[str]]
"""Returns the texts of all items at a location, the oldest first."""


@pytest.fixture
def location(tmp_path: Path) -> str:
    """An empty place, in a folder or in a bucket."""
    return f"{LOCATION}/{tmp_path.name}" if IS_S3 else str(tmp_path / "agents")


def writer(program: str, location: str, name: str, count: int) -> subprocess.Popen[str]:
    """Starts a program that adds so many items, and prints each when it is stored."""
    command = [sys.executable, program, location, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def acknowledged(process: subprocess.Popen[str]) -> list[str]:
    """Waits for the end of a process, and returns the items that it has printed."""
    # Not with communicate(), which leaves out what was read ahead by readline().
    assert process.stdout is not None
    printed = process.stdout.read().split("\n")[:-1]
    process.wait(120)
    return printed


def check_two_processes(program: str, location: str, contents: Contents) -> None:
    """Fails unless two processes on one session lose nothing."""
    processes = [writer(program, location, name, 40) for name in ("a", "b")]
    told = [acknowledged(process) for process in processes]
    assert sorted(contents(location)) == sorted(told[0] + told[1])
    assert all(len(each) == 40 for each in told)


def check_kills(program: str, location: str, contents: Contents) -> None:
    """Fails unless what was acknowledged survives kills at random moments."""
    known: list[str] = []
    for run in range(KILLS):
        process = writer(program, location, f"run {run}", 1_000_000)
        assert process.stdout is not None
        known.append(process.stdout.readline().rstrip("\n"))
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        known += acknowledged(process)
        found = contents(location)
        # One item may have been stored that was not acknowledged any more.
        known += found[len(known) : len(known) + 1]
        assert found == known


def add_until_killed(open_session: Callable[[str], Callable[[str], object]]) -> None:
    """Runs the command line: ``LOCATION NAME COUNT``. ``open_session`` opens the session, and returns what adds
    an item.
    """
    location, name, count = sys.argv[1:]
    add = open_session(location)
    for number in range(int(count)):
        add(f"{name} {number}")
        print(f"{name} {number}", flush=True)
