"""One location for many snapshots."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from persist import _operations, _persist
from persist._arguments import AgentArguments, Errors, RestoreOptions, SaveBytesArguments, check_names
from persist._files import AsyncSnapshotReader, AsyncSnapshotWriter, SnapshotReader, SnapshotWriter, check_mode
from persist._metadata import SnapshotMetadata
from persist._operations import Progress, encoded, in_thread
from persist.errors import PersistTypeError
from persist.storage import Storage

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")
S = TypeVar("S", bound="_Base")

_SAVES = tuple(AgentArguments.__annotations__)
_RESTORES = tuple(RestoreOptions.__annotations__)
_BYTES = tuple(SaveBytesArguments.__annotations__)


class _Base:
    """A location, and how it is reached."""

    def __init__(
        self,
        location: str | os.PathLike[str] | Storage,
        *,
        s3_region: str | None = None,
        s3_endpoint: str | None = None,
        s3_options: Mapping[str, Any] | None = None,
        fsync: bool = True,
    ) -> None:
        self._location = location
        if s3_options is not None and not isinstance(s3_options, Mapping):
            raise PersistTypeError(
                "s3_options must be a mapping", "invalid-argument", hint='pass a dict: {"max_attempts": 5}'
            )
        options = None if s3_options is None else {name: _text(value) for name, value in s3_options.items()}
        given = {"s3_region": s3_region, "s3_endpoint": s3_endpoint, "s3_options": options, "fsync": fsync}
        self._settings = {name: value for name, value in given.items() if value is not None}
        # So that what is wrong is said here, and not at the first use.
        self._place("")

    @property
    def location(self) -> str:
        """Where it is: a path, ``s3://bucket/prefix``."""
        place, prefix = self._place("")
        return place.location(prefix) if isinstance(self._location, (str, os.PathLike)) else repr(self._location)

    def _place(self, key: str) -> tuple[_persist.Place, str]:
        """The storage, anew at each use, so that a change of the environment
        counts; and a key in it.
        """
        if not isinstance(key, str):
            name = type(key).__qualname__
            raise PersistTypeError(f"the key must be a str, not {name}", "invalid-argument", hint="pass a str as key")
        if isinstance(self._location, (str, os.PathLike)):
            place, prefix = _persist.open_folder(self._location, self._settings)
            return place, prefix + key
        if not isinstance(self._location, Storage):
            name = type(self._location).__qualname__
            raise PersistTypeError(
                f"the location must be a str, an os.PathLike or a persist.Storage, not {name}",
                "invalid-argument",
                hint="a persist.Storage has the methods open_write, open_read, stat, delete and list",
            )
        return _persist.open_object(self._location), key

    def _own(self, metadata: SnapshotMetadata, key: str, full_key: str) -> SnapshotMetadata:
        """The metadata with the key as it is called here."""
        return metadata._with_key(metadata.key[len(full_key) - len(key) :])

    def _twin(self, cls: type[S]) -> S:
        """A store of another kind for the same location."""
        twin = cls.__new__(cls)
        twin.__setstate__(self.__getstate__())
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {"location": self._location, "settings": self._settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._location, self._settings = state["location"], state["settings"]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.location))

    def __repr__(self) -> str:
        plain = {name: value for name, value in self._settings.items() if (name, value) != ("fsync", True)}
        location = os.fspath(self._location) if isinstance(self._location, os.PathLike) else self._location
        return f"{type(self).__name__}({', '.join([repr(location), *(f'{n}={v!r}' for n, v in plain.items())])})"

    def _repr_html_(self) -> str:
        import html

        rows = {"location": self.location, **self._settings}
        cells = (
            f"<tr><th style='text-align:left'>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in rows.items()
        )
        return f"<table><caption>persist.{type(self).__name__}</caption>{''.join(cells)}</table>"


