"""Snapshots as bytes and in open files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, overload

from persist import _persist, _restoring, _saving
from persist._arguments import AgentArguments, RestoreOptions, check_names
from persist.errors import PersistTypeError
from persist.storage import ObjectInfo

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")

_KEY = "snapshot"
_SAVES = tuple(AgentArguments.__annotations__)
_RESTORES = tuple(RestoreOptions.__annotations__)


class _Buffer:
    """A storage of one object."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self._position = 0
        self._parts: list[bytes] = []

    def open_write(self, key: str) -> _Buffer:
        self._parts = []
        return self

    def write(self, data: bytes) -> None:
        self._parts.append(data)

    def commit(self) -> None:
        self.data = b"".join(self._parts)

    def abort(self) -> None:
        self._parts = []

    def open_read(self, key: str) -> BinaryIO:
        import io

        return io.BytesIO(self.data)

    def stat(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, len(self.data))

    def delete(self, key: str) -> None:
        self.data = b""

    def list(self, prefix: str) -> list[ObjectInfo]:
        return [self.stat(_KEY)]


def dumps(agent: Any, **options: Unpack[AgentArguments]) -> bytes:
    """Returns the snapshot of a value as bytes: what :func:`persist.snapshot` would store.

    Args:
        agent: What to save, as for :func:`persist.snapshot`.
        options: As for :func:`persist.snapshot`. ``codec`` is gzip by default.
    """
    check_names(options, _SAVES)
    buffer = _Buffer()
    _saving.snapshot(_persist.open_object(buffer), _KEY, agent, dict(options))
    return buffer.data


def dump(agent: Any, file: BinaryIO, **options: Unpack[AgentArguments]) -> None:
    """Writes the snapshot of a value to an open binary file; see :func:`dumps`."""
    file.write(dumps(agent, **options))


@overload
def loads(data: bytes | bytearray | memoryview, *, into: type[T], **options: Unpack[RestoreOptions]) -> T: ...
@overload
def loads(data: bytes | bytearray | memoryview, *, into: None = ..., **options: Unpack[RestoreOptions]) -> Any: ...
@overload
def loads(data: bytes | bytearray | memoryview, *, into: T, **options: Unpack[RestoreOptions]) -> T: ...
def loads(data: bytes | bytearray | memoryview, *, into: Any = None, **options: Unpack[RestoreOptions]) -> Any:
    """Restores the value of a snapshot from bytes.

    Args:
        data: The snapshot.
        into: As for :func:`persist.restore`.
        options: As for :func:`persist.restore`.

    Raises:
        PersistIntegrityError: The bytes are not a snapshot, or are damaged.
    """
    check_names(options, _RESTORES)
    if not isinstance(data, (bytes, bytearray, memoryview)):
        name = type(data).__qualname__
        raise PersistTypeError(
            f"data must be bytes, not {name}", "invalid-argument", hint="restore from a file with persist.load(file)"
        )
    return _restoring.load(_persist.open_object(_Buffer(bytes(data))), _KEY, into, None, dict(options))[0]


def load(file: BinaryIO, *, into: Any = None, **options: Unpack[RestoreOptions]) -> Any:
    """Restores the value of a snapshot from the rest of an open binary file; see :func:`loads`."""
    return loads(file.read(), into=into, **options)
