"""What the tests of commands on a terminal share."""

from __future__ import annotations

import os


def rest_of(terminal: int) -> bytes:
    """Reads what is written to a terminal until its other end is closed."""
    said = b""
    try:
        while part := os.read(terminal, 1000):
            said += part
    except OSError:
        # The other end was closed.
        pass
    return said
