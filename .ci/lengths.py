"""Fails if a source file of the repository has over 400 lines without saying why.

    python3 .ci/lengths.py

A file may be longer if one of its first lines says that it "is longer than 400 lines because".
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LIMIT = 400
SOURCES = (".rs", ".py", ".pyi", ".js", ".mjs", ".ts")
REASON = "longer than 400 lines because"
BEGINNING = 12
"""The lines among which the reason must be."""


def main() -> int:
    """Checks all files that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    too_long = []
    for name in sorted(set(listed.stdout.splitlines())):
        path = Path(name)
        if path.suffix not in SOURCES or not path.is_file():
            continue
        lines = path.read_text().splitlines()
        if len(lines) > LIMIT and REASON not in " ".join(lines[:BEGINNING]):
            too_long.append(f"{name} has {len(lines)} lines: split it, or say at its top why it 'is {REASON}' ...")
    print("\n".join(too_long), end="\n" if too_long else "", file=sys.stderr)
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main())
