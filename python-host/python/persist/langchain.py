"""For LangChain: a history of messages, and a store of bytes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict
from langchain_core.stores import BaseStore

from persist import _persist
from persist._keys import key_of, name_of, prefix_of, store_at
from persist._live.copies import check, missing
from persist._live.history import CHANGED, History
from persist._live.items import text_of
from persist._store import Store
from persist._threads import in_thread
from persist.errors import PersistNotFoundError

__all__ = ["ByteStore", "PersistChatHistory", "copy"]

AGENT = "langchain"
"""The agent of the histories, unless another is given."""


def copy(source: BaseChatMessageHistory, target: PersistChatHistory) -> int:
    """Copies the messages of a history of any class, and reads them back. Copying again finishes a copy that was
    interrupted.

    Returns:
        How many messages were added.

    Raises:
        PersistConflictError: The target has other messages.
        PersistIntegrityError: What was read back is something else.
    """
    texts, location = _texts(source.messages), target._items.timeline.location
    left = missing(target._items.read().items, texts, location)
    target._add(left)
    check(target._items.stored(), texts, location)
    return len(left)


class PersistChatHistory(History, BaseChatMessageHistory):
    """The messages of one session, in files or a bucket. Each time that messages are added, only these are
    stored, as a step of a timeline.

    Args:
        location: A folder or ``s3://bucket/prefix``, or a :class:`persist.Store`.
        session_id: The ID of the session.
        agent_id: The agent whose session this is. Agents that use the same session IDs need different
            ones.

    Several objects, threads and processes may use the same session at once: no message is lost.

    Example::

        history = PersistChatHistory("s3://bucket/agents", "case-1")
        history.add_user_message("Hello")
    """

    def __init__(self, location: str | os.PathLike[str] | Store, session_id: str, *, agent_id: str = AGENT) -> None:
        super().__init__(location, session_id, agent_id)

    @property
    def messages(self) -> list[BaseMessage]:
        """All messages, the oldest first."""
        return self._read()

    async def aget_messages(self) -> list[BaseMessage]:
        """Like :attr:`messages`, for asyncio."""
        found: list[BaseMessage] = await in_thread(self._read)
        return found

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Adds messages at the end."""
        self._add(_texts(messages))

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Like :meth:`add_messages`, for asyncio."""
        await in_thread(self._add, _texts(messages), changed=CHANGED)

    def _read(self, token: _persist.CancelToken | None = None) -> list[BaseMessage]:
        found: list[BaseMessage] = messages_from_dict(self._items.read(token).read())
        return found


def _texts(messages: Sequence[BaseMessage]) -> list[str]:
    # Now, since another thread may change them before they are stored.
    return [text_of(message_to_dict(message)) for message in messages]


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
