"""Timelines as their users see them: every step of a session."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal

import persist
import pytest
from timelines import filled, numbers, timeline

__all__ = ["timeline"]  # A fixture.


@dataclasses.dataclass
class Agent:
    """What a program saves."""

    name: str
    messages: list[str] = dataclasses.field(default_factory=list)


def first_five_minutes(timeline: persist.Timeline) -> None:
    agent: dict[str, Any] = {"messages": []}
    with timeline:
        for number in range(1, 6):
            agent["messages"].append(f"message {number}")
            step = timeline.append(agent, labels={"good": "yes"} if number == 2 else None)
            assert step.number == number
    assert timeline.load() == agent == timeline.at().load()
    assert timeline.load(at=2) == {"messages": ["message 1", "message 2"]} == timeline.load(label="good")
    assert timeline.load(at=-2)["messages"][-1] == "message 4"
    assert numbers(iter(timeline)) == [5, 4, 3, 2, 1]
    report = timeline.prune(keep_last=1, keep_labels=["good"])
    assert report.kept == [5, 2]
    assert timeline.load() == agent
    assert timeline.check(read_data=True) == []
    timeline.delete()
    assert list(timeline) == []
    assert timeline.load(default=None) is None


def test_the_first_five_minutes_of_a_user(timeline: persist.Timeline) -> None:
    first_five_minutes(timeline)


@pytest.mark.usefixtures("s3")
def test_the_first_five_minutes_of_a_user_with_a_bucket() -> None:
    first_five_minutes(persist.Timeline("s3://my-bucket/agents", agent_id="support", session_id="case-1"))


def test_memory_holds_timelines_too() -> None:
    first_five_minutes(persist.Timeline("memory://agents", session_id="1"))


def test_a_step_has_a_number_and_metadata(timeline: persist.Timeline) -> None:
    step = timeline.append(
        {"a": 1}, labels={"x": "y"}, description="a note", timestamp="2026-01-31T12:00:00Z", codec="gzip", level=1
    )
    assert (step.number, step.restates, step.error) == (1, None, None)
    assert (step.labels, step.description, step.timestamp) == ({"x": "y"}, "a note", "2026-01-31T12:00:00.000000Z")
    assert step.time == datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    assert (step.metadata.agent_id, step.metadata.session_id) == ("support", "Case/1")
    assert step.metadata.compression_algorithm == "gzip"
    assert step.uncompressed_size == len(b'{"a":1}')
    assert step.stored_size == os.stat(step.location).st_size
    assert step == timeline.at(1) == next(iter(timeline))
    assert repr(step).startswith("Step(number=1, timestamp='2026-01-31T12:00:00.000000Z', labels={'x': 'y'}, ")


def test_a_step_is_restored_like_a_snapshot(timeline: persist.Timeline) -> None:
    step = filled(timeline, 3).at(2)
    assert persist.restore(step.location) == {"step": 2}
    store = persist.Store("agents")
    assert store.restore(step.key) == store.restore(step.metadata) == {"step": 2}


def test_a_timeline_has_instances(timeline: persist.Timeline) -> None:
    step = timeline.append(Agent("a", ["x"]), check={"into": Agent})
    assert timeline.load(Agent) == timeline.load(into=Agent("b")) == step.load(Agent) == Agent("a", ["x"])
    assert timeline.load() == {"name": "a", "messages": ["x"]}
    with pytest.raises(persist.PersistTypeError, match="unknown argument 'intoo'") as wrong:
        timeline.load(intoo=Agent)  # type: ignore[call-overload]
    assert wrong.value.hint is not None


class Graph:
    """An agent of a framework."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state


class GraphAdapter(persist.Adapter):
    """Saves agents of this framework."""

    name = "graph"
    package = "pytest"
    module = "pytest"

    def accepts(self, agent: Any) -> bool:
        return isinstance(agent, Graph)

    def takes(self, into: Any) -> bool:
        return into is Graph

    def save(self, agent: Any, config: Mapping[str, Any] | None = None) -> Any:
        return {**agent.state, "thread": (config or {}).get("thread")}

    def restore(self, state: Any, into: Any = None, config: Mapping[str, Any] | None = None) -> Any:
        return Graph(state)


