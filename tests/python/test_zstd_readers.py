"""Checks the table in docs/format.md: which calls of other libraries read all frames of a
``.zst`` snapshot of several blocks, and which stop after the first one.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import environments
import persist
import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parents[1] / "docs" / "format.md"
BLOCK = 1 << 20

# The rows of the table: the name in the table, and the call. `path` is the path of the
# snapshot, `data` its bytes, and `into(work)` returns what `work` writes to a file.
READS_ALL = {
    "python-zstandard": {
        "open": "zstandard.open(path).read()",
        "stream_reader": "zstandard.ZstdDecompressor().stream_reader(open(path, 'rb')).read()",
        "copy_stream": "into(lambda out: zstandard.ZstdDecompressor().copy_stream(open(path, 'rb'), out))",
        "stream_writer": "into(lambda out: zstandard.ZstdDecompressor().stream_writer(out).write(data))",
        "decompressobj(read_across_frames=True)": (
            "zstandard.ZstdDecompressor().decompressobj(read_across_frames=True).decompress(data)"
        ),
    },
    "pyzstd": {
        "decompress": "pyzstd.decompress(data)",
        "open": "pyzstd.open(path).read()",
        "ZstdFile": "pyzstd.ZstdFile(path).read()",
        "EndlessZstdDecompressor": "pyzstd.EndlessZstdDecompressor().decompress(data)",
    },
    "backports.zstd, Python 3.14": {
        "decompress": "backports.zstd.decompress(data)",
        "open": "backports.zstd.open(path).read()",
        "ZstdFile": "backports.zstd.ZstdFile(path).read()",
    },
}
STOPS_AFTER_THE_FIRST = {
    "python-zstandard": {
        "decompress": "zstandard.ZstdDecompressor().decompress(data)",
        "read_to_iter": "b''.join(zstandard.ZstdDecompressor().read_to_iter(open(path, 'rb')))",
        "decompressobj()": "zstandard.ZstdDecompressor().decompressobj().decompress(data)",
    },
    "pyzstd": {"ZstdDecompressor": "pyzstd.ZstdDecompressor().decompress(data)"},
    "backports.zstd, Python 3.14": {"ZstdDecompressor": "backports.zstd.ZstdDecompressor().decompress(data)"},
}
MODULES = {"python-zstandard": "zstandard", "pyzstd": "pyzstd", "backports.zstd, Python 3.14": "backports.zstd"}

# The row of table libraries. Each call returns the rows, or the bytes.
TABLES = "pandas, polars, DuckDB, pyarrow"
READS_TABLES = [
    ("read_json", "pandas", ".json", "pandas.read_json(path).values.tolist()"),
    ("read_json", "pandas", ".jsonl", "pandas.read_json(path, lines=True).values.tolist()"),
    ("read_csv", "pandas", ".csv", "pandas.read_csv(path).values.tolist()"),
    ("read_json", "polars", ".json", "polars.read_json(path).rows()"),
    ("read_ndjson", "polars", ".jsonl", "polars.read_ndjson(path).rows()"),
    ("read_csv", "polars", ".csv", "polars.read_csv(path).rows()"),
    ("read_json", "duckdb", ".json", "duckdb.execute('SELECT id, text FROM read_json(?)', [path]).fetchall()"),
    ("read_ndjson", "duckdb", ".jsonl", "duckdb.execute('SELECT id, text FROM read_ndjson(?)', [path]).fetchall()"),
    ("read_csv", "duckdb", ".csv", "duckdb.execute('SELECT id, text FROM read_csv(?)', [path]).fetchall()"),
    ("read_json", "pyarrow.json", ".jsonl", "[*zip(*pyarrow.json.read_json(path).to_pydict().values())]"),
    ("read_csv", "pyarrow.csv", ".csv", "[*zip(*pyarrow.csv.read_csv(path).to_pydict().values())]"),
    ("input_stream", "pyarrow", ".json", "pyarrow.input_stream(path, compression='zstd').read()"),
]

# Prints for each call the SHA-256 of the bytes that it returns, or of its rows as JSON.
PROGRAM = """
import hashlib, importlib, io, json, sys

def into(work):
    out = io.BytesIO()
    work(out)
    return out.getvalue()

for module, path, call in json.load(sys.stdin):
    importlib.import_module(module)
    names = {"path": path, "data": open(path, "rb").read(), "into": into}
    exec("import " + module, names)
    try:
        got = eval(call, names)
    except Exception as error:
        print(type(error).__name__, *str(error).split())
        continue
    print(hashlib.sha256(got if isinstance(got, bytes) else json.dumps(got).encode()).hexdigest())
