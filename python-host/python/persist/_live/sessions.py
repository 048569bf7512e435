"""The sessions of one agent in a store: where each is, and which there are."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock

from persist import _persist
from persist._live.items import Items
from persist._store import Store
from persist._store_base import StoreBase
from persist.errors import PersistNotFoundError

_OPEN = 256
"""How many sessions are kept open."""

Below = tuple[str, ...]
"""Which part of a session: none for the session itself, or the kind and the name of another timeline that
belongs to it.
"""


class Sessions:
    """All sessions of an agent. Each is a timeline, which may have others below it.

    Args:
        location: A folder or ``s3://bucket/prefix``, or a store.
        agent_id: The agent.
        name: The name of the list in a state, as for :class:`Items`.
    """

    def __init__(self, location: str | os.PathLike[str] | StoreBase, agent_id: str, name: str | None = None) -> None:
        store = location if isinstance(location, StoreBase) else Store(location)
        self.store, self.agent_id, self._name = store._twin(StoreBase), agent_id, name
        self._root = _persist.session_folder(agent_id, "x").rsplit("/", 2)[0] + "/"
        self._open: OrderedDict[tuple[str, Below], Items] = OrderedDict()
        self._opening = Lock()

    def items(self, session: str, below: Below = ()) -> Items:
        """Returns the items of a session, or of a part of it."""
        closing = None
        with self._opening:
            found = self._open.get((session, below))
            if found is None:
                folder = _persist.session_folder(self.agent_id, session)
                if below:
                    folder += f"{below[0]}/{_persist.folder_name(below[1])}/"
                labels = {"name": below[1]} if below else {}
                found = Items(self.store, folder, self.agent_id, session, self._name, labels)
                self._open[session, below] = found
            self._open.move_to_end((session, below))
            if len(self._open) > _OPEN:
                closing = self._open.popitem(last=False)[1]
        if closing is not None:
            closing.close()
        return found

    def ids(self) -> list[str]:
        """Returns the IDs of all sessions, in order."""
        return sorted({session for session, _ in self._stored(self._root)})

    def below(self, session: str) -> list[Below]:
        """Returns the parts that a session has, in order."""
        folder = _persist.session_folder(self.agent_id, session)
        return sorted(below for found, below in self._stored(folder) if below and found == session)

    def delete(self, session: str, token: _persist.CancelToken | None = None) -> None:
        """Deletes a session with all its parts."""
        for below in (*self.below(session), ()):
            self.items(session, below).delete(token)

    def close(self) -> None:
        """Closes all sessions. They can be opened again."""
        with self._opening:
            opened = [*self._open.values()]
            self._open.clear()
        for items in opened:
            items.close()

    def _stored(self, folder: str) -> Iterator[tuple[str, Below]]:
        """Yields the session and the part of each timeline below a folder."""
        place, prefix = self.store._place(folder)
        start = len(prefix) - len(folder) + len(self._root)
        for found in sorted(place.timelines(prefix)):
            parts = found[start:].rstrip("/").split("/")
            if len(parts) in (1, 3):
                try:
                    below = (parts[1], _id(place, found, parts[2], "name")) if len(parts) == 3 else ()
                    yield _id(place, found, parts[0], "session_id"), below
                except PersistNotFoundError:
                    continue  # It was deleted meanwhile.


def _id(place: _persist.Place, folder: str, name: str, key: str) -> str:
    """Returns the ID that a folder is named after. The name of the folder is only the beginning of a long one."""
    if (known := _persist.id_of(name)) is not None:
        return known
    metadata = json.loads(place.timeline(folder).find()[1])
    return str(metadata[key] if key in metadata else metadata["labels"][key])
