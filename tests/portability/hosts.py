"""The hosts that are compared: each runs the component on the snapshots in a folder."""

from __future__ import annotations

import abc
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .programs import run

SNAPSHOT_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
TIMESTAMP = "2026-01-31T12:00:00.000000Z"

IDENTITY_OPTIONS = {"snapshot_id": SNAPSHOT_ID, "timestamp": TIMESTAMP}
"""What is otherwise random or the current time, so that all hosts write the same bytes."""

RESTORED = ".restored"
"""The ending of the files in which programs leave a restored state."""


def flags(identity: dict[str, str]) -> list[str]:
    """Returns an identity as arguments of the command."""
    return [part for name, value in identity.items() for part in (f"--{name.replace('_', '-')}", value)]


def environment(identity: dict[str, str]) -> dict[str, str]:
    """Returns an identity as variables of the environment."""
    return {name.upper(): value for name, value in identity.items()}


IDENTITY_FLAGS = flags(IDENTITY_OPTIONS)


def record(fields: dict[str, Any]) -> Any:
    """Returns a record of WIT."""
    from wasmtime.component import Record

    made = Record()
    vars(made).update(fields)
    return made


class Host(abc.ABC):
    """One way to run the component, on the snapshots and timelines in a folder.

    A timeline is named by its folder, which ends with ``/``.
    """

    name: str

    @abc.abstractmethod
    def save(self, folder: Path, state: Path, key: str) -> None:
        """Saves a state, which is read from a file."""

    @abc.abstractmethod
    def restore(self, folder: Path, keys: list[str]) -> list[bytes]:
        """Returns the states of snapshots."""

    @abc.abstractmethod
    def verify(self, folder: Path, keys: list[str]) -> list[str]:
        """Checks snapshots; returns the SHA-256 of each state."""

    @abc.abstractmethod
    def show(self, folder: Path, keys: list[str]) -> list[str]:
        """Returns the SHA-256 of each state, as the metadata has it."""

    @abc.abstractmethod
    def exists(self, folder: Path, key: str) -> bool:
        """Returns whether there is an object with this key."""

    @abc.abstractmethod
    def keys(self, folder: Path) -> list[str]:
        """Returns the keys of all snapshots."""

    @abc.abstractmethod
    def delete(self, folder: Path, key: str) -> None:
        """Deletes a snapshot."""

    @abc.abstractmethod
    def append(self, folder: Path, state: Path, timeline: str, identity: dict[str, str]) -> int:
        """Appends a state, which is read from a file. Returns the number of the step."""

    @abc.abstractmethod
    def load(self, folder: Path, timeline: str, numbers: list[int]) -> list[bytes]:
        """Returns the states of steps."""

    @abc.abstractmethod
    def history(self, folder: Path, timeline: str) -> list[tuple[int, str]]:
        """Returns the numbers of all steps and the SHA-256 of their states, from the newest to the oldest."""


class Pruner(Host):
    """A host that also prunes timelines. The tools do not: no tool removes a step."""

    @abc.abstractmethod
    def prune(self, folder: Path, timeline: str, keep_last: int) -> list[tuple[int, str]]:
        """Removes all steps except the last. Returns the numbers of all steps and what became of them."""


