"""Autosave in programs that end inside the block."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import persist
import pytest
from autosaves import Gate, gate, storage_failed

__all__ = ["gate"]  # A fixture.


IN_GENERATOR = """
import persist
agent = {"n": 0}

def steps():
    with persist.autosave(agent, persist.Timeline("agents", session_id="1")) as saver:
        while True:
            agent["n"] += 1
            saver.save()
            yield

generator = steps()
next(generator)
agent["n"] += 1
"""

NEVER_LEFT = """
import persist
agent = {"n": 2}
saver = persist.autosave(agent, persist.Timeline("agents", session_id="1")).__enter__()
saver.save()
"""


IN_TASK = """
import asyncio, persist

async def states():
    agent = {"n": 2}
    async with persist.autosave(agent, persist.AsyncTimeline("agents", session_id="1")) as saver:
        await saver.save()
        yield
        await asyncio.sleep(60)

async def main():
    async for _ in states():
        break

asyncio.run(main())
"""


@pytest.mark.parametrize("program", [IN_GENERATOR, NEVER_LEFT, IN_TASK])
def test_a_program_that_ends_inside_the_block_ends_and_loses_nothing(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert persist.Timeline("agents", session_id="1").load() == {"n": 2}


def test_what_could_not_be_saved_at_the_end_is_a_warning() -> None:
    program = NEVER_LEFT + 'agent["n"] = object()\n'
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "PersistWarning: autosave could not save a state: PersistTypeError" in done.stderr
    assert persist.Timeline("agents", session_id="1").load() == {"n": 2}


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("ends", ["normally", "by cancelling"])
def test_a_task_that_is_cancelled_again_at_the_end_of_its_block_loses_nothing(
    gate: Gate, times: int, ends: str
) -> None:
    timeline = persist.AsyncTimeline("agents", session_id="1")

    async def works(agent: dict[str, Any]) -> None:
        async with persist.autosave(agent, timeline) as saver:
            await saver.save()
            agent["n"] = 2
            if ends == "by cancelling":
                await asyncio.Event().wait()

    async def run() -> None:
        gate.close()
        task = asyncio.ensure_future(works({"n": 1}))
        await asyncio.to_thread(gate.wait)
        for _ in range(times):
            task.cancel()
            # The task comes to its next await.
            for _ in range(5):
                await asyncio.sleep(0)
        assert not task.done()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert timeline.to_sync().load() == {"n": 2}


def test_a_failure_is_a_warning_if_the_task_is_cancelled_meanwhile(gate: Gate) -> None:
    timeline = persist.AsyncTimeline("agents", session_id="1")

    async def works() -> None:
        async with persist.autosave({"n": 1}, timeline):
            pass

    async def run() -> None:
        gate.close()
        gate.fail(storage_failed())
        task = asyncio.ensure_future(works())
        await asyncio.to_thread(gate.wait)
        task.cancel()
        await asyncio.sleep(0)
        gate.open.set()
        with pytest.warns(persist.PersistWarning, match="the disk failed"), pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
