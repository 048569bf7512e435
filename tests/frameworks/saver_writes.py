"""What tasks have written after a checkpoint stays with it, whoever reads and writes meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from persist.errors import PersistStorageError
from persist.langgraph import PersistSaver
from same_graphs import new_location

THREAD: Any = {"configurable": {"thread_id": "a-thread", "checkpoint_ns": ""}}


def put(saver: PersistSaver, parent: Any = THREAD, source: Any = "update", made: str | None = None) -> Any:
    """Stores a checkpoint, and returns its config."""
    checkpoint: Checkpoint = {**empty_checkpoint(), "id": made or str(uuid6())}
    return saver.put(parent, checkpoint, {"source": source, "step": 0, "parents": {}}, {})


def write(saver: PersistSaver, config: Any, value: str) -> None:
    """Stores what a task wrote."""
    saver.put_writes(config, [("channel", value)], f"task {value}", value)


def written(location: str, config: Any) -> list[str]:
    """Returns what another process sees."""
    found = PersistSaver(location).get_tuple(config)
    assert found is not None
    return [value for _, _, value in found.pending_writes or []]


def test_a_new_saver_goes_on_from_a_checkpoint_with_an_id() -> None:
    location = new_location()
    with PersistSaver(location) as saver:
        parent = put(saver)
        write(saver, parent, "a")
    with PersistSaver(location) as saver:
        assert saver.get_tuple(parent) is not None
        put(saver, parent)
    assert written(location, parent) == ["a"]


def test_another_saver_has_stored_the_parent() -> None:
    location = new_location()
    with PersistSaver(location) as saver, PersistSaver(location) as other:
        first = put(saver)
        parent = put(other, first)
        write(other, parent, "a")
        assert saver.get_tuple(parent) is not None
        write(saver, parent, "b")
        put(saver, parent)
    assert written(location, parent) == ["a", "b"]


@pytest.mark.parametrize("texts", [["a"], ["a", "b"]])
def test_a_long_thread_is_listed_after_a_write(texts: list[str]) -> None:
    location = new_location()
    with PersistSaver(location) as saver:
        parent = put(saver)
        for _ in range(70):
            parent = put(saver, parent)
        for number, text in enumerate(texts):
            assert number == 0 or len(list(saver.list(THREAD))) == 71
            write(saver, parent, text)
        assert len(list(saver.list(THREAD))) == 71
        put(saver, parent)
    assert written(location, parent) == texts


def test_a_write_comes_while_the_next_checkpoint_is_stored() -> None:
    """LangGraph does not wait for the writes of plain channels before it stores a checkpoint."""
    location = new_location()
    with PersistSaver(location) as saver:
        parent = put(saver)
        write(saver, parent, "a")
        timeline = saver._threads.namespace("a-thread", "").timeline
        append = timeline._append

        def meanwhile(*arguments: Any) -> Any:
            thread = threading.Thread(target=write, args=(saver, parent, "b"))
            thread.start()
            thread.join(5)
            done = append(*arguments)
            thread.join()
            return done

        timeline._append = meanwhile  # type: ignore[method-assign]
        put(saver, parent)
    assert written(location, parent) == ["a", "b"]


def test_writes_that_come_after_the_next_checkpoint() -> None:
    location = new_location()
    with PersistSaver(location) as saver:
        parent = put(saver)
        write(saver, parent, "a")
        put(saver, parent)
        for number in range(100, 170):
            write(saver, parent, str(number))
    expected = [*map(str, range(100, 170)), "a"]
    assert written(location, parent) == expected
    # Another process removes what is superfluous.
    with PersistSaver(location) as saver:
        assert len(list(saver.list(THREAD))) == 2
        assert saver.get_tuple(THREAD) is not None
    assert written(location, parent) == expected


@pytest.mark.parametrize("same_saver", [True, False])
def test_a_deleted_thread_leaves_no_writes(same_saver: bool) -> None:
    location = new_location()
    saver, parent = PersistSaver(location), THREAD
    for number in range(20):
        parent = put(saver, parent)
        write(saver, parent, str(number))
    if not same_saver:
        saver = PersistSaver(location)
    saver.delete_thread("a-thread")
    assert not [path for path in Path(location).rglob("w/*") if path.is_file()]


def test_writes_that_cannot_be_deleted_now_are_deleted_later(monkeypatch: pytest.MonkeyPatch) -> None:
    location, tried = new_location(), threading.Event()
    saver, parent = PersistSaver(location), THREAD
    writes = saver._threads.namespace("a-thread", "").writes
    find_place = writes._place

    class Broken:
        """A place where nothing can be deleted."""

        def delete_many(self, keys: Any) -> Any:
            tried.set()
            raise PersistStorageError("the disk failed", "io")

    def place(name: str = "") -> Any:
        is_deleting = threading.current_thread() is not threading.main_thread()
        return (Broken(), "") if is_deleting else find_place(name)

    monkeypatch.setattr(writes, "_place", place)
    for number in range(17):
        parent = put(saver, parent)
        write(saver, parent, str(number))
    put(saver, parent)
    assert tried.wait(60)
    assert len(list(Path(location).rglob("w/*"))) == 17
    saver.close()
    assert list(Path(location).rglob("w/*")) == []
    assert written(location, parent) == ["16"]


@pytest.mark.parametrize("same_saver", [True, False])
def test_a_channel_without_a_new_version_keeps_its_value(same_saver: bool) -> None:
    """LangGraph may have changed the value in place, for a later version."""
    location = new_location()
    saver = PersistSaver(location)
    versions = {"join": saver.get_next_version(None, None)}
    checkpoint: Checkpoint = {**empty_checkpoint(), "id": str(uuid6()), "channel_versions": versions}
    metadata: Any = {"source": "loop", "step": 0, "parents": {}}
    parent = saver.put(THREAD, {**checkpoint, "channel_values": {"join": set()}}, metadata, versions)
    if not same_saver:
        saver.close()
        saver = PersistSaver(location)
        assert saver.get_tuple(THREAD) is not None
    later: Checkpoint = {**checkpoint, "id": str(uuid6()), "channel_values": {"join": {"node"}}}
    found = saver.get_tuple(saver.put(parent, later, metadata, {}))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"join": set()}
    saver.close()
