"""Tasks that are cancelled while the package does their work."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import persist
import pytest
from cancelling import raised_in
from storages import DictStorage


class Slow(DictStorage):
    """A storage that waits before it stores or reads until the test lets it continue."""

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.go_on = threading.Event(), threading.Event()

    def open_write(self, key: str) -> Any:
        self.waits.set()
        self.go_on.wait(20)
        return super().open_write(key)

    def open_read(self, key: str) -> Any:
        self.waits.set()
        self.go_on.wait(20)
        return super().open_read(key)


CALLS: list[Callable[[persist.AsyncStore], Awaitable[Any]]] = [
    lambda store: store.snapshot({"a": 2}, "new"),
    lambda store: store.save_bytes(b"b", "new"),
    lambda store: store.restore("old"),
    lambda store: store.load_bytes("old"),
    lambda store: store.verify("old"),
    lambda store: store.metadata("old"),
    lambda store: store.delete("old"),
    lambda store: store.list(),
]


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_work_that_has_not_started_is_cancelled_at_once(number: int) -> None:
    async def cancelled() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
        store = persist.AsyncStore("memory://cancelled")
        await store.snapshot({"a": 1}, "old")
        release = threading.Event()
        busy = loop.run_in_executor(None, release.wait, 20)
        began = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(CALLS[number](store), 0.1)
        took = time.monotonic() - began
        release.set()
        await busy
        # The work does not start later either.
        await asyncio.sleep(0.05)
        assert await store.restore("old") == {"a": 1}
        assert not await store.exists("new")
        assert took < 5

    asyncio.run(cancelled())


async def ends_when_cancelled(task: asyncio.Future[Any]) -> None:
    """Cancels a task, which has to end at once and not when its work continues."""
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert time.monotonic() - began < 5


def test_a_second_cancel_ends_the_task_at_once() -> None:
    async def cancelled() -> None:
        storage = Slow()
        task = asyncio.ensure_future(persist.AsyncStore(storage).snapshot({"a": 1}, "x"))
        while not storage.waits.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.1)
        assert not task.done(), "the task waits for the outcome"
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as ended:
            await task
        storage.go_on.set()
        assert isinstance(raised_in(ended).__cause__, persist.PersistOutcomeUnknownError)

    asyncio.run(cancelled())


def test_closing_after_a_cancelled_read_does_not_block_other_tasks() -> None:
    async def cancelled() -> None:
        storage = Slow()
        storage.go_on.set()
        store = persist.AsyncStore(storage)
        await store.save_bytes(b"x" * 100_000, "x")
        async with store.open("x") as other:
            assert len(await other.read()) == 100_000
        storage.go_on.clear()
        storage.waits.clear()

        async def reads() -> None:
            async with store.open("x") as file:
                await file.read()

        task = asyncio.ensure_future(reads())
        while not storage.waits.is_set():
            await asyncio.sleep(0.01)
        await ends_when_cancelled(task)
        storage.go_on.set()

    asyncio.run(cancelled())


def test_a_writer_that_is_cancelled_while_it_closes_stores_nothing() -> None:
    async def cancelled() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
        store = persist.AsyncStore("memory://left")
        release = threading.Event()

        async def writes() -> None:
            async with store.open("x", "wb") as file:
                await file.write(b"x")
                loop.run_in_executor(None, release.wait, 20)

        task = asyncio.ensure_future(writes())
        await asyncio.sleep(0.3)
        assert not task.done()
        await ends_when_cancelled(task)
        release.set()
        await asyncio.sleep(0.05)
        assert not await store.exists("x")

    asyncio.run(cancelled())


async def cancelled_at_work(call: Awaitable[Any]) -> None:
    """Cancels a call that waits for the only thread, which is busy until the call has ended."""
    release = threading.Event()
    busy = asyncio.get_running_loop().run_in_executor(None, release.wait, 20)
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    await busy


def test_a_file_refuses_calls_after_a_cancelled_one() -> None:
    async def cancelled() -> None:
        asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
        store = persist.AsyncStore("memory://refuses")
        await store.save_bytes(b"x" * 2_000_000, "x", level=1)
        async with store.open("x") as file:
            await cancelled_at_work(file.read(1 << 20))
            with pytest.raises(persist.PersistError, match="the position in the file is unknown"):
                await file.read()
        with pytest.raises(persist.PersistError, match="the position in the file is unknown"):
            async with store.open("y", "wb") as writer:
                await cancelled_at_work(writer.write(b"x" * 10))
                await writer.write(b"y" * 10)
        with pytest.raises(persist.PersistError, match="nothing was stored") as left:
            async with store.open("z", "wb") as writer:
                await cancelled_at_work(writer.write(b"x" * 10))
        assert left.value.hint
        assert not await store.exists("y")
        assert not await store.exists("z")

    asyncio.run(cancelled())


def test_calls_on_a_file_take_turns() -> None:
    async def at_once() -> None:
        store = persist.AsyncStore("memory://turns")
        for _ in range(20):
            async with store.open("x", "wb") as file:
                await asyncio.gather(*(file.write(bytes([number])) for number in range(100)))
            assert await store.load_bytes("x") == bytes(range(100))
            async with store.open("x") as file:
                read = await asyncio.gather(*(file.read(1) for _ in range(100)))
            assert b"".join(read) == bytes(range(100))

    asyncio.run(at_once())


class Waiting(persist.Adapter):
    """An adapter whose agents are copied, and saved when the test lets it continue."""

    name = "waiting"
    package = "pytest"
    module = "pytest"

    def __init__(self) -> None:
        self.waits, self.go_on = threading.Event(), threading.Event()

    def accepts(self, agent: Any) -> bool:
        return isinstance(agent, Waiting)

    def copied(self, agent: Any) -> Any:
        return [1]

    def save(self, agent: Any) -> Any:
        self.waits.set()
        self.go_on.wait(20)
        return agent

    def restore(self, state: Any, into: Any = None) -> Any:
        return state


@pytest.mark.parametrize("times", [1, 2])
def test_a_task_cancelled_while_its_copy_is_written_stores_nothing(times: int) -> None:
    async def cancelled() -> None:
        agent = Waiting()
        persist.register_adapter(agent)
        store = persist.AsyncStore("memory://waiting")
        task = asyncio.ensure_future(store.snapshot(agent, "x"))
        while not agent.waits.is_set():
            await asyncio.sleep(0.01)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0.05)
        assert task.done() == (times == 2)
        agent.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.05)
        assert not await store.exists("x")

    asyncio.run(cancelled())
