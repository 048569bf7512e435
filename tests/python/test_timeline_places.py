"""Where timelines are: folders, stores, threads, processes, and the asyncio twins."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import persist
import pytest
from forks import IN_CHILD
from storages import DictStorage
from timelines import filled, numbers, timeline

__all__ = ["timeline"]  # A fixture.


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
