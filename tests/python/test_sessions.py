"""The sessions that frameworks keep in files or a bucket, each in a virtual environment with its
framework. The programs are in tests/frameworks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environments
import pytest
from effort import IS_SOAK
from test_frameworks import PROGRAMS, run

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
