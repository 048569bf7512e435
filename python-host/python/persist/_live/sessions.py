"""The sessions of one agent in a store: where each is, and which there are."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Generic, Protocol, TypeVar

from persist import _persist
from persist._store_base import StoreBase
from persist.errors import PersistNotFoundError

_OPEN = 256
"""How many timelines are kept open."""


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


class Sessions(Generic[T]):
    """All sessions of an agent. Each is a timeline, which may have others below it. Its methods may be called by
    several threads at once.

    Args:
        store: Where they are.
        agent_id: The agent.
        kind: What the parts of a session are, which is the folder that they are in.
        opened: Opens a timeline, given its folder, which ends with ``/``, the session, and the name of the part or
            ``None`` for the session itself.
        name_of: Reads the name of a part from its folder. The name of the folder itself is only the beginning of
            a long name.
    """

    def __init__(
        self,
        store: StoreBase,
        agent_id: str,
        kind: str,
        opened: Callable[[str, str, str | None], T],
        name_of: Callable[[_persist.Place, str], str],
    ) -> None:
        self._store, self._agent_id, self._kind = store, agent_id, kind
        self._opened, self._name_of = opened, name_of
        self._root = _persist.session_folder(agent_id, "x").rsplit("/", 2)[0] + "/"
        self._open: OrderedDict[tuple[str, str | None], T] = OrderedDict()
        self._opening = Lock()

    def get(self, session: str, part: str | None = None) -> T:
        """Returns a session, or a part of it. It is opened if need be."""
        closing = None
        with self._opening:
            found = self._open.get((session, part))
            if found is None:
                folder = _persist.session_folder(self._agent_id, session)
                if part is not None:
                    folder += f"{self._kind}/{_persist.folder_name(part)}/"
                found = self._open[session, part] = self._opened(folder, session, part)
            self._open.move_to_end((session, part))
            if len(self._open) > _OPEN:
                closing = self._open.popitem(last=False)[1]
        if closing is not None:
            closing.close()
        return found

    def forget(self, session: str, part: str | None) -> None:
        """Forgets a session or a part that was deleted."""
        with self._opening:
            self._open.pop((session, part), None)

    def close(self) -> None:
        """Closes all that are open. They can be opened again."""
        with self._opening:
            opened = [*self._open.values()]
            self._open.clear()
        for each in opened:
            each.close()

    def ids(self) -> list[str]:
        """Returns the IDs of all sessions, in order."""
        return sorted({session for session, _ in self._stored(self._root)})

    def parts(self, session: str) -> list[str | None]:
        """Returns the timelines that a session has: ``None`` for itself, and the names of its parts in the order
        of their folders.
        """
        folder = _persist.session_folder(self._agent_id, session)
        return [part for found, part in self._stored(folder) if found == session]

    def _stored(self, folder: str) -> Iterator[tuple[str, str | None]]:
        """Yields the session and the name of the part of each timeline below a folder."""
        place, prefix = self._store._place(folder)
        start = len(prefix) - len(folder) + len(self._root)
        for found in sorted(place.timelines(prefix)):
            parts = found[start:].rstrip("/").split("/")
            try:
                if len(parts) == 1:
                    yield _id(place, found, parts[0]), None
                elif len(parts) == 3 and parts[1] == self._kind:
                    name = _persist.id_of(parts[2])
                    yield _id(place, found, parts[0]), self._name_of(place, found) if name is None else name
            except PersistNotFoundError:
                continue  # It was deleted meanwhile.


def _id(place: _persist.Place, folder: str, name: str) -> str:
    """Returns the ID of the session that a folder belongs to, whose own folder has this name."""
    if (known := _persist.id_of(name)) is not None:
        return known
    # The name of the folder is only the beginning of a long ID.
    return str(json.loads(place.timeline(folder).find()[1])["session_id"])
