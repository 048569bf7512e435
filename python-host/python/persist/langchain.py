"""For LangChain: a store of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from langchain_core.stores import BaseStore

from persist._keys import key_of, name_of, prefix_of, store_at
from persist._store import Store
from persist.errors import PersistNotFoundError

__all__ = ["ByteStore"]


class ByteStore(BaseStore[str, bytes]):
    """A store of bytes for LangChain, for example for its caches. Each key is a snapshot.

    Args:
        store: A :class:`persist.Store`, or a location.

    A key may be any text. It is percent-encoded in the store.
    """

    def __init__(self, store: Store | str) -> None:
        self._store = store_at(store)
        self._async = self._store.to_async()

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Returns the values of keys, in order, with ``None`` for missing keys."""
        return [self._get(key) for key in keys]

    def _get(self, key: str) -> bytes | None:
        try:
            return self._store.load_bytes(key_of(key))
        except PersistNotFoundError:
            return None

    async def amget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Like :meth:`mget`, for asyncio."""
        found: list[bytes | None] = []
        for key in keys:
            try:
                found.append(await self._async.load_bytes(key_of(key)))
            except PersistNotFoundError:
                found.append(None)
        return found

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Sets values one after another."""
        for key, value in key_value_pairs:
            self._store.save_bytes(value, key_of(key))

    async def amset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Like :meth:`mset`, for asyncio."""
        for key, value in key_value_pairs:
            await self._async.save_bytes(value, key_of(key))

    def mdelete(self, keys: Sequence[str]) -> None:
        """Deletes keys. Missing keys are ignored."""
        for key in keys:
            try:
                self._store.delete(key_of(key))
            except PersistNotFoundError:
                continue

    async def amdelete(self, keys: Sequence[str]) -> None:
        """Like :meth:`mdelete`, for asyncio."""
        for key in keys:
            try:
                await self._async.delete(key_of(key))
            except PersistNotFoundError:
                continue

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """Yields the keys that begin with a prefix, in order."""
        for found in self._store.list(prefix_of(prefix or "")):
            yield name_of(found.key)

    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        """Like :meth:`yield_keys`, for asyncio."""
        for found in await self._async.list(prefix_of(prefix or "")):
            yield name_of(found.key)
