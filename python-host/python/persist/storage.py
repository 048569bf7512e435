"""The protocol of storages that are written in Python. Pass one to :class:`persist.Store`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

__all__ = ["ObjectInfo", "Storage", "StorageWriter"]


class ObjectInfo(NamedTuple):
    """What a storage knows about an object without reading it."""

    key: str
    """The key of the object."""
    size: int
    """The size of the object in bytes."""
    etag: str | None = None
    """A string that changes when the object is replaced, if the storage has one."""


class StorageWriter(Protocol):
    """Writes an object to a storage."""

    def write(self, data: bytes, /) -> Any:
        """Appends bytes."""
        ...

    def commit(self) -> Any:
        """Makes the whole object visible under its key at once, and replaces the object that
        was there before.

        If it raises an error other than :class:`PersistNotDurableError` (the object is
        stored, but a power cut may lose it) and :class:`PersistOutcomeUnknownError`,
        nothing became visible.
        """
        ...

    def abort(self) -> Any:
        """Discards the object: nothing becomes visible. It is called at most once, and
        not after a ``commit`` that made the object visible.
        """
        ...


@runtime_checkable
class Storage(Protocol):
    """Stores objects, which are bytes under a key.

    A key is text with ``/`` between its parts, none of which is empty or
    ``..``; it is checked before these methods are called. The methods are called from
    several threads, each with one object at a time. They raise a
    :class:`FileNotFoundError` for a missing object, a :class:`PermissionError` for an
    operation that is not allowed, and a :class:`ConnectionError` or a
    :class:`TimeoutError` if a retry may succeed. If a ``delete`` may have taken
    effect although it failed, it raises the same errors as :meth:`StorageWriter.commit`.

    Such a storage does not support preconditions: ``if_exists="fail"`` and
    ``if_match`` are refused.
    """

    def open_write(self, key: str) -> StorageWriter:
        """Starts to write an object."""
        ...

    def open_read(self, key: str) -> Any:
        """Opens an object for reading. Returns a binary file with ``read(size)``,
        ``seek(offset)`` and ``close()``. ``read`` returns fewer bytes than asked for
        only at the end or if more would block. The result is empty only at the end.
        """
        ...

    def stat(self, key: str) -> ObjectInfo:
        """Returns what is known about an object."""
        ...

    def delete(self, key: str) -> Any:
        """Deletes an object."""
        ...

    def list(self, prefix: str) -> Iterable[ObjectInfo]:
        """Returns the objects whose keys begin with ``prefix``, in any order."""
        ...
