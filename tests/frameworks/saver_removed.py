"""What is removed is gone, and nothing else."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import persist
import pytest
from persist._langgraph.namespace import Namespace
from persist._langgraph.pending_writes import PendingWrites
from persist._langgraph.removing import remove, unused
from persist._langgraph.write_objects import Reading
from persist._timeline import Timeline
from persist.errors import PersistNotFoundError
from persist.langgraph import PersistSaver
from saver_calls import checkpoint, id_of, ids, location, put, saver, thread

__all__ = ["location", "saver"]  # Fixtures.

DAY = datetime.timedelta(days=1)


def aged(saver: PersistSaver, config: Any, days: float, run: str = "a") -> Any:
    """Stores a checkpoint that was made some days ago."""
    made = checkpoint(1, n=days)
    made["ts"] = (datetime.datetime.now(datetime.timezone.utc) - days * DAY).isoformat()
    return saver.put(config, made, {"run_id": run}, made["channel_versions"])


def writes(saver: PersistSaver, config: Any) -> Any:
    found = saver.get_tuple(config)
    assert found is not None
    return found.pending_writes


def test_a_thread_expires_as_a_whole(location: str) -> None:
    saver = PersistSaver(location, ttl=30 * DAY)
    aged(saver, thread(), 20)
    aged(saver, thread(namespace="child"), 35)
    assert saver.get_tuple(thread(namespace="child")) is not None
    aged(saver, thread("old"), 40)
    aged(saver, thread("old", namespace="child"), 20)
    put(saver, thread("old"), 1, n="goes on")
    assert len(ids(saver, thread("old"))) == 2
    aged(saver, thread("older"), 40)
    aged(saver, thread("older", namespace="child"), 35)
    assert saver.get_tuple(thread("older", namespace="child")) is None
    assert saver.prune_threads() == ["older"]


def test_writes_may_come_before_a_thread_begins_again(location: str) -> None:
    saver = PersistSaver(location, ttl=30 * DAY)
    old = aged(saver, thread(), 40)
    saver.put_writes(old, [("n", "old")], "task")
    made = checkpoint(2, n=2)
    saver.put_writes(thread(checkpoint_id=made["id"]), [("n", "new")], "task")
    saver.put(thread(), made, {}, made["channel_versions"])
    assert ids(saver, thread()) == [made["id"]]
    assert writes(PersistSaver(location), thread()) == [("task", "n", "new")]


def test_writes_without_a_checkpoint_go_with_the_thread(saver: PersistSaver, location: str) -> None:
    put(saver, thread(), 1, n=1)
    made = checkpoint(2, n=2)
    saver.put_writes(thread(checkpoint_id=made["id"]), [("n", "left")], "task")
    saver.put_writes(thread(checkpoint_id=made["id"], namespace="child"), [("n", "left")], "task")
    saver.delete_thread("1")
    if "://" not in location:
        assert [path for path in Path(location).rglob("w/*") if path.is_file()] == []
    saver.put(thread(), made, {}, made["channel_versions"])
    assert writes(saver, thread()) == []


def test_a_long_id_is_known_without_the_main_graph(saver: PersistSaver) -> None:
    name = "x" * 151
    put(saver, thread("healthy"), 1, n=1)
    put(saver, thread(name, namespace="child"), 1, n=1)
    assert saver.threads() == sorted(["healthy", name])
    assert len(list(saver.list(None))) == 2
    saver.delete_thread(name)
    assert saver.threads() == ["healthy"]


def test_a_checkpoint_that_is_stored_again_keeps_its_writes(saver: PersistSaver, location: str) -> None:
    made = checkpoint(1, n=1)
    config = saver.put(thread(), made, {}, made["channel_versions"])
    saver.put_writes(config, [("n", "w")], "task")
    saver.put(config, made, {}, made["channel_versions"])
    assert writes(saver, thread()) == writes(PersistSaver(location), thread()) == [("task", "n", "w")]
    put(saver, config, 2, n=2)
    saver.put(thread(), made, {}, made["channel_versions"])
    for each in (saver, PersistSaver(location)):
        assert writes(each, thread(checkpoint_id=made["id"])) == [("task", "n", "w")]


def test_of_special_writes_the_last_counts_whoever_stores_it(saver: PersistSaver, location: str) -> None:
    config = put(saver, thread(), 1, n=1)
    saver.put_writes(config, [("n", "0")], "another task")
    for answer in "12":
        saver.put_writes(config, [("__interrupt__", answer), ("n", answer)], "task")
    PersistSaver(location).put_writes(config, [("__interrupt__", "3"), ("n", "3")], "task")
    expected = [("another task", "n", "0"), ("task", "__interrupt__", "3"), ("task", "n", "1")]
    assert sorted(writes(PersistSaver(location), thread())) == expected


def test_the_latest_stays_the_latest_when_a_run_is_deleted(
    saver: PersistSaver, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = aged(saver, thread(), 2, "a")
    second = aged(saver, first, 1, "b")
    other, later, restate = PersistSaver(location), [], Namespace.restate

    def meanwhile(space: Namespace, found: Any) -> int:
        if len(later) < 4:
            later.append(aged(other, later[-1] if later else second, 0, "c"))
            later.append(aged(other, later[-1], 0, "c"))
        return restate(space, found)

    monkeypatch.setattr(Namespace, "restate", meanwhile)
    saver.delete_for_runs(["b"])
    for each in (saver, PersistSaver(location)):
        assert ids(each, thread()) == [*map(id_of, reversed(later)), id_of(first)]
        found = each.get_tuple(thread())
        assert found is not None
        assert found.checkpoint["id"] == id_of(later[-1])


def meanwhile(monkeypatch: pytest.MonkeyPatch, doing: Callable[[], Any]) -> None:
    """Has something else happen just before a namespace is deleted for the first time."""
    delete, to_do = Namespace.delete, [doing]

    def after(space: Namespace, *arguments: Any, **options: Any) -> None:
        if to_do:
            to_do.pop()()
        delete(space, *arguments, **options)

    monkeypatch.setattr(Namespace, "delete", after)


def test_a_run_is_deleted_and_what_another_has_just_stored_stays(
    saver: PersistSaver, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = aged(saver, thread(), 1, "a")
    other = PersistSaver(location)
    meanwhile(monkeypatch, lambda: aged(other, first, 0, "b"))
    saver.delete_for_runs(["a"])
    (left,) = PersistSaver(location).list(thread())
    assert left.metadata["run_id"] == "b"
    found = saver.get_tuple(thread())
    assert found is not None
    assert found.checkpoint["id"] == left.checkpoint["id"]


def test_an_unused_thread_that_is_used_again_stays(
    saver: PersistSaver, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1", "2"):
        aged(saver, thread(name), 40)
    other = PersistSaver(location)
    meanwhile(monkeypatch, lambda: aged(other, thread("1"), 0))
    assert saver.prune_threads(older_than=30 * DAY) == ["2"]
    assert len(ids(PersistSaver(location), thread("1"))) == 2


def test_writes_that_come_while_a_thread_is_deleted_stay(
    saver: PersistSaver, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = aged(saver, thread(), 40, "a")
    saver.put_writes(first, [("n", "old")], "task")
    other, new, delete = PersistSaver(location), [], Timeline._delete

    def slow(timeline: Timeline, *arguments: Any, **options: Any) -> int:
        removed = delete(timeline, *arguments, **options)
        new.append(aged(other, thread(), 0, "b"))
        other.put_writes(new[0], [("n", "new")], "task")
        return removed

    monkeypatch.setattr(Timeline, "_delete", slow)
    saver.delete_for_runs(["a"])
    assert writes(PersistSaver(location), new[0]) == [("task", "n", "new")]


@pytest.mark.parametrize("removes", [lambda s: s.delete_for_runs(["a"]), lambda s: s.prune_threads(keep_last=0)])
def test_writes_that_come_before_their_checkpoint_stay(saver: PersistSaver, location: str, removes: Any) -> None:
    aged(saver, thread(), 1, "a")
    other, made = PersistSaver(location), checkpoint(2, n=2)
    other.get_tuple(thread())
    other.put_writes(thread(checkpoint_id=made["id"]), [("n", "new")], "task")
    removes(saver)
    saver.put(thread(), made, {"run_id": "b"}, made["channel_versions"])
    assert writes(PersistSaver(location), thread()) == [("task", "n", "new")]


def test_what_comes_after_somebody_else_has_deleted_a_thread_stays(
    saver: PersistSaver, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(saver, thread(), 1, "a")
    other, made = PersistSaver(location), checkpoint(2, n=2)

    def late(*arguments: Any) -> None:
        other.delete_thread("1")
        other.put_writes(thread(checkpoint_id=made["id"]), [("n", "new")], "task")
        remove(*arguments)

    monkeypatch.setattr("persist._langgraph.saver.remove", late)
    saver.delete_for_runs(["a"])
    saver.put(thread(), made, {"run_id": "b"}, made["channel_versions"])
    assert writes(PersistSaver(location), thread()) == [("task", "n", "new")]


def test_a_thread_of_which_a_part_is_used_again_stays_whole(
    saver: PersistSaver, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = aged(saver, thread(), 40)
    aged(saver, thread(namespace="child"), 40)
    other = PersistSaver(location)

    def answered(*arguments: Any) -> Any:
        found = unused(*arguments)
        other.put_writes(config, [("__resume__", "answer")], "task")
        aged(other, thread(namespace="child"), 0)
        return found

    monkeypatch.setattr("persist._langgraph.saver.unused", answered)
    assert saver.prune_threads(older_than=30 * DAY) == []
    assert writes(PersistSaver(location), thread()) == [("task", "__resume__", "answer")]


def test_a_checkpoint_that_is_stored_once_more_keeps_its_writes_beside_others(
    saver: PersistSaver, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = aged(saver, thread(), 3, "a")
    saver.put_writes(kept, [("__interrupt__", "asked")], "task")
    aged(saver, kept, 2, "b")
    other, restate, to_do = PersistSaver(location), Namespace.restate, [1]

    def after(space: Namespace, found: Any) -> int:
        if to_do:
            to_do.pop()
            other.get_tuple(thread())
            aged(other, kept, 1, "c")
        return restate(space, found)

    monkeypatch.setattr(Namespace, "restate", after)
    saver.delete_for_runs(["b"])
    assert writes(PersistSaver(location), kept) == [("task", "__interrupt__", "asked")]


def test_what_is_forgotten_while_writes_are_stored_is_not_later(
    saver: PersistSaver, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = put(saver, thread(), 1, n=1)
    for answer in "12":
        saver.put_writes(config, [("__resume__", answer)], "task")
    space, put_now = saver._threads.namespace("1", ""), PendingWrites.put

    def late(pending: PendingWrites, *arguments: Any) -> None:
        space.forget()  # As pruning does in another thread.
        put_now(pending, *arguments)

    monkeypatch.setattr(PendingWrites, "put", late)
    saver.put_writes(config, [("__resume__", "3")], "task")
    assert writes(PersistSaver(location), config)[-1] == ("task", "__resume__", "3")


def test_what_is_forgotten_while_writes_are_swept_is_no_error(
    saver: PersistSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(saver, thread(), 1, n=1)
    put(saver, first, 2, n=2)
    for number in range(70):
        saver.put_writes(first, [("n", number)], f"task {number}")
    space, unswept = saver._threads.namespace("1", ""), PendingWrites.unswept

    def late(pending: PendingWrites, *arguments: Any) -> Any:
        found = unswept(pending, *arguments)
        space.forget()
        return found

    monkeypatch.setattr(PendingWrites, "unswept", late)
    assert saver.get_tuple(thread()) is not None
    assert len(writes(saver, first)) == 70


def test_a_thread_that_has_expired_begins_again_once(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saver, other = PersistSaver(location, ttl=30 * DAY), PersistSaver(location, ttl=30 * DAY)
    aged(PersistSaver(location), thread(), 40)
    meanwhile(monkeypatch, lambda: aged(other, thread(), 0, "other"))
    aged(saver, thread(), 0, "own")
    runs = {found.metadata["run_id"] for found in PersistSaver(location).list(thread())}
    assert runs == {"own", "other"}


def test_a_thread_that_keeps_changing_is_not_missing(saver: PersistSaver, monkeypatch: pytest.MonkeyPatch) -> None:
    config = put(saver, thread(), 1, n=1)

    def gone(*arguments: Any, **options: Any) -> Any:
        raise PersistNotFoundError("folded", "not-found")

    monkeypatch.setattr(Reading, "read", gone)
    for asked in (thread(), config):
        with pytest.raises(persist.PersistConflictError, match="keeps changing") as raised:
            saver.get_tuple(asked)
        assert raised.value.retryable


def test_wrong_arguments_remove_nothing(saver: PersistSaver) -> None:
    put(saver, thread(), 1, n=1)
    with pytest.raises(persist.PersistConfigurationError, match="keep_last must be a number of threads, not -1"):
        saver.prune_threads(keep_last=-1)
    with pytest.raises(persist.PersistConfigurationError, match="names no checkpoint"):
        saver.put_writes(thread(), [("n", 1)], "task")
    with pytest.raises(persist.PersistConfigurationError, match="does not name a thread"):
        saver.list({})
    assert saver.threads() == ["1"]
