"""Agents of frameworks, each in its own virtual environment: one process saves them to S3,
another one restores them. The programs are in tests/frameworks.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import environments
import persist
import pytest
from effort import IS_SOAK

TESTS = Path(__file__).parents[1]
PROGRAMS = TESTS / "frameworks"

TIMEOUT = 3600 if IS_SOAK else 300
"""How long a program may run, in seconds."""
GUIDE = TESTS.parent / "docs" / "frameworks.md"
MODULES = {
    "langchain": ["langchain_core"],
    "langgraph": ["langchain_core", "langgraph"],
    "openai_agents": ["agents"],
    "autogen": ["autogen_agentchat"],
    "agent_framework": ["agent_framework"],
    "pydantic_ai": ["pydantic_ai"],
    "google_adk": ["google.adk"],
    "strands": ["strands"],
    "crewai": ["crewai"],
    "smolagents": ["smolagents"],
}

PRELUDES = {
    "LangChain": (
        "langchain",
        "from langchain_core.language_models.fake_chat_models import GenericFakeChatModel as Fake\n"
        "model = Fake(messages=iter(['Hello']))",
    ),
    "LangGraph": ("langgraph", "from with_langgraph import Model\nmodel = Model(messages=iter([]))"),
    "OpenAI Agents SDK": ("openai_agents", "from with_openai_agents import Told\nmodel = Told()"),
    "AutoGen": ("autogen", "from with_autogen import Told\nmodel = Told([])"),
    "Microsoft Agent Framework": ("agent_framework", "from with_agent_framework import Told\nmodel = Told()"),
    "Pydantic AI": ("pydantic_ai", "from pydantic_ai.models.test import TestModel\nmodel = TestModel()"),
    "Google ADK": ("google_adk", "from with_google_adk import Told\nmodel = Told(model='told')"),
    "Strands Agents": ("strands", "from with_strands import Told\nmodel = Told()"),
    "CrewAI": ("crewai", ""),
    "smolagents": ("smolagents", "from with_smolagents import Told\nmodel = Told()"),
}


def environment(name: str) -> Path:
    """Returns the Python of a virtual environment with a framework and the installed package."""
    return environments.with_persist(PROGRAMS / f"with_{name}.txt")


def run_any(python: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs Python, however it ends."""
    quiet = {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "PYTHONPATH": str(PROGRAMS)}
    return subprocess.run(
        [python, *arguments], capture_output=True, text=True, timeout=TIMEOUT, env={**os.environ, **quiet, **variables}
    )


def run(python: Path, *arguments: str | Path, **variables: str) -> str:
    """Runs Python, which has to succeed. Returns what it printed."""
    done = run_any(python, *arguments, **variables)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("name", MODULES)
def test_an_agent_continues_in_another_process(name: str, s3: Any) -> None:
    python = environment(name)
    program = PROGRAMS / f"with_{name}.py"
    location = "s3://my-bucket/agents/a.json.gz"
    run(python, program, "save", location)
    assert persist.get_metadata(location).adapter is not None
    assert "knows the first two" in run(python, program, "restore", location)


