"""For the OpenAI Agents SDK: a session that keeps its items in a store."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

from persist._keys import key_of, store_at
from persist._store import Store
from persist.errors import PersistConflictError, PersistIntegrityError, PersistNotFoundError, PersistStorageError

__all__ = ["StoredSession"]

_locks: weakref.WeakValueDictionary[tuple[str, str], threading.Lock] = weakref.WeakValueDictionary()


class StoredSession:
    """A session that keeps its items in a store, as one snapshot.

    Args:
        session_id: The ID of the session, which is also the name of the snapshot.
        store: A :class:`persist.Store`, or a location.

    Several objects, even on several threads, may use the same session at once. Several
    processes may use it at once only if the storage supports preconditions, as S3 does.
    """

    session_settings = None

    def __init__(self, session_id: str, store: Store | str) -> None:
        self.session_id = session_id
        plain = store_at(store)
        self._store = plain.to_async()
        self._key = key_of(session_id)
        self._lock = _locks.setdefault((plain.location, self._key), threading.Lock())

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Prevents other changes of this session in this process."""
        while not self._lock.acquire(blocking=False):
            await asyncio.sleep(0.005)
        try:
            yield
        finally:
            self._lock.release()

    async def _load(self) -> tuple[list[Any], str | None]:
        try:
            found = await self._store.metadata(self._key)
            items = await self._store.restore(self._key)
        except PersistNotFoundError:
            return [], None
        if not isinstance(items, list):
            raise PersistIntegrityError(
                f"Format error: the session {self.session_id!r} is not a list of items",
                "invalid-format",
                hint="use another session ID",
            )
        return items, found.etag

    async def _change(self, change: Callable[[list[Any]], Any]) -> Any:
        """Changes the items, and tries again if another process changed them first."""
        async with self._alone():
            for _ in range(20):
                items, etag = await self._load()
                result = change(items)
                try:
                    await self._save(items, etag)
                except PersistConflictError:
                    continue
                return result
        raise PersistConflictError(
            "other processes kept changing the session", "precondition-failed", hint="try again later"
        )

    async def _save(self, items: list[Any], etag: str | None) -> None:
        try:
            if etag is None:
                await self._store.snapshot(items, self._key, session_id=self.session_id, if_exists="fail")
            else:
                await self._store.snapshot(items, self._key, session_id=self.session_id, if_match=etag)
        except PersistStorageError as error:
            if error.code != "unsupported":
                raise
            await self._store.snapshot(items, self._key, session_id=self.session_id)

    async def get_items(self, limit: int | None = None) -> list[Any]:
        """Returns all items, or the last ``limit`` of them, the oldest first."""
        items, _ = await self._load()
        return items if limit is None else items[len(items) - min(limit, len(items)) :] if limit > 0 else []

    async def add_items(self, items: list[Any]) -> None:
        """Adds items at the end."""
        if items:
            await self._change(lambda known: known.extend(items))

    async def replace_items(self, items: list[Any]) -> None:
        """Replaces all items at once."""

        def replace(known: list[Any]) -> None:
            known[:] = items

        await self._change(replace)

    async def pop_item(self) -> Any:
        """Removes and returns the last item, or returns ``None`` if there is none."""
        return await self._change(lambda known: known.pop() if known else None)

    async def clear_session(self) -> None:
        """Removes all items."""
        async with self._alone():
            try:
                await self._store.delete(self._key)
            except PersistNotFoundError:
                return
