"""Storages that are written in Python: pass one to :class:`persist.Store`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

__all__ = ["ObjectInfo", "Storage", "StorageWriter"]


class ObjectInfo(NamedTuple):
    """What is known of an object without reading it."""

    key: str
    """Its name in the storage."""
    size: int
    """Its size in bytes."""
    etag: str | None = None
    """A text that changes when the object is replaced, if the storage has one."""


class StorageWriter(Protocol):
    """An object on its way into a storage."""

    def write(self, data: bytes, /) -> Any:
        """Appends bytes."""
        ...

    def commit(self) -> Any:
        """Makes the object visible under its key, all of it at once; what was
        there before is replaced.

        What it raises says that nothing became visible, but for
        :class:`PersistNotDurableError` (the object is there, and a power cut may
        lose it) and :class:`PersistOutcomeUnknownError`.
        """
        ...

    def abort(self) -> Any:
        """Leaves the object: nothing becomes visible. Called at most once, and
        not after a ``commit`` that made the object visible.
        """
        ...


@runtime_checkable
class Storage(Protocol):
    """A place that keeps objects: named runs of bytes.

    A key is text with ``/`` between its parts, none of which is empty or
    ``..``; it was checked before these methods are called. They are called from
    several threads, each with one object at a time. What is missing is said by
    a :class:`FileNotFoundError`, what is not allowed by a
    :class:`PermissionError`, what may work later by a
    :class:`ConnectionError` or a :class:`TimeoutError`, and what a ``delete`` came
    to, where it may be done all the same, as for :meth:`StorageWriter.commit`.

    A storage like this keeps no conditions: ``if_exists="fail"`` and
    ``if_match`` are refused.
    """

    def open_write(self, key: str) -> StorageWriter:
        """Begins to write an object."""
        ...

    def open_read(self, key: str) -> Any:
        """Opens an object for reading: a binary file with ``read(size)``,
        ``seek(offset)`` and ``close()``. ``read`` gives fewer bytes than asked
        for only at the end or if more would block, and none only at the end.
        """
        ...

    def stat(self, key: str) -> ObjectInfo:
        """What is known of an object."""
        ...

    def delete(self, key: str) -> Any:
        """Deletes an object."""
        ...

    def list(self, prefix: str) -> Iterable[ObjectInfo]:
        """The objects whose keys begin with ``prefix``, in any order."""
        ...
