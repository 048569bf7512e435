"""Sub-graphs and many tasks on ``PersistSaver`` are what they are in memory."""

from __future__ import annotations

from typing import Any

import pytest
from graph_turns import State, answers, at, begins, goes_on, in_each_life, resumes, says, with_inner
from langgraph.graph import START, StateGraph
from langgraph.types import Send, interrupt
from same_graphs import same


@in_each_life
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("keeps", [None, True])
def test_sub_graphs(life: str, levels: int, keeps: bool | None) -> None:
    same(with_inner(keeps, levels, False), begins("in"), begins("more"), life=life)
    turns = begins("in"), resumes("1"), begins("more"), resumes("2")
    same(with_inner(keeps, levels, True), *turns, life=life)
    same(with_inner(keeps, levels, True), *turns, life=life, named=True)


@in_each_life
@pytest.mark.parametrize("keeps", [None, True])
def test_a_state_within_a_sub_graph(life: str, keeps: bool | None) -> None:
    """A person changes the state of a graph in a graph that waits."""

    def changes(graph: Any, config: Any) -> Any:
        within = graph.get_state(config, subgraphs=True).tasks[0].state
        return graph.update_state(within.config, {"seen": ["changed"]})

    same(with_inner(keeps, 1, True), begins("in"), changes, resumes("1"), says, life=life)
    same(with_inner(keeps, 1, True), begins("in"), resumes("1"), at(1, goes_on), resumes("2"), says, life=life)


@in_each_life
def test_sub_graphs_in_parallel(life: str) -> None:
    def build(saver: Any) -> Any:
        within = StateGraph(State)
        within.add_node("asks", lambda state: {"seen": [interrupt(f"q{state['seen'][0]}")]})
        within.add_edge(START, "asks")
        builder = StateGraph(State)
        builder.add_node("within", within.compile())
        builder.add_conditional_edges(START, lambda _: [Send("within", {"seen": [n]}) for n in range(3)], ["within"])
        return builder.compile(checkpointer=saver)

    outcomes = same(build, begins("in"), answers(q1="1"), answers(q0="0", q2="2"), life=life)
    assert outcomes[-1]["seen"] == ["in", 0, "0", 1, "1", 2, "2"]


@in_each_life
def test_a_hundred_tasks(life: str) -> None:
    def build(saver: Any) -> Any:
        builder = StateGraph(State)
        builder.add_node("each", lambda task: {"seen": [task["number"] if task["number"] != 50 else interrupt("50?")]})
        builder.add_node("end", lambda state: {"seen": [sum(state["seen"][1:])]})
        builder.add_conditional_edges(START, lambda _: [Send("each", {"number": n}) for n in range(100)], ["each"])
        builder.add_edge("each", "end")
        return builder.compile(checkpointer=saver)

    outcomes = same(build, begins("in"), resumes(50), life=life)
    assert outcomes[-1]["seen"] == ["in", *range(100), sum(range(100))]
