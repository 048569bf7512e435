"""What reads all frames of a ``.zst`` snapshot of several blocks in Node: the rows of
the table in docs/format.md that tests/python/test_zstd_readers.py leaves to this.

PERSIST_NODE is the folder where fzstd is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import persist
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
NODE = Path(os.environ["PERSIST_NODE"])

# Each is a function of the snapshot's bytes and its path, and gives the state's bytes.
CALLS = {
    "decompress": "data => require('fzstd').decompress(data)",
    "Decompress": """data => {
        const parts = [];
        const stream = new (require('fzstd').Decompress)(part => parts.push(Buffer.from(part)));
        for (let at = 0; at < data.length; at += 65536) stream.push(data.subarray(at, at + 65536));
        stream.push(new Uint8Array(0), true);
        return Buffer.concat(parts);
    }""",
    "zstdDecompressSync": "data => require('zlib').zstdDecompressSync(data)",
    "zstdDecompress": "data => require('util').promisify(require('zlib').zstdDecompress)(data)",
    "createZstdDecompress": """async (data, path) => {
        const parts = [];
        const kept = new (require('stream').Writable)({ write(part, _, done) { parts.push(part); done(); } });
        const file = require('fs').createReadStream(path);
        await require('stream/promises').pipeline(file, require('zlib').createZstdDecompress(), kept);
        return Buffer.concat(parts);
    }""",
}

PROGRAM = """
const state = (CALL)(require('fs').readFileSync(process.argv[1]), process.argv[1]);
Promise.resolve(state).then(state => console.log(require('crypto').createHash('sha256').update(state).digest('hex')));
"""


def gives(call: str, path: Path) -> subprocess.CompletedProcess[str]:
    node = Path(sys.executable).with_name("node")
    program = PROGRAM.replace("CALL", CALLS[call])
    return subprocess.run([node, "-e", program, path], cwd=NODE, capture_output=True, text=True, timeout=120)


def cells(library: str) -> tuple[set[str], str]:
    """What the table says of a library: what reads all, and the other cell."""
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {library} |")]
    reads_all, stops = line.removeprefix(f"| {library} |").removesuffix("|").split("|")
    return set(re.findall("`([^`]+)`", reads_all)) - {"chunkSize"}, stops


@pytest.fixture
def snapshots(folder: Path) -> dict[Path, str]:
    """Snapshots of several blocks, with little metadata and with much, and the
    hash of each state.
    """
    state = os.urandom(600_000) * 5
    saved = {}
    for name, labels in [("small.zst", {}), ("large.zst", {"label": "x" * 46_000})]:
        persist.Store(".").save_bytes(state, name, labels=labels)
        saved[folder / name] = hashlib.sha256(state).hexdigest()
    return saved


@pytest.mark.parametrize("library", ["fzstd (Node, browsers)", "Node 22 and 24, `zlib`"])
def test_what_the_table_says_reads_all_does(library: str, snapshots: dict[Path, str]) -> None:
    calls, _ = cells(library)
    assert calls <= set(CALLS)
    for call in calls:
        for path, content_hash in snapshots.items():
            done = gives(call, path)
            assert (done.returncode, done.stdout) == (0, f"{content_hash}\n"), (call, path.name, done.stderr)


def test_the_stream_of_node_24_is_not_to_be_relied_on(snapshots: dict[Path, str]) -> None:
    _, stops = cells("Node 22 and 24, `zlib`")
    assert "`createZstdDecompress` may lose the rest or fail" in stops
    assert {*CALLS} == set.union(*(cells(name)[0] for name in ("fzstd (Node, browsers)", "Node 22 and 24, `zlib`"))) | {
        "createZstdDecompress"
    }
    (large,) = (path for path in snapshots if path.name == "large.zst")
    done = gives("createZstdDecompress", large)
    # Where the metadata comes in more than one piece, it takes the second for a frame.
    assert done.returncode != 0
    assert "Unknown frame descriptor" in done.stderr
