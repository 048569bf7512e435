"""Autosave when something fails: no failure is lost, and the next state is tried again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import persist
import pytest
from autosaves import Bot, BotAdapter, Entering, Gate, autosave, gate, notes_of, states, storage_failed, timeline, tried
from persist import _autosave_base, _saving

__all__ = ["autosave", "gate", "timeline"]  # Fixtures.


def test_a_failure_is_raised_once_at_the_next_save(timeline: persist.Timeline, autosave: Entering, gate: Gate) -> None:
    async def run() -> None:
        agent = {"n": 1}
        failure = storage_failed()
        async with autosave(agent, timeline) as block:
            gate.fail(failure)
            await block.save()
            tried(block.saver)
            agent["n"] = 2
            with pytest.raises(persist.PersistStorageError, match="the disk failed") as raised:
                await block.save()
            assert raised.value is failure
            agent["n"] = 3
            await block.save()
        # The state of the save that raised is there as well.
        assert [state["n"] for state in states(timeline)] == [2, 3]

    asyncio.run(run())


def test_the_same_state_is_tried_again_after_a_failure(
    timeline: persist.Timeline, autosave: Entering, gate: Gate
) -> None:
    async def run() -> None:
        async with autosave({"n": 1}, timeline) as block:
            gate.fail(storage_failed())
            await block.save()
            with pytest.raises(persist.PersistStorageError, match="the disk failed"):
                await block.flush()
        assert states(timeline) == [{"n": 1}]

    asyncio.run(run())


def test_a_failure_is_raised_at_the_end(timeline: persist.Timeline, autosave: Entering, gate: Gate) -> None:
    async def run() -> None:
        agent = {"n": 1}
        with pytest.raises(persist.PersistStorageError, match="the disk failed"):
            async with autosave(agent, timeline) as block:
                gate.fail(storage_failed())
                await block.save()
        # The last state was tried again.
        assert states(timeline) == [{"n": 1}]
        with pytest.raises(persist.PersistStorageError, match="the first") as raised:
            async with autosave(agent, timeline) as block:
                gate.fail(storage_failed("the first"), storage_failed("the second"))
                agent["n"] = 2
                await block.save()
        assert notes_of(raised.value) == ["autosave failed more than once: PersistStorageError: the second"]
        assert states(timeline) == [{"n": 1}]

    asyncio.run(run())


def test_a_failure_is_a_note_of_the_programs_own_exception(
    timeline: persist.Timeline, autosave: Entering, gate: Gate
) -> None:
    async def run() -> None:
        error = ValueError("of the program")
        warns = pytest.warns(persist.PersistWarning, match="not save a state: PersistStorageError: the disk failed")
        with warns, pytest.raises(ValueError, match="of the program") as raised:
            async with autosave({"n": 1}, timeline):
                gate.fail(storage_failed())
                raise error
        assert raised.value is error
        assert notes_of(error) == ["autosave could not save a state: PersistStorageError: the disk failed"]

    asyncio.run(run())
    assert states(timeline) == []


def test_a_state_that_cannot_be_saved_is_refused_where_it_is_captured(
    timeline: persist.Timeline, autosave: Entering
) -> None:
    async def run() -> None:
        agent: dict[str, Any] = {"n": 1}
        async with autosave(agent, timeline) as block:
            agent["n"] = object()
            with pytest.raises(persist.PersistTypeError, match="object can't be saved"):
                await block.save()
            agent["n"] = 2
        assert states(timeline) == [{"n": 2}]
        with pytest.raises(persist.PersistTypeError, match="object can't be saved"):
            async with autosave(agent, timeline):
                agent["n"] = object()

    asyncio.run(run())


def test_many_failures_are_counted(timeline: persist.Timeline, autosave: Entering, gate: Gate) -> None:
    async def run() -> None:
        agent = {"n": 0}
        gate.close()
        gate.fail(*(storage_failed(f"failure {number}") for number in range(20)))
        with pytest.raises(persist.PersistStorageError, match="failure 0") as raised:
            async with autosave(agent, timeline, pending=20) as block:
                for agent["n"] in range(20):
                    await block.save()
                gate.open.set()
        notes = notes_of(raised.value)
        assert [note.startswith("autosave failed more than once: PersistStorageError: ") for note in notes] == [
            True
        ] * 7
        assert notes_of(raised.value)
        assert states(timeline) == [{"n": 19}]

    asyncio.run(run())


def test_a_conflict_is_raised_whatever_else_failed(timeline: persist.Timeline, autosave: Entering, gate: Gate) -> None:
    async def run() -> None:
        agent = {"n": 0}
        conflict = persist.PersistConflictError("somebody else has appended", "conflict", hint="load the newest step")
        gate.close()
        gate.fail(*(storage_failed() for _ in range(9)), conflict)
        with pytest.raises(persist.PersistConflictError) as raised:
            async with autosave(agent, timeline, pending=20) as block:
                for agent["n"] in range(12):
                    await block.save()
                gate.open.set()
                tried(block.saver)
        assert raised.value is conflict
        assert states(timeline) == []

    asyncio.run(run())


@pytest.mark.parametrize("kind", [persist.PersistNotDurableError, persist.PersistOutcomeUnknownError])
def test_a_state_that_was_stored_all_the_same_is_not_stored_twice(
    timeline: persist.Timeline, autosave: Entering, monkeypatch: pytest.MonkeyPatch, kind: type[persist.PersistError]
) -> None:
    append: Any = persist.Timeline._append

    def stored_but(*arguments: Any) -> Any:
        append(*arguments)
        raise kind("the state may be lost", hint="look")

    async def run() -> None:
        for cls in (persist.Timeline, persist.AsyncTimeline):
            monkeypatch.setattr(cls, "_append", stored_but)
        async with autosave({"n": 1}, timeline) as block:
            await block.save()
            with pytest.raises(kind, match="may be lost"):
                await block.flush()

    asyncio.run(run())
    assert states(timeline) == [{"n": 1}]


def test_another_writer_is_a_conflict(timeline: persist.Timeline, autosave: Entering) -> None:
    async def run() -> None:
        agent = {"n": 1}
        other = persist.Timeline("agents", session_id="1")
        with pytest.raises(persist.PersistConflictError) as conflict:
            async with autosave(agent, timeline) as block:
                await block.save()
                await block.flush()
                other.append({"n": "of the other"})
                agent["n"] = 2
                await block.save()
                tried(block.saver)
                agent["n"] = 3
                await block.save()
        assert conflict.value.facts["number"] == "2"
        # Nothing comes after the step of the other writer.
        assert [state["n"] for state in states(timeline)] == [1, "of the other"]
        with pytest.raises(persist.PersistConflictError):
            async with autosave(agent, timeline) as block:
                await block.save()
                await block.flush()
                other.append({"n": "again"}, on_conflict="rebase")
                agent["n"] = 4
        assert [state["n"] for state in states(timeline)] == [1, "of the other", 3, "again"]

    asyncio.run(run())


def test_a_program_may_go_on_after_a_conflict(timeline: persist.Timeline, autosave: Entering) -> None:
    async def run() -> None:
        agent = {"n": 1}
        async with autosave(agent, timeline) as block:
            await block.save()
            await block.flush()
            persist.Timeline("agents", session_id="1").append({"n": "of the other"})
            agent["n"] = 2
            await block.save()
            with pytest.raises(persist.PersistConflictError):
                await block.flush()
            agent.update(timeline.load(), seen=True)
            await block.save()

    asyncio.run(run())
    assert states(timeline) == [{"n": 1}, {"n": "of the other"}, {"n": "of the other", "seen": True}]


class Clumsy(Bot):
    """An agent whose framework calls its hooks once more when one of them fails."""

    def hear(self, text: str) -> None:
        try:
            super().hear(text)
        finally:
            self.history.append("the end")
            for hook in self.hooks:
                hook()


class ClumsyAdapter(BotAdapter):
    name = "clumsy"

    def accepts(self, agent: Any) -> bool:
        return isinstance(agent, Clumsy)


def test_hooks_do_not_go_on_after_a_conflict(timeline: persist.Timeline, autosave: Entering) -> None:
    persist.register_adapter(ClumsyAdapter())

    async def run() -> None:
        bot = Clumsy()
        with pytest.raises(persist.PersistConflictError):
            async with autosave(bot, timeline, every=0.001) as block:
                bot.hear("a")
                await block.flush()
                persist.Timeline("agents", session_id="1").append(["of the other"], on_conflict="rebase")
                bot.history.append("b")
                tried(block.saver)
                while not block.saver._appending.is_refused:
                    await asyncio.sleep(0.001)
                bot.hear("c")
        assert timeline.load(plain=True) == ["of the other"]

    asyncio.run(run())


def test_rebase_appends_after_another_writer(timeline: persist.Timeline, autosave: Entering) -> None:
    async def run() -> None:
        agent = {"n": 1}
        async with autosave(agent, timeline, on_conflict="rebase") as block:
            await block.save()
            await block.flush()
            persist.Timeline("agents", session_id="1").append({"n": "of the other"})
            agent["n"] = 2
            await block.save()
        assert [state["n"] for state in states(timeline)] == [1, "of the other", 2]

    asyncio.run(run())


class Quiet(BotAdapter):
    """A framework that ignores what its hooks raise."""

    name = "quiet"

    def watch(self, agent: Any, watcher: Any) -> Any:
        agent.hooks.append(watcher.quiet_step)
        return agent.hooks.clear

    def accepts(self, agent: Any) -> bool:
        return isinstance(agent, QuietBot)


class QuietBot(Bot):
    pass


def test_a_framework_that_ignores_errors_does_not_hide_them(
    timeline: persist.Timeline, autosave: Entering, gate: Gate
) -> None:
    persist.register_adapter(Quiet())

    async def run() -> None:
        bot = QuietBot()
        with pytest.raises(persist.PersistTypeError, match="object can't be saved") as raised:
            async with autosave(bot, timeline) as block:
                gate.fail(storage_failed())
                bot.hear("a")
                tried(block.saver)
                bot.hear("b")
                with pytest.raises(persist.PersistStorageError, match="the disk failed"):
                    await block.flush()
                bot.hear(object())  # type: ignore[arg-type]
                bot.history.pop()
        assert raised.value.hint
        assert states(timeline) == [["a", "b"]]

    asyncio.run(run())


def test_the_timer_captures_what_changed(timeline: persist.Timeline, autosave: Entering, gate: Gate) -> None:
    async def run() -> None:
        agent = {"n": 0}
        async with autosave(agent, timeline, every=0.01):
            for agent["n"] in (1, 2, 3):
                await asyncio.to_thread(gate.wait)
        assert gate.arrived.acquire(blocking=False) is False

    asyncio.run(run())
    # It may also have seen a number before it changed.
    found = [state["n"] for state in states(timeline)]
    assert set(found) >= {1, 2, 3}
    assert found == sorted(found)


def test_the_timer_waits_while_it_is_held(timeline: persist.Timeline, autosave: Entering, gate: Gate) -> None:
    async def run() -> None:
        agent = {"n": 0, "twice": 0}
        async with autosave(agent, timeline, every=0.001) as block:
            for number in range(1, 30):
                with block.saver.hold(), block.saver.hold():
                    agent["n"] = number
                    await asyncio.sleep(0.002)
                    agent["twice"] = 2 * number
                await asyncio.to_thread(gate.wait)

    asyncio.run(run())
    assert all(state["twice"] == 2 * state["n"] for state in states(timeline))


def test_the_timer_tries_an_agent_again_that_changes_meanwhile(
    timeline: persist.Timeline, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    encoded: Callable[..., Any] = _saving.encoded
    failures: list[Exception] = [
        RuntimeError("dictionary changed size during iteration"),
        persist.PersistError("the state was changed while it was being saved"),
    ]

    async def changing(agent: Any, options: Any, is_async: bool = True) -> Any:
        if failures and threading.current_thread() is not threading.main_thread():
            raise failures.pop()
        return await encoded(agent, options, is_async)

    monkeypatch.setattr(_autosave_base, "encoded", changing)
    with persist.autosave({"n": 1}, timeline, every=0.001):
        gate.wait()
    assert failures == []
    assert states(timeline) == [{"n": 1}]


def test_a_timer_that_fails_is_reported(timeline: persist.Timeline, autosave: Entering) -> None:
    async def run() -> None:
        agent: dict[str, Any] = {"n": object()}
        with pytest.raises(persist.PersistTypeError, match="object can't be saved"):
            async with autosave(agent, timeline, every=0.001) as block:
                while not block.saver._appending._failures:
                    await asyncio.sleep(0.001)
                agent["n"] = 1
        assert states(timeline) == [{"n": 1}]

    asyncio.run(run())


def test_a_save_in_a_thread_does_not_wait_for_the_event_loop(timeline: persist.Timeline) -> None:
    """A hook that is not async runs in the thread of a loop in which a task captures."""
    agent = {"n": 0}

    async def run() -> None:
        async with persist.autosave(agent, timeline.to_async()) as saver:
            await saver._bell.wait_async(lambda: saver._turn.acquire(blocking=False))
            saver._in_loop = threading.get_ident()
            agent["n"] = 1
            saver._watcher.step()
            saver._in_loop = None
            saver._turn.release()
            agent["n"] = 2

    asyncio.run(run())
    assert [state["n"] for state in states(timeline)] == [1, 2]
