"""Strands Agents: agents, by their own ``take_snapshot`` and ``load_snapshot``;
and a storage of bytes.
"""

from __future__ import annotations

import builtins
from typing import Any

from strands import Agent
from strands.storage import Storage
from strands.types._snapshot import Snapshot
from strands.types.exceptions import StorageError

import persist
from persist.adapters import Adapter
from persist.adapters._keys import both_stores, key_of, name_of, prefix_of
from persist.errors import PersistConfigurationError, PersistError, PersistIntegrityError, PersistNotFoundError


class StrandsAdapter(Adapter):
    """Agents."""

    name = "strands"
    package = "strands-agents"
    module = "strands"

    def accepts(self, agent: Any) -> bool:
        """Whether it is an agent."""
        return isinstance(agent, Agent)

    def save(self, agent: Any) -> Any:
        """Messages, state, interrupts, and what its model and its manager of
        the conversation keep; not the system prompt, which belongs to the code.
        """
        return agent.take_snapshot(preset="session", include=["model_state"]).to_dict()

    def restore(self, state: Any, into: Any = None) -> Any:
        """The agent, with the state."""
        if into is None or isinstance(into, type):
            raise PersistConfigurationError(
                "the state of an agent of Strands is restored into one",
                "invalid-argument",
                hint="make the agent as before, and pass it: into=agent",
            )
        snapshot = Snapshot.from_dict(state)
        data = snapshot.data
        wrong = [name for name, item in data.items() if not isinstance(item, list if name == "messages" else dict)]
        if wrong:
            raise PersistIntegrityError(f"Format error: {wrong[0]} of the agent is not valid", "invalid-format")
        before = into.take_snapshot(preset="session", include=["model_state"])
        try:
            into.load_snapshot(snapshot)
        except Exception:
            into.load_snapshot(before)
            raise
        return into


ADAPTERS = (StrandsAdapter(),)


class StoredBytes(Storage):
    """A storage for Strands, whose every key is a snapshot.

    Args:
        store: A :class:`persist.Store`, or a location.
    """

    def __init__(self, store: persist.Store | str) -> None:
        _, self._store = both_stores(store)

    async def write(self, key: str, data: bytes) -> None:
        """Stores bytes under a key; what was there before is replaced."""
        try:
            await self._store.save_bytes(data, key_of(key))
        except PersistError as error:
            raise StorageError(f"{key}: {error}") from error

    async def read(self, key: str) -> bytes | None:
        """The bytes under a key; ``None`` if there are none."""
        try:
            return await self._store.load_bytes(key_of(key))
        except PersistNotFoundError:
            return None
        except PersistError as error:
            raise StorageError(f"{key}: {error}") from error

    async def delete(self, key: str) -> None:
        """Deletes what is under a key, if there is anything."""
        try:
            await self._store.delete(key_of(key))
        except PersistNotFoundError:
            return
        except PersistError as error:
            raise StorageError(f"{key}: {error}") from error

    async def list(self, query: str = "") -> builtins.list[str]:
        """The keys that begin with a prefix, in order."""
        try:
            return sorted([name_of(found.key) for found in await self._store.list(prefix_of(query))])
        except PersistError as error:
            raise StorageError(f"{query}: {error}") from error
