"""``persist prune`` asks on the terminal. What is saved before the answer is kept."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable

import persist
from terminals import rest_of


def prune(*rules: str, meanwhile: Callable[[], object]) -> str:
    """Prunes, does something before the answer, and returns what the command said."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "persist", "prune", "agents", *rules]
    with subprocess.Popen(command, stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL) as running:
        os.close(theirs)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 1000)
        meanwhile()
        os.write(ours, b"y\n")
        said += rest_of(ours)
    os.close(ours)
    assert running.returncode == 0, said
    return said.decode()


def test_a_snapshot_that_is_replaced_meanwhile_is_kept() -> None:
    store = persist.Store("agents", fsync=False)
    for n, session in enumerate(["old", "new"]):
        time = f"2026-01-0{n + 1}T00:00:00Z"
        store.snapshot({"n": n}, f"{session}.json", session_id=session, timestamp=time)
    now = "2026-02-01T00:00:00Z"
    said = prune(
        "--keep-sessions=1",
        meanwhile=lambda: store.snapshot({"n": 2}, "old.json", session_id="old", timestamp=now),
    )
    assert "Delete 1 whole session" in said
    assert "recent use: 1" in said
    assert store.restore("old.json") == {"n": 2}
    for n in range(3):
        store.snapshot({"n": n}, f"{n}.json", session_id="loose", snapshot_index=n)
    said = prune("--keep-last=1", meanwhile=lambda: store.snapshot({"n": 9}, "0.json", session_id="loose"))
    assert "recent use: 1" in said
    assert store.restore("0.json") == {"n": 9}
    assert not store.exists("1.json")


def test_a_timeline_that_goes_on_meanwhile_is_kept() -> None:
    for n, session in enumerate(["old", "new"]):
        with persist.Timeline("agents", agent_id="a", session_id=session) as timeline:
            timeline.append({"n": n}, timestamp=f"2026-01-0{n + 1}T00:00:00Z")
    old = persist.Timeline("agents", agent_id="a", session_id="old")
    said = prune("--keep-sessions=1", meanwhile=lambda: old.append({"n": 2}, timestamp="2026-02-01T00:00:00Z"))
    assert "recent use: 1" in said
    assert old.load() == {"n": 2}
    said = prune("--keep-sessions=1", meanwhile=lambda: None)
    assert "removed 1 whole session" in said
    assert [timeline.load() for timeline in persist.Store("agents").timelines()] == [{"n": 2}]
