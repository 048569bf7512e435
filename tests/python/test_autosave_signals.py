"""Autosave in programs that are ended from outside: by signals, and by ``kill -9``."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import persist
import pytest
from autosaves import COUNTS, ENDED
from effort import KILLS


def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    # Without a buffer, so that nothing that was printed stays in it.
    run = [sys.executable, "-c", program, *arguments]
    # A program that nohup has started ignores SIGHUP, and so would this one.
    return subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, preexec_fn=_default_signals)


def _default_signals() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def ended(program: str, *signals: int) -> tuple[int, str]:
    """Starts a program, and sends it one signal each time that it has printed a line. Returns how
    it ended, and what else it printed.
    """
    with start(ENDED + program) as running:
        assert running.stdout is not None
        for number in signals:
            assert running.stdout.readline() == b"ready\n", running.communicate()
            running.send_signal(number)
        output, errors = running.communicate(timeout=60)
        return running.returncode, (output + errors).decode()


def newest() -> tuple[object, dict[str, str]]:
    step = persist.Timeline("agents", session_id="1").at()
    return step.load(), step.labels


BLOCK = """
with persist.autosave(agent, timeline):
    agent["n"] = 1
    wait()
"""

ASYNC_BLOCK = """
async def main():
    async with persist.autosave(agent, timeline.to_async()):
        agent["n"] = 1
        await wait_async()
asyncio.run(main())
"""


@pytest.mark.parametrize("program", [BLOCK, ASYNC_BLOCK], ids=["with", "async with"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_the_state_and_ends_the_process(program: str, number: signal.Signals) -> None:
    assert ended(program, number) == (-number, "")
    assert newest() == ({"n": 1}, {"signal": number.name})
    # The timeline was closed: it knows its newest step.
    timeline = persist.Timeline("agents", session_id="1")
    os.rename(timeline.at().location, "kept")
    with pytest.raises(persist.PersistIntegrityError):
        timeline.at()


@pytest.mark.parametrize("program", [BLOCK, ASYNC_BLOCK], ids=["with", "async with"])
def test_a_signal_labels_a_step_that_already_has_the_state(program: str) -> None:
    persist.Timeline("agents", session_id="1").append({"n": 1})
    assert ended(program, signal.SIGTERM) == (-signal.SIGTERM, "")
    assert newest() == ({"n": 1}, {"signal": "SIGTERM"})
    assert len(list(persist.Timeline("agents", session_id="1"))) == 1


@pytest.mark.parametrize("program", [BLOCK, ASYNC_BLOCK], ids=["with", "async with"])
def test_ctrl_c_is_an_exception(program: str) -> None:
    status, printed = ended(program, signal.SIGINT)
    assert status == -signal.SIGINT
    assert "KeyboardInterrupt" in printed
    state, labels = newest()
    assert state == {"n": 1}
    assert labels["exception"] in ("KeyboardInterrupt", "CancelledError")


SWALLOWED = """
try:
    with persist.autosave(agent, timeline):
        agent["n"] = 1
        try:
            wait()
        except BaseException:
            agent["n"] = 2
finally:
    print("never")
"""

SWALLOWED_ASYNC = """
async def main():
    async with persist.autosave(agent, timeline.to_async()):
        agent["n"] = 1
        try:
            await wait_async()
        except BaseException:
            agent["n"] = 2
asyncio.run(main())
"""


@pytest.mark.parametrize("program", [SWALLOWED, SWALLOWED_ASYNC], ids=["with", "async with"])
def test_a_program_cannot_swallow_a_signal(program: str) -> None:
    assert ended(program, signal.SIGTERM) == (-signal.SIGTERM, "")
    assert newest() == ({"n": 2}, {"signal": "SIGTERM"})


NESTED = """
other = {"n": 0}
with persist.autosave(other, persist.Timeline("agents", session_id="2")):
    with persist.autosave(agent, timeline):
        agent["n"] = other["n"] = 1
        wait()
"""


def test_two_blocks_save_their_states() -> None:
    assert ended(NESTED, signal.SIGTERM) == (-signal.SIGTERM, "")
    assert newest() == ({"n": 1}, {"signal": "SIGTERM"})
    other = persist.Timeline("agents", session_id="2").at()
    assert (other.load(), other.labels) == ({"n": 1}, {"signal": "SIGTERM"})


OWN = (
    """
def handler(*arguments):
    print("of the program", flush=True)
    raise SystemExit(7)
signal.signal(signal.SIGTERM, handler)
"""
    + BLOCK
)

OWN_ASYNC = """
async def main():
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    async with persist.autosave(agent, timeline.to_async()):
        agent["n"] = 1
        ready()
        await done.wait()
    print("of the program", flush=True)
    sys.exit(7)
