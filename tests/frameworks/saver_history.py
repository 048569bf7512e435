"""What ``get_delta_channel_history`` returns. These are the rules that the main branch of LangGraph's
suite checks for channels of which most checkpoints hold only changes, and that its last release does
not know yet. Each answer is asked of the saver that stored the thread and of one that opens it anew,
by both twins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from persist.langgraph import PersistSaver
from saver_calls import location, put, saver, thread

__all__ = ["location", "saver"]  # Fixtures.


def chained(saver: PersistSaver, *steps: tuple[Mapping[str, Any], Mapping[str, Any]]) -> list[RunnableConfig]:
    """Stores checkpoints, each of them a child of the one before: the values that a checkpoint holds, and
    what a task writes after it.
    """
    configs: list[RunnableConfig] = []
    for number, (values, writes) in enumerate(steps):
        configs.append(put(saver, configs[-1] if configs else thread(), number, **values))
        if writes:
            saver.put_writes(configs[-1], [*writes.items()], f"task {number}")
    return configs


def asked(
    saver: PersistSaver, location: str, config: RunnableConfig, *channels: str
) -> dict[str, tuple[Any, list[Any]]]:
    """Returns the seed of each channel, which is None if there is none, and what was written after it."""
    answers = []
    with PersistSaver(location) as again:
        for each in (saver, again):
            answers.append(each.get_delta_channel_history(config=config, channels=channels))
            answers.append(asyncio.run(each.aget_delta_channel_history(config=config, channels=channels)))
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert list(answers[0]) == list(channels)
    return {channel: (told.get("seed"), [write[2] for write in told["writes"]]) for channel, told in answers[0].items()}


def steps(count: int, *snapshots: int) -> Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Returns steps of the channel ``c``. Some of them hold its value; after the others, it is written."""
    return [({"c": _DeltaSnapshot(n)}, {}) if n in snapshots else ({}, {"c": n}) for n in range(count)]


def test_the_oldest_write_is_the_first(saver: PersistSaver, location: str) -> None:
    head = chained(saver, *steps(5, 0))[-1]
    assert asked(saver, location, head, "c") == {"c": (_DeltaSnapshot(0), [1, 2, 3])}


def test_the_seed_is_the_nearest_value(saver: PersistSaver, location: str) -> None:
    head = chained(saver, *steps(6, 0, 3))[-1]
    assert asked(saver, location, head, "c") == {"c": (_DeltaSnapshot(3), [4])}


def test_what_was_written_after_the_checkpoint_itself_is_left_out(saver: PersistSaver, location: str) -> None:
    head = chained(saver, *steps(3, 0))[-1]
    saver.put_writes(head, [("c", "pending")], "another task")
    assert asked(saver, location, head, "c") == {"c": (_DeltaSnapshot(0), [1])}


def test_each_channel_has_its_own_seed(saver: PersistSaver, location: str) -> None:
    head = chained(
        saver,
        ({}, {"a": 0, "b": 0}),
        ({"a": _DeltaSnapshot("a")}, {"a": 1, "b": 1}),
        ({}, {"a": 2, "b": 2}),
        ({"b": _DeltaSnapshot("b")}, {"a": 3, "b": 3}),
        ({}, {"a": 4, "b": 4}),
    )[-1]
    expected = {"a": (_DeltaSnapshot("a"), [1, 2, 3]), "b": (_DeltaSnapshot("b"), [3])}
    assert asked(saver, location, head, "a", "b") == expected


def test_no_channels_have_no_history(saver: PersistSaver, location: str) -> None:
    head = chained(saver, *steps(3, 0))[-1]
    assert asked(saver, location, head) == {}


def test_without_a_value_there_is_no_seed(saver: PersistSaver, location: str) -> None:
    head = chained(saver, *steps(4))[-1]
    assert "seed" not in saver.get_delta_channel_history(config=head, channels=["c"])["c"]
    assert asked(saver, location, head, "c") == {"c": (None, [0, 1, 2])}


def test_a_plain_value_is_a_seed(saver: PersistSaver, location: str) -> None:
    """The channel was a plain one when the thread began."""
    head = chained(saver, ({}, {"c": 0}), ({"c": [10, 20, 30]}, {}), ({}, {"c": 2}), ({}, {"c": 3}))[-1]
    assert asked(saver, location, head, "c") == {"c": ([10, 20, 30], [2])}


def test_what_was_written_after_the_seed_comes_too(saver: PersistSaver, location: str) -> None:
    """A checkpoint holds the value before what its tasks write."""
    head = chained(
        saver, ({"c": [10]}, {"c": "older"}), ({"c": [10, 20]}, {"c": "at"}), ({}, {"c": "after"}), ({}, {"c": "later"})
    )[-1]
    assert asked(saver, location, head, "c") == {"c": ([10, 20], ["at", "after"])}


@pytest.mark.parametrize(("first", "second"), [("~pull, 01", "~pull, 02"), ("", "~pull, a")], ids=["paths", "no path"])
def test_the_paths_of_tasks_are_the_order(saver: PersistSaver, location: str, first: str, second: str) -> None:
    """The input of a graph has no path, and comes first. The IDs of tasks are random."""
    configs = chained(saver, ({"c": _DeltaSnapshot(0)}, {}), ({}, {}), ({}, {}))
    saver.put_writes(configs[1], [("c", "second")], "0000", second)
    saver.put_writes(configs[1], [("c", "first")], "zzzz", first)
    assert asked(saver, location, configs[2], "c") == {"c": (_DeltaSnapshot(0), ["first", "second"])}


def test_the_latest_checkpoint_is_meant_if_none_is_named(saver: PersistSaver, location: str) -> None:
    chained(saver, *steps(5, 0))
    assert asked(saver, location, thread(), "c") == {"c": (_DeltaSnapshot(0), [1, 2, 3])}
    assert asked(saver, location, thread("no such thread"), "c") == {"c": (None, [])}
