"""Channels of which checkpoints hold only the changes are on ``PersistSaver`` what they are in memory."""

from __future__ import annotations

from typing import Any

import pytest
from graph_turns import (
    State,
    answers,
    asking_in_parallel,
    at,
    begins,
    chain,
    changing,
    goes_on,
    in_each_frequency,
    in_each_life,
    says,
    updates,
)
from langgraph.graph import START, StateGraph
from langgraph.types import Overwrite
from same_graphs import LIVES, same


@in_each_life
@in_each_frequency
def test_changes(life: str, frequency: int) -> None:
    build = chain(*"abc", schema=changing(frequency))
    outcomes = same(build, *(begins(f"in {turn}") for turn in range(4)), says, life=life)
    assert len(outcomes[-1]) == 16


@in_each_life
@in_each_frequency
def test_changes_with_interrupts(life: str, frequency: int) -> None:
    build = asking_in_parallel(changing(frequency))
    outcomes = same(
        build,
        begins("in"),
        answers(b="2"),
        answers(a="1"),
        says,
        begins("more"),
        answers(a="3", b="4"),
        says,
        life=life,
    )
    assert outcomes[3] == ["in", "a: 1", "b: 2", "worked", 4]
    assert len(outcomes[-1]) == 10


@in_each_life
@in_each_frequency
def test_changes_resumed_with_the_id_of_the_checkpoint(life: str, frequency: int) -> None:
    build = asking_in_parallel(changing(frequency))
    outcomes = same(build, begins("in"), answers(b="2"), answers(a="1"), life=life, named=True)
    assert outcomes[-1]["seen"] == ["in", "a: 1", "b: 2", "worked", 4]


@in_each_life
@pytest.mark.parametrize("schema", [State, changing(50)], ids=["plain", "changes"])
def test_a_change_by_a_person_while_tasks_are_pending(life: str, schema: Any) -> None:
    """What the finished tasks wrote stays with the checkpoint that the change leaves behind."""
    turns = begins("in"), updates("changed", "works"), goes_on, says
    same(asking_in_parallel(schema), *turns, life=life)
    same(asking_in_parallel(schema), *turns, life=life, named=True)
    same(
        asking_in_parallel(schema),
        begins("in"),
        at(-1, updates("changed", "one")),
        at(1, updates("again", "two")),
        says,
        life=life,
    )


@in_each_life
@in_each_frequency
def test_changes_and_time_travel(life: str, frequency: int) -> None:
    build = chain(*"abc", schema=changing(frequency))
    turns = (
        begins("in"),
        begins("dropped"),
        at(3, updates("forked", "b")),
        goes_on,
        says,
        at(2, goes_on),
        says,
        begins("more"),
        says,
    )
    outcomes = same(build, *turns, life=life)
    assert outcomes[4] == ["in", "a 1", "b 2", "forked", "c 4"]
    assert outcomes[6] == ["in", "a 1", "b 2", "c 3"]
    assert outcomes[8] == ["in", "a 1", "b 2", "c 3", "more", "a 5", "b 6", "c 7"]


@in_each_life
@in_each_frequency
def test_changes_that_are_overwritten(life: str, frequency: int) -> None:
    def build(saver: Any) -> Any:
        builder = StateGraph(changing(frequency))
        builder.add_node("a", lambda state: {"seen": ["a"]})
        builder.add_node("b", lambda state: {"seen": Overwrite(["b"]) if len(state["seen"]) > 4 else ["c"]})
        builder.add_edge(START, "a")
        builder.add_edge("a", "b")
        return builder.compile(checkpointer=saver)

    same(build, *(begins(turn) for turn in range(4)), says, life=life)


@in_each_life
@in_each_frequency
def test_changes_from_a_plain_channel(life: str, frequency: int) -> None:
    """A thread goes on when the channel of its graph holds only changes from now on."""
    plain, changes = chain(*"abc"), chain(*"abc", schema=changing(frequency))
    current = {"build": plain}

    def migrates(graph: Any, config: Any) -> Any:
        current["build"] = changes
        return changes(graph.checkpointer).invoke({"seen": ["changes"]}, config)

    # At the end, all is read as changes.
    turns = (
        begins("plain"),
        begins("plainly"),
        migrates,
        begins("more"),
        says,
        at(3, goes_on),
        says,
        at(-1, updates("last")),
        says,
    )
    # In the long form, also after each of the turns.
    for turn in range(2 if len(LIVES) > 2 else len(turns) - 1, len(turns)):
        current["build"] = plain
        outcomes = same(lambda saver: current["build"](saver), *turns[: turn + 1], life=life)
    assert outcomes[4][8:] == ["changes", "a 9", "b 10", "c 11", "more", "a 13", "b 14", "c 15"]
    assert outcomes[6][0] == "plain"
    assert outcomes[-1][-1] == "last"
