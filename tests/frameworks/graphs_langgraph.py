"""Graphs of LangGraph that ``with_langgraph.py`` saves and restores."""

from __future__ import annotations

import dataclasses
import operator
from typing import Annotated, Any, TypedDict

import pydantic
from langchain_core.documents import Document
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt


class State(TypedDict):
    """What nodes add to."""

    seen: Annotated[list[str], operator.add]


def waiting(runs: list[str]) -> Any:
    """Makes a graph with two parallel nodes: one finishes, and one waits for a person. Then tasks
    are sent.
    """

    def finishes(state: State) -> State:
        runs.append("finishes")
        return {"seen": ["finished"]}

    def waits(state: State) -> State:
        return {"seen": [interrupt("may I?")]}

    def each(state: Any) -> State:
        return {"seen": [f"sent {state['number']}"]}

    inner = StateGraph(State)
    inner.add_node("waits", waits)
    inner.add_edge(START, "waits")
    builder = StateGraph(State)
    builder.add_node("finishes", finishes)
    builder.add_node("inner", inner.compile())
    builder.add_node("each", each)
    builder.add_edge(START, "finishes")
    builder.add_edge(START, "inner")
    builder.add_conditional_edges("inner", lambda _: [Send("each", {"number": n}) for n in range(2)], ["each"])
    builder.add_edge("each", END)
    return builder.compile(checkpointer=InMemorySaver())


class Changes(TypedDict):
    """A state of which checkpoints hold only the changes."""

    seen: Annotated[list[str], DeltaChannel(lambda state, writes: sum(writes, list(state or [])))]


def changing(side_by_side: bool) -> Any:
    """Makes a graph that writes changes within an inner graph, or in parallel with a node that
    waits.
    """
    inner = StateGraph(Changes)
    inner.add_node("a", lambda _: {"seen": ["a"]})
    inner.add_node("b", lambda _: {"seen": [interrupt("may I?")]})
    inner.add_edge(START, "a")
    inner.add_edge(*((START, "b") if side_by_side else ("a", "b")))
    if side_by_side:
        return inner.compile(checkpointer=InMemorySaver())
    outer = StateGraph(Changes)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    return outer.compile(checkpointer=InMemorySaver())


@dataclasses.dataclass
class Profile:
    """A dataclass in a state."""

    name: str


class Plan(pydantic.BaseModel):
    """A pydantic model in a state."""

    steps: list[str] = []


class Known(TypedDict):
    """A state with types that the graph names."""

    profile: Profile
    plans: list[Plan]
    found: list[Document]


def knowing() -> Any:
    """Makes a graph with the state ``Known``."""
    builder = StateGraph(Known)
    found: Any = {"profile": Profile("a"), "plans": [Plan(steps=["b"])], "found": [Document("c", metadata={"page": 1})]}
    builder.add_node("node", lambda _: found)
    builder.add_edge(START, "node")
    return builder.compile(checkpointer=InMemorySaver())


class Counting(InMemorySaver):
    """A checkpointer that counts the checkpoints that it returns, and can be told to fail."""

    read, fails_at = 0, -1

    def get_tuple(self, config: Any) -> Any:
        self.read += 1
        return super().get_tuple(config)

    def list(self, *arguments: Any, **options: Any) -> Any:
        for found in super().list(*arguments, **options):
            self.read += 1
            yield found

    def put(self, *arguments: Any) -> Any:
        self.fails_at -= 1
        if self.fails_at == 0:
            raise ConnectionError("db gone")
        return super().put(*arguments)


def with_inner(checkpointer: Any, inner_keeps: bool) -> Any:
    """Makes a graph with an inner graph that ends at every turn and may keep a state of its own."""
    inner = StateGraph(State)
    inner.add_node("write", lambda state: {"seen": ["x" * 100]})
    inner.add_edge(START, "write")
    outer = StateGraph(State)
    outer.add_node("inner", inner.compile(checkpointer=True if inner_keeps else None))
    outer.add_edge(START, "inner")
    return outer.compile(checkpointer=checkpointer)


class Step(TypedDict):
    """What the last node wrote."""

    text: str


def joined(log: Any, updates: Any) -> Any:
    """Returns a log after updates, one of which may clear it."""
    for update in updates:
        log = None if update == ["clear"] else [*(log or []), *update]
    return log


class Log(TypedDict):
    """A log of which most checkpoints hold only the changes."""

    log: Annotated[list[Any], DeltaChannel(joined, snapshot_frequency=3)]


def logging(nodes: int) -> Any:
    """Makes a graph with parallel nodes that write to a channel of changes, while one waits."""
    builder = StateGraph(Log)
    for number in range(nodes):
        builder.add_node(f"n{number}", lambda state, number=number: {"log": [f"n{number}"]})
        builder.add_edge(START, f"n{number}")
    builder.add_node("ask", lambda state: {"log": [interrupt("Go on?")] if nodes else []})
    builder.add_edge(START, "ask")
    return builder.compile(checkpointer=InMemorySaver())


def calling(keeps: bool, waits: bool, calls: int, schema: Any = State, runs: list[str] | None = None) -> Any:
    """Makes a graph whose code calls another graph in a dict, which LangGraph does not find. That
    graph has another one as a node.
    """
    key = next(iter(schema.__annotations__))

    def begins(state: Any) -> Any:
        if runs is not None:
            runs.append("begins")
        return {key: [f"begins {len(state[key])}"]}

    innermost = StateGraph(schema)
    innermost.add_node("begins", begins)
    innermost.add_node("ends", lambda _: {key: [interrupt("may I?") if waits else "ended"]})
    innermost.add_edge(START, "begins")
    innermost.add_edge("begins", "ends")
    inner = StateGraph(schema)
    inner.add_node("innermost", innermost.compile())
    inner.add_edge(START, "innermost")
    helpers = {"one": inner.compile(checkpointer=True if keeps else None)}

    def calls_it(_: State) -> State:
        return {"seen": [said for _ in range(calls) for said in helpers["one"].invoke({key: ["in"]})[key]]}

    outer = StateGraph(State)
    outer.add_node("calls", calls_it)
    outer.add_edge(START, "calls")
    return outer.compile(checkpointer=Counting())


def paying(paid: list[str]) -> Any:
    """Makes a graph that pays when a person approves."""

    def pay(state: State) -> State:
        paid.append("paid")
        return {"seen": ["paid"]}

    builder = StateGraph(State)
    builder.add_node("ask", lambda _: {"seen": [interrupt("may I?")]})
    builder.add_node("pay", pay)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "pay")
    return builder.compile(checkpointer=InMemorySaver())
