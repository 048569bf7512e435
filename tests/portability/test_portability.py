"""The same component in hosts of several kinds: what one writes, byte for byte what
the native host writes, every other restores and verifies.

``cargo xtask test`` runs this and says where things are: PERSIST_COMPONENTS is the
folder that is published, PERSIST_HOSTILE a component that misbehaves, PERSIST_COMMAND
the native command, PERSIST_EXAMPLE_HOST the example in Rust, PERSIST_NODE the folder
where jco is installed.
"""

from __future__ import annotations

import abc
import gc
import gzip
import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMPONENTS = Path(os.environ["PERSIST_COMPONENTS"])
HOSTILE = os.environ["PERSIST_HOSTILE"]
COMMAND = os.environ["PERSIST_COMMAND"]
EXAMPLE_HOST = os.environ["PERSIST_EXAMPLE_HOST"]
NODE = Path(os.environ["PERSIST_NODE"])
PROGRAMS = Path(sys.executable).parent

IDENTITY = {"SNAPSHOT_ID": "01890a5d-ac96-774b-bcce-b302099a8057", "TIMESTAMP": "2026-01-31T12:00:00.000000Z"}
NAMED = ["--snapshot-id", IDENTITY["SNAPSHOT_ID"], "--timestamp", IDENTITY["TIMESTAMP"]]

OPERATIONS = ["save", "restore", "verify", "show", "exists", "list", "delete"]


def example(name: str) -> Any:
    """A module of examples/python."""
    folder = str(ROOT / "examples/python")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(name)


