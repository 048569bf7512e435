"""Threads are copied as they are, whatever else happens to them."""

from __future__ import annotations

import datetime
from typing import Any

import persist
import pytest
from graph_turns import begins, chain, changing
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from persist.langgraph import PersistSaver, copy
from same_graphs import CONFIG
from saver_calls import checkpoint, id_of, ids, location, put, saver, thread

__all__ = ["location", "saver"]  # Fixtures.


@pytest.fixture
def target(location: str) -> PersistSaver:
    return PersistSaver(f"{location}-target")


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_pruned_thread_of_changes_is_copied_whole(saver: PersistSaver, target: PersistSaver, in_memory: bool) -> None:
    """Its channels are rebuilt from checkpoints that are no longer listed."""
    build = chain(*"ab", schema=changing(50))
    for said in ("one", "two", "three"):
        begins(said)(build(saver), CONFIG)
    saver.prune(["a-thread"])
    expected = build(saver).get_state(CONFIG).values
    to: BaseCheckpointSaver[Any] = InMemorySaver() if in_memory else target
    assert copy(saver, to) > 1
    assert build(to).get_state(CONFIG).values == expected
    assert len(expected["seen"]) == 9
    assert copy(saver, to) == 0


def test_copying_again_never_goes_back(saver: PersistSaver, target: PersistSaver) -> None:
    config = thread()
    for number in range(4):
        config = put(saver, config, number, n=number)
    copy(saver, target)
    target.prune(["1"])
    with pytest.raises(persist.PersistConflictError, match="of the target lacks checkpoint"):
        copy(saver, target)
    found = target.get_tuple(thread())
    assert found is not None
    assert found.checkpoint["id"] == id_of(config)


def test_a_copy_that_was_interrupted_is_continued(
    saver: PersistSaver, target: PersistSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(saver, thread(), 1, n=1)
    saver.put_writes(first, [("n", "a"), ("n", "b")], "task")
    saver.put_writes(first, [("n", "c")], "another task")

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(target, "put_writes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            copy(saver, target)
    assert copy(saver, target) == 0
    # The thread has gone on.
    saver.put_writes(first, [("n", "later")], "third task")
    assert copy(saver, target) == 0
    found, expected = target.get_tuple(thread()), saver.get_tuple(thread())
    assert found is not None
    assert expected is not None
    assert sorted(found.pending_writes or []) == sorted(expected.pending_writes or [])
    assert len(found.pending_writes or []) == 4


def test_a_thread_that_began_long_ago_is_copied_to_where_it_would_expire(saver: PersistSaver, location: str) -> None:
    made = checkpoint(1, n=1)
    made["ts"] = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=3)).isoformat()
    old = saver.put(thread(), made, {}, made["channel_versions"])
    put(saver, old, 2, n=2)
    lasting = PersistSaver(f"{location}-lasting", ttl=datetime.timedelta(days=1))
    assert copy(saver, lasting) == 2
    assert len(ids(lasting, thread())) == 2
    assert lasting.ttl == datetime.timedelta(days=1)


def test_a_thread_is_copied_while_it_goes_on(saver: PersistSaver, location: str) -> None:
    config = put(saver, thread(), 1, n=1)
    saver.put_writes(config, [("n", "folded")], "task")
    space = saver._threads.namespace("1", "")
    copy_timeline = space.timeline.copy

    def slow(other: Any) -> Any:
        done = copy_timeline(other)
        # The writes are folded, and deleted.
        put(saver, config, 2, n=2)
        space.writes.delete_superfluous()
        return done

    space.timeline.copy = slow  # type: ignore[method-assign]
    saver.copy_thread("1", "2")
    found = PersistSaver(location).get_tuple(thread("2"))
    assert found is not None
    assert found.pending_writes == [("task", "n", "folded")]
    # It is an earlier copy now.
    space.timeline.copy = copy_timeline  # type: ignore[method-assign]
    saver.copy_thread("1", "2")
    assert ids(saver, thread("2")) == ids(saver, thread("1"))


def test_a_thread_with_other_namespaces_is_no_copy(saver: PersistSaver) -> None:
    put(saver, thread(), 1, n=1)
    put(saver, thread("2", namespace="child"), 1, n=1)
    with pytest.raises(persist.PersistConflictError, match="has different checkpoints"):
        saver.copy_thread("1", "2")
    assert ids(saver, thread("2")) == []


def test_ids_may_be_numbers_and_lists_are_no_texts(saver: PersistSaver, target: PersistSaver) -> None:
    numbers: Any = 5
    put(saver, {"configurable": {"thread_id": numbers, "checkpoint_ns": ""}}, 1, n=1)
    saver.copy_thread(numbers, "6")
    saver.prune([numbers])
    memory = InMemorySaver()
    put(memory, {"configurable": {"thread_id": numbers, "checkpoint_ns": ""}}, 1, n=1)
    assert copy(memory, target) == 1
    assert target.threads() == ["5"]
    for refused in (
        lambda: saver.prune("56", strategy="delete"),
        lambda: saver.delete_for_runs("56"),
        lambda: copy(saver, target, "56"),
    ):
        with pytest.raises(persist.PersistTypeError, match="must be a list"):
            refused()
    saver.delete_thread(numbers)
    assert saver.threads() == ["6"]
