"""How the adapters of frameworks tell autosave of the steps of an agent."""

from __future__ import annotations

import sys
from typing import Any

MISSING: Any = object()
"""Means that no agent was given."""


class Watcher:
    """What an adapter tells of the steps of an agent."""

    def __init__(self, saver: Any) -> None:
        self._saver = saver

    def step(self, agent: Any = MISSING) -> None:
        """Captures the agent; ``agent`` is the object to save from now on, if it is another one.
        Raises the failures of earlier steps.
        """
        if self._is_asked:
            self._saver._keep(agent, None)

    def quiet_step(self, agent: Any = MISSING) -> None:
        """Captures the agent, for a framework that ignores what its hooks raise. The next
        ``save`` or the end of the block raises it.
        """
        try:
            if self._is_asked and not self._saver._appending.is_refused:
                self._saver._keep(agent, None, is_quiet=True)
        except Exception as error:
            self._saver._appending.fail(error)

    async def astep(self, agent: Any = MISSING) -> None:
        """Like :meth:`step`, in an event loop."""
        if self._is_asked:
            await self._saver._keep_async(agent, None)

    @property
    def _is_asked(self) -> bool:
        """Whether the block runs, and is not about to end because somebody else has appended:
        frameworks call hooks while an exception ends their run.
        """
        return bool(self._saver._is_open and not self._saver._is_conflict(sys.exc_info()[1]))
