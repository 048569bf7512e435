"""A graph on ``PersistSaver`` that is killed again and again ends as one that is left alone. No
step is missing, and at each kill only the step that was running runs again.

Run as a program, this is the graph: ``saver_killed.py LOCATION FILE DURABILITY KIND``.
"""

from __future__ import annotations

import itertools
import operator
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

import persist
import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from persist._langgraph.saver import AGENT
from persist.langgraph import PersistSaver

STEPS = 12

KILLS = int(os.environ.get("PERSIST_KILLS", "10"))
"""How many runs there are of each kind, each with up to ``MOST`` kills."""

MOST = 6

CONFIG: Any = {"configurable": {"thread_id": "a-thread"}}

EXPECTED = list(range(STEPS))


def joined(seen: Any, writes: Sequence[Any]) -> list[Any]:
    return [*(seen or []), *(each for write in writes for each in write)]


class Plain(TypedDict):
    """A state that each checkpoint holds."""

    seen: Annotated[list[int], operator.add]


class Changes(TypedDict):
    """A state of which most checkpoints hold only the changes."""

    seen: Annotated[list[int], DeltaChannel(joined, list, snapshot_frequency=5)]


SCHEMAS: dict[str, Any] = {"plain": Plain, "changes": Changes}


def graph(saver: Any, effects: Path, kind: str) -> Any:
    """Makes a graph in which each node writes its number to a file, and then to the state."""

    def count(number: int) -> Any:
        with effects.open("ab") as file:
            file.write(f"{number}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        return {"seen": [number]}

    builder = StateGraph(SCHEMAS[kind])
    for number in range(STEPS):
        builder.add_node(f"n{number}", lambda _, number=number: count(number))
        builder.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    return builder.compile(checkpointer=saver)


def main(location: str, effects: str, durability: Any, kind: str) -> None:
    saver = PersistSaver(location)
    counting = graph(saver, Path(effects), kind)
    print("ready", flush=True)
    begun = counting.get_state(CONFIG)
    # A task whose result is stored is not in begun.next, but its checkpoint may be missing.
    if begun.tasks or not begun.values.get("seen"):
        counting.invoke(None if begun.tasks else {"seen": []}, CONFIG, durability=durability)
    saver.close()
    print("done", flush=True)


def run(arguments: Sequence[str], kill_after: float | None) -> bool:
    """Runs the program until it is done, or for some seconds. Returns whether it is done."""
    process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if kill_after is not None:
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), process.returncode
    return rest == "done\n"


@pytest.mark.parametrize("seed", range(KILLS))
@pytest.mark.parametrize("kind", ["plain", "changes"])
def test_a_killed_graph_goes_on(kind: str, seed: int) -> None:
    chance = random.Random(f"{kind} {seed}")
    below = os.environ.get("PERSIST_TEST_LOCATION") or tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(dir=tempfile.gettempdir() if "://" in below else below))
    effects, location = folder / "effects", str(folder / "store")
    arguments = location, str(effects), "sync", kind
    kills, done = 0, False
    while not done:
        kill_after = chance.uniform(0, 0.25) if kills < MOST else None
        done = run(arguments, kill_after)
        kills += not done
    ran = [int(line) for line in effects.read_text().split()]
    assert sorted(set(ran)) == EXPECTED, "a step is missing"
    assert all(after - before in (0, 1) for before, after in itertools.pairwise(ran)), f"not in order: {ran}"
    assert len(ran) - STEPS <= kills, f"{len(ran) - STEPS} steps ran again after {kills} kills: {ran}"

    timeline = persist.Timeline(location, agent_id=AGENT, session_id="a-thread")
    assert timeline.check(read_data=True) == []
    with PersistSaver(location) as saver:
        counting = graph(saver, effects, kind)
        state = counting.get_state(CONFIG)
        assert (state.values["seen"], state.next) == (EXPECTED, ())
        kept = list(counting.get_state_history(CONFIG))[::-1]
        steps = [each.metadata["step"] for each in kept]
        # A kill before the first step may leave an input without effect, which is given again.
        assert [each.values.get("seen", []) for each in kept[-STEPS - 1 :]] == [EXPECTED[:n] for n in range(STEPS + 1)]
        assert steps == sorted(steps), steps
        for before, after in zip(kept[-STEPS - 1 :], kept[-STEPS:], strict=False):
            assert after.parent_config == before.config
            assert [task.result for task in before.tasks] == [{"seen": [len(before.values.get("seen", []))]}]


if __name__ == "__main__":
    main(*sys.argv[1:])
