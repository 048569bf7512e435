"""The threads of LangGraph in a store: where their namespaces are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from persist import _persist
from persist._langgraph.checkpoints import Document
from persist._langgraph.entries import Entry
from persist._langgraph.namespace import Namespace
from persist._langgraph.pending_writes import FOLDER
from persist._live.sessions import Sessions
from persist._store_base import StoreBase
from persist.errors import PersistConflictError

_KIND = "ns"
"""The kind of the parts of a thread: the namespaces of sub-graphs."""


class Threads:
    """All threads of an agent. Each is a session: the timeline of the graph itself, and below it those of its
    sub-graphs.
    """

    def __init__(self, store: StoreBase, agent_id: str) -> None:
        self.store, self.agent_id = store, agent_id
        self._sessions = Sessions(store, agent_id, _KIND, self._opened, _name)

    def _opened(self, folder: str, thread: str, _: str | None) -> Namespace:
        return Namespace(self.store, folder, self.agent_id, thread)

    def namespace(self, thread: str, name: str) -> Namespace:
        """Returns a namespace of a thread."""
        return self._sessions.get(thread, name or None)

    def ids(self) -> list[str]:
        """Returns the IDs of all threads, in order."""
        return self._sessions.ids()

    def namespaces(self, thread: str) -> list[tuple[str, Namespace]]:
        """Returns the names of the namespaces that a thread has, and the namespaces."""
        return [(part or "", self._sessions.get(thread, part)) for part in self._sessions.parts(thread)]

    def newest(self, thread: str) -> dict[str, Entry]:
        """Returns the newest step of each namespace of a thread."""
        return _newest(self.namespaces(thread))

    def delete(self, thread: str, after: Mapping[str, Entry] | None = None) -> bool:
        """Deletes a thread; with ``after``, only if these are still the newest steps, and without the writes
        of other checkpoints. Returns whether it did.
        """
        spaces = self.namespaces(thread)
        if after is not None and _newest(spaces) != after:
            return False
        # The graph itself comes last: without it, the others are of no use.
        for name, space in reversed(spaces):
            try:
                space.delete(None if after is None else after[name].number)
            except (KeyError, PersistConflictError):
                if after is None:
                    raise
                return False
            self._sessions.forget(thread, name or None)
        if after is not None:
            return True
        # Writes may have come before their checkpoint, which never came.
        place, prefix = self.store._place(_persist.session_folder(self.agent_id, thread))
        left = [key for key in place.keys(prefix) if key[len(prefix) :].split("/")[-2:-1] == [FOLDER.rstrip("/")]]
        for _, error in place.delete_many(left):
            raise error
        return True

    def close(self) -> None:
        """Closes all namespaces. They can be opened again."""
        self._sessions.close()


def _name(place: _persist.Place, folder: str) -> str:
    """Returns the name of the namespace in a folder."""
    state, _ = place.timeline(folder).load()
    return Document.read(state, place.location(folder)).namespace


def _newest(spaces: Iterable[tuple[str, Namespace]]) -> dict[str, Entry]:
    return {name: entry for name, space in spaces if (entry := space.newest()) is not None}