def test_a_timeline_has_agents_of_frameworks(timeline: persist.Timeline) -> None:
    persist.register_adapter(GraphAdapter())
    step = timeline.append(Graph({"a": 1}), config={"thread": "t"})
    assert step.metadata.adapter is not None
    assert step.metadata.adapter["name"] == "graph"
    assert timeline.load(into=Graph).state == {"a": 1, "thread": "t"}

    async def appended() -> Any:
        twin = timeline.to_async()
        await twin.append(Graph({"a": 2}))
        return (await twin.load(Graph)).state

    assert asyncio.run(appended()) == {"a": 2, "thread": None}


def test_a_timeline_has_bytes(timeline: persist.Timeline) -> None:
    timeline.append_bytes(b'{"a":1}', content_type="application/json")
    timeline.append_bytes(bytearray(b"ab"))
    timeline.append_bytes(memoryview(b"abc"))
    timeline.append(b"abcd")
    assert [timeline.load(at=n) for n in (1, 2, 3, 4)] == [{"a": 1}, b"ab", b"abc", b"abcd"]
    assert timeline.load_bytes(1) == b'{"a":1}' == timeline.at(1).load_bytes()
    assert timeline.at().metadata.content_type == "application/octet-stream"
    with pytest.raises(persist.PersistTypeError, match="data must be bytes, not str"):
        timeline.append_bytes("text")  # type: ignore[arg-type]


def test_secrets_can_be_left_out(timeline: persist.Timeline) -> None:
    timeline.append({"api_key": "sk-1", "a": 1}, redact=["api_key"])
    assert timeline.load() == {"api_key": "[redacted]", "a": 1}


def test_a_step_stores_what_is_new(timeline: persist.Timeline) -> None:
    state = os.urandom(3_000_000)
    first = timeline.append_bytes(state)
    second = timeline.append_bytes(state + b"more")
    assert second.uncompressed_size == 3_000_004
    assert second.stored_size < 1000 < first.stored_size
    assert timeline.load_bytes() == state + b"more"


@pytest.mark.parametrize("on_conflict", ["fail", "rebase"])
def test_a_change_of_what_was_loaded_overwrites_nothing(
    timeline: persist.Timeline, on_conflict: Literal["fail", "rebase"]
) -> None:
    timeline.append("one", number=1)
    loaded = timeline.at(-1).number
    timeline.append("somebody else's")
    # It has appended nothing yet, so it does not know that somebody else has.
    other = persist.Timeline("agents", agent_id="support", session_id="Case/1")
    for writer in (other, timeline, other):
        with pytest.raises(persist.PersistConflictError, match="another writer has appended step 2") as lost:
            writer.append("changed", number=loaded + 1, on_conflict=on_conflict)
        assert (lost.value.code, lost.value.facts["number"]) == ("already-exists", "2")
    assert other.append_bytes(b"three", number=3, on_conflict=on_conflict).number == 3
    assert [step.number for step in timeline] == [3, 2, 1]
    timeline.delete()
    with pytest.raises(persist.PersistConflictError):
        other.append("one", number=1)
    for wrong in (0, "1", True):
        with pytest.raises(persist.PersistTypeError, match="a number of at least 1"):
            other.append("one", number=wrong)  # type: ignore[arg-type]


def test_two_writers_do_not_overwrite_each_other(timeline: persist.Timeline) -> None:
    other = persist.Timeline("agents", agent_id="support", session_id="Case/1")
    timeline.append("one")
    other.append("two")
    with pytest.raises(persist.PersistConflictError) as lost:
        timeline.append("lost")
    assert lost.value.code == "already-exists"
    assert lost.value.facts["number"] == "2"
    assert timeline.load() == "two"
    # It knows the newest step now.
    assert timeline.append("three").number == 3
    assert other.append("four", on_conflict="rebase").number == 4
    assert [step.load() for step in timeline] == ["four", "three", "two", "one"]
    with pytest.raises(persist.PersistConfigurationError, match="'x' is not a valid value for on_conflict"):
        timeline.append("x", on_conflict="x")  # type: ignore[arg-type]
