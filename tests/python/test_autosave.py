"""Autosave as its users see it: the steps of an agent while it runs."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Generator
from datetime import datetime, timezone
from typing import Any

import persist
import pytest
from autosaves import Entering, Gate, autosave, gate, notes_of, states, timeline
from persist import _autosave_thread

__all__ = ["autosave", "gate", "timeline"]  # Fixtures.


def test_a_program_saves_each_step(timeline: persist.Timeline, autosave: Entering) -> None:
    async def run() -> None:
        agent: dict[str, Any] = {"messages": []}
        async with autosave(agent, timeline) as block:
            for text in ("a", "b"):
                agent["messages"].append(text)
                await block.save(labels={"text": text})
            assert block.saver.steps + block.saver._appending.waiting <= 2
            await block.flush()
            assert block.saver.steps == 2
            with pytest.raises(persist.PersistTypeError, match="labels must be a dict of str"):
                await block.save(labels=["good"])
            assert block.saver.last.number == 2
            assert block.saver.last.labels == {"text": "b"}
            agent["messages"].append("c")
        assert block.saver.steps == 3
        assert states(timeline) == [{"messages": ["a", "b", "c"][:n]} for n in (1, 2, 3)]
        assert timeline.at().labels == {}

    asyncio.run(run())


def test_a_state_is_captured_when_it_is_saved(timeline: persist.Timeline, autosave: Entering, gate: Gate) -> None:
    async def run() -> None:
        agent = {"n": 1}
        began = datetime.now(timezone.utc)
        async with autosave(agent, timeline) as block:
            gate.close()
            await block.save()
            ended = datetime.now(timezone.utc)
            gate.wait()
            agent["n"] = 2
            gate.open.set()
        assert states(timeline) == [{"n": 1}, {"n": 2}]
        assert began <= timeline.at(1).time <= ended

    asyncio.run(run())


def test_options_and_labels_are_stored(timeline: persist.Timeline, autosave: Entering) -> None:
    async def run() -> None:
        agent = {"n": 1, "api_key": "sk-1"}
        given: dict[str, Any] = {"redact": ["api_key"], "description": "a run", "codec": "gzip", "level": 1}
        async with autosave(agent, timeline, labels={"run": "7"}, check=True, **given) as block:
            await block.save(labels={"good": "yes"})
        step = timeline.at()
        assert (step.number, step.labels, step.description) == (1, {"run": "7", "good": "yes"}, "a run")
        assert step.metadata.compression_algorithm == "gzip"
        assert timeline.load() == {"n": 1, "api_key": "[redacted]"}

    asyncio.run(run())


def test_another_object_may_take_the_place_of_the_agent(timeline: persist.Timeline, autosave: Entering) -> None:
    async def run() -> None:
        async with autosave((), timeline) as block:
            await block.save(("a",))
            await block.save(b"bytes")
            await block.save(("a", "b"))
        assert [step.load() for step in timeline] == [("a", "b"), b"bytes", ("a",)]

    asyncio.run(run())


def test_the_same_state_is_never_appended_twice(timeline: persist.Timeline, autosave: Entering) -> None:
    async def run() -> None:
        agent = {"n": 0}
        for count in (1, 0, 0):
            async with autosave(agent, timeline) as block:
                for _ in range(3):
                    await block.save()
            assert block.saver.last.number == 1
            assert block.saver.steps == count
        async with autosave(agent, timeline) as block:
            for number in (1, 1, 0, 0, 1):
                agent["n"] = number
                await block.save()
        assert [state["n"] for state in states(timeline)] == [0, 1, 0, 1]

    asyncio.run(run())


def test_an_unchanged_state_gets_the_labels(timeline: persist.Timeline, autosave: Entering) -> None:
    async def run() -> None:
        agent = {"n": 0}
        timeline.append(agent)
        async with autosave(agent, timeline, labels={"run": "7"}) as block:
            await block.save()
            await block.save(labels={"good": "yes"})
        assert len(list(timeline)) == 1
        # The labels of the run belong to the steps that it appends.
        assert timeline.at().labels == {"good": "yes"}

    asyncio.run(run())


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), asyncio.CancelledError(), SystemExit(3)])
@pytest.mark.parametrize("is_changed", [True, False])
def test_an_exception_saves_the_state(
    timeline: persist.Timeline, autosave: Entering, error: BaseException, is_changed: bool
) -> None:
    async def run() -> None:
        agent = {"n": 0}
        with pytest.raises(type(error)) as raised:
            async with autosave(agent, timeline) as block:
                await block.save()
                agent["n"] = int(is_changed)
                raise error
        assert raised.value is error
        assert notes_of(error) == []
        assert timeline.load() == agent
        assert timeline.at().number == 1 + is_changed
        assert timeline.at().labels == {"exception": type(error).__name__}

    asyncio.run(run())


def test_a_generator_that_is_closed_saves_its_state(timeline: persist.Timeline) -> None:
    agent = {"n": 0}

    def works() -> Generator[int, None, None]:
        with persist.autosave(agent, timeline):
            for agent["n"] in itertools.count(1):
                yield agent["n"]

    working = works()
    assert [next(working), next(working)] == [1, 2]
    working.close()
    assert timeline.load() == {"n": 2}
    assert timeline.at().labels == {"exception": "GeneratorExit"}


def test_a_cancelled_task_saves_its_state(timeline: persist.Timeline) -> None:
    agent = {"n": 0}

    async def works(entered: asyncio.Event) -> None:
        async with persist.autosave(agent, timeline.to_async()):
            agent["n"] = 1
            entered.set()
            await asyncio.Event().wait()

    async def run() -> None:
        entered = asyncio.Event()
        task = asyncio.ensure_future(works(entered))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert timeline.load() == {"n": 1}
    assert timeline.at().labels == {"exception": "CancelledError"}


def test_captured_states_wait_up_to_a_bound(timeline: persist.Timeline, gate: Gate) -> None:
    agent, captured = {"n": 0}, threading.Semaphore(0)

    def works() -> None:
        with persist.autosave(agent, timeline, pending=3) as saver:
            for agent["n"] in range(1, 8):
                saver.save()
                captured.release()

    gate.close()
    thread = threading.Thread(target=works)
    thread.start()
    gate.wait()
    # One is being appended, and three wait.
    for _ in range(4):
        assert captured.acquire(timeout=60)
    assert not captured.acquire(timeout=0.2)
    gate.open.set()
    thread.join()
    assert [state["n"] for state in states(timeline)] == [1, 2, 3, 4, 5, 6, 7]


def test_waiting_for_room_does_not_stop_other_tasks(timeline: persist.Timeline, gate: Gate) -> None:
    agent, captured = {"n": 0}, []

    async def works() -> None:
        async with persist.autosave(agent, timeline.to_async(), pending=1) as saver:
            for agent["n"] in range(1, 5):
                await saver.save()
                captured.append(agent["n"])

    async def run() -> None:
        gate.close()
        task = asyncio.ensure_future(works())
        await asyncio.to_thread(gate.wait)
        while len(captured) < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)
        assert captured == [1, 2]
        gate.open.set()
        await task

    asyncio.run(run())
    assert [state["n"] for state in states(timeline)] == [1, 2, 3, 4]


def test_bytes_that_wait_are_bounded_too(
    timeline: persist.Timeline, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _autosave_thread.MAX_WAITING == 64 * 1024 * 1024
    monkeypatch.setattr(_autosave_thread, "MAX_WAITING", 3000)
    captured = threading.Semaphore(0)

    def works() -> None:
        with persist.autosave(b"", timeline, pending=100) as saver:
            # Any one may wait, whatever its size.
            for number, size in enumerate([1000, 9000, 1000, 1000, 1000, 1000]):
                saver.save(bytes([number]) * size)
                captured.release()

    gate.close()
    thread = threading.Thread(target=works)
    thread.start()
    gate.wait()
    for _ in range(2):
        assert captured.acquire(timeout=60)
    assert not captured.acquire(timeout=0.2)
    gate.open.set()
    thread.join()
    assert [len(state) for state in states(timeline)] == [1000, 9000, 1000, 1000, 1000, 1000]


def test_threads_save_the_newest_state_last(timeline: persist.Timeline) -> None:
    agent = {"n": 0}
    lock = threading.Lock()

    def works() -> None:
        for _ in range(25):
            with lock:
                agent["n"] += 1
            saver.save()

    with persist.autosave(agent, timeline) as saver:
        threads = [threading.Thread(target=works) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    numbers = [state["n"] for state in states(timeline)]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 100


def test_tasks_save_the_newest_state_last(timeline: persist.Timeline) -> None:
    agent = {"n": 0}

    async def run() -> None:
        async def works() -> None:
            for _ in range(25):
                agent["n"] += 1
                await saver.save()

        async with persist.autosave(agent, timeline.to_async()) as saver:
            await asyncio.gather(*(works() for _ in range(4)))

    asyncio.run(run())
    numbers = [state["n"] for state in states(timeline)]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 100
