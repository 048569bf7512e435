"""LangGraph: an agent of ``create_agent``, a graph that waits in the middle of a
step, and one with a graph in it.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import persist
from langchain.agents import create_agent
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
    sent = [Send("a", 1, timeout=TimeoutPolicy(run_timeout=3)), Interrupt("why?", response_schema={"type": "string"})]
    persist.snapshot(sent, location + ".sent", check=True)
    for wrong, arguments, says in [
        (graph, {}, "none is named"),
        (create_agent(Model(messages=iter([])), tools=[]), {"config": CONFIG}, "no checkpointer"),
        (graph, {"config": {"configurable": {"thread_id": "another"}}}, "no checkpoint"),
        ({}, {"config": CONFIG}, "for agents of frameworks"),
        (graph, {"config": "1"}, "none is named"),
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
        assert "none is named" in str(error)
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
