"""For Strands Agents: a storage for its session manager."""

from __future__ import annotations

import builtins

from strands.storage import Storage
from strands.types.exceptions import StorageError

from persist._keys import key_of, name_of, prefix_of, store_at
from persist._store import Store
from persist.errors import PersistError, PersistNotFoundError

__all__ = ["StoredBytes"]


class StoredBytes(Storage):
    """A storage for Strands in which each key is a snapshot.

    Args:
        store: A :class:`persist.Store`, or a location.
    """

    def __init__(self, store: Store | str) -> None:
        self._store = store_at(store).to_async()

    async def write(self, key: str, data: bytes) -> None:
        """Stores bytes under a key, and replaces what was there before."""
        try:
            await self._store.save_bytes(data, key_of(key))
        except PersistError as error:
            raise StorageError(f"{key}: {error}") from error

    async def read(self, key: str) -> bytes | None:
        """Returns the bytes under a key, or ``None`` if there are none."""
        try:
            return await self._store.load_bytes(key_of(key))
        except PersistNotFoundError:
            return None
        except PersistError as error:
            raise StorageError(f"{key}: {error}") from error

    async def delete(self, key: str) -> None:
        """Deletes a key. A missing key is ignored."""
        try:
            await self._store.delete(key_of(key))
        except PersistNotFoundError:
            return
        except PersistError as error:
            raise StorageError(f"{key}: {error}") from error

    async def list(self, query: str = "") -> builtins.list[str]:
        """Returns the keys that begin with a prefix, in order."""
        try:
            return sorted([name_of(found.key) for found in await self._store.list(prefix_of(query))])
        except PersistError as error:
            raise StorageError(f"{query}: {error}") from error
