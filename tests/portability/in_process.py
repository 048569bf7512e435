"""The hosts that run in this process, with wasmtime's package for Python."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .hosts import IDENTITY_OPTIONS, RESTORED, Host, Pruner, record
from .programs import component, example


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

    def keys(self, folder: Path) -> list[str]:
        return [entry.payload.key for entry in self.call(folder, "list-snapshots", "", None, 1000, None).entries]

    def delete(self, folder: Path, key: str) -> None:
        from wasmtime.component import Variant

        self.call(folder, "delete", key, Variant("none"))


class Example(InProcess, Pruner):
    """A host of examples/python."""

    @abc.abstractmethod
    def opened(self, folder: Path) -> contextlib.AbstractContextManager[Any]:
        """Opens the host on a folder."""

    def call(self, folder: Path, name: str, *arguments: object) -> Any:
        with self.opened(folder) as host:
            return host.call(name, *arguments)

    def save(self, folder: Path, state: Path, key: str) -> None:
        with self.opened(folder) as host:
            host.save(state.read_text(), key, **IDENTITY_OPTIONS)

    @contextlib.contextmanager
    def timeline(self, folder: Path, timeline: str) -> Iterator[Any]:
        with self.opened(folder) as host:
            yield example("timelines").Timeline(host, timeline)

    def append(self, folder: Path, state: Path, timeline: str, identity: dict[str, str]) -> int:
        with self.timeline(folder, timeline) as opened:
            return int(opened.append(state.read_text(), **identity).number)

    def load(self, folder: Path, timeline: str, numbers: list[int]) -> list[bytes]:
        from wasmtime.component import Variant

        with self.timeline(folder, timeline) as opened:
            return [opened.load(Variant("number", number)).encode() for number in numbers]

    def history(self, folder: Path, timeline: str) -> list[tuple[int, str]]:
        with self.timeline(folder, timeline) as opened:
            return [(step.number, vars(step.metadata)["content-hash"]) for step in opened.history(1000)]

    def prune(self, folder: Path, timeline: str, keep_last: int) -> list[tuple[int, str]]:
        with self.timeline(folder, timeline) as opened:
            return [(step.number, step.outcome.tag) for step in opened.prune(keep_last).steps]


class PythonComposed(Example):
    """examples/python/composed.py: the component that needs nothing but WASI."""

    name = "wasmtime-py, composed"

    @contextlib.contextmanager
    def opened(self, folder: Path) -> Iterator[Any]:
        yield example("composed").Persist(component("persist-fs.wasm"), str(folder))


class PythonBare(Example):
    """examples/python/host.py: the bare component, and a storage in a dictionary."""

    name = "wasmtime-py, bare"

    def __init__(self) -> None:
        self.host = example("host").Host(component("persist.wasm"))

    @contextlib.contextmanager
    def opened(self, folder: Path) -> Iterator[Any]:
        """Makes the files of a folder the objects of the storage, and writes back what changed."""
        files = {path for path in folder.rglob("*") if path.is_file() and path.suffix != RESTORED}
        before = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        objects = self.host.storage.objects = dict(before)
        yield self.host
        for key in before.keys() - objects.keys():
            (folder / key).unlink()
        for key, data in objects.items():
            if before.get(key) != data:
                (folder / key).parent.mkdir(parents=True, exist_ok=True)
                (folder / key).write_bytes(data)


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

    def append_text(self, folder: Path, timeline: str, state: str, **options: object) -> Any:
        """Calls the tool ``append``."""
        names = ("agent-id", "session-id", "description", "labels", "content-type", "codec", "level", "on-conflict")
        unset = dict.fromkeys((*names, "snapshot-id", "timestamp"))
        named = {name.replace("_", "-"): value for name, value in options.items()}
        return self.call(folder, "append", timeline, state, record(unset | named))

    def save(self, folder: Path, state: Path, key: str) -> None:
        assert self.snapshot(folder, key, state.read_text(), **IDENTITY_OPTIONS).key == key

    def restore(self, folder: Path, keys: list[str]) -> list[bytes]:
        return [self.call(folder, "restore", key).encode() for key in keys]

    def exists(self, folder: Path, key: str) -> bool:
        # There is no such tool. `get-metadata` answers the question.
        found = self.call(folder, "get-metadata", key)
        assert getattr(found, "code", "not-found") == "not-found"
        return not hasattr(found, "code")

    def keys(self, folder: Path) -> list[str]:
        return [found.key for found in self.call(folder, "list", "", None, None, None).snapshots]

    def delete(self, folder: Path, key: str) -> None:
        assert self.call(folder, "delete", key) is None

    def append(self, folder: Path, state: Path, timeline: str, identity: dict[str, str]) -> int:
        return int(self.append_text(folder, timeline, state.read_text(), **identity).number)

    def load(self, folder: Path, timeline: str, numbers: list[int]) -> list[bytes]:
        return [self.call(folder, "load", timeline, str(number)).encode() for number in numbers]

    def history(self, folder: Path, timeline: str) -> list[tuple[int, str]]:
        steps = self.call(folder, "history", timeline, None, 1000, None).steps
        return [(step.number, vars(step.metadata)["content-hash"]) for step in steps]
