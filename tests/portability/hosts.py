"""The hosts that are compared: each runs the component on the snapshots in a folder."""

from __future__ import annotations

import abc
import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .programs import component, example, run

SNAPSHOT_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
TIMESTAMP = "2026-01-31T12:00:00.000000Z"

# What is otherwise random or the current time, so that all hosts write the same bytes.
IDENTITY_FLAGS = ["--snapshot-id", SNAPSHOT_ID, "--timestamp", TIMESTAMP]
IDENTITY_OPTIONS = {"snapshot_id": SNAPSHOT_ID, "timestamp": TIMESTAMP}
IDENTITY_ENVIRONMENT = {"SNAPSHOT_ID": SNAPSHOT_ID, "TIMESTAMP": TIMESTAMP}

RESTORED = ".restored"
"""The ending of the files in which programs leave a restored state."""


def record(fields: dict[str, Any]) -> Any:
    """Returns a record of WIT."""
    from wasmtime.component import Record

    made = Record()
    vars(made).update(fields)
    return made


class Host(abc.ABC):
    """One way to run the component, on the snapshots in a folder."""

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
    def list(self, folder: Path) -> list[str]:
        """Returns the keys of all snapshots."""

    @abc.abstractmethod
    def delete(self, folder: Path, key: str) -> None:
        """Deletes a snapshot."""


class Command(Host):
    """The ``persist`` command: the native one, or the component in wasmtime's command."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = command

    def run(self, folder: Path, *arguments: str) -> str:
        return run([*self.command, *arguments], folder)

    def json(self, folder: Path, *arguments: str) -> Iterator[Any]:
        return map(json.loads, self.run(folder, *arguments, "--json").splitlines())

    def save(self, folder: Path, state: Path, key: str) -> None:
        # The state goes through a pipe, since the component sees nothing outside the folder.
        command = [*self.command, "snapshot", "-", key, "--quiet", *IDENTITY_FLAGS]
        done = subprocess.run(command, cwd=folder, input=state.read_bytes(), capture_output=True, timeout=300)
        assert done.returncode == 0, done

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

    def list(self, folder: Path) -> list[str]:
        return [found["key"] for found in self.json(folder, "list")]

    def delete(self, folder: Path, key: str) -> None:
        self.run(folder, "delete", "--yes", key)


class Program(Host):
    """A program that takes a folder, an operation and keys, and prints one line for each key."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = command

    def run(self, folder: Path, *arguments: str) -> list[str]:
        return run([*self.command, str(folder), *arguments], folder, **IDENTITY_ENVIRONMENT).splitlines()

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

    def list(self, folder: Path) -> list[str]:
        return self.run(folder, "list")

    def delete(self, folder: Path, key: str) -> None:
        assert self.run(folder, "delete", key) == ["deleted"]


class InProcess(Host):
    """A host in this process, which calls the component's functions by name."""

    @abc.abstractmethod
    def call(self, folder: Path, name: str, *arguments: object) -> Any:
        """Calls a function; raises OSError where it returns an error."""

    def restore(self, folder: Path, keys: list[str]) -> list[bytes]:
        return [self.call(folder, "restore-text", key).encode() for key in keys]

    def verify(self, folder: Path, keys: list[str]) -> list[str]:
        return [vars(self.call(folder, "verify", key))["content-hash"] for key in keys]

    def show(self, folder: Path, keys: list[str]) -> list[str]:
        return [vars(self.call(folder, "get-metadata", key))["content-hash"] for key in keys]

    def exists(self, folder: Path, key: str) -> bool:
        return bool(self.call(folder, "exists", key))

    def list(self, folder: Path) -> list[str]:
        return [entry.payload.key for entry in self.call(folder, "list-snapshots", "", None, 1000, None).entries]

    def delete(self, folder: Path, key: str) -> None:
        from wasmtime.component import Variant

        self.call(folder, "delete", key, Variant("none"))


