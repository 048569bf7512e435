"""Type checkers infer the right types. This file is checked with mypy and pyright, and also
runs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import persist

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type


@dataclasses.dataclass
class Agent:
    name: str = "a"


def test_the_type_of_a_restored_value_is_known() -> None:
    assert_type(persist.snapshot(Agent(), "x"), persist.SnapshotMetadata)
    assert_type(persist.restore("x"), Any)
    assert_type(persist.restore("x", into=Agent), Agent)
    assert_type(persist.restore("x", into=Agent("b")), Agent)
    assert_type(persist.verify_snapshot("x"), bool)
    assert_type(persist.get_metadata("x").labels, dict[str, str])
    assert_type(persist.get_metadata("x").kind, str)
    assert_type(persist.get_metadata("x").seal, Literal["none", "checked", "not-checked", "wrong"])
    assert_type(persist.get_metadata("x").encryption, Literal["none", "age"])
    assert_type(persist.list_snapshots(), list[persist.SnapshotMetadata])
    store = persist.Store(".")
    assert_type(store.restore("x", into=Agent), Agent)
    assert_type(store.restore("x", into=Agent()), Agent)
    assert_type(store.restore("x"), Any)
    assert_type(store.load_bytes("x"), bytes)
    with store.open("y", "wb") as writer:
        assert_type(writer, persist.SnapshotWriter)
        writer.write(b"state")
    with store.open("y") as reader:
        assert_type(reader, persist.SnapshotReader)
        assert_type(reader.read(), bytes)


async def awaited() -> None:
    assert_type(await persist.asnapshot(Agent(), "x", agent_id="a"), persist.SnapshotMetadata)
    assert_type(await persist.arestore("x", into=Agent), Agent)
    assert_type(await persist.arestore("x"), Any)
    store = persist.AsyncStore(".")
    assert_type(await store.restore("x", into=Agent), Agent)
    assert_type(await store.metadata("x"), persist.SnapshotMetadata)


def test_the_asyncio_twins_are_typed() -> None:
    import asyncio

    asyncio.run(awaited())


class Folder:
    """A storage that only has the methods of the protocol."""

    def open_write(self, key: str) -> persist.StorageWriter:
        raise NotImplementedError

    def open_read(self, key: str) -> Any:
        raise NotImplementedError

    def stat(self, key: str) -> persist.ObjectInfo:
        raise FileNotFoundError(key)

    def delete(self, key: str) -> None:
        raise FileNotFoundError(key)

    def list(self, prefix: str) -> list[persist.ObjectInfo]:
        return []


def test_every_export_has_a_type(folder: Path) -> None:
    pyright = Path(sys.executable).with_name("pyright")
    checked = subprocess.run(
        [pyright, "--verifytypes", "persist", "--ignoreexternal", "--outputjson"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{pyright.parent}{os.pathsep}{os.environ['PATH']}"},
    )
    symbols = json.loads(checked.stdout)["typeCompleteness"]["symbols"]
    unknown = {symbol["name"] for symbol in symbols if symbol["isExported"] and not symbol["isTypeKnown"]}
    # Their base classes come from frameworks that are not installed.
    assert unknown == {
        "persist.crewai.StoredFlows",
        "persist.langchain.ByteStore",
        "persist.strands.StoredBytes",
    }
    assert len(symbols) > 200


def test_a_storage_needs_no_base_class() -> None:
    storage: persist.Storage = Folder()
    assert persist.Store(storage).list() == []
