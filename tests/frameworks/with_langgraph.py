"""LangGraph: an agent of ``create_agent``, a graph that waits in the middle of a
step, and one with a graph in it.
"""

from __future__ import annotations

import dataclasses
import operator
from typing import Annotated, Any, TypedDict

import persist
import pydantic
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Interrupt, Send, TimeoutPolicy, interrupt
from turns import FIRST, SECOND, THIRD, answer, check, main

CONFIG: Any = {"configurable": {"thread_id": "a-thread"}}


class Model(GenericFakeChatModel):
    """Answers with what it was told."""

    def _generate(self, messages: list[BaseMessage], *rest: Any, **others: Any) -> Any:
        told = answer(str(message.content) for message in messages if message.type == "human")
        self.messages = iter([AIMessage(told)])
        return super()._generate(messages, *rest, **others)


def agent() -> Any:
    return create_agent(Model(messages=iter([])), tools=[], checkpointer=InMemorySaver())


def ask(graph: Any, text: str) -> str:
    return str(graph.invoke({"messages": [("user", text)]}, CONFIG)["messages"][-1].content)


class State(TypedDict):
    seen: Annotated[list[str], operator.add]


def waiting(runs: list[str]) -> Any:
    """Two nodes side by side: one finishes, one waits for a person; then tasks
    are sent out.
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
    """Of which checkpoints hold the changes alone."""

    seen: Annotated[list[str], DeltaChannel(lambda state, writes: sum(writes, list(state or [])))]


def changing(side_by_side: bool) -> Any:
    """Changes within a graph in a graph, or side by side with a node that waits."""
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
    name: str


class Plan(pydantic.BaseModel):
    steps: list[str] = []


class Known(TypedDict):
    """A state whose types the graph names."""

    profile: Profile
    plans: list[Plan]
    found: list[Document]


def knowing() -> Any:
    builder = StateGraph(Known)
    found: Any = {"profile": Profile("a"), "plans": [Plan(steps=["b"])], "found": [Document("c", metadata={"page": 1})]}
    builder.add_node("node", lambda _: found)
    builder.add_edge(START, "node")
    return builder.compile(checkpointer=InMemorySaver())


class Counting(InMemorySaver):
    """Counts the checkpoints that it gives out; fails when it is told to."""

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
    """A graph whose inner one ends at every turn, and may keep a state of its own."""
    inner = StateGraph(State)
    inner.add_node("write", lambda state: {"seen": ["x" * 100]})
    inner.add_edge(START, "write")
    outer = StateGraph(State)
    outer.add_node("inner", inner.compile(checkpointer=True if inner_keeps else None))
    outer.add_edge(START, "inner")
    return outer.compile(checkpointer=checkpointer)


def only_what_is_needed(location: str) -> None:
    sizes, reads = [], []
    for turns in (5, 40):
        saver = Counting()
        builder = StateGraph(Step)
        inner = StateGraph(Step)
        inner.add_node("write", lambda state: {"text": "x" * 1000})
        inner.add_edge(START, "write")
        builder.add_node("inner", inner.compile())
        builder.add_edge(START, "inner")
        graph = builder.compile(checkpointer=saver)
        for _ in range(turns):
            graph.invoke({"text": "Hello"}, CONFIG)
        saver.read = 0
        sizes.append(persist.snapshot(graph, location + ".turns", config=CONFIG).uncompressed_size)
        reads.append(saver.read)
    assert sizes[1] < 1.2 * sizes[0], sizes
    assert reads[1] <= reads[0], reads
    # A graph that keeps a state of its own goes on with it.
    live, again = with_inner(InMemorySaver(), True), with_inner(InMemorySaver(), True)
    live.invoke({"seen": ["a"]}, CONFIG)
    persist.snapshot(live, location + ".keeps", config=CONFIG, check=True)
    persist.restore(location + ".keeps", into=again)
    assert live.invoke({"seen": ["b"]}, CONFIG) == again.invoke({"seen": ["b"]}, CONFIG)
    inner_of: Any = {"configurable": {"thread_id": "a-thread", "checkpoint_ns": "inner"}}
    assert again.checkpointer.get_tuple(inner_of) is not None
    # All or nothing, and again after a failure half way.
    for fails_at in (1, 2):
        saver = Counting()
        saver.fails_at = fails_at
        into = with_inner(saver, True)
        try:
            persist.restore(location + ".keeps", into=into)
        except persist.PersistConnectionError as error:
            assert error.retryable
            assert "db gone" in str(error)
        else:
            raise AssertionError("the checkpointer is gone")
        assert saver.get_tuple(CONFIG) is None
        persist.restore(location + ".keeps", into=into)
        assert into.get_state(CONFIG).values == with_values(location)


def with_values(location: str) -> Any:
    again = persist.restore(location + ".keeps", into=with_inner(InMemorySaver(), True))
    return again.get_state(CONFIG).values


class Step(TypedDict):
    text: str


def joined(log: Any, updates: Any) -> Any:
    for update in updates:
        log = None if update == ["clear"] else [*(log or []), *update]
    return log


class Log(TypedDict):
    log: Annotated[list[Any], DeltaChannel(joined, snapshot_frequency=3)]


def logging(nodes: int) -> Any:
    """Nodes side by side that write into a channel of changes, while one waits."""
    builder = StateGraph(Log)
    for number in range(nodes):
        builder.add_node(f"n{number}", lambda state, number=number: {"log": [f"n{number}"]})
        builder.add_edge(START, f"n{number}")
    builder.add_node("ask", lambda state: {"log": [interrupt("Go on?")] if nodes else []})
    builder.add_edge(START, "ask")
    return builder.compile(checkpointer=InMemorySaver())


def in_the_order_of_life(location: str) -> None:
    live, again = logging(8), logging(8)
    live.invoke({"log": []}, CONFIG)
    persist.snapshot(live, location + ".log", config=CONFIG, check=True)
    persist.restore(location + ".log", into=again)
    logs = []
    for graph in (live, again):
        graph.invoke(Command(resume="yes"), CONFIG)
        logs.append(graph.get_state(CONFIG).values["log"])
    assert logs[0] == logs[1], logs
    # At every turn, also those whose checkpoint has the whole value.
    live = logging(0)
    for turn in ([1], [2], ["clear"], [4], [5], ["clear"], [7]):
        live.invoke({"log": turn}, CONFIG)
        persist.snapshot(live, location + ".turn", config=CONFIG, check=True)
        again = persist.restore(location + ".turn", into=logging(0))
        assert again.get_state(CONFIG).values == live.get_state(CONFIG).values, turn


def save(location: str) -> None:
    graph = agent()
    ask(graph, FIRST)
    ask(graph, SECOND)
    saved = persist.snapshot(graph, location, config=CONFIG, check=True)
    assert saved.adapter is not None
    assert saved.adapter["name"] == "langgraph"
    runs: list[str] = []
    stopped = waiting(runs)
    stopped.invoke({"seen": []}, CONFIG)
    assert runs == ["finishes"]
    persist.snapshot(stopped, location + ".waiting", config=CONFIG, check=True)
    for side_by_side in (False, True):
        graph_of_changes = changing(side_by_side)
        graph_of_changes.invoke({"seen": ["in"]}, CONFIG)
        persist.snapshot(graph_of_changes, f"{location}.{side_by_side}", config=CONFIG, check=True)
    known = knowing()
    known.invoke({}, CONFIG)
    persist.snapshot(known, location + ".known", config=CONFIG, check=True)
    only_what_is_needed(location)
    in_the_order_of_life(location)
    sent = [Send("a", 1, timeout=TimeoutPolicy(run_timeout=3)), Interrupt("why?", response_schema={"type": "string"})]
    persist.snapshot(sent, location + ".sent", check=True)
    for wrong, arguments, says in [
        (graph, {}, "names no thread"),
        (create_agent(Model(messages=iter([])), tools=[]), {"config": CONFIG}, "no checkpointer"),
        (graph, {"config": {"configurable": {"thread_id": "another"}}}, "no checkpoint"),
        ({}, {"config": CONFIG}, "for agents of frameworks"),
        (graph, {"config": "1"}, "names no thread"),
    ]:
        try:
            persist.snapshot(wrong, location + ".wrong", **arguments)
        except persist.PersistError as error:
            assert says in str(error), error
            assert error.hint
        else:
            raise AssertionError(says)


def restore(location: str) -> None:
    graph = persist.restore(location, into=agent())
    check(ask(graph, THIRD))
    runs: list[str] = []
    stopped = persist.restore(location + ".waiting", into=waiting(runs))
    done = stopped.invoke(Command(resume="you may"), CONFIG)
    assert done["seen"] == ["finished", "you may", "sent 0", "sent 1"], done
    assert runs == [], "a finished node ran again"
    for side_by_side in (False, True):
        again = persist.restore(f"{location}.{side_by_side}", into=changing(side_by_side))
        once = changing(side_by_side)
        once.invoke({"seen": ["in"]}, CONFIG)
        assert again.invoke(Command(resume="r"), CONFIG) == once.invoke(Command(resume="r"), CONFIG)
    known, once = persist.restore(location + ".known", into=knowing()), knowing()
    once.invoke({}, CONFIG)
    assert known.get_state(CONFIG).values == once.get_state(CONFIG).values
    send, stop = persist.restore(location + ".sent")
    assert (send, stop.response_schema) == (Send("a", 1, timeout=3.0), {"type": "string"})
    # A later checkpoint would win over the one that is restored.
    try:
        persist.restore(location, into=graph)
    except persist.PersistConflictError as error:
        assert error.hint
    else:
        raise AssertionError("the thread is there already")
    try:
        persist.restore(location, into=graph, config={})
    except persist.PersistConfigurationError as error:
        assert "names no thread" in str(error)
    else:
        raise AssertionError("no thread is named")
    # In another thread.
    other: Any = {"configurable": {"thread_id": "another"}}
    persist.restore(location, into=graph, config=other)
    assert len(graph.get_state(other).values["messages"]) == 4
    plain = persist.restore(location, plain=True)
    assert plain["thread_id"] == "a-thread"


if __name__ == "__main__":
    main(save, restore)
