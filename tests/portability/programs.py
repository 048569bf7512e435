"""The components and programs that these tests run."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

COMPONENTS = Path(os.environ["PERSIST_COMPONENTS"])
"""The folder that is published."""

HOSTILE = os.environ["PERSIST_HOSTILE"]
"""A component that misbehaves as the key tells it to."""

COMMAND = os.environ["PERSIST_COMMAND"]
"""The native command."""

EXAMPLE_HOST = os.environ["PERSIST_EXAMPLE_HOST"]
"""The command of examples/rust."""

NODE = Path(os.environ["PERSIST_NODE"])
"""The folder where the packages for Node are installed."""

PROGRAMS = Path(sys.executable).parent
"""The programs of this Python's environment."""

NODE_PROGRAM = str(PROGRAMS / "node")

JCO = [NODE_PROGRAM, str(NODE / "node_modules/@bytecodealliance/jco/dist/jco.js")]

STATE = (ROOT / "examples/agent-state.json").read_text()


def component(name: str) -> str:
    """Returns the path of a published component."""
    return str(COMPONENTS / name)


def example(name: str) -> Any:
    """Imports a module of examples/python."""
    folder = str(ROOT / "examples/python")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(name)


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Runs a program and returns its output; raises OSError if it fails."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        raise OSError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