asyncio.run(main())
"""


@pytest.mark.parametrize(("program", "labels"), [(OWN, {"exception": "SystemExit"}), (OWN_ASYNC, {})])
def test_the_programs_own_handler_stays(program: str, labels: dict[str, str]) -> None:
    assert ended(program, signal.SIGTERM) == (7, "of the program\n")
    assert newest() == ({"n": 1}, labels)


OFF = BLOCK.replace("timeline)", "timeline, signals=False)")
IN_THREAD = """
def works():
    with persist.autosave(agent, timeline):
        ready()
        threading.Event().wait()
threading.Thread(target=works, daemon=True).start()
threading.Event().wait()
"""


@pytest.mark.parametrize("program", [OFF, IN_THREAD], ids=["off", "in a thread"])
def test_other_blocks_leave_signals_alone(program: str) -> None:
    assert ended(program, signal.SIGTERM) == (-signal.SIGTERM, "")
    assert list(persist.Timeline("agents", session_id="1")) == []


RESTORED = """
before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
with persist.autosave(agent, timeline):
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
async def main():
    async with persist.autosave(agent, timeline.to_async()):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
asyncio.run(main())
with persist.autosave(agent, timeline):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
assert before[1:] == [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)]
"""


def test_the_handlers_are_restored() -> None:
    assert ended(RESTORED) == (0, "")


SLOW = """
append = persist.Timeline._append
def slow(*arguments):
    ready()
    threading.Event().wait()
persist.Timeline._append = persist.AsyncTimeline._append = slow
"""


@pytest.mark.parametrize("program", [BLOCK, ASYNC_BLOCK], ids=["with", "async with"])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_ends_the_process_at_once(program: str, second: signal.Signals) -> None:
    # The first signal comes in the block, and the second while the state is appended.
    assert ended(SLOW + program, signal.SIGTERM, second) == (-second, "")


BLOCKED = """
async def main():
    async with persist.autosave(agent, timeline.to_async()) as saver:
        ready()
        while saver._signals.received is None:
            time.sleep(0.001)
        wait()
asyncio.run(main())
"""


def test_a_second_signal_ends_a_process_whose_loop_is_blocked() -> None:
    assert ended(BLOCKED, signal.SIGTERM, signal.SIGTERM) == (-signal.SIGTERM, "")


LATE = """
append = persist.Timeline._append
saver = persist.autosave(agent, timeline)
def late(*arguments):
    ready()
    while saver._signals.received is None:
        time.sleep(0.001)
    return append(*arguments)
persist.Timeline._append = late
with saver:
    agent["n"] = 1
print("never")
"""


def test_a_signal_during_the_last_save_waits_for_it() -> None:
    assert ended(LATE, signal.SIGTERM) == (-signal.SIGTERM, "")
    assert newest() == ({"n": 1}, {})


FAILS = """
def fails(*arguments):
    raise persist.PersistStorageError("the disk failed", "io", hint="look")
persist.Timeline._append = persist.AsyncTimeline._append = fails
"""


@pytest.mark.parametrize("program", [BLOCK, ASYNC_BLOCK], ids=["with", "async with"])
def test_a_failure_after_a_signal_is_a_warning(program: str) -> None:
    status, printed = ended(FAILS + program, signal.SIGTERM)
    assert status == -signal.SIGTERM
    assert "PersistWarning: autosave could not save a state: PersistStorageError: the disk failed" in printed


def counted(way: str, size: str, number: int) -> tuple[int, int, str]:
    """Has a program count, and sends it a signal at some moment: while it enters the block, in the
    first steps, or later. Returns the last number that it reported, how it ended, and its errors.
    """
    with start(COUNTS, way, size) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        time.sleep(random.choice([0, random.uniform(0, 0.02), random.uniform(0, 0.5)]))
        running.send_signal(number)
        output, errors = running.communicate(timeout=60)
    # A line that was cut off was not reported.
    lines = [line for line in (first + output).splitlines(keepends=True) if line.endswith(b"\n")]
    return int(lines[-1]), running.returncode, errors.decode()


@pytest.mark.parametrize("way", ["with", "async"])
def test_a_signal_at_any_moment_loses_nothing(way: str) -> None:
    timeline = persist.Timeline("agents", session_id="1")
    for _ in range(-(-KILLS // 2)):
        reported, status, errors = counted(way, "0", signal.SIGTERM)
        assert (status, errors) == (-signal.SIGTERM, "")
        step = timeline.at()
        assert step.load()["n"] in (reported, reported + 1)
        assert step.labels == {"signal": "SIGTERM"}
        timeline.delete()


@pytest.mark.parametrize("size", ["0", "200000"])
@pytest.mark.parametrize("way", ["with", "async"])
def test_a_killed_process_loses_only_what_waited(way: str, size: str) -> None:
    timeline = persist.Timeline("agents", session_id="1")
    behind = []
    for _ in range(-(-KILLS // 4)):
        reported, _, errors = counted(way, size, signal.SIGKILL)
        assert errors == ""
        behind.append(reported - timeline.load(default={"n": 0})["n"])
        assert behind[-1] <= 4 + 1, behind
        assert timeline.check(read_data=True) == []
        if list(timeline):
            timeline.delete()
    print(f"{way}, {size} bytes: behind by {sorted(behind)}")
