"""What the histories of messages have in common: the items of one session, which are added and cleared."""

from __future__ import annotations

import os
from collections.abc import Sequence

from persist import _persist
from persist._live.items import items_at
from persist._store import Store
from persist._threads import in_thread

CHANGED = "the history was changed all the same"


class History:
    """The messages of one session. Each time that messages are added, only these are stored, as a step of a
    timeline.

    Args:
        location: A folder or ``s3://bucket/prefix``, or a :class:`persist.Store`.
        session_id: The ID of the session.
        agent_id: The agent whose session this is.
    """

    def __init__(self, location: str | os.PathLike[str] | Store, session_id: str, agent_id: str) -> None:
        self.session_id = session_id
        self._items = items_at(location, agent_id, session_id)

    def clear(self) -> None:
        """Deletes all messages, with all steps."""
        self._items.delete()

    async def aclear(self) -> None:
        """Like :meth:`clear`, for asyncio."""
        await in_thread(self._items.delete, changed=CHANGED)

    def close(self) -> None:
        """Records which step is the newest, so that its loss would be noticed."""
        self._items.close()

    def _add(self, texts: Sequence[str], token: _persist.CancelToken | None = None) -> None:
        if texts:
            self._items.change(lambda held: held.adding(texts), token)
