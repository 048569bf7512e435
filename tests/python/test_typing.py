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
    timeline = store.timeline(agent_id="a", session_id="s")
    assert_type(timeline, persist.Timeline)
    assert_type(timeline.append(Agent(), labels={"a": "b"}), persist.Step)
    assert_type(timeline.append_bytes(b"x", on_conflict="rebase"), persist.Step)
    assert_type(timeline.load(Agent, at=1), Agent)
    assert_type(timeline.load(Agent(), at=-2), Agent)
    assert_type(timeline.load(), Any)
    assert_type(timeline.load_bytes(), bytes)
    assert_type(timeline.at(label=("a", "b")).labels, dict[str, str])
    assert_type(timeline.at().error, persist.PersistError | None)
    assert_type([step.number for step in timeline], list[int])
    assert_type(timeline.prune(keep_last=2, keep_within="7d", dry_run=True), persist.PruneReport)
    assert_type(timeline.check(), list[persist.Damage])
    with persist.autosave(Agent(), timeline, every=30) as saver:
        assert_type(saver, persist.Autosaver)
        assert_type(saver.last, persist.Step | None)
        assert_type(saver.steps, int)
    assert_type(timeline.delete(), int)
    assert_type(store.timelines(), list[persist.Timeline])


async def awaited() -> None:
    assert_type(await persist.asnapshot(Agent(), "x", agent_id="a"), persist.SnapshotMetadata)
    assert_type(await persist.arestore("x", into=Agent), Agent)
    assert_type(await persist.arestore("x"), Any)
    store = persist.AsyncStore(".")
    assert_type(await store.restore("x", into=Agent), Agent)
    assert_type(await store.metadata("x"), persist.SnapshotMetadata)
    timeline = store.timeline(agent_id="a", session_id="t")
    assert_type(timeline, persist.AsyncTimeline)
    assert_type(await timeline.append(Agent()), persist.AsyncStep)
    assert_type(await timeline.load(Agent), Agent)
    assert_type(await (await timeline.at()).load_bytes(), bytes)
    assert_type([step async for step in timeline], list[persist.AsyncStep])
    async with persist.autosave(Agent(), timeline, labels={"a": "b"}) as saver:
        assert_type(saver, persist.AsyncAutosaver)
        assert_type(saver.last, persist.AsyncStep | None)
    assert_type(await store.timelines(), list[persist.AsyncTimeline])


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
    # Their base classes and arguments come from frameworks that are not installed.
    assert unknown == {
        "persist.agent_framework.PersistCheckpointStorage",
        "persist.agent_framework.PersistCheckpointStorage.get_latest",
        "persist.agent_framework.copy",
        "persist.crewai.PersistFlows",
        "persist.crewai.copy",
        "persist.google_adk.PersistSessionService",
        "persist.google_adk.copy",
        "persist.langchain.ByteStore",
        "persist.langchain.PersistChatHistory",
        "persist.langchain.copy",
        "persist.langgraph.PersistSaver",
        "persist.strands.PersistSessionManager",
        "persist.strands.StoredBytes",
        "persist.strands.copy",
    }
    assert len(symbols) > 200


def test_a_storage_needs_no_base_class() -> None:
    storage: persist.Storage = Folder()
    assert persist.Store(storage).list() == []