class Command(Pruner):
    """The ``persist`` command: the native one, or the component in wasmtime's command."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = command

    def run(self, folder: Path, *arguments: str) -> str:
        return run([*self.command, *arguments], folder)

    def run_with_state(self, folder: Path, state: Path, *arguments: str) -> bytes:
        """Runs the command with a state as its stdin, since the component sees nothing outside the folder."""
        command = [*self.command, *arguments]
        done = subprocess.run(command, cwd=folder, input=state.read_bytes(), capture_output=True, timeout=300)
        assert done.returncode == 0, done
        return done.stdout

    def json(self, folder: Path, *arguments: str) -> Iterator[Any]:
        return map(json.loads, self.run(folder, *arguments, "--json").splitlines())

    def save(self, folder: Path, state: Path, key: str) -> None:
        self.run_with_state(folder, state, "snapshot", "-", key, "--quiet", *IDENTITY_FLAGS)

    def restore(self, folder: Path, keys: list[str]) -> list[bytes]:
        for key in keys:
            self.run(folder, "restore", key, "--output", key + RESTORED, "--quiet")
        return [(folder / (key + RESTORED)).read_bytes() for key in keys]

    def verify(self, folder: Path, keys: list[str]) -> list[str]:
        return [found["content_hash"] for found in self.json(folder, "verify", *keys)]

    def show(self, folder: Path, keys: list[str]) -> list[str]:
        return [found["content_hash"] for key in keys for found in self.json(folder, "show", key)]

    def exists(self, folder: Path, key: str) -> bool:
        done = subprocess.run([*self.command, "exists", key], cwd=folder, capture_output=True)
        assert done.returncode in (0, 3), done
        return done.returncode == 0

    def keys(self, folder: Path) -> list[str]:
        return [found["key"] for found in self.json(folder, "list")]

    def delete(self, folder: Path, key: str) -> None:
        self.run(folder, "delete", "--yes", key)

    def append(self, folder: Path, state: Path, timeline: str, identity: dict[str, str]) -> int:
        said = self.run_with_state(folder, state, "append", "-", timeline, "--json", *flags(identity))
        return int(json.loads(said)["number"])

    def load(self, folder: Path, timeline: str, numbers: list[int]) -> list[bytes]:
        files = {number: f"{number}{RESTORED}" for number in numbers}
        for number, file in files.items():
            self.run(folder, "restore", f"{timeline.rstrip('/')}@{number}", "--output", file, "--quiet")
        return [(folder / file).read_bytes() for file in files.values()]

    def history(self, folder: Path, timeline: str) -> list[tuple[int, str]]:
        return [(step["number"], step["metadata"]["content_hash"]) for step in self.json(folder, "log", timeline)]

    def prune(self, folder: Path, timeline: str, keep_last: int) -> list[tuple[int, str]]:
        steps = self.json(folder, "prune", timeline, "--keep-last", str(keep_last), "--yes")
        return [(step["number"], step["outcome"]) for step in steps if "number" in step]


class Program(Pruner):
    """A program that takes a folder, an operation and keys, and prints one line for each key or step."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = command

    def run(self, folder: Path, *arguments: str, identity: dict[str, str] = IDENTITY_OPTIONS) -> list[str]:
        return run([*self.command, str(folder), *arguments], folder, **environment(identity)).splitlines()

    def save(self, folder: Path, state: Path, key: str) -> None:
        self.run(folder, "save", str(state), key)

    def restore(self, folder: Path, keys: list[str]) -> list[bytes]:
        assert self.run(folder, "restore", *keys) == ["restored"] * len(keys)
        return [(folder / (key + RESTORED)).read_bytes() for key in keys]

    def verify(self, folder: Path, keys: list[str]) -> list[str]:
        return self.run(folder, "verify", *keys)

    def show(self, folder: Path, keys: list[str]) -> list[str]:
        return self.run(folder, "show", *keys)

    def exists(self, folder: Path, key: str) -> bool:
        return self.run(folder, "exists", key) == ["true"]

    def keys(self, folder: Path) -> list[str]:
        return self.run(folder, "list")

    def delete(self, folder: Path, key: str) -> None:
        assert self.run(folder, "delete", key) == ["deleted"]

    def append(self, folder: Path, state: Path, timeline: str, identity: dict[str, str]) -> int:
        (number,) = self.run(folder, "append", str(state), timeline, identity=identity)
        return int(number)

    def load(self, folder: Path, timeline: str, numbers: list[int]) -> list[bytes]:
        assert self.run(folder, "load", timeline, *map(str, numbers)) == ["restored"] * len(numbers)
        return [(folder / f"{timeline}{number}{RESTORED}").read_bytes() for number in numbers]

    def history(self, folder: Path, timeline: str) -> list[tuple[int, str]]:
        return [(int(number), found) for number, found in map(str.split, self.run(folder, "history", timeline))]

    def prune(self, folder: Path, timeline: str, keep_last: int) -> list[tuple[int, str]]:
        lines = self.run(folder, "prune", timeline, str(keep_last))
        return [(int(number), outcome) for number, outcome in map(str.split, lines)]
