"""Timelines as their users see them: every step of a session."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import persist
import pytest
from forks import IN_CHILD
from storages import DictStorage


@pytest.fixture
def timeline() -> persist.Timeline:
    return persist.Timeline("agents", agent_id="support", session_id="Case/1")


@dataclasses.dataclass
class Agent:
    """What a program saves."""

    name: str
    messages: list[str] = dataclasses.field(default_factory=list)


def day(number: int) -> datetime:
    return datetime(2026, 1, number, 12, tzinfo=timezone.utc)


def filled(timeline: persist.Timeline, count: int) -> persist.Timeline:
    """Appends one step a day, from the first of January 2026."""
    for number in range(1, count + 1):
        timeline.append({"step": number}, timestamp=day(number))
    return timeline


def numbers(steps: Iterator[persist.Step]) -> list[int]:
    return [step.number for step in steps]


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


SELECTORS: list[tuple[dict[str, Any], int]] = [
    ({}, 5),
    ({"at": 1}, 1),
    ({"at": "3"}, 3),
    ({"at": -1}, 5),
    ({"at": -5}, 1),
    ({"at": "-2"}, 4),
    ({"at": "latest"}, 5),
    ({"at": day(3)}, 3),
    ({"at": day(3).astimezone(timezone(timedelta(hours=-9)))}, 3),
    ({"at": date(2026, 1, 3)}, 2),
    ({"at": "2026-01-04T12:00Z"}, 4),
    ({"at": "2026-01-04T11:59Z"}, 3),
    ({"at": "1d"}, 5),
    ({"at": timedelta(hours=2)}, 5),
    ({"label": "rating"}, 4),
    ({"label": ("rating", "good")}, 2),
    ({"label": ("rating", None)}, 4),
    ({"at": "rating=good"}, 2),
]


@pytest.mark.parametrize(("where", "number"), SELECTORS, ids=str)
def test_steps_are_selected(timeline: persist.Timeline, where: dict[str, Any], number: int) -> None:
    filled(timeline, 5)
    timeline.label(2, "rating", "good")
    timeline.label(4, "rating", "poor")
    assert timeline.at(**where).number == number
    assert timeline.load(**where) == {"step": number}
    assert timeline.load_bytes(**where) == b'{"step":%d}' % number
    assert timeline.load(at=timeline.at(**where)) == {"step": number}


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"at": 0}, persist.PersistConfigurationError, "steps are numbered from 1"),
    ({"at": "0"}, persist.PersistConfigurationError, "'0' does not select a step"),
    ({"at": "x"}, persist.PersistConfigurationError, "'x' does not select a step"),
    ({"at": 1.0}, persist.PersistTypeError, "not float"),
    ({"at": True}, persist.PersistTypeError, "not bool"),
    ({"at": 10**40}, persist.PersistTypeError, "that large"),
    ({"at": datetime(2026, 1, 1)}, persist.PersistTypeError, "without a time zone"),
    ({"label": 1}, persist.PersistTypeError, "label must be a str or a tuple of two, not 1"),
    ({"label": ("a", 1)}, persist.PersistTypeError, "label must be a str or a tuple of two"),
    ({"at": 1, "label": "a"}, persist.PersistTypeError, "can't be used together"),
]


@pytest.mark.parametrize(("where", "kind", "message"), WRONG, ids=str)
def test_what_selects_no_step_is_refused(
    timeline: persist.Timeline, where: dict[str, Any], kind: type[Exception], message: str
) -> None:
    timeline.append(1)
    for use in (timeline.at, timeline.load, timeline.load_bytes):
        with pytest.raises(kind, match=message) as wrong:
            use(**where)
        assert isinstance(wrong.value, persist.PersistError)
        assert wrong.value.hint


def test_a_missing_step_is_an_error_or_the_default(timeline: persist.Timeline) -> None:
    assert timeline.load(default={"messages": []}) == {"messages": []}
    filled(timeline, 2)
    missing: list[dict[str, Any]] = [{"at": 3}, {"at": -3}, {"at": day(1) - timedelta(1)}, {"label": "x"}]
    for where in missing:
        for use in (timeline.at, timeline.load, timeline.load_bytes):
            with pytest.raises(persist.PersistNotFoundError):
                use(**where)
        assert timeline.load(**where, default=7) == 7


def test_the_history_is_filtered(timeline: persist.Timeline) -> None:
    filled(timeline, 5).label(4, "rating", "good")
    timeline.label(2, "rating", "good")
    assert numbers(timeline.history()) == [5, 4, 3, 2, 1]
    assert numbers(timeline.history(limit=2)) == [5, 4]
    assert numbers(timeline.history(limit=0)) == []
    assert numbers(timeline.history(labels={"rating": "good"}, limit=1)) == [4]
    assert numbers(timeline.history(since=day(3), until="2026-01-04T12:01Z")) == [4, 3]
    assert numbers(itertools.islice(timeline, 1)) == [5]
    wrong: list[dict[str, Any]] = [{"limit": -1}, {"limit": "x"}, {"errors": "x"}, {"befor": day(1)}]
    for arguments in wrong:
        with pytest.raises((persist.PersistTypeError, persist.PersistConfigurationError)):
            timeline.history(**arguments)


def test_labels_are_set_and_taken_away(timeline: persist.Timeline) -> None:
    step = timeline.append(1, labels={"a": "1", "b": "2"})
    timeline.label(step, "c", "3")
    timeline.label(1, "a", "one")
    timeline.unlabel(1, "b")
    timeline.unlabel(1, "nothing")
    assert timeline.at(1).labels == {"a": "one", "c": "3"}
    with pytest.raises(persist.PersistNotFoundError):
        timeline.label(2, "a", "x")
    for number in (0, -1, True, "1"):
        with pytest.raises(persist.PersistTypeError, match="must be a step or a number of at least 1"):
            timeline.label(number, "a", "x")  # type: ignore[arg-type]
    with pytest.raises(persist.PersistTypeError, match="must be str, not int"):
        timeline.label(1, "a", 1)  # type: ignore[arg-type]


def test_pruning_says_first_what_it_would_do(timeline: persist.Timeline) -> None:
    filled(timeline, 5).label(1, "pinned", "yes")
    planned = timeline.prune(keep_last=2, keep_labels=["pinned"], dry_run=True)
    assert numbers(iter(timeline)) == [5, 4, 3, 2, 1]
    done = timeline.prune(keep_last=2, keep_labels=["pinned"])
    assert (planned.dry_run, done.dry_run) == (True, False)
    assert planned.steps == done.steps
    assert done.kept == [5, 4, 1]
    assert sorted(done.hidden + done.removed) == [2, 3]
    assert done.steps[0].reasons == ("last",)
    assert done.steps[-1].reasons == ("label pinned",)
    assert done.steps[0].timestamp == "2026-01-05T12:00:00.000000Z"
    assert 0 < done.left <= sum(file.stat().st_size for file in Path(timeline.location).iterdir())
    assert [step.load()["step"] for step in timeline] == [5, 4, 1]
    assert timeline.check(read_data=True) == []
    assert repr(planned).startswith("<PruneReport: 3 kept, ")
    assert repr(planned).endswith("dry_run=True>")
    # Pruning may have appended a step that restates the newest. The next append comes after it.
    assert timeline.append({"step": 6}).load() == {"step": 6}


def test_pruning_keeps_by_time(timeline: persist.Timeline) -> None:
    filled(timeline, 14)
    assert timeline.prune(keep_within="2d", dry_run=True).kept == [14, 13, 12]
    assert timeline.prune(keep_within=timedelta(days=2), dry_run=True).kept == [14, 13, 12]
    # The fifth and the twelfth are Mondays.
    assert timeline.prune(keep_weekly=2, dry_run=True).kept == [14, 11]
    assert timeline.prune(keep_within_weekly="1m", keep_hourly=2, dry_run=True).kept == [14, 13, 11, 4]
    assert timeline.prune(keep_monthly=5, keep_yearly=1, keep_daily=0, dry_run=True).kept == [14]


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"keep_last": 0},
        {"keep_last": None, "keep_labels": []},
        {"keep_last": -1},
        {"keep_last": "x"},
        {"keep_within": "30"},
        {"keep_within": 30},
        {"keep_within": timedelta(minutes=90)},
        {"keep_within_daily": 5},
        {"keep_labels": "pinned"},
        {"keep_labels": [1]},
        {"keep_lats": 1},
    ],
    ids=str,
)
def test_wrong_rules_remove_nothing(timeline: persist.Timeline, rules: dict[str, Any]) -> None:
    filled(timeline, 3)
    with pytest.raises((persist.PersistTypeError, persist.PersistConfigurationError)) as wrong:
        timeline.prune(**rules)
    assert wrong.value.hint
    assert numbers(iter(timeline)) == [3, 2, 1]


def flip(step: persist.Step) -> None:
    """Damages a step."""
    path = Path(step.location)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_damage_is_found_and_forgotten(timeline: persist.Timeline) -> None:
    filled(timeline, 5)
    flip(timeline.at(4))
    (damage, *others) = [found for found in timeline.check() if found.number is not None]
    assert damage.number == 4
    assert damage.key == "support/+case%2f1/000000000004.step"
    assert isinstance(damage.error, persist.PersistIntegrityError)
    with pytest.raises(persist.PersistIntegrityError):
        timeline.load(at=4)
    assert timeline.load(at=2) == {"step": 2}
    with pytest.warns(persist.PersistWarning, match="step 4 of agents/support/.* can't be read"):
        (step,) = [step for step in timeline if step.number == 4]
    assert isinstance(step.error, persist.PersistIntegrityError)
    assert repr(step).startswith("Step(number=4, error=PersistIntegrityError(")
    with pytest.raises(persist.PersistIntegrityError):
        print(step.labels)
    assert 4 not in numbers(timeline.history(errors="ignore"))
    assert len(numbers(timeline.history(errors="ignore", limit=2))) == 2
    with pytest.raises(persist.PersistIntegrityError):
        list(timeline.history(errors="raise"))
    assert timeline.repair(forget_damaged=True) > 0
    assert {found.number for found in others} <= {5}
    assert 4 not in numbers(iter(timeline))
    assert timeline.check(read_data=True) == []
    assert timeline.append({"step": 6}).load() == {"step": 6}


def test_a_damaged_newest_step_is_never_replaced_by_an_older_one(timeline: persist.Timeline) -> None:
    filled(timeline, 3)
    flip(timeline.at(3))
    for use in (timeline.at, timeline.load, timeline.load_bytes):
        with pytest.raises(persist.PersistIntegrityError):
            use()
    with pytest.raises(persist.PersistIntegrityError):
        timeline.repair()
    timeline.repair(forget_damaged=True)
    assert timeline.load() == {"step": 2}
    assert timeline.at().restates == 2


def test_check_tells_how_far_it_is(timeline: persist.Timeline, capsys: pytest.CaptureFixture[str]) -> None:
    filled(timeline, 3)
    seen: list[tuple[int, int | None]] = []
    timeline.check(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)
    timeline.append_bytes(b"x" * 3_000_000, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3_000_000, 3_000_000)
    timeline.load_bytes(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3_000_000, 3_000_000)
    with pytest.raises(ZeroDivisionError):
        timeline.append_bytes(b"y" * 3_000_000, progress=lambda done, total: 1 // 0)
    assert timeline.at().number == 4
    assert timeline.append(5).number == 5


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


def test_a_change_of_the_current_folder_takes_effect(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timeline = persist.Timeline("agents", session_id="1")
    timeline.append("one")
    (folder / "other").mkdir()
    monkeypatch.chdir(folder / "other")
    assert timeline.append("other").number == 1
    monkeypatch.chdir(folder)
    assert timeline.append("two").number == 2
    monkeypatch.chdir(folder / "other")
    # What a timeline writes down at its end does not get into another folder either.
    del timeline
    assert sorted(file.name for file in Path("agents/default_agent/1").iterdir()) == ["000000000001.step"]


def test_threads_share_a_timeline(timeline: persist.Timeline) -> None:
    threads = [threading.Thread(target=timeline.append, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(step.load() for step in timeline) == list(range(16))


def test_agent_and_session_come_from_the_location() -> None:
    for location, agent, session in [
        ("runs/support/case-1", "support", "case-1"),
        ("runs/support/case-1/", "support", "case-1"),
        ("support/+case%2f1", "support", "Case/1"),
        ("case-1", "default_agent", "case-1"),
        ("./case-1", "default_agent", "case-1"),
        (".", "default_agent", "default_session"),
        ("/srv/runs/a/b", "a", "b"),
        ("runs/%/Odd", "", "Odd"),
        ("s3://bucket/agents/support/case-1", "support", "case-1"),
        ("s3://bucket/case-1", "default_agent", "case-1"),
        ("s3://bucket", "default_agent", "default_session"),
        ("memory://support/case-1", "support", "case-1"),
    ]:
        for place in (location, persist.Store(location), persist.AsyncStore(location)):
            timeline = persist.Timeline(place)
            assert (timeline.agent_id, timeline.session_id) == (agent, session), location
    timeline = persist.Timeline(Path("agents"), agent_id="Support")
    assert timeline.location == "agents/+support/default_session"
    assert persist.Timeline("agents", session_id="1").location == "agents/default_agent/1"


def test_a_store_has_timelines() -> None:
    store = persist.Store("agents")
    assert store.timelines() == []
    store.timeline().append(1)
    store.timeline(agent_id="support", session_id="case-1").append(2)
    store.timeline(session_id="gone").append(3)
    store.timeline(session_id="gone").delete()
    persist.Timeline(store, agent_id="a/b").append(4)
    store.save("not a step", agent_id="x")
    persist.Timeline("agents/deep/er/down").append(5)
    found = store.timelines()
    assert [(timeline.agent_id, timeline.session_id) for timeline in found] == [
        ("a/b", "default_session"),
        ("er", "down"),
        ("default_agent", "default_session"),
        ("support", "case-1"),
    ] or sorted(timeline.load() for timeline in found) == [1, 2, 4, 5]
    assert [timeline.load() for timeline in store.timelines("support/")] == [2]
    assert [timeline.location for timeline in store.timelines("deep")] == ["agents/deep/er/down"]
    (support,) = store.timelines("support/")
    assert support == store.timeline(agent_id="support", session_id="case-1")
    assert support.append(6).key == "support/case-1/000000000002.step"
    assert store.restore("support/case-1/000000000002.step") == 6

    async def found_by_the_twin() -> list[Any]:
        twin = store.to_async()
        await twin.timeline(session_id="2").append(7)
        return [await timeline.load() for timeline in await twin.timelines("default_agent/")]

    assert asyncio.run(found_by_the_twin()) == [7, 1]


def test_a_store_never_damages_a_timeline() -> None:
    store = persist.Store("agents")
    timeline = filled(store.timeline(agent_id="support", session_id="1"), 3)
    filled(store.timeline(agent_id="support", session_id="2"), 2)
    store.snapshot("a", "support/x.json.gz")
    assert [found.key for found in store.list()] == [
        "support/1/000000000003.step",
        "support/2/000000000002.step",
        "support/x.json.gz",
    ]
    for delete in (store.delete, store.__delitem__):
        with pytest.raises(persist.PersistConfigurationError, match="can't be deleted on its own"):
            delete(store.list()[0])
    with pytest.raises(persist.PersistConfigurationError, match="can't be deleted on its own"):
        persist.delete_snapshot(timeline.at(1).location)
    assert store.delete_prefix("support/1/0000") == 0
    assert len(list(timeline)) == 3
    assert store.delete_prefix("support/1") == 3
    assert list(timeline) == []
    assert store.delete_prefix("support/") == 3
    assert store.list() == [] == store.timelines()


def test_the_id_of_a_shortened_folder_has_to_be_given() -> None:
    session = "x" * 1000
    persist.Timeline("agents", session_id=session).append(1)
    (found,) = persist.Store("agents").timelines()
    assert found.load() == 1
    with pytest.raises(persist.PersistConfigurationError, match="only the start of an ID"):
        found.append(2)
    assert persist.Timeline("agents", session_id=session).append(2).metadata.session_id == session


def test_settings_belong_to_the_store() -> None:
    timeline = persist.Timeline("s3://my-bucket/x", session_id="1", s3_region="eu-west-1")
    assert timeline == persist.Store("s3://my-bucket/x", s3_region="eu-west-1").timeline(session_id="1")
    assert repr(timeline) == (
        "Timeline('s3://my-bucket/x', agent_id='default_agent', session_id='1', s3_region='eu-west-1')"
    )
    with pytest.raises(persist.PersistTypeError, match="s3_region can't be used with a store"):
        persist.Timeline(persist.Store("x"), s3_region="eu-west-1")
    with pytest.raises(persist.PersistTypeError, match="location must be"):
        persist.Timeline(1)  # type: ignore[arg-type]
    with pytest.raises(persist.PersistTypeError, match="agent_id must be a str"):
        persist.Timeline("x", agent_id=1)  # type: ignore[arg-type]
    with pytest.raises(persist.PersistTypeError, match="unknown argument 'snapshot_index'"):
        timeline.append(1, snapshot_index=1)  # type: ignore[call-arg]


def test_a_timeline_can_be_pickled(timeline: persist.Timeline) -> None:
    step = timeline.append({"a": 1})
    for version in range(pickle.HIGHEST_PROTOCOL + 1):
        copied = pickle.loads(pickle.dumps(timeline, version))
        assert copied == timeline
        assert hash(copied) == hash(timeline)
        assert copied.load() == {"a": 1}
        found = pickle.loads(pickle.dumps(step, version))
        assert found == step
        assert found.load() == {"a": 1}
    assert eval(repr(timeline), {"Timeline": persist.Timeline}) == timeline
    assert timeline != persist.Timeline("agents")
    assert bool(timeline)


def test_a_storage_in_python_is_refused_when_it_comes_to_an_append() -> None:
    storage = DictStorage()
    timeline = persist.Timeline(storage, session_id="1")
    with pytest.raises(persist.PersistStorageError, match="no conditional writes") as refused:
        timeline.append(1)
    assert refused.value.code == "unsupported"
    assert refused.value.hint
    assert storage.objects == {}


def test_the_end_is_written_down(timeline: persist.Timeline) -> None:
    head = Path(timeline.location, "head")
    ways: list[Callable[[persist.Timeline], object]] = [
        lambda used: used.close(),
        lambda used: used.__exit__(None, None, None),
        lambda used: used.__exit__(ValueError, ValueError(), None),
        lambda used: None,
    ]
    for close in ways:
        used = persist.Timeline("agents", agent_id="support", session_id="Case/1")
        number = used.append(os.urandom(10)).number
        close(used)
        del used
        before = head.read_bytes()
        os.rename(persist.Timeline(timeline.location).at().location, "kept")
        # The newest step was lost, and that does not go unnoticed.
        with pytest.raises(persist.PersistIntegrityError):
            timeline.at()
        os.rename("kept", Path(timeline.location, f"{number:012}.step"))
        assert head.read_bytes() == before
    timeline.close()
    assert timeline.append("goes on").number == len(ways) + 1


FORKS = (
    IN_CHILD
    + """
