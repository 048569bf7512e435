"""Every host appends the same bytes to a timeline, loads what every other appended, and prunes in the same way."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest

from .hosts import RESTORED, Host, Pruner
from .matrix import print_matrix
from .programs import STATE

OPERATIONS = ("append", "load", "history", "prune")

# All hosts take these IDs for the agent and the session, either because they are the defaults or because the last
# folders have these names.
TIMELINE = "default_agent/default_session/"


def states() -> list[str]:
    """Returns five states of an agent: one grows, another one replaces it and grows."""
    messages = json.loads(STATE)
    other = {"notes": [random.Random(7).randbytes(8).hex() for _ in range(4000)]}
    grown = [{**messages, "turn": turn} for turn in range(2)] + [{**other, "turn": turn} for turn in range(2, 5)]
    return [json.dumps(state, indent=1) for state in grown]


def identity(number: int) -> dict[str, str]:
    """Returns the ID and the time of a step. Nothing else in a step depends on when and where it is appended."""
    return {
        "snapshot_id": f"01890a5d-ac96-774b-bcce-{number:012}",
        "timestamp": f"2026-01-31T12:00:{number:02}.000000Z",
    }


def append(host: Host, folder: Path, number: int, state: str) -> None:
    """Appends a state, whose step has to get this number."""
    # The state is outside the folder of the storage.
    file = folder.parent / f"{folder.name}.state"
    file.write_text(state)
    assert host.append(folder, file, TIMELINE, identity(number)) == number, host.name


def objects(folder: Path) -> dict[str, bytes]:
    """Returns all objects of a folder: steps, what takes their place, what hides them, and ``head``.

    None of them holds a time or a random number besides those in ``identity``. Files with restored states are not
    objects.
    """
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != RESTORED)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_every_host_keeps_the_same_timeline(
    hosts: list[Host], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done: dict[str, dict[str, bool]] = {host.name: {} for host in hosts}
    native: dict[str, bytes] = {}

    # Each host appends all steps.
    for host in hosts:
        own = tmp_path / host.name
        own.mkdir()
        for number, state in enumerate(states(), 1):
            append(host, own, number, state)
        native = native or objects(own)
        done[host.name]["append"] = objects(own) == native
    names = [f"{number:012}.step" for number in range(1, 6)]
    assert sorted(native) == [TIMELINE + name for name in (*names, "head")]

    # The hosts take turns: each appends a step after another host's. Then each loads all steps.
    together = tmp_path / "together"
    together.mkdir()
    appended = [f"{states()[2]}\nby {host.name}" for host in hosts]
    for number, (host, state) in enumerate(zip(hosts, appended, strict=True), 1):
        append(host, together, number, state)
    numbers = list(range(1, len(hosts) + 1))
    newest_first = [(number, hashlib.sha256(appended[number - 1].encode()).hexdigest()) for number in reversed(numbers)]
    for host in hosts:
        loaded = host.load(together, TIMELINE, numbers)
        done[host.name]["load"] = loaded == [state.encode() for state in appended]
        done[host.name]["history"] = host.history(together, TIMELINE) == newest_first

    # The third state is new as a whole, so nothing refers to the steps before it. At last, the newest is repeated.
    outcomes = [
        (2, [(5, "kept"), (4, "kept"), (3, "hidden"), (2, "removed"), (1, "removed")], [5, 4]),
        (1, [(5, "kept"), (4, "removed")], [6]),
    ]
    pruners = [host for host in hosts if isinstance(host, Pruner)]
    pruned: dict[int, dict[str, bytes]] = {}
    for host in pruners:
        own = tmp_path / host.name
        is_same = True
        for keep_last, outcome, left in outcomes:
            is_same &= host.prune(own, TIMELINE, keep_last) == outcome
            is_same &= objects(own) == pruned.setdefault(keep_last, objects(own))
            is_same &= [number for number, _ in host.history(own, TIMELINE)] == left
        done[host.name]["prune"] = is_same

    with capsys.disabled():
        print_matrix(OPERATIONS, done)
        print(f"append, prune: the same bytes of all objects as the native host; load: {len(hosts)} steps by all hosts")
    assert [host.name for host in hosts if host not in pruners] == ["tools"]
    assert all(done[host.name][operation] for host in hosts for operation in OPERATIONS[:-1])
    assert all(done[host.name]["prune"] for host in pruners)


def test_no_host_takes_a_damaged_step_for_another(hosts: list[Host], tmp_path: Path) -> None:
    """Loading the newest step fails if it is damaged, and the others load."""
    whole = tmp_path / "whole"
    whole.mkdir()
    for number in (1, 2):
        append(hosts[0], whole, number, f"state {number}")
    for host in hosts:
        own = tmp_path / host.name
        shutil.copytree(whole, own)
        newest = own / TIMELINE / "000000000002.step"
        newest.write_bytes(newest.read_bytes()[:-100] + bytes(100))
        assert host.load(own, TIMELINE, [1]) == [b"state 1"]
        with pytest.raises((OSError, AttributeError)):
            host.load(own, TIMELINE, [2])
