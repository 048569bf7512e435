"""Runs the command: ``python -m persist``."""

from __future__ import annotations

import os
import sys

from persist import _installation, _persist


def main() -> int:
    """Runs the command with the arguments of this process. Returns its exit code."""
    _installation.check()
    # On Ctrl-C, the command undoes what is under way and exits by itself.
    sys.stdout.flush()
    return _persist.run_command(["persist", *map(os.fspath, sys.argv[1:])])


if __name__ == "__main__":
    sys.exit(main())
