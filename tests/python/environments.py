"""Virtual environments with packages that the other tests do without. They are cached outside
the project, and created again when their requirements change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


def environment(requirements: Path) -> Path:
    """Returns the Python of a virtual environment with these requirements."""
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    root = Path(os.environ.get("PERSIST_TEST_ENVIRONMENTS") or f"{cache}/persist-build/frameworks")
    folder = root / f"{requirements.stem.removeprefix('with_')}-{key}"
    python, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        uv = [sys.executable, "-m", "uv", "--quiet"]
        subprocess.run([*uv, "venv", "--python", sys.executable, folder], check=True)
        subprocess.run([*uv, "pip", "install", "--python", python, "-r", requirements], check=True)
        done.touch()
    return python
