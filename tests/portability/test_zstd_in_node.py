"""What reads all frames of a ``.zst`` snapshot of several blocks in Node.

These are the rows of the table in docs/format.md that tests/python/test_zstd_readers.py leaves out.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import persist
import pytest

from .programs import NODE, NODE_PROGRAM, ROOT

PAGE = ROOT / "docs" / "format.md"

# The first cells of the two rows.
FZSTD = "fzstd (Node, browsers)"
ZLIB = "Node 22 and 24, `zlib`"

# The names are those in the table. Each is a function of the snapshot's bytes and its path that returns the bytes of
# the state.
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


def run_reader(call: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Prints the SHA-256 of the state that a reader gets out of a snapshot."""
    program = PROGRAM.replace("CALL", CALLS[call])
    return subprocess.run([NODE_PROGRAM, "-e", program, path], cwd=NODE, capture_output=True, text=True, timeout=120)


def cells(library: str) -> tuple[set[str], str]:
    """Returns a library's row of the table: the calls that read all frames, and the text of the other cell."""
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {library} |")]
    reads_all, stops = line.removeprefix(f"| {library} |").removesuffix("|").split("|")
    return set(re.findall("`([^`]+)`", reads_all)) - {"chunkSize"}, stops


@pytest.fixture
def snapshots(folder: Path) -> dict[Path, str]:
    """Snapshots of several blocks with little and with much metadata, and the hash of each state."""
    state = os.urandom(600_000) * 5
    saved = {}
    for name, labels in [("small.zst", {}), ("large.zst", {"label": "x" * 46_000})]:
        persist.Store(".").save_bytes(state, name, labels=labels)
        saved[folder / name] = hashlib.sha256(state).hexdigest()
    return saved


@pytest.mark.parametrize("library", [FZSTD, ZLIB])
def test_a_reader_in_the_table_reads_all_frames(library: str, snapshots: dict[Path, str]) -> None:
    calls, _ = cells(library)
    assert calls <= set(CALLS)
    for call in calls:
        for path, content_hash in snapshots.items():
            done = run_reader(call, path)
            assert (done.returncode, done.stdout) == (0, f"{content_hash}\n"), (call, path.name, done.stderr)


def test_the_stream_of_node_24_is_not_to_be_relied_on(snapshots: dict[Path, str]) -> None:
    _, stops = cells(ZLIB)
    assert "`createZstdDecompress` may lose the rest or fail" in stops
    # With this one, every call above is in the table.
    assert {*CALLS} == {*cells(FZSTD)[0], *cells(ZLIB)[0], "createZstdDecompress"}
    (large,) = (path for path in snapshots if path.name == "large.zst")
    done = run_reader("createZstdDecompress", large)
    # If the metadata arrives in more than one piece, it takes the second one for a frame.
    assert done.returncode != 0
    assert "Unknown frame descriptor" in done.stderr
