"""How autosave is called: wrong uses, hooks of frameworks, and child processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import persist
import pytest
from autosaves import Bot, BotAdapter, Entering, Gate, autosave, gate, states, storage_failed, timeline, tried
from forks import IN_CHILD

__all__ = ["autosave", "gate", "timeline"]  # Fixtures.


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
    with (
        pytest.raises(persist.PersistTypeError, match="must be entered with `async with`, not `with`") as refused,
        wrong,
    ):
        pass
    assert "timeline.to_sync()" in str(refused.value.hint)

    async def run() -> None:
        wrong: Any = persist.autosave({}, timeline)
        with pytest.raises(persist.PersistTypeError, match="must be entered with `with`, not `async with`") as refused:
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
