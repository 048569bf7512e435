"""What the tests of autosave share: a timeline whose storage can be slow or fail, and a program
that is ended in the middle.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import persist
import pytest


class Gate:
    """Stands in front of the appends of all timelines: it lets them wait or fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.open.set()
        self.arrived = threading.Semaphore(0)
        """Released by each append that comes to the gate."""
        self.failures: list[BaseException] = []
        """What the next appends raise."""
        for cls in (persist.Timeline, persist.AsyncTimeline):
            append: Any = cls._append

            def gated(timeline: Any, *arguments: Any, append: Any = append, **options: Any) -> Any:
                self.arrived.release()
                assert self.open.wait(60)
                if self.failures:
                    raise self.failures.pop(0)
                return append(timeline, *arguments, **options)

            monkeypatch.setattr(cls, "_append", gated)

    def close(self) -> None:
        """Lets appends wait until :meth:`Event.set` of ``open``."""
        self.open.clear()

    def fail(self, *failures: BaseException) -> None:
        """Lets the next appends fail."""
        self.failures.extend(failures)

    def wait(self) -> None:
        """Waits until one more append has come to the gate."""
        assert self.arrived.acquire(timeout=60)


def storage_failed(text: str = "the disk failed") -> persist.PersistStorageError:
    """Returns an error of a storage."""
    return persist.PersistStorageError(text, "io", hint="look at the disk")


def notes_of(error: BaseException) -> list[str]:
    """Returns the notes of an exception, without those that every error of this package has."""
    notes = getattr(error, "__notes__", [])
    return [note for note in notes if not note.startswith(("location: ", "hint: "))]


def tried(saver: Any) -> None:
    """Waits until autosave has tried to append everything that was captured."""
    saver._appending.wait(saver._appending.mark())


COUNTS = """
import asyncio, sys, persist

state = {"n": 0, "text": "x" * int(sys.argv[2])}
timeline = persist.Timeline("agents", session_id="1")

def told():
    sys.stdout.write(f"{state['n']}\\n")
    sys.stdout.flush()

def counts():
    with persist.autosave(state, timeline, pending=4) as saver:
        while True:
            state["n"] += 1
            saver.save()
            told()

async def counts_async():
    async with persist.autosave(state, timeline.to_async(), pending=4) as saver:
        while True:
            state["n"] += 1
            await saver.save()
            told()

asyncio.run(counts_async()) if sys.argv[1] == "async" else counts()
"""
"""A program that counts, and prints each number after its state was captured."""

ENDED = """
import asyncio, os, signal, sys, threading, time, persist

agent = {"n": 0}
timeline = persist.Timeline("agents", session_id="1")

def ready():
    print("ready", flush=True)

def wait():
    ready()
    while True:
        time.sleep(0.1)

async def wait_async():
    ready()
    await asyncio.Event().wait()
"""
"""The beginning of a program that is ended by a signal after it has printed ``ready``."""


@pytest.fixture
def timeline() -> persist.Timeline:
    """Returns an empty timeline."""
    return persist.Timeline("agents", session_id="1")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Returns the gate of this test."""
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
    """Saves and watches a :class:`Bot`."""

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
