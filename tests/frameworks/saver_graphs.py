"""Failures, streams and values on ``PersistSaver`` are what they are in memory."""

from __future__ import annotations

import dataclasses
import datetime
import operator
import threading
import time
import uuid
from typing import Annotated, Any, TypedDict

import pydantic
import pytest
from graph_turns import (
    State,
    asking_in_parallel,
    asking_in_sequence,
    at,
    begins,
    chain,
    changing,
    goes_on,
    in_each_life,
    resumes,
    says,
    updates,
    with_inner,
)
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.types import Command, Durability, RetryPolicy, interrupt
from same_graphs import Turn, same


@in_each_life
@pytest.mark.parametrize("schema", [State, changing(50)], ids=["plain", "changes"])
def test_a_node_that_fails(life: str, schema: Any) -> None:
    """A node that succeeded beside one that failed does not run again."""
    runs: dict[int, list[str]] = {}
    events: dict[int, threading.Event] = {}

    def build(saver: Any) -> Any:
        ran = runs.setdefault(0 if isinstance(saver, InMemorySaver) else 1, [])
        succeeded = events.setdefault(id(ran), threading.Event())

        def runs_once(state: Any) -> Any:
            ran.append("once")
            succeeded.set()
            return {"seen": ["once"]}

        def fails(state: Any) -> Any:
            ran.append("fails")
            if ran.count("fails") < 3:
                # Otherwise it is not known whether the result of the other node is kept.
                succeeded.wait(10)
                time.sleep(0.2)
                raise RuntimeError("not now")
            return {"seen": ["at last"]}

        builder = StateGraph(schema)
        builder.add_node("once", runs_once)
        builder.add_node("fails", fails)
        builder.add_node("end", lambda state: {"seen": ["end"]})
        builder.add_edge(START, "once")
        builder.add_edge(START, "fails")
        builder.add_edge(["once", "fails"], "end")
        return builder.compile(checkpointer=saver)

    outcomes = same(build, begins("in"), goes_on, goes_on, begins("more"), life=life)
    assert outcomes[2]["seen"] == ["in", "at last", "once", "end"]
    assert sorted(runs[0]) == sorted(runs[1])


@in_each_life
def test_a_node_that_is_retried(life: str) -> None:
    tries: dict[Any, int] = {}

    def build(saver: Any) -> Any:
        def fails(state: Any) -> Any:
            mine = isinstance(saver, InMemorySaver)
            tries[mine] = tries.get(mine, 0) + 1
            if tries[mine] % 3:
                raise ConnectionError("not now")
            return {"seen": [tries[mine]]}

        builder = StateGraph(State)
        policy = RetryPolicy(initial_interval=0.01, max_attempts=3, jitter=False, retry_on=ConnectionError)
        builder.add_node("fails", fails, retry_policy=policy)
        builder.add_node("beside", lambda state: {"seen": ["beside"]})
        builder.add_edge(START, "fails")
        builder.add_edge(START, "beside")
        return builder.compile(checkpointer=saver)

    outcomes = same(build, begins("in"), begins("more"), life=life)
    assert outcomes[-1]["seen"] == ["in", "beside", 3, "more", "beside", 6]


@in_each_life
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("schema", [State, changing(2), changing(50)], ids=["plain", "2", "50"])
def test_durability(life: str, durability: Durability, schema: Any) -> None:
    build = asking_in_parallel(schema)

    def both(graph: Any, config: Any) -> Any:
        ids = {each.value: each.id for each in graph.get_state(config).interrupts}
        return graph.invoke(Command(resume={ids["a"]: "1", ids["b"]: "2"}), config, durability=durability)

    begin = begins("in", durability=durability)
    outcomes = same(build, begin, both, begin, both, says, life=life)
    assert outcomes[1]["seen"] == ["in", "a: 1", "b: 2", "worked", 4]
    assert len(outcomes[-1]) == 10
    same(chain(*"abc", schema=schema), begin, begin, at(-1, updates("x")), begin, says, life=life)


@in_each_life
@pytest.mark.parametrize("mode", ["values", "updates", "checkpoints", ["values", "updates", "tasks"]])
def test_streams(life: str, mode: Any) -> None:
    def streams(given: Any) -> Turn:
        return lambda graph, config: [*map(_without_time, graph.stream(given, config, stream_mode=mode))]

    turns = (
        streams({"seen": ["in"]}),
        streams(Command(resume="1")),
        streams(Command(resume="2")),
        streams(Command(resume="3")),
    )
    same(asking_in_sequence, *turns, life=life)
    same(with_inner(None, 1, True), *turns[:2], life=life)


def _without_time(event: Any) -> Any:
    if isinstance(event, dict) and "metadata" in event and "config" in event:
        configs = {
            key: (event[key] or {}).get("configurable", {}).get("checkpoint_id") for key in ("config", "parent_config")
        }
        return {**event, **configs}
    return event


