"""Writes that come just before the next checkpoint are stored with it, and need no object."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base.id import uuid6
from persist._langgraph import pending_writes
from persist._langgraph.namespace import Namespace
from persist._langgraph.pending_writes import PendingWrites
from persist._langgraph.write_objects import Reading
from persist.errors import PersistStorageError
from persist.langgraph import PersistSaver
from same_graphs import new_location
from saver_writes import THREAD, put, write, written


@pytest.fixture
def location() -> str:
    return new_location()


@pytest.fixture
def saver(location: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PersistSaver]:
    monkeypatch.setattr(pending_writes, "_MOMENT", 60)
    with PersistSaver(location) as made:
        yield made


def pending_of(saver: PersistSaver) -> PendingWrites:
    return saver._threads.namespace("a-thread", "").writes


def objects(location: str) -> list[str]:
    return [path.name for path in Path(location).rglob("w/*")]


def waits(saver: PersistSaver, parent: Any, text: str) -> Future[None]:
    """Begins to store a write, which waits for the next checkpoint."""
    pool = ThreadPoolExecutor(1)
    done = pool.submit(write, saver, parent, text)
    known = pending_of(saver)._of(parent["configurable"]["checkpoint_id"])
    until = time.monotonic() + 60
    while known.waiting is None or text not in str(known.storing[known.waiting]):
        assert time.monotonic() < until
        time.sleep(0.001)
    pool.shutdown(wait=False)
    return done


def test_a_write_joins_the_next_checkpoint(saver: PersistSaver, location: str) -> None:
    parent = put(saver)
    done = waits(saver, parent, "a")
    assert not done.done()
    assert written(location, parent) == []
    put(saver, parent)
    done.result(60)
    assert written(location, parent) == ["a"]
    assert objects(location) == []


def test_a_checkpoint_waits_for_the_first_write_of_its_tasks(saver: PersistSaver, location: str) -> None:
    parent = put(saver)
    with ThreadPoolExecutor() as pool:
        # LangGraph hands both to threads, of which the second may be faster.
        next_one = pool.submit(put, saver, parent, "loop")
        time.sleep(0.05)
        assert not next_one.done()
        pool.submit(write, saver, parent, "a").result(60)
        next_one.result(60)
    assert objects(location) == []
    assert written(location, parent) == ["a"]


def test_a_write_may_come_before_its_own_checkpoint(saver: PersistSaver, location: str, monkeypatch: Any) -> None:
    parent = put(saver)
    # The history is not read, however long it is.
    monkeypatch.setattr(Namespace, "entries", None)
    made = str(uuid6())
    config = {"configurable": {**parent["configurable"], "checkpoint_id": made}}
    done = waits(saver, config, "a")
    assert put(saver, parent, made=made) == config
    put(saver, config, "loop")
    done.result(60)
    monkeypatch.undo()
    assert objects(location) == []
    assert written(location, config) == ["a"]


def test_writes_that_stay_are_read_once(location: str, monkeypatch: Any) -> None:
    saver = PersistSaver(location)
    parent = put(saver)
    put(saver, parent)
    for number in range(70):
        write(saver, parent, str(number))
    assert len(objects(location)) == 70
    read: list[int] = []
    reading = Reading.read

    def counted(self: Reading, keys: Any, **options: Any) -> Any:
        read.append(len(keys))
        return reading(self, keys, **options)

    monkeypatch.setattr(Reading, "read", counted)
    for _ in range(2):
        assert saver.get_tuple(THREAD) is not None
    # Both times for the latest, and once for those of the other, which no step has.
    assert sum(read) == 70
    assert sorted(written(location, parent)) == sorted(map(str, range(70)))


def test_without_a_next_checkpoint_it_is_stored(saver: PersistSaver, location: str, monkeypatch: Any) -> None:
    parent = put(saver)
    monkeypatch.setattr(pending_writes, "_MOMENT", 0.001)
    for text in "abc":
        write(saver, parent, text)
    assert written(location, parent) == ["a", "b", "c"]
    # The third has not waited.
    assert pending_of(saver)._waiting._misses == {frozenset({"channel"}): 3}


def test_a_write_that_comes_later_ends_the_waiting(saver: PersistSaver, location: str) -> None:
    parent = put(saver)
    first = waits(saver, parent, "a")
    second = waits(saver, parent, "b")
    first.result(60)
    assert written(location, parent) == ["a"]
    assert not second.done()
    put(saver, parent)
    second.result(60)
    assert written(location, parent) == ["a", "b"]
    assert len(objects(location)) == 1


def test_if_the_checkpoint_fails_the_write_is_stored(saver: PersistSaver, location: str, monkeypatch: Any) -> None:
    parent = put(saver)
    done = waits(saver, parent, "a")

    def fails(*arguments: Any) -> Any:
        raise PersistStorageError("the disk failed", "io")

    with monkeypatch.context() as patched:
        patched.setattr(saver._threads.namespace("a-thread", "").timeline, "_append", fails)
        with pytest.raises(PersistStorageError):
            put(saver, parent)
    done.result(60)
    assert written(location, parent) == ["a"]
    put(saver, parent)
    assert written(location, parent) == ["a"]


def test_if_another_checkpoint_came_first_the_write_is_stored(saver: PersistSaver, location: str) -> None:
    parent = put(saver)
    done = waits(saver, parent, "a")
    with PersistSaver(location) as other:
        put(other, parent)
    put(saver, parent)
    done.result(60)
    assert written(location, parent) == ["a"]
    assert len(objects(location)) == 1


def test_an_interrupted_wait_leaves_nothing_behind(saver: PersistSaver, location: str, monkeypatch: Any) -> None:
    parent = put(saver)
    changed = pending_of(saver)._changed
    wait_for = changed.wait_for

    def interrupted(*arguments: Any) -> Any:
        monkeypatch.setattr(changed, "wait_for", wait_for)
        raise KeyboardInterrupt

    monkeypatch.setattr(changed, "wait_for", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(saver, parent, "a")
    put(saver, parent)
    assert written(location, parent) == []
    write(saver, parent, "b")
    assert written(location, parent) == ["b"]


def test_an_interrupted_checkpoint_leaves_no_write_waiting(saver: PersistSaver, location: str) -> None:
    parent = put(saver)
    done = waits(saver, parent, "a")
    pending, checkpoint_id = pending_of(saver), parent["configurable"]["checkpoint_id"]
    known = pending._of(checkpoint_id)
    # Another is just being stored.
    known.storing["another"] = []
    wait_for = pending._changed.wait_for

    def interrupted(*arguments: Any) -> Any:
        pending._changed.wait_for = wait_for  # type: ignore[method-assign]
        raise KeyboardInterrupt

    pending._changed.wait_for = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), pending.folding(checkpoint_id):
        pass
    done.result(60)
    assert written(location, parent) == ["a"]


def test_many_tasks_at_once(location: str) -> None:
    with PersistSaver(location) as saver:
        parent = put(saver)
        start = threading.Barrier(20)

        def task(number: int) -> None:
            start.wait()
            write(saver, parent, f"{number:02}")

        with ThreadPoolExecutor(20) as pool:
            all(pool.map(task, range(20)))
        put(saver, parent)
    assert written(location, parent) == [f"{number:02}" for number in range(20)]
