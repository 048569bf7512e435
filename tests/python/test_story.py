"""A story that a person could live through: an agent is killed in the middle of a step, goes on, and
goes on differently in two forks. These are compared; then the timeline is pruned and deleted. It is
played with agents of three frameworks, in a folder and in a bucket, with the command and in Python.
The agents are programs in tests/frameworks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import environments
import persist
import pytest

PROGRAMS = Path(__file__).parents[1] / "frameworks"
FRAMEWORKS = ["langgraph", "openai_agents", "smolagents"]

AGENT, SESSION = "support", "case-1"
FORKS = {"by-command": "I live in Turin", "by-python": "I live in Oslo"}
"""The sessions of the forks, and what is said to the agent there."""

NOT_FOUND = 3
"""The exit code of the command if something is not there."""


@dataclasses.dataclass
class Story:
    """Where it happens, and what is known so far."""

    framework: str
    place: str
    known: dict[int, Any] = dataclasses.field(default_factory=dict)
    """What the first agent knew after each step, in the framework's own words."""
    states: dict[str, dict[int, bytes]] = dataclasses.field(default_factory=dict)
    """The states of all steps, by session."""

    def timeline(self, session: str = SESSION) -> persist.Timeline:
        return persist.Timeline(self.place, agent_id=AGENT, session_id=session)

    def folder(self, session: str = SESSION) -> str:
        return f"{self.place}/{AGENT}/{session}"

    def read_states(self, session: str) -> None:
        """Reads all states: in Python and with the command, which has to agree."""
        timeline = self.timeline(session)
        self.states[session] = {step.number: timeline.load_bytes(step.number) for step in timeline}
        steps = [f"{self.folder(session)}@{number}" for number in self.states[session]]
        with tempfile.TemporaryDirectory() as restored:
            persist_command("restore", *steps, "--output", restored)
            for number, state in self.states[session].items():
                assert Path(restored, f"{session}.{number}").read_bytes() == state
            assert len(os.listdir(restored)) == len(steps)

    @contextlib.contextmanager
    def agent(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Runs the agent in another process."""
        python = environments.with_persist(PROGRAMS / f"with_{self.framework}.txt")
        program = PROGRAMS / f"story_{self.framework}.py"
        command: list[str | Path] = [python, program, arguments[0], self.place, *arguments[1:]]
        variables = {**os.environ, "PYTHONPATH": str(PROGRAMS), "OTEL_SDK_DISABLED": "true"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as running:
            try:
                yield running
            finally:
                running.kill()

    def goes_on(self, session: str, until: int, text: str = "") -> dict[int, Any]:
        """Lets the agent go on from the newest step. Returns what it knew before each step."""
        with self.agent("go_on", session, str(until), *([text] if text else [])) as running:
            assert running.stdout is not None
            lines = [json.loads(line) for line in running.stdout]
            assert running.wait() == 0
        return {line["step"]: line["known"] for line in lines}


def persist_command(*arguments: str, fails_with: int = 0) -> bytes:
    """Runs the command. Returns its output, or its error if it has to fail."""
    done = subprocess.run([sys.executable, "-m", "persist", *arguments], capture_output=True, check=False)
    assert done.returncode == fails_with, done.stderr.decode()
    return done.stderr if fails_with else done.stdout


def rows(output: bytes) -> list[Any]:
    """Returns the objects of ``--json``, one on each line."""
    return [json.loads(line) for line in output.splitlines()]


def numbers_in_log(story: Story, session: str) -> list[int]:
    """Returns the numbers of the steps that the command and Python show, which have to agree."""
    log = persist_command("log", story.folder(session)).decode().splitlines()
    shown = [int(line.split()[0]) for line in log[1:]]
    assert [row["number"] for row in rows(persist_command("log", story.folder(session), "--json"))] == shown
    assert [step.number for step in story.timeline(session)] == shown
    return shown


def patched(state: Any, patch: list[Any]) -> Any:
    """Returns a state with a JSON Patch (RFC 6902) applied to it."""
    state = {"": json.loads(json.dumps(state))}
    for operation in patch:
        *parents, name = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")]
        place: Any = state
        for parent in parents:
            place = place[int(parent) if isinstance(place, list) else parent]
        key: Any = int(name) if isinstance(place, list) else name
        if operation["op"] == "remove":
            del place[key]
        elif operation["op"] == "add" and isinstance(place, list):
            place.insert(key, operation["value"])
        else:
            assert operation["op"] in ("add", "replace")
            place[key] = operation["value"]
    return state[""]


def the_agent_is_killed_in_the_middle_of_step_7(story: Story) -> None:
    with story.agent("begin", SESSION) as running:
        assert running.stdout is not None
        for line in running.stdout:
            said = json.loads(line)
            story.known[said["step"] - 1] = said["known"]
            if said["step"] == 7:
                break
        # Step 6 is appended while the agent is already busy with the next one.
        deadline = time.monotonic() + 60
        while [step.number for step in story.timeline().history(limit=1)] != [6]:
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.05)
        running.kill()
        assert running.wait() == -9
    assert [step.number for step in story.timeline()] == [6, 5, 4, 3, 2, 1]
    assert persist_command("check", story.place, "--read-data").startswith(
        b"checked 6 steps in 1 timeline: none damaged"
    )


def another_process_goes_on_from_step_6(story: Story) -> None:
    before = {number: story.timeline().load_bytes(number) for number in range(1, 7)}
    told = story.goes_on(SESSION, until=10)
    # It knew exactly what the first one had known when it was killed.
    assert told[6] == story.known[6]
    assert story.timeline().at().number == 10
    story.read_states(SESSION)
    assert {number: story.states[SESSION][number] for number in before} == before


def two_forks_go_on_differently_from_step_5(story: Story) -> None:
    persist_command("fork", f"{story.folder()}@5", story.folder("by-command"))
    story.timeline().fork(at=5, to=story.timeline("by-python"))
    for session, text in FORKS.items():
        assert numbers_in_log(story, session) == [5, 4, 3, 2, 1]
        told = story.goes_on(session, until=8, text=text)
        assert told[5] == story.known[5]
        story.read_states(session)
    first_five = [{number: states[number] for number in range(1, 6)} for states in story.states.values()]
    assert first_five[0] == first_five[1] == first_five[2]
    sixths = {states[6] for states in story.states.values()}
    assert len(sixths) == 3
    assert all(text.encode() in story.states[session][8] for session, text in FORKS.items())
    # The source has not changed.
    assert numbers_in_log(story, SESSION) == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]


def the_forks_are_compared(story: Story) -> None:
    ours = json.loads(story.states[SESSION][6])
    for session in FORKS:
        theirs = json.loads(story.states[session][6])
        patch = json.loads(persist_command("diff", f"{story.folder()}@6", f"{story.folder(session)}@6", "--json"))
        assert patch
        assert patched(ours, patch) == theirs
        back = json.loads(persist_command("diff", f"{story.folder(session)}@6", f"{story.folder()}@6", "--json"))
        assert patched(theirs, back) == ours
        shown = persist_command("diff", f"{story.folder()}@6", f"{story.folder(session)}@6").decode()
        assert shown.startswith(f"--- {story.folder()}@6\n+++ {story.folder(session)}@6\n")
        # Within a fork, the command and Python say the same.
        diff = story.timeline(session).diff(5, 6)
        fifth = json.loads(story.states[session][5])
        assert patched(fifth, diff.patch()) == theirs
        assert json.loads(persist_command("diff", f"{story.folder(session)}@5", "@6", "--json")) == diff.patch()


def the_logs_show_all_steps(story: Story) -> None:
    assert numbers_in_log(story, SESSION) == list(range(10, 0, -1))
    for session in FORKS:
        assert numbers_in_log(story, session) == list(range(8, 0, -1))
    sessions = rows(persist_command("list", story.place, "--json"))
    assert sorted(row["session_id"] for row in sessions) == sorted([SESSION, *FORKS])


def the_source_and_a_fork_are_pruned(story: Story) -> None:
    pruned = rows(persist_command("prune", story.folder(), "--keep-last", "2", "--yes", "--json"))
    assert [row["number"] for row in pruned] == list(range(10, 0, -1))
    kept = [row["number"] for row in pruned if row["outcome"] == "kept"]
    only_these_are_left(story, SESSION, kept, next(row["restated_as"] for row in pruned))
    report = story.timeline("by-python").prune(keep_last=2)
    assert sorted([*report.kept, *report.hidden, *report.removed]) == list(range(1, 9))
    only_these_are_left(story, "by-python", report.kept, report.restated_as)


def only_these_are_left(story: Story, session: str, kept: list[int], restated_as: int | None) -> None:
    """Checks that the kept steps are as they were, and that the others are refused."""
    before = story.states[session]
    newest = max(before)
    assert kept == [newest, newest - 1]
    left = [number if number < newest else restated_as or newest for number in kept]
    assert numbers_in_log(story, session) == left
    story.read_states(session)
    assert story.states[session] == {number: before[was] for number, was in zip(left, kept, strict=True)}
    removed = range(1, newest - 1)
    for number in removed:
        with pytest.raises(persist.PersistNotFoundError, match=rf"^Not found: step {number} was removed\b"):
            story.timeline(session).load(at=number)
    steps = [f"{story.folder(session)}@{number}" for number in removed]
    errors = persist_command("restore", *steps, "--output", "removed", fails_with=NOT_FOUND).decode()
    said = re.findall(r"^error: Not found: step (\d+) was removed: ", errors, re.MULTILINE)
    assert sorted(map(int, said)) == list(removed)


def the_source_is_deleted_and_the_forks_stay(story: Story) -> None:
    persist_command("delete", story.folder(), "--recursive", "--yes")
    persist_command("log", story.folder(), fails_with=NOT_FOUND)
    with pytest.raises(persist.PersistNotFoundError):
        story.timeline().load()
    for session in FORKS:
        before = story.states[session]
        story.read_states(session)
        assert story.states[session] == before
    assert max(story.states["by-command"]) == 8


def nothing_is_damaged(story: Story) -> None:
    checked = persist_command("check", story.place, "--read-data").decode()
    assert re.fullmatch(r"checked \d+ steps in \d+ timelines: none damaged, all data read\n", checked), checked
    for session in FORKS:
        assert story.timeline(session).check(read_data=True) == []


@pytest.mark.parametrize("place", ["runs", "s3://my-bucket/runs"], ids=["folder", "bucket"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_agent_is_killed_continued_forked_compared_and_pruned(framework: str, place: str, s3: Any) -> None:
    story = Story(framework, place)
    the_agent_is_killed_in_the_middle_of_step_7(story)
    another_process_goes_on_from_step_6(story)
    two_forks_go_on_differently_from_step_5(story)
    the_forks_are_compared(story)
    the_logs_show_all_steps(story)
    the_source_and_a_fork_are_pruned(story)
    the_source_is_deleted_and_the_forks_stay(story)
    nothing_is_damaged(story)
