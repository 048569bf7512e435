"""Autosave in programs that end inside the block."""

from __future__ import annotations

import subprocess
import sys

import persist
import pytest

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
