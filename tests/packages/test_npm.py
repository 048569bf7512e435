"""The package for Node, installed from the file that is uploaded. ``cargo xtask packages`` runs these tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_installed import DIST, Machine

Run = Callable[[str], object]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Returns a function that runs a program with a store, and returns what it prints as JSON."""
    empty = Machine(tmp_path_factory.mktemp("npm-file"), has_rust=False)
    empty.environment["PATH"] = f"{Path(sys.executable).parent}:{empty.environment['PATH']}"
    (empty.folder / "package.json").write_text('{"type": "module"}')
    (package,) = DIST.glob("*.tgz")
    empty.run("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", package)

    def in_node(code: str) -> object:
        program = empty.folder / "program.js"
        program.write_text(f'import {{ open }} from "@agent-persist/persist";\n{code}\n')
        return json.loads(empty.run("node", program))

    return in_node


def test_a_list_shows_the_newest_step_of_a_timeline(run: Run, tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "bad.json.gz").write_text("nonsense")
    listed = run(
        f"const store = await open({str(tmp_path)!r});"
        "for (const step of [1, 2]) await store.append('case-1', { step });"
        "await store.save('snapshots/good.json.gz', {});"
        "const found = await store.list();"
        "console.log(JSON.stringify(found.map((entry) => [entry.key, entry.code])));"
    )
    assert listed == [
        ["case-1/000000000002.step", None],
        ["snapshots/bad.json.gz", "not-a-snapshot"],
        ["snapshots/good.json.gz", None],
    ]
