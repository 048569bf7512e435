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


WRONG = {
    "store.save(5, {})": "key has to be a string, not number",
    "store.save('a.gz', undefined)": "the state has to be a value that JSON has, not undefined",
    "store.save('a.gz', 1n)": "the state is not JSON: Do not know how to serialize a BigInt",
    "store.saveBytes('a.gz', 'text')": "the state has to be a Uint8Array, not string",
    "store.save('a.gz', {}, null)": "options has to be an object, not null",
    "store.save('a.gz', {}, { agentID: 'x' })": "there is no option 'agentID'",
    "store.save('a.gz', {}, { labels: ['x'] })": "labels has to be an object, not an array",
    "store.save('a.gz', {}, { labels: { a: 1 } })": "labels.a has to be a string, not number",
    "store.save('a.gz', {}, { codec: 'lz4' })": "codec has to be one of gzip, zstd, not 'lz4'",
    "store.save('a.gz', {}, { level: 1.5 })": "level has to be a whole number from -7 to 9, not 1.5",
    "store.save('a.gz', {}, { index: -1 })": "index has to be a whole number from 0 to 9007199254740991, not -1",
    "store.save('a.gz', {}, { ifAbsent: 1 })": "ifAbsent has to be true or false, not number",
    "store.append('t', {}, { onConflict: 'no' })": "onConflict has to be one of fail, rebase, not 'no'",
    "store.load('t', 1.5)": "number has to be a whole number from 0 to 9007199254740991, not 1.5",
    "store.load(undefined)": "timeline has to be a string, not undefined",
    "store.history('t', '3')": "limit has to be a whole number from 0 to 4294967295, not string",
    "store.list(null)": "prefix has to be a string, not null",
}


def test_a_wrong_argument_is_named(run: Run, tmp_path: Path) -> None:
    calls = ", ".join(f"() => {call}" for call in WRONG)
    found = run(
        f"const store = await open({str(tmp_path)!r}), found = [];"
        f"for (const call of [{calls}])"
        " try { await call(); found.push('no error'); }"
        " catch (error) { found.push(`${error.name} ${error.code}: ${error.message}`); }"
        "console.log(JSON.stringify(found));"
    )
    assert isinstance(found, list)
    for (call, message), error in zip(WRONG.items(), found, strict=True):
        assert error.startswith(f"PersistError invalid-argument: {message}"), (call, error)
    assert list(tmp_path.iterdir()) == []


def test_an_option_that_is_undefined_is_not_given(run: Run, tmp_path: Path) -> None:
    saved = run(
        f"const store = await open({str(tmp_path)!r});"
        "const { agentId, index } = await store.save('a.gz', {}, { agentId: undefined, index: 7, level: 9 });"
        "console.log(JSON.stringify([agentId, index]));"
    )
    assert saved == ["default_agent", 7]
