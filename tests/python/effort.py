"""How much the tests that try random values do."""

from __future__ import annotations

import os

EXAMPLES = int(os.environ.get("PERSIST_TEST_EXAMPLES", "1000"))
"""Random values to try. ``cargo xtask soak`` tries ten times as many."""
