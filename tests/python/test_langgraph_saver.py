"""The checkpointer for LangGraph, in a virtual environment with the framework. The programs are
in tests/frameworks.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import environments
import pytest
from effort import IS_SOAK, KILLS
from test_frameworks import PROGRAMS, TESTS, run

PAGE = TESTS.parent / "docs" / "langgraph.md"

SUITES = [
    "suite",
    "values",
    "writes",
    "joined",
    "copied",
    "removed",
    "history",
    "interrupts",
    "subgraphs",
    "changes",
    "graphs",
    "threads",
]
"""Programs of tests, which a short form runs in some of the ways in which a saver can live."""


@pytest.fixture(scope="module")
def python() -> Path:
    return environments.with_persist(PROGRAMS / "saver_langgraph.txt")


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, folder: Path, s3: Any) -> str:
    return "s3://my-bucket/saver" if request.param == "s3" else str(folder / "saver")


def suite(python: Path, name: str, location: str, *more: str, **variables: str) -> None:
    """Runs a program of tests. Without the fixtures of these tests, which remove settings."""
    options = ["--noconftest", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "-q"]
    short = {} if IS_SOAK else {"PERSIST_LIVES": "read,dropped"}
    variables = {"PERSIST_TEST_LOCATION": location, **short, **variables}
    printed = run(python, "-m", "pytest", PROGRAMS / f"saver_{name}.py", *options, *more, **variables)
    assert " passed" in printed
    assert " skipped" not in printed


def test_the_suite_of_langgraph_passes(python: Path, location: str) -> None:
    printed = run(python, PROGRAMS / "saver_conformance.py", location)
    assert printed == "81 of 81 passed, 0 capabilities are missing\n"


@pytest.mark.parametrize("name", SUITES)
def test_graphs_run_as_in_memory(python: Path, name: str, folder: Path) -> None:
    suite(python, name, str(folder))


def test_a_bucket_keeps_the_same_promises(python: Path, s3: Any) -> None:
    # The others differ in nothing that a bucket knows of.
    wanted = "two_savers or folded or first_write or wherever or copied_only or move_in or command_reads"
    suite(python, "suite", "s3://my-bucket/saver", "-k", "" if IS_SOAK else wanted)


def test_a_killed_graph_goes_on(python: Path, folder: Path) -> None:
    suite(python, "killed", str(folder), PERSIST_KILLS=str(KILLS if IS_SOAK else 3))


def test_deep_agents_run_as_in_memory(folder: Path) -> None:
    suite(environments.with_persist(PROGRAMS / "saver_deepagents.txt"), "deepagents", str(folder))


def test_a_bucket_gets_few_requests(python: Path, s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(python, PROGRAMS / "saver_requests.py", "s3://my-bucket/saver"))
    requests, rounds = found["cold"]
    with capsys.disabled():
        print(f"\n\nget_tuple in a new process: {requests} requests, {rounds} one after the other\n")
    # The first finds out that there is no thread, and that the conditions hold. Every 16th records the
    # newest step, and deletes writes that are superfluous.
    assert [count for count in found["puts"][1:] if count != 1] == [3, 2, 3, 2]
    assert set(found["writes"]) == {1}
    assert rounds <= 4


def test_the_page_is_true(python: Path, folder: Path, s3: Any) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    program = folder / "agent.py"
    program.write_text(blocks[0])
    with subprocess.Popen([python, program], stdout=subprocess.PIPE, text=True, cwd=folder) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(2)]
        running.send_signal(signal.SIGKILL)
    assert lines == ["working on search\n", "working on read\n"]
    done = subprocess.run([python, program], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stdout.splitlines() == ["working on read", "working on report", "['search', 'read', 'report']"]
    for command in re.findall(r"^\$ (persist .*)$", PAGE.read_text(), re.MULTILINE):
        shown = subprocess.run([python, "-m", *command.split()], capture_output=True, text=True, cwd=folder)
        assert shown.returncode == 0, f"{command}: {shown.stderr}"
    assert json.loads((folder / "state.json").read_text())["channel_values"]["done"] == ["search", "read"]
    # The others go on from the first, without its main part.
    rest = folder / "rest.py"
    setup = blocks[0].partition("with PersistSaver")[0].replace("time.sleep(1)", "pass")
    rest.write_text("\n".join([setup, *blocks[1:]]))
    run(python, rest)