def _text(value: Any) -> Any:
    """An option as the environment would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ",".join(f"{name}={item}" for name, item in value.items())
    return str(value) if isinstance(value, (int, float)) else value


class Store(_Base):
    """One location for many snapshots, each under a key.

    Args:
        location: A folder: a path, ``s3://bucket/prefix``, ``memory://name``;
            or an object that is a :class:`persist.Storage`. A folder is made
            with its first snapshot.
        s3_region: The bucket's region; as AWS is configured unless given.
        s3_endpoint: Another server than AWS: ``http://127.0.0.1:9000``.
        s3_options: The options in docs/s3.md by name: ``{"max_attempts": 5}``.
        fsync: Whether to wait until the disk has what was saved.

    A store holds no connection and no secret: it can be pickled, shared between
    threads, and used in child processes. Used as a context manager it does
    nothing at the end.

    Example::

        store = persist.Store("s3://my-bucket/agents")
        store.snapshot(agent, "support/0001.json.gz")
        for metadata in store.list("support/"):
            print(metadata.key, metadata.timestamp)
    """

    def to_async(self) -> AsyncStore:
        """The same location for asyncio."""
        return self._twin(AsyncStore)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def snapshot(
        self,
        agent: Any,
        key: str,
        *,
        progress: Progress | None = None,
        **options: Unpack[AgentArguments],
    ) -> SnapshotMetadata:
        """Saves a value; see :func:`persist.snapshot`."""
        check_names(options, _SAVES)
        place, full_key = self._place(key)
        return self._own(_operations.snapshot(place, full_key, agent, dict(options), progress), key, full_key)

    @overload
    def restore(
        self, key: str, *, into: type[T], progress: Progress | None = ..., **options: Unpack[RestoreOptions]
    ) -> T: ...
    @overload
    def restore(
        self, key: str, *, into: None = ..., progress: Progress | None = ..., **options: Unpack[RestoreOptions]
    ) -> Any: ...
    @overload
    def restore(
        self, key: str, *, into: T, progress: Progress | None = ..., **options: Unpack[RestoreOptions]
    ) -> T: ...
    def restore(
        self, key: str, *, into: Any = None, progress: Progress | None = None, **options: Unpack[RestoreOptions]
    ) -> Any:
        """Restores a value; see :func:`persist.restore`."""
        check_names(options, _RESTORES)
        place, full_key = self._place(key)
        return _operations.restore(place, full_key, into, progress, dict(options))

    def verify(self, key: str, *, progress: Progress | None = None) -> bool:
        """Checks every byte; see :func:`persist.verify_snapshot`."""
        place, full_key = self._place(key)
        return _operations.verify(place, full_key, progress)

    def metadata(self, key: str) -> SnapshotMetadata:
        """What a snapshot says of itself; see :func:`persist.get_metadata`."""
        place, full_key = self._place(key)
        return self._own(_operations.metadata(place, full_key), key, full_key)

    def exists(self, key: str) -> bool:
        """Whether there is anything with this key; see :func:`persist.snapshot_exists`."""
        place, full_key = self._place(key)
        return place.exists(full_key)

    def delete(self, key: str, *, if_match: str | None = None) -> None:
        """Deletes a snapshot; see :func:`persist.delete_snapshot`."""
        place, full_key = self._place(key)
        place.delete(full_key, if_match)

    def list(self, prefix: str = "", *, errors: Errors = "warn") -> list[SnapshotMetadata]:
        """The snapshots whose keys begin with ``prefix``; see :func:`persist.list_snapshots`."""
        place, full_prefix = self._place(prefix)
        return [self._own(found, prefix, full_prefix) for found in _operations.listed(place, full_prefix, errors)]

    def save_bytes(
        self,
        data: bytes | bytearray | memoryview,
        key: str,
        *,
        progress: Progress | None = None,
        **options: Unpack[SaveBytesArguments],
    ) -> SnapshotMetadata:
        """Saves bytes as they are.

        Args:
            data: The state.
            key: Its key.
            progress: As for :func:`persist.snapshot`.
            options: Those of :func:`persist.snapshot`, and ``content_type``,
                the media type: ``application/octet-stream`` unless given. What
                is ``application/json`` can be restored as a value.
        """
        check_names(options, _BYTES)
        place, full_key = self._place(key)
        return self._own(
            _operations.save_bytes(
                place, full_key, _bytes(data), {"content_type": _operations.BYTES, **options}, progress
            ),
            key,
            full_key,
        )

    def load_bytes(self, key: str, *, progress: Progress | None = None) -> bytes:
        """The state as the bytes that were saved, whatever they are."""
        place, full_key = self._place(key)
        return place.load(full_key, None, progress)[0]

    @overload
    def open(self, key: str, mode: Literal["rb"] = ...) -> SnapshotReader: ...
    @overload
    def open(self, key: str, mode: Literal["wb"], **options: Unpack[SaveBytesArguments]) -> SnapshotWriter: ...
    def open(self, key: str, mode: str = "rb", **options: Any) -> SnapshotReader | SnapshotWriter:
        """A state that does not fit in memory, as a binary file.

        Args:
            key: Its key.
            mode: ``rb`` to read it, ``wb`` to write it.
            options: For ``wb``, those of :meth:`save_bytes`.

        Returns:
            A file. What is written is stored when it is closed, and not at all
            if its ``with`` block ends with an exception.
        """
        check_mode(mode)
        if mode == "wb":
            return self._writer(key, options)
        check_names(options, ())
        place, full_key = self._place(key)
        return SnapshotReader(place.reader(full_key), self._describe(place, key, full_key))

    def _writer(self, key: str, options: dict[str, Any], token: _persist.CancelToken | None = None) -> SnapshotWriter:
        check_names(options, _BYTES)
        place, full_key = self._place(key)
        options = {"content_type": _operations.BYTES, **options}
        return SnapshotWriter(place.writer(full_key, options, token), self._describe(place, key, full_key))

    def _describe(self, place: _persist.Place, key: str, full_key: str) -> Callable[[str], SnapshotMetadata]:
        return lambda text: self._own(SnapshotMetadata._from_json(text, place.location(full_key)), key, full_key)


def _bytes(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    name = type(data).__qualname__
    raise PersistTypeError(
        f"data must be bytes, not {name}", "invalid-argument", hint="save other values with snapshot()"
    )


class AsyncStore(_Base):
    """A :class:`Store` for asyncio: the same methods, to be awaited. A cancelled
    task leaves nothing behind, unless its object was being stored already.

    Example::

        store = persist.AsyncStore("s3://my-bucket/agents")
        await store.snapshot(agent, "support/0001.json.gz")
        async with store.open("large.bin", "wb") as file:
            await file.write(data)
    """

    def to_sync(self) -> Store:
        """The same location for code that does not wait."""
        return self._twin(Store)

    async def __aenter__(self) -> AsyncStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    async def snapshot(
        self,
        agent: Any,
        key: str,
        *,
        progress: Progress | None = None,
        **options: Unpack[AgentArguments],
    ) -> SnapshotMetadata:
        """Saves a value; see :func:`persist.asnapshot`."""
        check_names(options, _SAVES)
        place, full_key = self._place(key)
        given = dict(options)
        state = await encoded(agent, given)
        saved = await in_thread(
            _operations.snapshot, place, full_key, state, given, progress, changed=_operations.STORED
        )
        return self._own(saved, key, full_key)

    @overload
    async def restore(
        self, key: str, *, into: type[T], progress: Progress | None = ..., **options: Unpack[RestoreOptions]
    ) -> T: ...
    @overload
    async def restore(
        self, key: str, *, into: None = ..., progress: Progress | None = ..., **options: Unpack[RestoreOptions]
    ) -> Any: ...
    @overload
    async def restore(
        self, key: str, *, into: T, progress: Progress | None = ..., **options: Unpack[RestoreOptions]
    ) -> T: ...
    async def restore(
        self, key: str, *, into: Any = None, progress: Progress | None = None, **options: Unpack[RestoreOptions]
    ) -> Any:
        """Restores a value; see :func:`persist.restore`."""
        check_names(options, _RESTORES)
        place, full_key = self._place(key)
        return await _operations.arestore(place, full_key, into, progress, dict(options))

    async def verify(self, key: str, *, progress: Progress | None = None) -> bool:
        """Checks every byte; see :func:`persist.verify_snapshot`."""
        place, full_key = self._place(key)
        verified: bool = await in_thread(_operations.verify, place, full_key, progress)
        return verified

    async def metadata(self, key: str) -> SnapshotMetadata:
        """What a snapshot says of itself; see :func:`persist.get_metadata`."""
        place, full_key = self._place(key)
        return self._own(await in_thread(_operations.metadata, place, full_key), key, full_key)

    async def exists(self, key: str) -> bool:
        """Whether there is anything with this key; see :func:`persist.snapshot_exists`."""
        place, full_key = self._place(key)
        exists: bool = await in_thread(place.exists, full_key)
        return exists

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        """Deletes a snapshot; see :func:`persist.delete_snapshot`."""
        place, full_key = self._place(key)
        await in_thread(place.delete, full_key, if_match, changed=_operations.DELETED)

    async def list(self, prefix: str = "", *, errors: Errors = "warn") -> list[SnapshotMetadata]:
        """The snapshots whose keys begin with ``prefix``; see :func:`persist.list_snapshots`."""
        place, full_prefix = self._place(prefix)
        found = await in_thread(_operations.listed, place, full_prefix, errors)
        return [self._own(metadata, prefix, full_prefix) for metadata in found]

    async def save_bytes(
        self,
        data: bytes | bytearray | memoryview,
        key: str,
        *,
        progress: Progress | None = None,
        **options: Unpack[SaveBytesArguments],
    ) -> SnapshotMetadata:
        """Saves bytes as they are; see :meth:`Store.save_bytes`."""
        check_names(options, _BYTES)
        place, full_key = self._place(key)
        saved = await in_thread(
            _operations.save_bytes,
            place,
            full_key,
            _bytes(data),
            {"content_type": _operations.BYTES, **options},
            progress,
            changed=_operations.STORED,
        )
        return self._own(saved, key, full_key)

    async def load_bytes(self, key: str, *, progress: Progress | None = None) -> bytes:
        """The state as the bytes that were saved, whatever they are."""
        place, full_key = self._place(key)
        loaded = await in_thread(place.load, full_key, None, progress)
        state: bytes = loaded[0]
        return state

    @overload
    def open(self, key: str, mode: Literal["rb"] = ...) -> AsyncSnapshotReader: ...
    @overload
    def open(self, key: str, mode: Literal["wb"], **options: Unpack[SaveBytesArguments]) -> AsyncSnapshotWriter: ...
    def open(self, key: str, mode: str = "rb", **options: Any) -> AsyncSnapshotReader | AsyncSnapshotWriter:
        """A state that does not fit in memory, as a file for ``async with``; see
        :meth:`Store.open`.
        """
        check_mode(mode)
        store = self.to_sync()
        if mode == "rb":
            return AsyncSnapshotReader(lambda: store.open(key, "rb", **options))
        return AsyncSnapshotWriter(lambda token: store._writer(key, options, token))
