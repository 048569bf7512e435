"""Autosave as its users see it: the steps of an agent while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Generator
from datetime import datetime, timedelta, timezone
from typing import Any

import persist
import pytest
from autosaves import Gate, notes_of, storage_failed, tried
from forks import IN_CHILD
from persist import _autosave_thread


@pytest.fixture
def timeline() -> persist.Timeline:
    return persist.Timeline("agents", session_id="1")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


class Block:
    """A block of autosave for a test that runs with both kinds of timelines."""

    def __init__(self, saver: Any) -> None:
        self.saver = saver

    async def save(self, *arguments: Any, **options: Any) -> None:
        done = self.saver.save(*arguments, **options)
        if done is not None:
            await done

    async def flush(self) -> None:
        done = self.saver.flush()
        if done is not None:
            await done


Entering = Any


@pytest.fixture(params=["with", "async with"])
def autosave(request: pytest.FixtureRequest) -> Entering:
    """Returns a function that enters a block, with the protocol of this run of the test."""

    @contextlib.asynccontextmanager
    async def enter(agent: Any, timeline: persist.Timeline, *arguments: Any, **options: Any) -> AsyncIterator[Block]:
        if request.param == "with":
            with persist.autosave(agent, timeline, *arguments, **options) as saver:
                yield Block(saver)
        else:
            async with persist.autosave(agent, timeline.to_async(), *arguments, **options) as twin:
                yield Block(twin)

    return enter


def states(timeline: persist.Timeline) -> list[Any]:
    """Returns the states of all steps, the oldest first."""
    return [step.load(plain=True) for step in reversed(list(timeline))]


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


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"every": 0}, persist.PersistConfigurationError, "every must be more than 0 and finite, not 0"),
    ({"every": float("nan")}, persist.PersistConfigurationError, "not nan"),
    ({"every": float("inf")}, persist.PersistConfigurationError, "not inf"),
    ({"every": timedelta(-1)}, persist.PersistConfigurationError, "not -1 day"),
    ({"every": "30s"}, persist.PersistTypeError, "every must be a number of seconds or a timedelta, not str"),
    ({"every": True}, persist.PersistTypeError, "not bool"),
    ({"pending": 0}, persist.PersistConfigurationError, "pending must be an int of at least 1, not 0"),
    ({"pending": 1.5}, persist.PersistConfigurationError, "not 1.5"),
    ({"on_conflict": "merge"}, persist.PersistConfigurationError, "'fail' or 'rebase', not 'merge'"),
    ({"labels": {"a": 1}}, persist.PersistTypeError, "labels must be a dict of str, not {'a': 1}"),
    ({"signals": 1}, persist.PersistTypeError, "signals must be a bool, not int"),
    ({"compression": "gzip"}, persist.PersistTypeError, "unknown argument 'compression'"),
    ({"timestamp": "2026-01-01T00:00:00Z"}, persist.PersistTypeError, "unknown argument 'timestamp'"),
]


@pytest.mark.parametrize(("options", "kind", "message"), WRONG, ids=str)
def test_wrong_arguments_are_refused(
    timeline: persist.Timeline, options: dict[str, Any], kind: type[persist.PersistError], message: str
) -> None:
    for place in (timeline, timeline.to_async()):
        with pytest.raises(kind, match=message) as wrong:
            persist.autosave({}, place, **options)
        assert wrong.value.hint


def test_the_wrong_protocol_is_refused(timeline: persist.Timeline) -> None:
    wrong: Any = persist.autosave({}, timeline.to_async())
    with pytest.raises(persist.PersistTypeError, match="is entered by `async with`, not by `with`") as refused, wrong:
        pass
    assert "timeline.to_sync()" in str(refused.value.hint)

    async def run() -> None:
        wrong: Any = persist.autosave({}, timeline)
        with pytest.raises(persist.PersistTypeError, match="is entered by `with`, not by `async with`") as refused:
            async with wrong:
                pass
        assert "timeline.to_async()" in str(refused.value.hint)

    asyncio.run(run())
    not_a_timeline: Any = persist.Store("agents")
    with pytest.raises(persist.PersistTypeError, match="must be a Timeline or an AsyncTimeline, not Store"):
        persist.autosave({}, not_a_timeline)
    assert list(timeline) == []


def test_a_block_is_entered_once(timeline: persist.Timeline, autosave: Entering) -> None:
    async def run() -> None:
        async with autosave({}, timeline) as block:
            saver = block.saver
            assert repr(saver).endswith(", open, 0 steps, 0 waiting>")
            with pytest.raises(persist.PersistConfigurationError, match="already entered, and is open"):
                await again(saver)
        assert repr(saver).startswith(f"<{type(saver).__name__}: dict to {type(saver._timeline).__name__}('agents', ")
        assert repr(saver).endswith(", closed, 1 steps, 0 waiting>")
        with pytest.raises(persist.PersistConfigurationError, match="already entered, and is closed"):
            await again(saver)
        for use in (block.save, block.flush):
            with pytest.raises(persist.PersistConfigurationError, match="this autosave is closed") as closed:
                await use()
            assert closed.value.hint

    async def again(saver: Any) -> None:
        if isinstance(saver, persist.Autosaver):
            saver.__enter__()
        else:
            await saver.__aenter__()

    asyncio.run(run())
    with pytest.raises(persist.PersistConfigurationError, match="this autosave is not entered"):
        persist.autosave({}, timeline).save()


def test_plain_values_have_no_hook(timeline: persist.Timeline) -> None:
    with (
        persist.autosave({}, timeline) as saver,
        pytest.raises(persist.PersistConfigurationError, match="no hook to pass on for a dict") as none,
    ):
        saver.hook  # noqa: B018
    assert none.value.hint == "call saver.save() after each step"


class Bot:
    """An agent of a framework with hooks."""

    def __init__(self) -> None:
        self.history: list[str] = []
        self.hooks: list[Any] = []

    def hear(self, text: str) -> None:
        self.history.append(text)
        for hook in self.hooks:
            hook()


class BotAdapter(persist.Adapter):
    name = "hooked"
    package = "pytest"
    module = "pytest"

    def accepts(self, agent: Any) -> bool:
        return type(agent) is Bot

    def save(self, agent: Any) -> Any:
        return agent.history

    def restore(self, state: Any, into: Any = None) -> Any:
        into.history = state
        return into

    def watch(self, agent: Any, watcher: Any) -> Any:
        agent.hooks.append(watcher.step)
        return lambda: agent.hooks.remove(watcher.step)


def test_an_adapter_tells_of_each_step(timeline: persist.Timeline, autosave: Entering, gate: Gate) -> None:
    persist.register_adapter(BotAdapter())

    async def run() -> None:
        bot = Bot()
        async with autosave(bot, timeline) as block:
            bot.hear("a")
            bot.hear("b")
            tried(block.saver)
            gate.fail(storage_failed())
            bot.hear("c")
            tried(block.saver)
            with pytest.raises(persist.PersistStorageError, match="the disk failed"):
                bot.hear("d")
            with pytest.raises(persist.PersistConfigurationError, match="no hook to pass on for a Bot") as none:
                block.saver.hook  # noqa: B018
            assert none.value.hint == "each step is saved without it"
            another = Bot()
            await block.save(another)
            assert bot.hooks == []
            another.hear("e")
        assert another.hooks == []
        another.hear("after the end")

    asyncio.run(run())
    assert states(timeline) == [["a"], ["a", "b"], ["a", "b", "c", "d"], [], ["e"]]


FORKS = (
    IN_CHILD
    + """