class PythonComposed(InProcess):
    """examples/python/composed.py: the component that needs nothing but WASI."""

    name = "wasmtime-py, composed"

    def persist(self, folder: Path) -> Any:
        return example("composed").Persist(component("persist-fs.wasm"), str(folder))

    def call(self, folder: Path, name: str, *arguments: object) -> Any:
        return self.persist(folder).call(name, *arguments)

    def save(self, folder: Path, state: Path, key: str) -> None:
        self.persist(folder).save(state.read_text(), key, **IDENTITY_OPTIONS)


class PythonBare(InProcess):
    """examples/python/host.py: the bare component, and a storage in a dictionary."""

    name = "wasmtime-py, bare"

    def __init__(self) -> None:
        self.host = example("host").Host(component("persist.wasm"))

    @contextlib.contextmanager
    def stored(self, folder: Path) -> Iterator[None]:
        """Makes the files of a folder the objects of the storage, and writes back what changed."""
        files = [path for path in folder.iterdir() if not path.name.endswith(RESTORED)]
        before = {path.name: path.read_bytes() for path in files}
        objects = self.host.storage.objects = dict(before)
        yield
        for path in files:
            if path.name not in objects:
                path.unlink()
        for key, data in objects.items():
            if before.get(key) != data:
                (folder / key).write_bytes(data)

    def call(self, folder: Path, name: str, *arguments: object) -> Any:
        with self.stored(folder):
            return self.host.call(name, *arguments)

    def save(self, folder: Path, state: Path, key: str) -> None:
        with self.stored(folder):
            self.host.save(state.read_text(), key, **IDENTITY_OPTIONS)


class Tools(InProcess):
    """The tools, called as a runtime calls them: with strings, records and lists.

    A failed call returns an error of the contract, and raises none.
    """

    name = "tools"

    def __init__(self) -> None:
        from wasmtime import Engine
        from wasmtime.component import Component, Linker

        engine = Engine()
        self.linker = Linker(engine)
        self.linker.add_wasip2()
        self.component = Component.from_file(engine, component("persist-tools.wasm"))

    def call(self, folder: Path, name: str, *arguments: object) -> Any:
        from wasmtime import Store, WasiConfig
        from wasmtime.component import Variant

        store, wasi = Store(self.linker.engine), WasiConfig()
        wasi.preopen_dir(str(folder), "/srv/agents")
        store.set_wasi(wasi)
        instance = self.linker.instantiate(store, self.component)
        function = instance.get_func(store, name)
        assert function is not None
        answer = function(store, *arguments)
        return answer.payload if isinstance(answer, Variant) else answer

    def snapshot(self, folder: Path, key: str, state: str, **options: object) -> Any:
        """Calls the tool ``snapshot``."""
        names = ("agent-id", "session-id", "snapshot-index", "description", "labels", "content-type", "codec", "level")
        unset = dict.fromkeys((*names, "replace", "snapshot-id", "timestamp"))
        named = {name.replace("_", "-"): value for name, value in options.items()}
        return self.call(folder, "snapshot", key, state, record(unset | named))

    def save(self, folder: Path, state: Path, key: str) -> None:
        assert self.snapshot(folder, key, state.read_text(), **IDENTITY_OPTIONS).key == key

    def restore(self, folder: Path, keys: list[str]) -> list[bytes]:
        return [self.call(folder, "restore", key).encode() for key in keys]

    def exists(self, folder: Path, key: str) -> bool:
        # There is no such tool. `get-metadata` answers the question.
        found = self.call(folder, "get-metadata", key)
        assert getattr(found, "code", "not-found") == "not-found"
        return not hasattr(found, "code")

    def list(self, folder: Path) -> list[str]:
        return [found.key for found in self.call(folder, "list", "", None, None, None).snapshots]

    def delete(self, folder: Path, key: str) -> None:
        assert self.call(folder, "delete", key) is None
