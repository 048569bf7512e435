"""How the package is installed: what it requires, and what must not be installed with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import persist
import pytest


@pytest.mark.parametrize("is_last", [True, False])
def test_another_distribution_with_the_same_name_is_named(folder: Path, is_last: bool) -> None:
    """Each has overwritten some files of the other."""
    ours = Path(persist.__file__).parent
    mixed = folder / "site" / "persist"
    shutil.copytree(ours, mixed, ignore=shutil.ignore_patterns("__pycache__"))
    (mixed / "archive.py").write_text("")
    if is_last:
        (mixed / "__init__.py").write_text("")
    for code in ("import persist.errors", "from persist import Store", "import persist.__main__ as m; m.main()"):
        environment = {**os.environ, "PYTHONPATH": str(mixed.parent)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.returncode == 1, code
        if not (is_last and "Store" in code):  # Nothing of ours runs then.
            assert "pip uninstall persist agent-persist" in done.stderr, code


def test_the_extras_include_the_versions_that_are_tested() -> None:
    root = Path(__file__).parents[2]
    settings = (root / "python-host" / "pyproject.toml").read_text()
    section = settings.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    extras = {each.partition(">=")[0]: each for each in re.findall(r' = \["(.*)"\]', section)}
    tested = {}
    for requirements in (root / "tests" / "frameworks").glob("with_*.txt"):
        for line in requirements.read_text().splitlines():
            name, _, version = line.partition("==")
            tested[name.partition("[")[0]] = version
    assert len(extras) == len(list((root / "tests" / "frameworks").glob("with_*.txt")))
    for name, extra in extras.items():
        lowest, _, below = extra.partition(">=")[2].partition(",<")
        found = tested.get(name)
        # What LangGraph requires is not listed there.
        if name != "langgraph-checkpoint":
            assert found is not None, name
            assert parts(lowest) <= parts(found) < parts(below), extra


def parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
