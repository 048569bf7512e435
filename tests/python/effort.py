"""How much the tests that try random values and moments do."""

from __future__ import annotations

import os

EXAMPLES = int(os.environ.get("PERSIST_TEST_EXAMPLES", "1000"))
"""Random values to try. ``cargo xtask soak`` tries ten times as many."""

IS_SOAK = bool({"PERSIST_SOAK", "PERSIST_SOAK_SECONDS"} & os.environ.keys())
"""Whether this is ``cargo xtask soak``."""

KILLS = 200 if IS_SOAK else 10
"""How often to kill programs. ``cargo xtask soak`` does it 200 times."""