@pytest.mark.parametrize("name", MODULES)
def test_autosave_keeps_the_steps_of_an_agent_that_fails(name: str, s3: Any) -> None:
    python = environment(name)
    program = PROGRAMS / f"autosave_{name}.py"
    run(python, program, "save", "s3://my-bucket/agents")
    assert "knows the first two" in run(python, program, "restore", "s3://my-bucket/agents")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Returns the outcomes of each framework, by column; see tests/frameworks/cells.py."""

    def row(name: str) -> dict[str, str]:
        python, program = environment(name), PROGRAMS / f"cells_{name}.py"
        location = tmp_path_factory.mktemp(name)
        run(python, program, "save", location)
        came_to: dict[str, str] = json.loads(run(python, program, "restore", location).splitlines()[-1])
        return came_to

    # Two processes at a time, because most of the time is spent on imports.
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        return dict(zip(MODULES, threads.map(row, MODULES), strict=True))


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_lost_silently(name: str, matrix: dict[str, dict[str, str]]) -> None:
    lost = {column: cell for column, cell in matrix[name].items() if not cell.startswith(("ok", "refused at save: "))}
    assert len(matrix[name]) == 6
    assert not lost


def test_the_page_has_the_matrix(matrix: dict[str, dict[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    page = " ".join(GUIDE.read_text().split())
    headings = {name: heading for heading, (name, _) in PRELUDES.items()}
    lines = [f"| | {' | '.join(matrix['langchain'])} |"]
    for name, cells in matrix.items():
        short = [cell.partition(":")[0].removesuffix(" at save") for cell in cells.values()]
        lines.append(f"| {headings[name]} | {' | '.join(short)} |")
        # Notes and reasons are in the section of the framework.
        lines.extend(f"{headings[name]}, {column}: {cell}" for column, cell in cells.items() if cell != "ok")
    with capsys.disabled():
        print("\n\nSaved by one process, continued by another:", *lines, sep="\n")
    missing = [line for line in lines if line.startswith("|") and line not in page]
    assert not missing


@pytest.mark.parametrize("name", MODULES)
def test_nothing_in_a_hostile_state_is_imported_or_run(name: str) -> None:
    printed = run(environment(name), PROGRAMS / "hostile.py", *MODULES[name])
    assert "hostile snapshots" in printed


@pytest.mark.parametrize("place", ["local", "s3"])
def test_the_langchain_suites_for_stores_pass(place: str, folder: Path, s3: Any) -> None:
    location = "s3://my-bucket/suite" if place == "s3" else str(folder / "suite")
    # Without the fixtures of these tests, which remove settings.
    options = ["--noconftest", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "-q"]
    suites = [str(PROGRAMS / "suites_langchain.py"), *options]
    printed = run(environment("langchain"), "-m", "pytest", *suites, PERSIST_TEST_LOCATION=location)
    assert " passed" in printed


def examples() -> dict[str, str]:
    """Returns the examples of the guide, by their headings."""
    found = {}
    for section in GUIDE.read_text().split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        found[heading] = text.partition("```python\n")[2].partition("```")[0]
    return found


@pytest.mark.parametrize("document", ["README.md", "python-host/README.md"])
def test_the_table_has_the_calls_of_the_examples(document: str) -> None:
    lines = (TESTS.parent / document).read_text().splitlines()
    rows = [line.split("|")[1:4] for line in lines if line.startswith("|") and "snapshot(" in line]
    headings = [re.match(r"\[?([\w ]+)", row[0].strip())[1] for row in rows]  # type: ignore[index]
    assert headings == list(PRELUDES)
    for heading, (_, save, restore) in zip(headings, rows, strict=True):
        example = re.sub(r'"[\w-]+\.json\.gz"', "path", examples()[heading])
        assert save.strip(" `") in example, heading
        assert restore.strip(" `") in example, heading


def test_every_framework_has_an_example() -> None:
    assert list(examples()) == [*PRELUDES, "Another framework"]
    assert {name for name, _ in PRELUDES.values()} == set(MODULES)


@pytest.mark.parametrize("heading", PRELUDES)
def test_an_example_runs_as_printed(heading: str, folder: Path) -> None:
    name, prelude = PRELUDES[heading]
    example = examples()[heading]
    code = f"{prelude}\n{example}"
    if "async def main" in example:
        code += "\nimport asyncio\nasyncio.run(main())\n"
    run(environment(name), "-c", code)
    assert list(folder.glob("*.json.gz"))


LIVE = [heading for heading in PRELUDES if heading not in ("LangGraph", "AutoGen", "smolagents")]


@pytest.mark.parametrize("heading", LIVE)
def test_an_agent_in_a_live_store_goes_on_after_a_kill(heading: str, folder: Path) -> None:
    """The example prints how much there is. Each run of it ends with a kill."""
    name, prelude = PRELUDES[heading]
    section = GUIDE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    example = section.partition("**A live store.**")[2].partition("```python\n")[2].partition("```")[0]
    code = f"{prelude}\n{example}"
    if "async def main" in example:
        code += "\nimport asyncio\nasyncio.run(main())\n"
    code += "\nimport os, sys\nsys.stdout.flush()\nos.kill(os.getpid(), 9)\n"
    counts = []
    for _ in range(2):
        done = run_any(environment(name), "-c", code)
        assert done.returncode == -9, done.stderr[-4000:]
        counts.append(int(done.stdout.split()[-1]))
    # A workflow that has ended goes no further.
    assert counts[1] >= counts[0] > 0 if heading == "Microsoft Agent Framework" else counts[1] == 2 * counts[0] > 0


def test_the_example_adapter_for_another_framework_works() -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(examples()["Another framework"], str(GUIDE), "exec", dont_inherit=True), scope)
    assert persist.get_metadata("bot.json.gz").adapter == {"name": "bot", "version": None, "type": "__main__.Bot"}
    assert persist.restore("bot.json.gz", plain=True) == {"history": ["Hello"]}
    into = scope["Bot"]()
    assert persist.restore("bot.json.gz", into=into) is into
    with pytest.raises(persist.PersistTypeError, match="can't be restored into a Store"):
        persist.restore("bot.json.gz", into=persist.Store("."))
    with pytest.raises(persist.PersistTypeError, match="config can't be used with agents of bot"):
        persist.snapshot(into, "x", config={})
    persist.snapshot(into, "x", check=True)
    with pytest.raises(persist.PersistTypeError, match="is not an adapter"):
        persist.register_adapter(object())  # type: ignore[arg-type]


def test_the_error_names_a_missing_framework(folder: Path) -> None:
    python = environment("smolagents")
    code = "from with_smolagents import *; import persist; persist.snapshot(agent(), 'x')"
    run(python, "-c", code)
    with pytest.raises(persist.PersistConfigurationError, match="not installed") as missing:
        persist.restore("x")
    assert missing.value.hint is not None
    assert missing.value.hint.startswith("pip install smolagents")
    assert persist.restore("x", plain=True)["steps"] == []
    # If it is installed but not imported, restoring does not import it.
    restore = "import sys, persist\ntry: persist.restore('x')\nexcept persist.PersistError as e: print(e, e.hint)\n"
    printed = run(python, "-c", restore + "assert 'smolagents' not in sys.modules")
    assert "has not imported" in printed
    assert "import smolagents first" in printed


def test_a_module_with_the_name_of_a_framework_is_not_the_framework(folder: Path) -> None:
    (folder / "agents.py").write_text("import dataclasses\n\n@dataclasses.dataclass\nclass State:\n    a: int = 1\n")
    code = """
