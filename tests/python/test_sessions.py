"""The sessions that frameworks keep in files or a bucket, each in a virtual environment with its
framework. The programs are in tests/frameworks.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import environments
import persist
import pytest
from effort import IS_SOAK
from test_frameworks import PROGRAMS, run, run_any

SESSIONS = ["openai_agents", "langchain", "strands", "crewai", "google_adk", "pydantic_ai", "agent_framework"]

LONG = {"PERSIST_KILLS": "50", "PERSIST_SEEDS": "50"}

SHORT: dict[str, dict[str, str]] = {"local": {}, "s3": {"PERSIST_KILLS": "1", "PERSIST_SEEDS": "1"}}
"""How often what is left to chance is tried."""


@pytest.mark.parametrize("place", ["local", "s3"])
@pytest.mark.parametrize("name", SESSIONS)
def test_sessions_keep_everything(name: str, place: str, folder: Path, s3: Any) -> None:
    python = environments.with_persist(PROGRAMS / f"with_{name}.txt")
    variables = {
        "PERSIST_TEST_LOCATION": "s3://my-bucket/sessions" if place == "s3" else "",
        **(LONG if IS_SOAK else SHORT[place]),
    }
    program = PROGRAMS / f"sessions_{name}.py"
    options = ["--noconftest", "-p", "writers", "-p", "no:cacheprovider", "-q"]
    if name in ("openai_agents", "google_adk", "agent_framework"):
        options += ["-o", "asyncio_mode=auto"]
    printed = run(python, "-m", "pytest", program, *options, **variables)
    assert " passed" in printed
    assert " skipped" not in printed


@pytest.mark.parametrize("name", SESSIONS)
def test_a_clash_with_the_other_distribution_is_named(name: str, folder: Path) -> None:
    """The other distribution was installed last, so that ``import persist`` is its module."""
    python = environments.with_persist(PROGRAMS / f"with_{name}.txt")
    mixed = folder / "site" / "persist"
    shutil.copytree(Path(persist.__file__).parent, mixed, ignore=shutil.ignore_patterns("__pycache__"))
    (mixed / "__init__.py").write_text("")
    (mixed / "archive.py").write_text("")
    done = run_any(python, "-W", "ignore", "-c", f"import persist.{name}", PYTHONPATH=str(mixed.parent))
    assert done.returncode == 1
    assert "pip uninstall persist agent-persist" in done.stderr


@pytest.mark.parametrize("name", [*SESSIONS, "langgraph"])
def test_a_store_is_found_by_its_framework(name: str) -> None:
    python = environments.with_persist(PROGRAMS / f"with_{name}.txt")
    found = run(
        python, "-W", "ignore", "-c", f"import persist; print([n for n in dir(persist.{name}) if n[:7] == 'Persist'])"
    )
    assert "Persist" in found
