"""The threads of LangGraph in a store: where their namespaces are."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock

from persist import _persist
from persist._langgraph.checkpoints import Document
from persist._langgraph.entries import Entry
from persist._langgraph.namespace import Namespace
from persist._langgraph.pending_writes import FOLDER
from persist._store_base import StoreBase
from persist.errors import PersistConflictError, PersistNotFoundError

_BELOW = "ns/"
"""The folder of the namespaces of sub-graphs, in that of the thread."""

_OPEN = 256
"""How many namespaces are kept open."""


class Threads:
    """All threads of an agent. Each is the folder of a session: the timeline of the graph itself, and
    below it those of its sub-graphs.
    """

    def __init__(self, store: StoreBase, agent_id: str) -> None:
        self.store, self.agent_id = store, agent_id
        self._root = _persist.session_folder(agent_id, "x").rsplit("/", 2)[0] + "/"
        self._open: OrderedDict[tuple[str, str], Namespace] = OrderedDict()
        self._opening = Lock()

    def _folder(self, thread: str, name: str) -> str:
        folder = _persist.session_folder(self.agent_id, thread)
        return f"{folder}{_BELOW}{_persist.folder_name(name)}/" if name else folder

    def namespace(self, thread: str, name: str) -> Namespace:
        """Returns a namespace of a thread."""
        closing = None
        with self._opening:
            space = self._open.get((thread, name))
            if space is None:
                space = Namespace(self.store, self._folder(thread, name), self.agent_id, thread)
                self._open[thread, name] = space
            self._open.move_to_end((thread, name))
            if len(self._open) > _OPEN:
                closing = self._open.popitem(last=False)[1]
        if closing is not None:
            closing.close()
        return space

    def ids(self) -> list[str]:
        """Returns the IDs of all threads, in order."""
        return sorted({thread for thread, _ in self._stored()})

    def namespaces(self, thread: str) -> list[tuple[str, Namespace]]:
        """Returns the names of the namespaces that a thread has, and the namespaces."""
        return [(name, self.namespace(thread, name)) for found, name in self._stored(thread) if found == thread]

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
            with self._opening:
                self._open.pop((thread, name), None)
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
        with self._opening:
            spaces = [*self._open.values()]
            self._open.clear()
        for space in spaces:
            space.close()

    def _stored(self, thread: str | None = None) -> Iterator[tuple[str, str]]:
        """Yields the thread and the namespace of each timeline."""
        below = self._root if thread is None else _persist.session_folder(self.agent_id, thread)
        place, prefix = self.store._place(below)
        start = len(prefix) - len(below)
        for folder in sorted(place.timelines(prefix)):
            parts = folder[start + len(self._root) :].rstrip("/").split("/")
            try:
                if len(parts) == 1:
                    yield self._id(place, folder, parts[0]), ""
                elif len(parts) == 3 and parts[1] + "/" == _BELOW:
                    yield self._id(place, folder, parts[0]), self._name(place, folder, parts[2])
            except PersistNotFoundError:
                continue  # It was deleted meanwhile.

    def _id(self, place: _persist.Place, folder: str, name: str) -> str:
        if (known := _persist.id_of(name)) is not None:
            return known
        # The name of the folder is only the beginning of a long ID.
        return str(json.loads(place.timeline(folder).find()[1])["session_id"])

    def _name(self, place: _persist.Place, folder: str, name: str) -> str:
        if (known := _persist.id_of(name)) is not None:
            return known
        state, _ = place.timeline(folder).load()
        return Document.read(state, place.location(folder)).namespace


def _newest(spaces: Iterable[tuple[str, Namespace]]) -> dict[str, Entry]:
    return {name: entry for name, space in spaces if (entry := space.newest()) is not None}