import sys, threading, persist

timeline = persist.Timeline(sys.argv[1], session_id="1")
timeline.append("parent")
steps = iter(timeline)

def appends():
    assert timeline.load() == "parent"
    assert timeline.append("child").number == 2
    in_child(lambda: timeline.append("grandchild"))
    timeline.close()

def leaves():
    global timeline
    del timeline

in_child(appends)
in_child(leaves)
assert timeline.append("parent again", on_conflict="rebase").number == 4

# While another thread appends.
thread = threading.Thread(target=lambda: [timeline.append(n, on_conflict="rebase") for n in range(20)])
thread.start()
for _ in range(3):
    in_child(lambda: timeline.append("child", on_conflict="rebase"))
thread.join()
assert timeline.append("last", on_conflict="rebase").number == 28
print("all worked")
"""
)


@pytest.mark.parametrize("location", ["agents", "s3://my-bucket/agents"])
@pytest.mark.usefixtures("s3")
def test_child_processes_append_too(location: str) -> None:
    run = [sys.executable, "-W", "ignore", "-c", FORKS, location]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "all worked\n"), done.stderr


async def asynchronously() -> None:
    async with persist.AsyncTimeline("agents", session_id="1") as timeline:
        state: dict[str, Any] = {"messages": []}
        step = await timeline.append(state)
        for number in range(2, 5):
            state["messages"].append(number)
            appending = asyncio.ensure_future(timeline.append(state, labels={"n": str(number)}))
            await asyncio.sleep(0)
            state["later"] = True
            step = await appending
            del state["later"]
            assert step.number == number
        assert await timeline.load() == state == await step.load()
        assert [found.number async for found in timeline] == [4, 3, 2, 1]
        assert [found.number async for found in timeline.history(limit=1, labels={"n": "2"})] == [2]
        assert (await timeline.at(label=("n", "2"))).number == 2
        assert await timeline.load_bytes(2) == b'{"messages":[2]}' == await (await timeline.at(2)).load_bytes()
        await timeline.label(step, "a", "b")
        assert (await timeline.at()).labels == {"n": "4", "a": "b"}
        await timeline.unlabel(4, "a")
        assert (await timeline.append_bytes(b"x")).number == 5
        assert (await timeline.prune(keep_last=1, dry_run=True)).kept == [5]
        await timeline.prune(keep_last=2)
        assert await timeline.check(read_data=True) == []
        assert await timeline.repair() >= 0
        assert timeline.to_sync().to_async() == timeline
    assert await timeline.delete() > 0
    assert await timeline.load(default=0) == 0


def test_the_asyncio_twin_does_the_same() -> None:
    asyncio.run(asynchronously())


@pytest.mark.parametrize("count", [0, 99, 100, 101, 250])
def test_a_long_history_is_read_in_pages(count: int) -> None:
    timeline = persist.Timeline("memory://long", session_id=str(count))
    for number in range(count):
        timeline.append(number)

    async def read(limit: int | None) -> list[int]:
        return [step.number async for step in timeline.to_async().history(limit=limit)]

    everything = list(range(count, 0, -1))
    assert numbers(iter(timeline)) == asyncio.run(read(None)) == everything
    assert numbers(timeline.history(limit=150)) == asyncio.run(read(150)) == everything[:150]


def test_the_twins_have_the_same_methods() -> None:
    import inspect

    names = {name for name in dir(persist.Timeline) if not name.startswith("_")} - {"to_async"}
    assert names == {name for name in dir(persist.AsyncTimeline) if not name.startswith("_")} - {"to_sync"}
    for name in names - {"location"}:
        method, twin = getattr(persist.Timeline, name), getattr(persist.AsyncTimeline, name)
        assert list(inspect.signature(method).parameters) == list(inspect.signature(twin).parameters), name
        assert method.__doc__, name
        assert twin.__doc__, name


@pytest.mark.usefixtures("s3")
def test_a_cancelled_append_ends_soon_and_the_timeline_goes_on() -> None:
    timeline = persist.AsyncTimeline("s3://my-bucket/agents", session_id="1")
    # It accepts connections and never answers.
    server = socket.create_server(("127.0.0.1", 0))
    silent = f"http://127.0.0.1:{server.getsockname()[1]}"

    async def cancelled() -> None:
        hanging = persist.AsyncTimeline("s3://my-bucket/agents", session_id="1", s3_endpoint=silent)
        for work in (hanging.append(1), hanging.load(), hanging.check(), hanging.at()):
            began = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(work, 0.3)
            assert time.monotonic() - began < 10
        assert (await timeline.append("a")).number == 1
        task = asyncio.ensure_future(timeline.append("b"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        step = await timeline.append("c", on_conflict="rebase")
        assert step.number in (2, 3)
        assert await timeline.load() == "c"

    asyncio.run(cancelled())
    server.close()
