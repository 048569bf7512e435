"""Graphs and turns that the tests of ``PersistSaver`` share."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from same_graphs import LIVES, Build, Turn

in_each_life = pytest.mark.parametrize("life", LIVES)


class State(TypedDict):
    """What nodes add to."""

    seen: Annotated[list[Any], operator.add]


def begins(*said: Any, **options: Any) -> Turn:
    """Returns the turn that gives a graph an input."""
    return lambda graph, config: graph.invoke({"seen": [*said]}, config, **options)


def resumes(answer: Any, **options: Any) -> Turn:
    """Returns the turn that answers the only question."""
    return lambda graph, config: graph.invoke(Command(resume=answer), config, **options)


def answers(**given: Any) -> Turn:
    """Returns the turn that answers some questions by their IDs."""

    def turn(graph: Any, config: Any) -> Any:
        ids = {each.value: each.id for each in graph.get_state(config).interrupts}
        return graph.invoke(Command(resume={ids[question]: answer for question, answer in given.items()}), config)

    return turn


def goes_on(graph: Any, config: Any) -> Any:
    """Is the turn that goes on with what is pending."""
    return graph.invoke(None, config)


def at(place: int, turn: Turn) -> Turn:
    """Returns a turn that names a checkpoint by its place in the history, the oldest being 0."""
    return lambda graph, config: turn(graph, list(graph.get_state_history(config))[::-1][place].config)


def updates(said: Any, as_node: str | None = None) -> Turn:
    """Returns the turn in which a person changes the state."""

    def turn(graph: Any, config: Any) -> Any:
        return graph.update_state(config, {"seen": [said]}, as_node=as_node)

    return turn


def chain(*names: str, schema: Any = State) -> Build:
    """Returns what makes a graph in which each node says its name and how much it has seen."""

    def build(saver: Any) -> Any:
        builder = StateGraph(schema)
        for name, before in zip(names, (START, *names), strict=False):
            builder.add_node(name, lambda state, name=name: {"seen": [f"{name} {len(state['seen'])}"]})
            builder.add_edge(before, name)
        return builder.compile(checkpointer=saver)

    return build


def asks(*questions: str, key: str = "seen") -> Any:
    """Returns a node that asks, and says the answers."""
    return lambda state: {key: [f"{question}: {interrupt(question)}" for question in questions]}


def joined(seen: Any, writes: Sequence[Any]) -> list[Any]:
    """Adds what was written to a list."""
    return [*(seen or []), *(each for write in writes for each in write)]


def changing(frequency: int) -> Any:
    """Returns a state of which most checkpoints hold only the changes."""
    channel = DeltaChannel(joined, list, snapshot_frequency=frequency)
    return TypedDict("Changing", {"seen": Annotated[list, channel]})  # type: ignore[operator]


in_each_frequency = pytest.mark.parametrize("frequency", [1, 2, 50])


def asking_in_sequence(saver: Any) -> Any:
    """Makes a graph that asks three questions, one after the other."""
    builder = StateGraph(State)
    builder.add_node("one", asks("a"))
    builder.add_node("two", asks("b", "c"))
    builder.add_node("end", lambda state: {"seen": [len(state["seen"])]})
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    builder.add_edge("two", "end")
    return builder.compile(checkpointer=saver)


def asking_in_parallel(schema: Any = State) -> Build:
    """Returns what makes a graph that asks two questions at the same time."""

    def build(saver: Any) -> Any:
        builder = StateGraph(schema)
        builder.add_node("one", asks("a"))
        builder.add_node("two", asks("b"))
        builder.add_node("works", lambda state: {"seen": ["worked"]})
        builder.add_node("end", lambda state: {"seen": [len(state["seen"])]})
        for name in ("one", "two", "works"):
            builder.add_edge(START, name)
        builder.add_edge(["one", "two", "works"], "end")
        return builder.compile(checkpointer=saver)

    return build


def says(graph: Any, config: Any) -> Any:
    """Is the turn that reads the latest state."""
    return graph.get_state(config).values["seen"]


def inner(keeps: bool | None, levels: int, asking: bool) -> Any:
    """Returns a graph with as many levels of graphs in it."""
    builder = StateGraph(State)
    if levels:
        builder.add_node("inner", inner(keeps, levels - 1, asking))
    else:
        builder.add_node("inner", asks("a") if asking else lambda state: {"seen": ["inner"]})
    builder.add_node("before", lambda state: {"seen": [f"before {levels} {len(state['seen'])}"]})
    builder.add_node("after", lambda state: {"seen": [f"after {levels} {len(state['seen'])}"]})
    builder.add_edge(START, "before")
    builder.add_edge("before", "inner")
    builder.add_edge("inner", "after")
    return builder.compile(checkpointer=keeps)


def with_inner(keeps: bool | None, levels: int, asking: bool) -> Build:
    """Returns what makes a graph with graphs in it."""

    def build(saver: Any) -> Any:
        builder = StateGraph(State)
        builder.add_node("graph", inner(keeps, levels - 1, asking))
        builder.add_node("end", lambda state: {"seen": ["end"]})
        builder.add_edge(START, "graph")
        builder.add_edge("graph", "end")
        return builder.compile(checkpointer=saver)

    return build