"""


def gives(calls: list[tuple[str, str, str]]) -> list[str]:
    """Runs calls in the environment of these libraries. Each is a module, a path and the call.
    Returns a hash or an error for each.
    """
    python = environments.environment(TESTS / "zstd_readers.txt")
    done = subprocess.run([python, "-c", PROGRAM], input=json.dumps(calls), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def sha256(state: bytes) -> str:
    return hashlib.sha256(state).hexdigest()


def rows() -> list[tuple[int, str]]:
    source = random.Random(1)
    words = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(2, 9))) for _ in range(1000)]
    return [(number, " ".join(source.choices(words, k=12))) for number in range(35_000)]


ROWS = rows()
OBJECTS = [json.dumps({"id": number, "text": text}) for number, text in ROWS]
STATES = {
    ".json": f"[{','.join(OBJECTS)}]".encode(),
    ".jsonl": "".join(f"{line}\n" for line in OBJECTS).encode(),
    ".csv": b"id,text\n" + "".join(f"{number},{text}\n" for number, text in ROWS).encode(),
}


@pytest.fixture
def snapshots(folder: Path) -> dict[str, str]:
    """Saves the states as snapshots, each of at least three blocks."""
    paths = {}
    for extension, state in STATES.items():
        assert len(state) > 2 * BLOCK
        paths[extension] = str(folder / f"x{extension}.zst")
        saved = persist.Store(str(folder)).save_bytes(state, f"x{extension}.zst")
        assert saved.compression_algorithm == "zstd"
    return paths


def table() -> dict[str, tuple[set[str], set[str]]]:
    """Returns the table of the page: each library with its calls that read all frames, and its
    calls that stop.
    """
    text = PAGE.read_text().partition("| library | reads all frames | stops after the first |\n|---|---|---|\n")[2]
    found = {}
    for line in text.partition("\n\n")[0].splitlines():
        library, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        reads_all, stops = (set(re.findall("`([^`]+)`", cell)) for cell in cells)
        found[library] = (reads_all, stops)
    return found


def test_the_table_has_the_calls_that_are_tested() -> None:
    tested: dict[str, tuple[set[str], set[str]]] = {
        library: (set(READS_ALL[library]), set(STOPS_AFTER_THE_FIRST[library])) for library in MODULES
    }
    tested[TABLES] = ({name for name, *_ in READS_TABLES}, set())
    found = table()
    assert {library: calls for library, calls in found.items() if library in tested} == tested
    # tests/portability/test_zstd_in_node.py tests these with Node.
    assert set(found) - set(tested) == {"fzstd (Node, browsers)", "Node 22 and 24, `zlib`"}


@pytest.mark.parametrize("library", MODULES)
def test_a_library_reads_all_or_stops_as_the_table_says(library: str, snapshots: dict[str, str]) -> None:
    module, path = MODULES[library], snapshots[".json"]
    wanted = dict.fromkeys(READS_ALL[library].values(), STATES[".json"])
    wanted |= dict.fromkeys(STOPS_AFTER_THE_FIRST[library].values(), STATES[".json"][:BLOCK])
    given = gives([(module, path, call) for call in wanted])
    assert dict(zip(wanted, given, strict=True)) == {call: sha256(state) for call, state in wanted.items()}


def test_table_libraries_read_all_frames(snapshots: dict[str, str]) -> None:
    calls = [(module, snapshots[extension], call) for _, module, extension, call in READS_TABLES]
    as_rows = sha256(json.dumps(ROWS).encode())
    wanted = [sha256(STATES[".json"]) if module == "pyarrow" else as_rows for module, _, _ in calls]
    named: list[Any] = [call for _, _, call in calls]
    assert dict(zip(named, gives(calls), strict=True)) == dict(zip(named, wanted, strict=True))


def test_a_call_that_allows_no_extra_data_refuses_a_snapshot(snapshots: dict[str, str], folder: Path) -> None:
    call = "zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)"
    assert f"decompress({call.partition('decompress(')[2]}" in PAGE.read_text()
    # This includes a snapshot of one block, because its metadata follows the block.
    persist.snapshot({}, folder / "small.json.zst")
    for path in (snapshots[".json"], str(folder / "small.json.zst")):
        (given,) = gives([("zstandard", path, call)])
        assert re.match("ZstdError .*unused data", given), given


@pytest.mark.parametrize("command", [["zstd", "-dcq"], ["bsdcat"]])
def test_a_command_reads_all_frames(command: list[str], snapshots: dict[str, str]) -> None:
    if shutil.which(command[0]) is None:
        assert "PERSIST_REQUIRE_TOOLS" not in os.environ, f"{command[0]} is required, but not installed"
        return
    for extension, state in STATES.items():
        done = subprocess.run([*command, snapshots[extension]], capture_output=True, check=True)
        assert done.stdout == state