import sys; sys.path.insert(0, '.')
import agents, persist
persist.snapshot(agents.State(2), 'x')
persist.register(agents.State)
persist.snapshot([agents.State(2)], 'y')
assert persist.restore('y') == [agents.State(2)]
assert persist.restore('x', into=agents.State) == agents.State(2)
place, key = persist._persist.locate('z', {})
extra = '{"value_encoding": 1, "adapter": {"name": "openai-agents", "version": "1", "type": "x"}}'
place.save_bytes(key, b'{}', {'content_type': 'application/json', 'extra': extra})
try: persist.restore('z')
except persist.PersistConfigurationError as e: print(e.hint)
"""
    assert "openai-agents" in run(Path(sys.executable), "-c", code)


def test_another_version_is_tried_and_explained() -> None:
    class Picky(persist.Adapter):
        name = "picky"
        package = "pytest"
        module = "pytest"

        def accepts(self, agent: Any) -> bool:
            return isinstance(agent, Picky)

        def save(self, agent: Any) -> Any:
            return {"a": 1}

        def restore(self, state: Any, into: Any = None) -> Any:
            return state["b"]

        def version(self) -> str:
            return versions.pop(0) if versions else "2"

    versions = ["1"]
    persist.register_adapter(Picky())
    persist.snapshot(Picky(), "x")
    with pytest.raises(persist.PersistTypeError, match=r"pytest 2 refused the state: KeyError: 'b'") as wrong:
        persist.restore("x")
    assert wrong.value.hint is not None
    assert "it was saved with pytest 1: install that version" in wrong.value.hint


def test_check_finds_a_value_that_would_not_come_back() -> None:
    class Lossy:
        def __init__(self, value: object) -> None:
            self.value = value

        def __persist_state__(self) -> object:
            return self.value

        @classmethod
        def __persist_restore__(cls, state: object) -> Lossy:
            return cls(None)

    persist.register(Lossy)
    with pytest.raises(persist.PersistTypeError, match=r"state\['a'\]\[0\] is 1, and would become null") as lost:
        persist.snapshot({"a": [Lossy(1)]}, "x", check=True)
    assert lost.value.hint
    assert not persist.snapshot_exists("x")
    persist.snapshot({"a": [Lossy(None)], "b": (1, {2}, b"3")}, "x", check=True)
    wrong: Any
    for wrong in (1, {"config": {}}, ["into"]):
        with pytest.raises(persist.PersistTypeError, match="check must be a bool or a dict of arguments of restore"):
            persist.snapshot({}, "y", check=wrong)