@in_each_life
def test_messages(life: str) -> None:
    class Talk(TypedDict):
        messages: Annotated[list[AnyMessage], add_messages]

    def agent(state: Talk) -> Any:
        number = len(state["messages"])
        call = {"name": "search", "args": {"$": 1, "for": "ships"}, "id": f"call-{number}", "type": "tool_call"}
        return {"messages": [AIMessage(f"answer {number}", id=f"a{number}", tool_calls=[call])]}

    def forgets(state: Talk) -> Any:
        if len(state["messages"]) > 5:
            return {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage("all was forgotten", id="h")]}
        return {"messages": [RemoveMessage(state["messages"][0].id)] if len(state["messages"]) > 3 else []}

    def build(saver: Any) -> Any:
        builder = StateGraph(Talk)
        builder.add_node("agent", agent)
        builder.add_node("forgets", forgets)
        builder.add_edge(START, "agent")
        builder.add_edge("agent", "forgets")
        return builder.compile(checkpointer=saver)

    def tells(number: int) -> Turn:
        message = HumanMessage([{"type": "text", "text": f"said {number}"}], id=f"h{number}")
        return lambda graph, config: graph.invoke({"messages": [message]}, config)

    def changes(graph: Any, config: Any) -> Any:
        last = graph.get_state(config).values["messages"][-1]
        return graph.update_state(config, {"messages": [AIMessage("corrected", id=last.id)]})

    same(build, tells(0), tells(1), tells(2), changes, at(2, tells(3)), tells(4), life=life)


@dataclasses.dataclass
class Profile:
    """A dataclass in a state."""

    name: str
    born: datetime.date
    tags: list[str] = dataclasses.field(default_factory=list)


class Plan(pydantic.BaseModel):
    """A pydantic model in a state."""

    steps: list[str] = []
    owner: Profile | None = None
    due: datetime.datetime | None = None


class Rich(TypedDict, total=False):
    """A state with values of many types."""

    seen: Annotated[list[Any], operator.add]
    profile: Profile
    plan: Plan
    plans: Annotated[list[Plan], operator.add]
    moment: datetime.datetime
    id: uuid.UUID
    tags: set[str]
    data: bytes
    buffer: bytearray
    numbers: dict[int, str]
    mixed: dict[Any, Any]
    floats: list[float]
    pair: tuple[int, str]
    large: int
    nothing: None


@in_each_life
def test_values_of_many_types(life: str) -> None:
    moment = datetime.datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    profile = Profile(
        "Ada",
        datetime.date(1815, 12, 10),
        ["$", "é\u0000\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")],
    )
    values: Rich = {
        "profile": profile,
        "plan": Plan(steps=["one"], owner=profile, due=moment),
        "plans": [Plan(steps=["two"])],
        "moment": moment,
        "id": uuid.UUID(int=5),
        "tags": {"a", "b"},
        "data": b"\xa1$\x00\xff",
        "buffer": bytearray(b"xyz"),
        "numbers": {1: "one", -2: "minus two"},
        "mixed": {"$": 1, None: 2, 2.5: {"$": {"$": []}}, True: "yes", "1": 3},
        "floats": [0.1, -0.0, 1e300, float("inf"), float("nan"), 3.0],
        "pair": (1, "two"),
        "large": 2**63 + 1,
        "nothing": None,
    }

    def build(saver: Any) -> Any:
        builder = StateGraph(Rich)
        builder.add_node("writes", lambda state: values)
        builder.add_node("asks", lambda state: {"seen": [interrupt(values)]})
        builder.add_node("ends", lambda state: {"seen": ["end"]})
        builder.add_edge(START, "writes")
        builder.add_edge("writes", "asks")
        builder.add_edge("asks", "ends")
        return builder.compile(checkpointer=saver)

    def exactly(graph: Any, config: Any) -> Any:
        found = graph.get_state(config).values
        for key in ("profile", "plan", "plans", "moment", "id", "tags", "data", "numbers", "mixed", "large", "nothing"):
            assert found[key] == values[key], key  # type: ignore[literal-required]
            assert type(found[key]) is type(values[key]), key  # type: ignore[literal-required]
        return found

    known = JsonPlusSerializer(allowed_msgpack_modules=[(each.__module__, each.__name__) for each in (Profile, Plan)])
    same(build, begins("in"), exactly, resumes(values), at(-1, updates({"more": values})), life=life, serde=known)


@in_each_life
def test_channels_whose_names_are_special(life: str) -> None:
    schema = TypedDict("Special", {"$": str, "$$": Annotated[list, operator.add], "": int, "a.b/c": dict, "é": str})  # type: ignore[misc]

    def build(saver: Any) -> Any:
        builder = StateGraph(schema)
        builder.add_node("a", lambda state: {"$": "x", "$$": [{"$": 1}], "": 3, "a.b/c": {"": {"$$": None}}})
        builder.add_node("b", lambda state: {"é": state["$"] + str(len(state["$$"]))})
        builder.add_edge(START, "a")
        builder.add_edge("a", "b")
        return builder.compile(checkpointer=saver)

    same(
        build,
        lambda graph, config: graph.invoke({"$$": [1]}, config),
        lambda graph, config: graph.invoke({"$$": [2]}, config),
        life=life,
    )