import asyncio, signal, sys, persist

agent = {"n": 1}
timeline = persist.Timeline("agents", session_id="1")

def goes_on(saver):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    agent["n"] = 2
    try:
        saver.save()
    except persist.PersistConfigurationError as error:
        assert "belongs to the parent process" in str(error), error
    else:
        raise AssertionError("it saved")
    saver.__exit__(None, None, None)
    with saver.hold():
        pass
    # A block of its own.
    with persist.autosave(agent, persist.Timeline("agents", session_id="2")) as own:
        own.save()

def dies(saver):
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()

with persist.autosave(agent, timeline, every=0.001) as saver:
    saver.save()
    for _ in range(20):
        in_child(lambda: goes_on(saver))
        agent["n"] += 1
    child = os.fork()
    if child == 0:
        dies(saver)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM

async def main():
    async with persist.autosave(agent, timeline.to_async()) as saver:
        agent["n"] += 1
        child = os.fork()
        if child == 0:
            dies(saver)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
        await saver.save()

asyncio.run(main())
assert timeline.load() == {"n": 22}, timeline.load()
assert timeline.at().labels == {}
assert persist.Timeline("agents", session_id="2").load() == {"n": 2}
print("all worked")
"""
)


def test_a_child_process_leaves_the_block_alone() -> None:
    run = [sys.executable, "-W", "ignore", "-c", FORKS]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, env={**os.environ})
    assert (done.returncode, done.stdout) == (0, "all worked\n"), done.stderr
