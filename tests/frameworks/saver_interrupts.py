"""Interrupts and time travel on ``PersistSaver`` are what they are in memory."""

from __future__ import annotations

from graph_turns import (
    answers,
    asking_in_parallel,
    asking_in_sequence,
    at,
    begins,
    chain,
    goes_on,
    in_each_life,
    resumes,
    says,
    updates,
)
from same_graphs import same


@in_each_life
def test_a_run_from_an_old_checkpoint(life: str) -> None:
    # After the input and the first node.
    outcomes = same(chain(*"abc"), begins("in"), at(2, goes_on), says, begins("more"), at(1, goes_on), says, life=life)
    assert outcomes[2] == ["in", "a 1", "b 2", "c 3"]
    assert outcomes[5] == ["in", "a 1", "b 2", "c 3"]


@in_each_life
def test_a_fork_drops_the_other_branch(life: str) -> None:
    turns = begins("in"), begins("dropped"), at(3, updates("forked", "b")), goes_on, says, begins("more"), says
    outcomes = same(chain(*"abc"), *turns, life=life)
    assert outcomes[4] == ["in", "a 1", "b 2", "forked", "c 4"]
    assert outcomes[6] == ["in", "a 1", "b 2", "forked", "c 4", "more", "a 6", "b 7", "c 8"]


@in_each_life
def test_a_fork_of_an_interrupt(life: str) -> None:
    turns = (
        begins("in"),
        resumes("1"),
        resumes("2"),
        resumes("3"),
        at(1, goes_on),
        resumes("x"),
        resumes("y"),
        resumes("z"),
        says,
    )
    outcomes = same(asking_in_sequence, *turns, life=life)
    assert outcomes[-1] == ["in", "a: x", "b: y", "c: z", 4]


@in_each_life
def test_forks_of_forks(life: str) -> None:
    turns = (
        begins("in"),
        at(2, updates("one", "a")),
        goes_on,
        at(2, updates("two", "a")),
        at(-1, updates("three")),
        goes_on,
        says,
    )
    outcomes = same(chain(*"abc"), *turns, life=life)
    assert outcomes[-1] == ["in", "a 1", "two", "three", "b 4", "c 5"]


@in_each_life
def test_interrupts_in_sequence(life: str) -> None:
    outcomes = same(
        asking_in_sequence, begins("in"), resumes("1"), resumes("2"), resumes("3"), begins("again"), life=life
    )
    assert outcomes[3]["seen"] == ["in", "a: 1", "b: 2", "c: 3", 4]


@in_each_life
def test_interrupts_in_sequence_resumed_with_the_id_of_the_checkpoint(life: str) -> None:
    outcomes = same(asking_in_sequence, begins("in"), *map(resumes, "123"), life=life, named=True)
    assert outcomes[3]["seen"] == ["in", "a: 1", "b: 2", "c: 3", 4]


@in_each_life
def test_parallel_interrupts_resumed_one_by_one(life: str) -> None:
    outcomes = same(asking_in_parallel(), begins("in"), answers(a="1"), answers(b="2"), life=life)
    assert outcomes[2]["seen"] == ["in", "a: 1", "b: 2", "worked", 4]


@in_each_life
def test_parallel_interrupts_resumed_at_once(life: str) -> None:
    outcomes = same(asking_in_parallel(), begins("in"), answers(a="1", b="2"), begins("again"), life=life)
    assert outcomes[1]["seen"] == ["in", "a: 1", "b: 2", "worked", 4]


@in_each_life
def test_parallel_interrupts_resumed_with_the_id_of_the_checkpoint(life: str) -> None:
    outcomes = same(asking_in_parallel(), begins("in"), answers(b="2"), answers(a="1"), life=life, named=True)
    assert outcomes[2]["seen"] == ["in", "a: 1", "b: 2", "worked", 4]
