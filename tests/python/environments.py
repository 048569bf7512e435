"""Virtual environments with packages that the other tests do without. They are cached outside
the project, and created again when their requirements change.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import persist


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other processes, such as those that run tests at the same time, out of a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def environment(requirements: Path) -> Path:
    """Returns the Python of a virtual environment with these requirements."""
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    root = Path(os.environ.get("PERSIST_TEST_ENVIRONMENTS") or f"{cache}/persist-build/frameworks")
    folder = root / f"{requirements.stem.removeprefix('with_')}-{key}"
    python, done = folder / "bin" / "python", folder / "done"
    with _locked(folder):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            uv = [sys.executable, "-m", "uv", "--quiet"]
            subprocess.run([*uv, "venv", "--python", sys.executable, folder], check=True)
            subprocess.run([*uv, "pip", "install", "--python", python, "-r", requirements], check=True)
            done.touch()
    return python


def with_persist(requirements: Path) -> Path:
    """Returns the Python of a virtual environment with these requirements and the installed
    package, which is copied into it unless the same files are there.
    """
    python = environment(requirements)
    installed = Path(persist.__file__).parent
    copied = next((python.parents[1] / "lib").glob("python*")) / "site-packages" / "persist"
    files = (path for path in sorted(installed.rglob("*")) if path.suffix != ".pyc" and path.is_file())
    state = "\n".join(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)
    marker = copied.with_name("persist.copied")
    with _locked(python.parents[1]):
        if not marker.exists() or marker.read_text() != state:
            marker.unlink(missing_ok=True)
            shutil.rmtree(copied, ignore_errors=True)
            shutil.copytree(installed, copied)
            marker.write_text(state)
    return python
