"""What is worth waiting for."""

from __future__ import annotations

_MISSES = 2
"""After how often waiting in vain is enough. For the writes to channels of which checkpoints hold only
changes, LangGraph waits before it stores the next checkpoint, which these would wait for.
"""

_AGAIN = 64
"""After how many more it is tried once again."""

_KNOWN = 64
"""Of how many things this is remembered."""


class Waiting:
    """Remembers what did not come in time, so that nobody waits for it each time."""

    def __init__(self) -> None:
        self._misses: dict[frozenset[str], int] = {}

    def is_worth(self, what: frozenset[str]) -> bool:
        """Returns whether it came in time lately, or is to be tried again."""
        misses = self._misses.get(what, 0)
        if len(self._misses) > _KNOWN:
            self._misses.clear()
        if misses < _MISSES or misses >= _MISSES + _AGAIN:
            return True
        self._misses[what] = misses + 1
        return False

    def note(self, what: frozenset[str], *, came: bool) -> None:
        """Notes whether it came while somebody waited for it."""
        self._misses[what] = 0 if came else min(self._misses.get(what, 0), _MISSES - 1) + 1
