"""Stores: one location for many snapshots.

This module is longer than 400 lines because both classes have all methods of a store, refer
to each other, and are pickled under the name of this module.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from persist import _listing, _operations, _persist, _restoring, _saving
from persist._arguments import (
    WANTED,
    AgentArguments,
    Errors,
    RestoreOptions,
    SaveBytesArguments,
    Wanted,
    check_names,
)
from persist._files import AsyncSnapshotReader, AsyncSnapshotWriter, SnapshotReader, SnapshotWriter, check_mode
from persist._metadata import SnapshotMetadata
from persist._progress import Progress
from persist._restoring import MAX_SIZE
from persist._saving import encoded
from persist._store_base import Key, StoreBase
from persist._threads import DELETED, STORED, in_thread
from persist._timeline import AsyncTimeline, Timeline
from persist._timeline_base import AGENT
from persist.errors import PersistConfigurationError, PersistKeyError, PersistNotFoundError, PersistTypeError

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")

_SAVES = tuple(AgentArguments.__annotations__)
_RESTORES = tuple(RestoreOptions.__annotations__)
_BYTES = tuple(SaveBytesArguments.__annotations__)

_MISSING: Any = object()
"""Means that no default was given."""


class Store(StoreBase):
    """One location for many snapshots, each under a key.

    Args:
        location: A folder: a path, ``s3://bucket/prefix`` or ``memory://name``; or a
            :class:`persist.Storage`. The first snapshot creates the folder.
        s3_region: The bucket's region; by default from the AWS configuration.
        s3_endpoint: A server other than AWS: ``http://127.0.0.1:9000``.
        s3_options: The options in docs/s3.md by name: ``{"max_attempts": 5}``.
        fsync: Whether to wait until each snapshot is on disk.

    A store holds no connections and no secrets: it can be pickled, shared between
    threads, and used in child processes. As a context manager, it does nothing on
    exit.

    Example::

        store = persist.Store("s3://my-bucket/agents")
        store.snapshot(agent, "support/0001.json.gz")
        for metadata in store.list("support/"):
            print(metadata.key, metadata.timestamp)
    """

    def to_async(self) -> AsyncStore:
        """Returns a store for asyncio at the same location."""
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
        return self._own(_saving.snapshot(place, full_key, agent, dict(options), progress), key, full_key)

    def save(
        self,
        agent: Any,
        *,
        progress: Progress | None = None,
        **options: Unpack[AgentArguments],
    ) -> SnapshotMetadata:
        """Saves a value under a new key: ``agent/session/index.json.zst``. The index is the
        next one of the session, or ``snapshot_index`` if that is given. Nothing is replaced.

        Args:
            agent: What to save, as for :func:`persist.snapshot`.
            progress: As for :func:`persist.snapshot`.
            options: As for :func:`persist.snapshot`. ``agent_id`` and ``session_id`` may be
                any text.

        Returns:
            The metadata of the snapshot. ``key`` is its key in this store.
        """
        check_names(options, _SAVES)
        place, prefix = self._place("")
        saved, key = _saving.save(place, prefix, agent, _once(options), progress)
        return self._own(saved, key[len(prefix) :], key)

    @overload
    def restore(
        self,
        key: Key,
        *,
        into: type[T],
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> T: ...
    @overload
    def restore(
        self,
        key: Key,
        *,
        into: None = ...,
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> Any: ...
    @overload
    def restore(
        self,
        key: Key,
        *,
        into: T,
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> T: ...
    def restore(
        self,
        key: Key,
        *,
        into: Any = None,
        default: Any = _MISSING,
        progress: Progress | None = None,
        **options: Unpack[RestoreOptions],
    ) -> Any:
        """Restores a value; see :func:`persist.restore`. If there is no such snapshot,
        it returns ``default``, if given.
        """
        check_names(options, _RESTORES)
        place, full_key = self._place(key)
        try:
            return _restoring.load(place, full_key, into, progress, dict(options))[0]
        except PersistNotFoundError:
            if default is _MISSING:
                raise
            return default

    def load(
        self, key: Key, *, into: Any = None, progress: Progress | None = None, **options: Unpack[RestoreOptions]
    ) -> tuple[Any, SnapshotMetadata]:
        """Restores a value and returns it with its metadata; see :func:`persist.restore`."""
        check_names(options, _RESTORES)
        place, full_key = self._place(key)
        value, metadata = _restoring.load(place, full_key, into, progress, dict(options))
        return value, self._own(metadata, key, full_key)

    def verify(self, key: Key, *, progress: Progress | None = None) -> bool:
        """Checks every byte; see :func:`persist.verify_snapshot`."""
        place, full_key = self._place(key)
        return _operations.verify(place, full_key, progress)

    def metadata(self, key: Key) -> SnapshotMetadata:
        """Returns the metadata of a snapshot; see :func:`persist.get_metadata`."""
        place, full_key = self._place(key)
        return self._own(_operations.metadata(place, full_key), key, full_key)

    def exists(self, key: Key) -> bool:
        """Returns whether there is an object with this key; see :func:`persist.snapshot_exists`."""
        place, full_key = self._place(key)
        return place.exists(full_key)

    def delete(self, key: Key, *, if_match: str | None = None, missing_ok: bool = False) -> None:
        """Deletes a snapshot; see :func:`persist.delete_snapshot`."""
        place, full_key = self._place(key)
        _operations.delete(place, full_key, if_match, missing_ok)

    def delete_prefix(self, prefix: str, *, force: bool = False) -> int:
        """Deletes all snapshots whose keys begin with ``prefix``, many at once, and the
        folders that become empty. Timelines are deleted as a whole.

        Args:
            prefix: The start of the keys: ``"support/"``.
            force: Delete all objects without reading them, even if they are not snapshots.

        Returns:
            How many snapshots and steps were deleted; with ``force``, how many objects.
        """
        place, full_prefix = self._place(_some(prefix))
        return _operations.delete_all(place, full_prefix, force)

    def copy(
        self,
        key: Key,
        to: Store,
        to_key: str | None = None,
        *,
        if_exists: Literal["replace", "fail"] = "replace",
        progress: Progress | None = None,
    ) -> SnapshotMetadata:
        """Copies a snapshot to a store, which may be this one. Every byte is verified on the
        way. A snapshot that already exists there with the same digest stays as it is.

        Args:
            key: The snapshot.
            to: The store to copy it to.
            to_key: The key in that store; the same key by default.
            if_exists: ``fail`` never replaces another snapshot.
            progress: As for :func:`persist.snapshot`, but with stored bytes.
        """
        place, full_key = self._place(key)
        name = to_key if to_key is not None else key if isinstance(key, str) else key.key
        target, target_key = _target(to)._place(name)
        copied = _operations.copy(place, full_key, target, target_key, {"if_exists": if_exists}, progress)
        return to._own(copied, name, target_key)

    def salvage(self, key: Key, *, max_size: int = MAX_SIZE) -> tuple[bytes, dict[str, Any]]:
        """Returns what can be recovered from a damaged snapshot: bytes of its state, which are
        UNVERIFIED as a whole, and a report of what is missing, as ``persist salvage --json``
        prints it.
        """
        place, full_key = self._place(key)
        return _operations.salvage(place, full_key, max_size)

    def list(
        self, prefix: str = "", *, limit: int | None = None, errors: Errors = "warn", **wanted: Unpack[Wanted]
    ) -> list[SnapshotMetadata]:
        """Lists the snapshots whose keys begin with ``prefix``; see :func:`persist.list_snapshots`."""
        check_names(wanted, WANTED)
        place, full_prefix = self._place(prefix)
        found = _listing.listed(place, full_prefix, errors, dict(wanted), limit)
        return [self._own(metadata, prefix, full_prefix) for metadata in found]

    def history(self, *, errors: Errors = "warn", **wanted: Unpack[Wanted]) -> builtins.list[SnapshotMetadata]:
        """Lists the snapshots of a session, ordered by index; if there are several sessions,
        ordered by time. The arguments are as for :meth:`list`.
        """
        check_names(wanted, WANTED)
        place, prefix = self._place("")
        found = _listing.history(place, prefix, errors, dict(wanted))
        return [self._own(metadata, "", prefix) for metadata in found]

    def latest(self, *, errors: Errors = "warn", **wanted: Unpack[Wanted]) -> SnapshotMetadata | None:
        """Returns the last snapshot of a session, or ``None`` if there is none: the one with
        the highest index; if there are several sessions, the one that was taken last. The
        arguments are as for :meth:`list`::

            found = store.latest(session_id="case-4711")
            agent = store.restore(found)
        """
        found = self.history(errors=errors, **wanted)
        return found[-1] if found else None

    def timeline(self, *, agent_id: str | None = None, session_id: str | None = None) -> Timeline:
        """Returns the timeline of a session, which may have no steps yet. ``agent_id`` and
        ``session_id`` are as for :meth:`save`.
        """
        return Timeline(self, agent_id=AGENT if agent_id is None else agent_id, session_id=session_id)

    def timelines(self, prefix: str = "") -> builtins.list[Timeline]:
        """Lists the timelines whose keys begin with ``prefix``. Deleted ones are left out."""
        place, full_prefix = self._place(prefix)
        folders = place.timelines(full_prefix)
        return [Timeline._in(self, folder) for folder in self._below(prefix, full_prefix, folders)]

    def __getitem__(self, key: Key) -> Any:
        """Restores a value; see :func:`persist.restore`."""
        with _key_errors():
            return self.restore(key)

    def __setitem__(self, key: str, agent: Any) -> None:
        """Saves a value; see :func:`persist.snapshot`."""
        self.snapshot(agent, key)

    def __delitem__(self, key: Key) -> None:
        """Deletes a snapshot; see :func:`persist.delete_snapshot`."""
        with _key_errors():
            self.delete(key)

    def __contains__(self, key: object) -> bool:
        """Returns whether there is an object with this key."""
        if isinstance(key, SnapshotMetadata):
            key = key.key
        try:
            return isinstance(key, str) and bool(key) and self.exists(key)
        except PersistConfigurationError as error:
            # There is no object with an invalid key.
            if error.code != "invalid-key":
                raise
            return False

    def __iter__(self) -> Iterator[str]:
        """Iterates over the keys of all snapshots."""
        return iter([metadata.key for metadata in self.list()])

    def __len__(self) -> int:
        """Returns the number of snapshots."""
        return len(self.list())

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
            key: The key of the snapshot.
            progress: As for :func:`persist.snapshot`.
            options: As for :func:`persist.snapshot`, and ``content_type``, the media
                type, which is ``application/octet-stream`` by default. A state of the
                type ``application/json`` can be restored as a value.
        """
        check_names(options, _BYTES)
        place, full_key = self._place(key)
        return self._own(
            _saving.save_bytes(place, full_key, _bytes(data), {"content_type": _saving.BYTES, **options}, progress),
            key,
            full_key,
        )

    def load_bytes(self, key: Key, *, progress: Progress | None = None) -> bytes:
        """Returns the state as the bytes that were saved, whatever they are."""
        place, full_key = self._place(key)
        return _restoring.load_bytes(place, full_key, progress)

    @overload
    def open(self, key: str, mode: Literal["rb"] = ...) -> SnapshotReader: ...
    @overload
    def open(self, key: str, mode: Literal["wb"], **options: Unpack[SaveBytesArguments]) -> SnapshotWriter: ...
    def open(self, key: str, mode: str = "rb", **options: Any) -> SnapshotReader | SnapshotWriter:
        """Opens the state of a snapshot as a binary file, for states that do not fit in memory.

        Args:
            key: The key of the snapshot.
            mode: ``rb`` to read, ``wb`` to write.
            options: For ``wb``, as for :meth:`save_bytes`.

        Returns:
            A file. The snapshot is stored when the file is closed, and not at all if its
            ``with`` block ends with an exception.
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
        options = {"content_type": _saving.BYTES, **options}
        return SnapshotWriter(place.writer(full_key, options, token), self._describe(place, key, full_key))

    def _describe(self, place: _persist.Place, key: str, full_key: str) -> Callable[[str], SnapshotMetadata]:
        return lambda text: self._own(SnapshotMetadata._from_json(text, place.location(full_key)), key, full_key)


@contextmanager
def _key_errors() -> Iterator[None]:
    """Turns the errors for missing and invalid keys into the ``KeyError`` of a mapping."""
    try:
        yield
    except (PersistNotFoundError, PersistConfigurationError) as error:
        if isinstance(error, PersistConfigurationError) and error.code != "invalid-key":
            raise
        raise PersistKeyError(*error.__reduce__()[1]) from None


def _target(to: Any) -> Any:
    if not isinstance(to, StoreBase):
        name = type(to).__qualname__
        raise PersistTypeError(
            f"to must be a Store, not {name}", "invalid-argument", hint="pass persist.Store(…) for that location"
        )
    return to


def _once(options: Any) -> dict[str, Any]:
    """Returns the arguments of a save under a new key. Those that replace are refused."""
    for name in ("if_exists", "if_match"):
        if name in options:
            raise PersistTypeError(
                f"{name} can't be used: save() never replaces anything",
                "invalid-argument",
                hint="leave it out, or choose the key yourself with snapshot()",
            )
    return dict(options)


def _some(prefix: Any) -> Any:
    if prefix == "":
        raise PersistTypeError(
            "an empty prefix would delete everything in the store",
            "invalid-argument",
            hint='pass the start of the keys: "support/"',
        )
    return prefix


def _bytes(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    name = type(data).__qualname__
    raise PersistTypeError(
        f"data must be bytes, not {name}", "invalid-argument", hint="save other values with snapshot()"
    )


class AsyncStore(StoreBase):
    """A :class:`Store` for asyncio: its methods are awaited. A cancelled task leaves
    nothing behind, unless its snapshot was already being stored.

    Example::

        store = persist.AsyncStore("s3://my-bucket/agents")
        await store.snapshot(agent, "support/0001.json.gz")
        async with store.open("large.bin", "wb") as file:
            await file.write(data)
    """

    def to_sync(self) -> Store:
        """Returns a store for synchronous code at the same location."""
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
        saved = await in_thread(_saving.snapshot, place, full_key, state, given, progress, changed=STORED)
        return self._own(saved, key, full_key)

    async def save(
        self,
        agent: Any,
        *,
        progress: Progress | None = None,
        **options: Unpack[AgentArguments],
    ) -> SnapshotMetadata:
        """Saves a value under a new key; see :meth:`Store.save`."""
        check_names(options, _SAVES)
        place, prefix = self._place("")
        given = _once(options)
        state = await encoded(agent, given)
        saved, key = await in_thread(_saving.save, place, prefix, state, given, progress, changed=STORED)
        return self._own(saved, key[len(prefix) :], key)

    @overload
    async def restore(
        self,
        key: Key,
        *,
        into: type[T],
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> T: ...
    @overload
    async def restore(
        self,
        key: Key,
        *,
        into: None = ...,
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> Any: ...
    @overload
    async def restore(
        self,
        key: Key,
        *,
        into: T,
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> T: ...
    async def restore(
        self,
        key: Key,
        *,
        into: Any = None,
        default: Any = _MISSING,
        progress: Progress | None = None,
        **options: Unpack[RestoreOptions],
    ) -> Any:
        """Restores a value; see :meth:`Store.restore`."""
        check_names(options, _RESTORES)
        place, full_key = self._place(key)
        try:
            return (await _restoring.aload(place, full_key, into, progress, dict(options)))[0]
        except PersistNotFoundError:
            if default is _MISSING:
                raise
            return default

    async def load(
        self, key: Key, *, into: Any = None, progress: Progress | None = None, **options: Unpack[RestoreOptions]
    ) -> tuple[Any, SnapshotMetadata]:
        """Restores a value and returns it with its metadata; see :func:`persist.restore`."""
        check_names(options, _RESTORES)
        place, full_key = self._place(key)
        value, metadata = await _restoring.aload(place, full_key, into, progress, dict(options))
        return value, self._own(metadata, key, full_key)

    async def verify(self, key: Key, *, progress: Progress | None = None) -> bool:
        """Checks every byte; see :func:`persist.verify_snapshot`."""
        place, full_key = self._place(key)
        verified: bool = await in_thread(_operations.verify, place, full_key, progress)
        return verified

    async def metadata(self, key: Key) -> SnapshotMetadata:
        """Returns the metadata of a snapshot; see :func:`persist.get_metadata`."""
        place, full_key = self._place(key)
        return self._own(await in_thread(_operations.metadata, place, full_key), key, full_key)

    async def exists(self, key: Key) -> bool:
        """Returns whether there is an object with this key; see :func:`persist.snapshot_exists`."""
        place, full_key = self._place(key)
        exists: bool = await in_thread(place.exists, full_key)
        return exists

    async def delete(self, key: Key, *, if_match: str | None = None, missing_ok: bool = False) -> None:
        """Deletes a snapshot; see :func:`persist.delete_snapshot`."""
        place, full_key = self._place(key)
        await in_thread(_operations.delete, place, full_key, if_match, missing_ok, changed=DELETED)

    async def delete_prefix(self, prefix: str, *, force: bool = False) -> int:
        """Deletes all snapshots whose keys begin with a prefix; see :meth:`Store.delete_prefix`."""
        place, full_prefix = self._place(_some(prefix))
        deleted: int = await in_thread(_operations.delete_all, place, full_prefix, force, changed=DELETED)
        return deleted

    async def copy(
        self,
        key: Key,
        to: Store | AsyncStore,
        to_key: str | None = None,
        *,
        if_exists: Literal["replace", "fail"] = "replace",
        progress: Progress | None = None,
    ) -> SnapshotMetadata:
        """Copies a snapshot to a store; see :meth:`Store.copy`."""
        place, full_key = self._place(key)
        name = to_key if to_key is not None else key if isinstance(key, str) else key.key
        target, target_key = _target(to)._place(name)
        copied = await in_thread(
            _operations.copy,
            place,
            full_key,
            target,
            target_key,
            {"if_exists": if_exists},
            progress,
            changed="the snapshot was copied all the same",
        )
        return to._own(copied, name, target_key)

    async def salvage(self, key: Key, *, max_size: int = MAX_SIZE) -> tuple[bytes, dict[str, Any]]:
        """Returns what can be recovered from a damaged snapshot; see :meth:`Store.salvage`."""
        place, full_key = self._place(key)
        salvaged: tuple[bytes, dict[str, Any]] = await in_thread(_operations.salvage, place, full_key, max_size)
        return salvaged

    async def list(
        self, prefix: str = "", *, limit: int | None = None, errors: Errors = "warn", **wanted: Unpack[Wanted]
    ) -> list[SnapshotMetadata]:
        """Lists the snapshots whose keys begin with ``prefix``; see :func:`persist.list_snapshots`."""
        check_names(wanted, WANTED)
        place, full_prefix = self._place(prefix)
        found = await in_thread(_listing.listed, place, full_prefix, errors, dict(wanted), limit)
        return [self._own(metadata, prefix, full_prefix) for metadata in found]

    async def history(self, *, errors: Errors = "warn", **wanted: Unpack[Wanted]) -> builtins.list[SnapshotMetadata]:
        """Lists the snapshots of a session; see :meth:`Store.history`."""
        check_names(wanted, WANTED)
        place, prefix = self._place("")
        found = await in_thread(_listing.history, place, prefix, errors, dict(wanted))
        return [self._own(metadata, "", prefix) for metadata in found]

    async def latest(self, *, errors: Errors = "warn", **wanted: Unpack[Wanted]) -> SnapshotMetadata | None:
        """Returns the last snapshot of a session, or ``None``; see :meth:`Store.latest`."""
        found = await self.history(errors=errors, **wanted)
        return found[-1] if found else None

    def timeline(self, *, agent_id: str | None = None, session_id: str | None = None) -> AsyncTimeline:
        """Returns the timeline of a session; see :meth:`Store.timeline`."""
        return AsyncTimeline(self, agent_id=AGENT if agent_id is None else agent_id, session_id=session_id)

    async def timelines(self, prefix: str = "") -> builtins.list[AsyncTimeline]:
        """Lists the timelines whose keys begin with ``prefix``; see :meth:`Store.timelines`."""
        place, full_prefix = self._place(prefix)
        folders = await in_thread(place.timelines, full_prefix)
        return [AsyncTimeline._in(self, folder) for folder in self._below(prefix, full_prefix, folders)]

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
            _saving.save_bytes,
            place,
            full_key,
            _bytes(data),
            {"content_type": _saving.BYTES, **options},
            progress,
            changed=STORED,
        )
        return self._own(saved, key, full_key)

    async def load_bytes(self, key: Key, *, progress: Progress | None = None) -> bytes:
        """Returns the state as the bytes that were saved, whatever they are."""
        place, full_key = self._place(key)
        state: bytes = await in_thread(_restoring.load_bytes, place, full_key, progress)
        return state

    @overload
    def open(self, key: str, mode: Literal["rb"] = ...) -> AsyncSnapshotReader: ...
    @overload
    def open(self, key: str, mode: Literal["wb"], **options: Unpack[SaveBytesArguments]) -> AsyncSnapshotWriter: ...
    def open(self, key: str, mode: str = "rb", **options: Any) -> AsyncSnapshotReader | AsyncSnapshotWriter:
        """Opens the state of a snapshot as a file for ``async with``; see :meth:`Store.open`."""
        check_mode(mode)
        store = self.to_sync()
        if mode == "rb":
            return AsyncSnapshotReader(lambda: store.open(key, "rb", **options))
        return AsyncSnapshotWriter(lambda token: store._writer(key, options, token))