def run(command: list[str], folder: Path, **environment: str) -> str:
    wanted = {**os.environ, **environment}
    done = subprocess.run(command, cwd=folder, env=wanted, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise OSError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def record(fields: dict[str, Any]) -> Any:
    """A record of WIT."""
    from wasmtime.component import Record

    made = Record()
    vars(made).update(fields)
    return made


class Host(abc.ABC):
    """One way to run the component, on the snapshots in a folder."""

    name: str

    @abc.abstractmethod
    def save(self, folder: Path, state: Path, key: str) -> None:
        """Saves a state under a key."""

    @abc.abstractmethod
    def restore(self, folder: Path, keys: list[str]) -> list[bytes]:
        """The states of snapshots."""

    @abc.abstractmethod
    def verify(self, folder: Path, keys: list[str]) -> list[str]:
        """Checks snapshots; gives the SHA-256 of each state."""

    @abc.abstractmethod
    def show(self, folder: Path, keys: list[str]) -> list[str]:
        """The SHA-256 of each state, by the metadata."""

    @abc.abstractmethod
    def exists(self, folder: Path, key: str) -> bool:
        """Whether there is something."""

    @abc.abstractmethod
    def list(self, folder: Path) -> list[str]:
        """The keys of all snapshots."""

    @abc.abstractmethod
    def delete(self, folder: Path, key: str) -> None:
        """Deletes one."""


class Command(Host):
    """The command: the native one, and the component in wasmtime's."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = command

    def run(self, folder: Path, *arguments: str) -> str:
        return run([*self.command, *arguments], folder)

    def json(self, folder: Path, *arguments: str) -> Iterator[Any]:
        return map(json.loads, self.run(folder, *arguments, "--json").splitlines())

    def save(self, folder: Path, state: Path, key: str) -> None:
        # A state comes by a pipe: the folder is all that the component sees.
        command = [*self.command, "snapshot", "-", key, "--quiet", *NAMED]
        done = subprocess.run(command, cwd=folder, input=state.read_bytes(), capture_output=True, timeout=300)
        assert done.returncode == 0, done

    def restore(self, folder: Path, keys: list[str]) -> list[bytes]:
        for key in keys:
            self.run(folder, "restore", key, "--output", f"{key}.restored", "--quiet")
        return [(folder / f"{key}.restored").read_bytes() for key in keys]

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


class Driven(Host):
    """A program that takes an operation and keys, and prints a line for each."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = command

    def run(self, folder: Path, *arguments: str) -> list[str]:
        return run([*self.command, str(folder), *arguments], folder, **IDENTITY).splitlines()

    def save(self, folder: Path, state: Path, key: str) -> None:
        self.run(folder, "save", str(state), key)

    def restore(self, folder: Path, keys: list[str]) -> list[bytes]:
        assert self.run(folder, "restore", *keys) == ["restored"] * len(keys)
        return [(folder / f"{key}.restored").read_bytes() for key in keys]

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


class Composed(Host):
    """wasmtime's package for Python, and the component that WASI is enough for."""

    name = "wasmtime-py, composed"

    def __init__(self) -> None:
        self.module = example("composed")

    def call(self, folder: Path, name: str, *arguments: object) -> Any:
        return self.module.Persist(str(COMPONENTS / "persist-fs.wasm"), str(folder)).call(name, *arguments)

    def save(self, folder: Path, state: Path, key: str) -> None:
        persist = self.module.Persist(str(COMPONENTS / "persist-fs.wasm"), str(folder))
        persist.save(state.read_text(), key, snapshot_id=IDENTITY["SNAPSHOT_ID"], timestamp=IDENTITY["TIMESTAMP"])

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


class Bare(Composed):
    """wasmtime's package for Python, the bare component, and a storage in a dict."""

    name = "wasmtime-py, bare"

    def __init__(self) -> None:
        self.host = example("host").Host(str(COMPONENTS / "persist.wasm"))

    def call(self, folder: Path, name: str, *arguments: object) -> Any:
        files = [path for path in folder.iterdir() if not path.name.endswith(".restored")]
        objects = self.host.storage.objects = {path.name: path.read_bytes() for path in files}
        before = dict(objects)
        found = self.host.call(name, *arguments)
        for path in files:
            if path.name not in objects:
                path.unlink()
        for key, data in objects.items():
            if before.get(key) != data:
                (folder / key).write_bytes(data)
        return found

    def save(self, folder: Path, state: Path, key: str) -> None:
        identity = {"snapshot-id": IDENTITY["SNAPSHOT_ID"], "timestamp": IDENTITY["TIMESTAMP"]}
        objects = self.host.storage.objects = {}
        self.host.save(key, state.read_text(), **identity)
        (folder / key).write_bytes(objects[key])


class Tools(Composed):
    """The tools, called as a runtime calls them: with strings, records and lists."""

    name = "tools"

    def __init__(self) -> None:
        from wasmtime import Engine
        from wasmtime.component import Component, Linker

        engine = Engine()
        self.linker = Linker(engine)
        self.linker.add_wasip2()
        self.component = Component.from_file(engine, str(COMPONENTS / "persist-tools.wasm"))

    def call(self, folder: Path, name: str, *arguments: object) -> Any:
        from wasmtime import Store, WasiConfig
        from wasmtime.component import Variant

        store, wasi = Store(self.linker.engine), WasiConfig()
        wasi.preopen_dir(str(folder), "/srv/agents")
        store.set_wasi(wasi)
        instance = self.linker.instantiate(store, self.component)
        function = instance.get_func(store, name)
        assert function is not None
        found = function(store, *arguments)
        return found.payload if isinstance(found, Variant) else found

    def snapshot(self, folder: Path, key: str, state: str, **options: object) -> Any:
        """Calls the tool of this name."""
        names = ("agent-id", "session-id", "snapshot-index", "description", "labels", "content-type", "codec", "level")
        unset = dict.fromkeys((*names, "replace", "snapshot-id", "timestamp"))
        named = {name.replace("_", "-"): value for name, value in options.items()}
        return self.call(folder, "snapshot", key, state, record(unset | named))

    def save(self, folder: Path, state: Path, key: str) -> None:
        named = {"snapshot_id": IDENTITY["SNAPSHOT_ID"], "timestamp": IDENTITY["TIMESTAMP"]}
        assert self.snapshot(folder, key, state.read_text(), **named).key == key

    def restore(self, folder: Path, keys: list[str]) -> list[bytes]:
        return [self.call(folder, "restore", key).encode() for key in keys]

    def exists(self, folder: Path, key: str) -> bool:
        """There is no such tool; the metadata says it, and a code where there is none."""
        found = self.call(folder, "get-metadata", key)
        assert getattr(found, "code", "not-found") == "not-found"
        return not hasattr(found, "code")

    def list(self, folder: Path) -> list[str]:
        return [found.key for found in self.call(folder, "list", "", None, None, None).snapshots]

    def delete(self, folder: Path, key: str) -> None:
        assert self.call(folder, "delete", key) is None


NODE_PROGRAM = str(PROGRAMS / "node")


JCO = [NODE_PROGRAM, str(NODE / "node_modules/@bytecodealliance/jco/dist/jco.js")]

GROW = """
    (table $grown 1 funcref)
    (func $grow
      (br_if 0 (i32.ne (table.grow $grown (ref.null func) (i32.const 200000)) (i32.const -1)))
      unreachable)
    (start $grow)"""
"""Ends a core module such that it wants a table of more entries than any example host
gives, and is there only if it gets it."""


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The component that misbehaves, with a table that grows: Rust has no words for that."""
    folder = tmp_path_factory.mktemp("growing")
    text, wasm = folder / "growing.wat", folder / "growing.wasm"
    run([*JCO, "print", HOSTILE, "-o", str(text)], NODE)
    whole = text.read_text()
    end = whole.index("\n  )", whole.index("\n  (core module"))
    text.write_text(whole[:end] + GROW + whole[end:])
    run([*JCO, "parse", str(text), "-o", str(wasm)], NODE)
    return str(wasm)


@pytest.fixture(scope="module")
def transpiled(tmp_path_factory: pytest.TempPathFactory, growing: str) -> dict[str, str]:
    """Components as jco makes modules of JavaScript of them; what loads these lies in NODE."""
    for source in (*(ROOT / "tests/portability").glob("*.mjs"), *(ROOT / "examples/node").glob("*.mjs")):
        # Beside the packages that they import.
        shutil.copy(source, NODE)
    modules = {}
    for name, wasm in {
        "persist": str(COMPONENTS / "persist.wasm"),
        "persist-fs": str(COMPONENTS / "persist-fs.wasm"),
        "hostile": HOSTILE,
        "growing": growing,
    }.items():
        out = tmp_path_factory.mktemp(name)
        arguments = ["--instantiation", "async", "--quiet", "-o", str(out), "--name", name]
        run([*JCO, "transpile", wasm, *arguments], NODE)
        # Where the core modules are told from plain scripts.
        (out / "package.json").write_text('{"type": "module"}')
        modules[name] = str(out / f"{name}.js")
    return modules


@pytest.fixture(scope="module")
def hosts(transpiled: dict[str, str]) -> list[Host]:
    import wasmtime_cli  # type: ignore[import-untyped]

    wasmtime = Path(wasmtime_cli.__file__).with_name("wasmtime")
    wasmtime.chmod(0o755)
    drive = [NODE_PROGRAM, str(NODE / "drive.mjs")]
    cli = [str(wasmtime), "run", "--dir", ".", str(COMPONENTS / "persist-cli.wasm")]
    return [
        Command("native", [str(PROGRAMS / "persist")]),
        Command("wasmtime command", cli),
        Composed(),
        Tools(),
        Driven("node, composed", [*drive, "composed", transpiled["persist-fs"]]),
        Driven("rust, bare", [EXAMPLE_HOST, str(COMPONENTS / "persist.wasm")]),
        Bare(),
        Driven("node, bare", [*drive, "bare", transpiled["persist"]]),
    ]


STATE = (ROOT / "examples/agent-state.json").read_text()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several blocks, as text: the sample agent's state, many times over."""
    path = tmp_path_factory.mktemp("state") / "state.json"
    parts = (STATE.replace("0", str(number % 10)) for number in range(1 + 2_200_000 // len(STATE)))
    path.write_text("[" + ",\n".join(parts) + "]")
    return path


def test_every_host_reads_what_every_other_wrote(
    hosts: list[Host], state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = state.read_bytes()
    content_hash = hashlib.sha256(content).hexdigest()
    done: dict[str, dict[str, bool]] = {host.name: {} for host in hosts}
    (tmp_path / "all").mkdir()
    written: dict[str, bytes] = {}
    for host in hosts:
        equal = []
        for ending in ("gz", "zst"):
            folder = tmp_path / host.name / ending
            folder.mkdir(parents=True)
            host.save(folder, state, f"x.json.{ending}")
            data = (folder / f"x.json.{ending}").read_bytes()
            # The first is the native one.
            equal.append(data == written.setdefault(ending, data))
            (tmp_path / "all" / f"{hosts.index(host)}.json.{ending}").write_bytes(data)
        done[host.name]["save"] = all(equal)
    keys = sorted(path.name for path in (tmp_path / "all").iterdir())
    for host in hosts:
        folder = tmp_path / host.name / "read"
        shutil.copytree(tmp_path / "all", folder)
        done[host.name]["restore"] = host.restore(folder, keys) == [content] * len(keys)
        done[host.name]["verify"] = host.verify(folder, keys) == [content_hash] * len(keys)
        done[host.name]["show"] = host.show(folder, keys) == [content_hash] * len(keys)
        done[host.name]["exists"] = host.exists(folder, keys[0]) and not host.exists(folder, "none")
        for path in folder.glob("*.restored"):
            path.unlink()
        done[host.name]["list"] = host.list(folder) == keys
        host.delete(folder, keys[0])
        done[host.name]["delete"] = host.list(folder) == keys[1:] and not (folder / keys[0]).exists()
    with capsys.disabled():
        width = max(len(host.name) for host in hosts)
        print(f"\n\n{'':{width}}  " + "  ".join(OPERATIONS))
        for host in hosts:
            cells = (("ok" if done[host.name][name] else "FAILS").ljust(len(name)) for name in OPERATIONS)
            print(f"{host.name:{width}}  " + "  ".join(cells))
        print(f"each on {len(keys)} snapshots of {len(content)} bytes of state, the same bytes from every host")
    assert all(done[host.name][name] for host in hosts for name in OPERATIONS)


def forged(folder: Path, key: str) -> None:
    """A snapshot whose content hash is not that of its state: every frame is whole."""
    from wasmtime import Store, WasiConfig
    from wasmtime.component import Variant

    persist = example("composed").Persist(str(COMPONENTS / "persist-fs.wasm"), str(folder))
    store, wasi = Store(persist.engine), WasiConfig()
    store.set_epoch_deadline(persist.tenths)
    wasi.preopen_dir(str(folder), ".")
    store.set_wasi(wasi)
    instance = persist.linker.instantiate(store, persist.component)
    snapshots = instance.get_export_index(store, "persist:snapshot/snapshots@0.1.0")

    def call(name: str, *arguments: object) -> Any:
        found = instance.get_func(store, instance.get_export_index(store, name, snapshots))(store, *arguments)
        found = found.payload if isinstance(found, Variant) else found
        assert not hasattr(found, "retryable"), vars(found)
        return found

    unset = ("description", "content-type", "extra", "codec", "level", "snapshot-id", "timestamp", "state-size-hint")
    named = {"agent-id": "a", "session-id": "s", "snapshot-index": 0, "labels": [], "attributes": []}
    options = {**named, **dict.fromkeys(unset), "precondition": Variant("none"), "host-hashes": True}
    saver = call("open-saver", key, record(options))
    # So much that the component believes its host.
    call("[method]saver.write", saver, b"0123456789" * 7000)
    call("[method]saver.set-content-hash", saver, bytes(32))
    call("[static]saver.commit", saver)


def test_a_state_with_another_hash_comes_out_nowhere(hosts: list[Host], tmp_path: Path) -> None:
    """No host gives it as a value or leaves it as a file, and each says why."""
    for ending in ("gz", "zst"):
        key = f"forged.json.{ending}"
        forged(tmp_path, key)
        for host in hosts:
            # What it says of itself is as it was written.
            assert host.show(tmp_path, [key]) == ["0" * 64], host.name
            for operation in (host.restore, host.verify):
                if isinstance(host, Tools):
                    name = "restore" if operation == host.restore else "verify"
                    assert host.call(tmp_path, name, key).code == "integrity"
                    continue
                with pytest.raises(OSError, match=r"(?i)integrity"):
                    operation(tmp_path, [key])
            assert not [path.name for path in tmp_path.iterdir() if path.name.split(".")[-1] not in ("gz", "zst")]


def test_the_tools_replace_nothing_unless_asked(tmp_path: Path) -> None:
    """And then a snapshot alone; what else has the key stays as it is."""
    tools = Tools()
    assert tools.snapshot(tmp_path, "a/1.json.gz", "first").key == "a/1.json.gz"
    first = (tmp_path / "a/1.json.gz").read_bytes()
    for replace in (None, False):
        refused = tools.snapshot(tmp_path, "a/1.json.gz", "second", replace=replace)
        assert refused.code == "already-exists"
        assert (tmp_path / "a/1.json.gz").read_bytes() == first
    tools.snapshot(tmp_path, "a/1.json.gz", "second", replace=True)
    assert tools.call(tmp_path, "restore", "a/1.json.gz") == "second"
    # Where there is nothing, there is nothing to replace.
    tools.snapshot(tmp_path, "a/2.json.gz", "third", replace=True)
    assert tools.call(tmp_path, "restore", "a/2.json.gz") == "third"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["1.json.gz", "2.json.gz"]


def test_the_tools_touch_snapshots_alone(tmp_path: Path) -> None:
    """To replace or to delete; and they say why not."""
    tools = Tools()
    tools.snapshot(tmp_path, "whole.json.gz", STATE)
    whole = (tmp_path / "whole.json.gz").read_bytes()
    # One bit of the metadata.
    damaged = bytearray(whole)
    damaged[-300] ^= 1
    kept = {
        "notes.txt": b"written by hand",
        "other.json.gz": gzip.compress(b"{}"),
        "empty.json.gz": b"",
        "damaged.json.gz": bytes(damaged),
        "short.json.gz": whole[: len(whole) // 2],
    }
    for name, data in kept.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    codes = dict.fromkeys(("short.json.gz", "empty.json.gz"), "invalid-format")
    codes |= {"damaged.json.gz": "integrity", "folder": "invalid-key"}
    for name in (*kept, "folder"):
        expected = codes.get(name, "not-a-snapshot")
        assert tools.call(tmp_path, "get-metadata", name).code == expected, name
        refused = tools.snapshot(tmp_path, name, "{}", replace=True)
        assert (refused.code, "it was not replaced" in refused.message) == (expected, True), (name, vars(refused))
        refused = tools.call(tmp_path, "delete", name)
        assert (refused.code, "it was not deleted" in refused.message) == (expected, True), (name, vars(refused))
        assert tools.snapshot(tmp_path, name, "{}").code in ("already-exists", "invalid-key")
    # What ends like a snapshot is none if it does not begin like one.
    length = int.from_bytes(whole[-58:-50], "little")
    program = b"fn main() {}\n".ljust(length, b"/") + whole[length:]
    for name, data in {"main.rs": program, "front.json.gz": whole[:20] + b"?" + whole[21:]}.items():
        (tmp_path / name).write_bytes(data)
        kept[name] = data
        assert tools.call(tmp_path, "get-metadata", name).key == name
        assert tools.snapshot(tmp_path, name, "{}", replace=True).code == "integrity"
        assert tools.call(tmp_path, "delete", name).code == "integrity"
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    assert tools.call(tmp_path, "delete", "none.json.gz").code == "not-found"
    assert tools.call(tmp_path, "delete", "whole.json.gz") is None
    assert not (tmp_path / "whole.json.gz").exists()


def test_the_tools_list_what_a_filter_wants(tmp_path: Path) -> None:
    """And what can't be read, whatever the filter says."""
    tools = Tools()
    for number in range(4):
        labels = [record({"name": "kind", "value": "even" if number % 2 == 0 else "odd"})]
        options = {"agent_id": f"agent-{number // 2}", "timestamp": f"2026-01-0{number + 1}T00:00:00Z"}
        tools.snapshot(tmp_path, f"{number}.json.gz", "{}", labels=labels, **options)
    (tmp_path / "notes.txt").write_text("written by hand")

    def listed(**wanted: object) -> list[str]:
        unset = dict.fromkeys(("agent-id", "session-id", "labels", "since", "until"))
        found = tools.call(tmp_path, "list", "", None, None, record({**unset, **wanted}))
        assert [entry.key for entry in found.unreadable] == ["notes.txt"]
        return [entry.key.split(".")[0] for entry in found.snapshots]

    assert listed() == ["0", "1", "2", "3"]
    assert listed(**{"agent-id": "agent-1"}) == ["2", "3"]
    assert listed(**{"session-id": "another"}) == []
    assert listed(labels=[record({"name": "kind", "value": "even"})]) == ["0", "2"]
    assert listed(since="2026-01-02T00:00:00Z", until="2026-01-03T01:00:00+01:00") == ["1"]
    wrong = record({**dict.fromkeys(("agent-id", "session-id", "labels", "until")), "since": "yesterday"})
    assert tools.call(tmp_path, "list", "", None, None, wrong).code == "invalid-argument"


COMMANDS = [
    ["snapshot", "state.json", "out/x.json.zst", "--agent-id", "a", "--label", "b=c", *NAMED],
    ["snapshot", "state.json", "out/x.json.zst", "--if-exists", "fail", *NAMED],
    ["snapshot", "state.json", "state.json"],
    ["snapshot", "link/state.json", "state.json"],
    ["snapshot", "none.json", "out/y.json"],
    ["snapshot", "state.json", "out/y.json", "--level", "99"],
    ["snapshot", "state.json", "out/y.json", "--snapshot-id", "x"],
    ["snapshot", "state.json", "out/y.json", "--if-match", "x"],
    ["snapshot", "state.json", "out", "--if-match", "x"],
    ["snapshot", "state.json", "pipe"],
    ["snapshot", "state.json", "a\nb.gz"],
    ["show", "a\x1b[31mb.gz", "--json"],
    ["verify", "a\u202eb.gz/"],
    ["snapshot", "state.json", ".persist-abc.tmp"],
    ["delete", "out", "--yes"],
    ["delete", "pipe", "--yes"],
    ["show", "pipe"],
    ["show", "out/x.json.zst"],
    ["show", "out/x.json.zst", "--json"],
    ["show", "./out/../out/x.json.zst"],
    ["verify", "out/x.json.zst", "none"],
    ["restore", "out/x.json.zst"],
    ["restore", "out/x.json.zst", "--output", "out/restored.json"],
    ["restore", "none", "--json"],
    ["exists", "out/x.json.zst"],
    ["exists", "none"],
    ["list", "out"],
    ["list", "link/out"],
    ["list", "latest"],
    ["list", "none"],
    # Natively the system follows links before `..`.
    ["snapshot", "state.json", "deep/../y.json.gz", *NAMED],
    ["show", "sub/y.json.gz"],
    ["show", "deep/../y.json.gz"],
    ["list", "deep/.."],
    ["show", "y.json.gz"],
    ["restore", "sub/y.json.gz", "--output", "deep/../restored.json"],
    ["exists", "deep/../../sub/restored.json"],
    ["delete", "deep/../y.json.gz", "--yes"],
    ["show", "sub/y.json.gz"],
    ["show", "loop/../x.json.gz"],
    ["show", "state.json/../plain.json.gz"],
    ["exists", "state.json/../plain.json.gz"],
    ["delete", "state.json/../plain.json.gz", "--yes"],
    ["snapshot", "state.json", "state.json/../z.json.gz", *NAMED],
    ["show", "missing/../plain.json.gz"],
    ["snapshot", "state.json", "missing/../z.json.gz", *NAMED],
    ["list", "loop/.."],
    ["restore", "out/x.json.zst", "--output", ".persist-abc.tmp"],
    ["restore", "out/x.json.zst", "--output", "a\nb"],
    ["restore", "out/x.json.zst", "--output", "state.json/y"],
    ["restore", "out/x.json.zst", "--output", "sub"],
    ["restore", "out/x.json.zst", "--output", "n" * 300],
    ["restore", "out/x.json.zst", "--output", "n" * 300 + "/y"],
    ["restore", "out/x.json.zst", "--output", "loop/y"],
    ["restore", "out/x.json.zst", "--output", "loop/../y"],
    ["exists", "loop"],
    ["exists", "n" * 300],
    ["show", "plain.json.gz"],
    ["show", "none"],
    ["show", "damaged.json.zst"],
    ["list", "."],
    ["delete", "plain.json.gz", "damaged.json.zst", "--yes"],
    ["delete", "plain.json.gz", "--yes", "--force"],
    ["restore", "out/x.json.zst", "--output", "out/x.json.zst"],
    ["restore", "out/x.json.zst", "--output", "link/out/../out/x.json.zst"],
    ["restore", "out/x.json.zst", "--output", "out/restored.json", "--if-exists", "fail"],
    ["restore", "out/x.json.zst", "--output", "out/new.json", "--if-exists", "fail"],
    ["snapshot", "state.json", "out/-y.ZSTD", *NAMED],
    ["snapshot", "state.json", "out/y.json", "--index", "-1"],
    ["show", "-y"],
    ["list", "out", "--json"],
    ["list", "./out/", "--json"],
    ["verify", "--json", "./out/-y.ZSTD"],
    ["delete", "none", "--yes"],
    ["delete", "out/x.json.zst"],
    ["delete", "out/x.json.zst", "--yes"],
    ["list", "out"],
    ["wrong"],
    ["show"],
    ["-V"],
    ["--version"],
]


def test_the_command_says_the_same_in_both(hosts: list[Host], tmp_path: Path) -> None:
    """What the native command and the component print, and their exit codes."""
    answers = []
    for host in (host for host in hosts if isinstance(host, Command)):
        folder = tmp_path / host.name
        folder.mkdir()
        (folder / "state.json").write_text(STATE)
        (folder / "plain.json.gz").write_text("no snapshot")
        (folder / "link").symlink_to(".")
        os.mkfifo(folder / "pipe")
        (folder / "latest").symlink_to("out")
        (folder / "sub/folder").mkdir(parents=True)
        (folder / "deep").symlink_to("sub/folder")
        (folder / "loop").symlink_to("loop")
        said = []
        for arguments in COMMANDS:
            if arguments[:2] == ["show", "damaged.json.zst"]:
                data = bytearray((folder / "out/x.json.zst").read_bytes())
                data[-100] ^= 1
                (folder / "damaged.json.zst").write_bytes(data)
            done = subprocess.run(
                [*host.command, *arguments], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            # How it is called stands in what it says of wrong arguments; an etag is its storage's own.
            stderr = done.stderr.replace("persist-cli.wasm", "persist")
            # So are the words in which a system says what failed.
            stderr = re.sub(r"could not (\w+) the file \([^()]*(\([^()]*\))?\)", r"could not \1 the file", stderr)
            stdout = re.sub(r'"etag":"[^"]*"', "", done.stdout)
            said.append((arguments, done.returncode, stdout, stderr))
        answers.append(said)
    for native, component in zip(*answers, strict=True):
        assert native == component


def test_the_command_is_confined_to_its_folder(hosts: list[Host], tmp_path: Path) -> None:
    """Whatever the folder is called, and where PERSIST_LOCAL_PATH says which."""
    wasmtime = next(host for host in hosts if host.name == "wasmtime command")
    assert isinstance(wasmtime, Command)
    program, component = wasmtime.command[0], wasmtime.command[-1]
    (tmp_path / "data/agents").mkdir(parents=True)
    (tmp_path / "data/deep/folder").mkdir(parents=True)
    (tmp_path / "data/link").symlink_to("deep/folder")

    def said(directory: str, *arguments: str, **environment: str) -> tuple[int, str]:
        given = [f"--env={name}={value}" for name, value in environment.items()]
        command = [program, "run", "--dir", directory, *given, component, *arguments]
        done = subprocess.run(command, cwd=tmp_path, input="{}", capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    for directory, path, environment in [
        ("data", "data/1.json.gz", {}),
        ("data::/", "2.json.gz", {}),
        ("data::/", "/3.json.gz", {}),
        (f"{tmp_path}/data", f"{tmp_path}/data/4.json.gz", {}),
        ("data", "../5.json.gz", {"PERSIST_LOCAL_PATH": "data/agents"}),
        ("data", "6.json.gz", {"PERSIST_LOCAL_PATH": "data/agents"}),
        ("data::/", "7.json.gz", {"PERSIST_LOCAL_PATH": "agents"}),
        ("./data", "12.json.gz", {"PERSIST_LOCAL_PATH": "./data/agents"}),
        ("./data", "13.json.gz", {"PERSIST_LOCAL_PATH": "data/agents"}),
        (".", "14.json.gz", {"PERSIST_LOCAL_PATH": "data/link/../agents"}),
        (".", "8.json.gz", {"PERSIST_LOCAL_PATH": "/srv/agents"}),
        ("data", "9.json.gz", {}),
        ("data", "data/../../10.json.gz", {}),
        ("data", "data/11.json.gz", {"PERSIST_STORAGE": "s3"}),
    ]:
        code, text = said(directory, "snapshot", "-", path, **environment)
        number = path.split(".json")[0].rsplit("/", 1)[-1]
        assert (code == 0) == (number in ["1", "2", "3", "4", "6", "7", "12", "13", "14"]), (path, text)
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    names = ("1", "2", "3", "4", "agents/12", "agents/13", "agents/6", "agents/7", "deep/agents/14")
    assert written == ["data/" + name + ".json.gz" for name in names]
    # What is not in the folder may well be there: it was not given.
    (tmp_path / "state.json").write_text("{}")
    for arguments in [
        ("snapshot", "state.json", "data/x.json.gz"),
        ("restore", "data/1.json.gz", "--output", "restored.json"),
        ("list", "."),
        ("list", "file:///nowhere"),
    ]:
        code, text = said("data", *arguments)
        assert code != 0
        assert "--dir FOLDER" in text, text


def test_the_example_in_rust_keeps_what_it_did(tmp_path: Path) -> None:
    """Keys before one that fails; and it says that it failed."""
    (tmp_path / "state.json").write_text(STATE)
    (tmp_path / "stored/folder").mkdir(parents=True)

    def ended(*arguments: str) -> tuple[int, str]:
        command = [EXAMPLE_HOST, str(COMPONENTS / "persist.wasm"), "stored", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout + done.stderr

    code, said = ended("save", "state.json", "1.gz", "2.gz", "sub/3.gz")
    assert code == 1
    assert "'sub/3.gz' is no name for a file here" in said
    assert ended("delete", "1.gz", "none", "2.gz")[0] == 1
    assert ended("list") == (0, "2.gz\n")
    assert ended("forget", "2.gz")[0] == 1
    for name in ("folder", "a.restored"):
        code, said = ended("save", "state.json", name)
        assert code == 1, said
    (tmp_path / "stored/link").symlink_to("../outside")
    assert ended("save", "state.json", "link")[0] == 1
    assert not (tmp_path / "outside").exists()
    (tmp_path / "stored/2.gz.restored").mkdir()
    assert ended("restore", "2.gz")[0] == 1
    assert sorted(path.name for path in tmp_path.rglob("*.gz")) == ["2.gz"]


def test_a_plugin_that_misbehaves_leaves_the_host_running(tmp_path: Path) -> None:
    """In the host of examples/python, and in this process."""
    from wasmtime import WasmtimeError

    module = example("host")
    hostile = module.Host(HOSTILE, deadline=2.0)
    good = module.Host(str(COMPONENTS / "persist.wasm"))
    good.save("kept.gz", STATE)
    for key, says in [
        ("trap/x", "unreachable"),
        ("bloat/x", "unreachable|memory"),
        ("loop/x", "interrupt"),
        ("sleep/x", "nothing to wait for"),
        ("overflow/x", "stack"),
        ("leak/x", "handles"),
    ]:
        began = time.monotonic()
        for operation in ("verify", "get-metadata", "restore-text"):
            # An OSError is what the component answers.
            with pytest.raises((WasmtimeError, RuntimeError), match=says):
                hostile.call(operation, key)
        assert time.monotonic() - began < 60
        assert good.call("restore-text", "kept.gz") == STATE


def test_a_plugin_that_writes_for_ever_is_refused() -> None:
    """Into one writer, and in ever new objects: no more than a call may write."""
    most = 100_000
    for key, prefix in [("fill/x", "filled"), ("scatter/x", "scattered-")]:
        hostile = example("host").Host(HOSTILE, most=most)
        objects = hostile.storage.objects = {"kept": b"as it was"}
        # A refusal to write is the plugin's to handle; it has nothing to say of it.
        assert vars(hostile.call("verify", key))["snapshot-index"] == 2**64 - 1
        assert objects.pop("kept") == b"as it was"
        assert all(name.startswith(prefix) for name in objects)
        assert len(objects) < most / 100
        assert sum(len(name) + len(data) for name, data in objects.items()) <= most
        # What is not committed is not stored.
        assert bool(objects) == (key == "scatter/x")


def test_the_example_says_what_went_wrong() -> None:
    """As an exception, and nothing is stored then."""
    host = example("host").Host(str(COMPONENTS / "persist.wasm"), most=500)
    with pytest.raises(OSError, match=r"no-space: this call may write no more"):
        host.save("large.gz", STATE)
    with pytest.raises(OSError, match="not-found"):
        host.call("restore-text", "none.gz")
    for key in ("", "../x", "/etc/x", "a//b", "a/./b", "a\nb", "\u00e9" * 513):
        with pytest.raises(OSError, match="invalid-key"):
            host.save(key, "{}")
    assert host.storage.objects == {}


def test_the_example_takes_calls_of_many_threads() -> None:
    """One after the other, each with handles and a budget of its own."""
    host = example("host").Host(str(COMPONENTS / "persist.wasm"))
    keys = [f"{number}.gz" for number in range(24)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: host.save(key, STATE), keys))
    assert sorted(host.storage.objects) == sorted(keys)
    assert host.storage.handles == {}


def test_examples_give_back_what_they_took() -> None:
    """No thread stays behind."""
    before = threading.active_count()
    for _ in range(3):
        example("composed").Persist(str(COMPONENTS / "persist-fs.wasm"), ".")
        example("host").Host(str(COMPONENTS / "persist.wasm")).save("x.gz", "{}")
    gc.collect()
    ended = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < ended:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_a_plugin_that_misbehaves_in_node_leaves_the_host_running(transpiled: dict[str, str]) -> None:
    """In the host of examples/node, of which each call has a process."""
    most = 1_000_000
    late = "stopped after 5000 ms"
    expected = {
        "trap/x": "unreachable",
        # No memory of WebAssembly may have more than 128 MiB.
        "bloat/x": "unreachable",
        "loop/x": late,
        "sleep/x": late,
        "overflow/x": "stack|unreachable|bounds",
        # It has no room for more, and asks for ever.
        "leak/x": late,
        "exit/x": "the process of the call ended early",
        "escape/x": "returned",
        "fill/x": "returned",
        "scatter/x": "returned",
    }
    command = [NODE_PROGRAM, str(NODE / "misbehave.mjs"), transpiled["hostile"], transpiled["persist"], str(most)]
    done = subprocess.run([*command, *expected], cwd=NODE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [found["key"] for found in said] == list(expected)
    for found in said:
        key, stored = found["key"], found["stored"]
        assert found["kept"], key
        assert re.search(expected[key], found["ended"]), found["ended"]
        assert (found["ended"] == "returned") == (expected[key] == "returned"), found["ended"]
        assert bool(stored) == (key == "scatter/x")
        assert len(stored) < most / 100
        assert sum(stored) <= most
        assert found["peak"] < 300, "MiB of the host"


def test_a_table_that_grows_is_bounded_in_every_example(
    growing: str, transpiled: dict[str, str], tmp_path: Path
) -> None:
    """A component with a table that needs too much memory gets no instance."""
    from wasmtime import WasmtimeError

    # The same component without the table answers this.
    key = "escape/x"
    assert run([EXAMPLE_HOST, HOSTILE, str(tmp_path), "verify", key], ROOT)
    in_rust = subprocess.run(
        [EXAMPLE_HOST, growing, str(tmp_path), "verify", key], capture_output=True, text=True, timeout=60
    )
    assert in_rust.returncode == 1
    assert "growing table" in in_rust.stderr
    assert example("host").Host(HOSTILE).call("verify", key)
    with pytest.raises(WasmtimeError, match="unreachable"):
        example("host").Host(growing).call("verify", key)
    command = [NODE_PROGRAM, str(NODE / "misbehave.mjs")]
    for component, ended in [("hostile", "returned"), ("growing", "unreachable")]:
        found = json.loads(run([*command, transpiled[component], transpiled["persist"], "1000000", key], NODE))
        assert found["ended"] == ended
        assert found["kept"]


def test_calls_in_node_do_not_lose_each_others_work(transpiled: dict[str, str]) -> None:
    """Calls that are made at once happen one after the other, and change what they change."""
    keys = [f"{number}.gz" for number in range(4)]
    done = run([NODE_PROGRAM, str(NODE / "at_once.mjs"), transpiled["persist"], *keys], NODE)
    assert json.loads(done) == [*keys, "by hand"]


def test_the_bare_component_is_the_same_everywhere() -> None:
    """The one in the folder, in the native command, and in the wheel; the command of
    the other test says the same of the one that it is composed with."""
    from persist._persist import COMPONENT_HASH

    component = hashlib.sha256((COMPONENTS / "persist.wasm").read_bytes()).hexdigest()
    assert component == COMPONENT_HASH
    for command in (COMMAND, str(PROGRAMS / "persist")):
        assert f"component {component}" in run([command, "--version"], ROOT)


def test_the_readme_has_the_example() -> None:
    example = (ROOT / "examples/python/composed.py").read_text().split("if __name__")[0].strip()
    assert example[example.index("import sys") :] in (ROOT / "README.md").read_text()


def test_what_is_published_is_whole() -> None:
    """Checksums, licences and the WIT package."""
    lines = (COMPONENTS / "SHA256SUMS").read_text().splitlines()
    listed = {name: checksum for checksum, name in (line.split("  ", 1) for line in lines)}
    files = {str(path.relative_to(COMPONENTS)): path for path in COMPONENTS.rglob("*") if path.is_file()}
    del files["SHA256SUMS"]
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == listed
    assert {"persist.wasm", "persist-fs.wasm", "persist-tools.wasm", "persist-cli.wasm", "policy.yaml"} <= files.keys()
    assert {"wit/snapshots.wit", "wit/storage.wit", "wit/tools.wit", "persist-snapshot.wit.wasm"} <= files.keys()
    inside = (COMPONENTS / "CONTENTS.txt").read_text().splitlines()
    packages = [line for line in inside if line.startswith("  ")]
    assert any(line.startswith("  zlib-rs ") for line in packages)
    assert all(line.split(": ", 1)[1] for line in packages), "a package without a licence"
