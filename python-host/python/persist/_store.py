"""One location for many snapshots."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from persist import _operations, _persist
from persist._arguments import (
    WANTED,
    AgentArguments,
    Errors,
    RestoreOptions,
    SaveBytesArguments,
    Wanted,
    check_names,
)
from persist._base import Base, Key
from persist._files import AsyncSnapshotReader, AsyncSnapshotWriter, SnapshotReader, SnapshotWriter, check_mode
from persist._metadata import SnapshotMetadata
from persist._operations import MAX_SIZE, encoded, in_thread
from persist._progress import Progress
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
"""Says that no default was given."""


class Store(Base):
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

    def save(
        self,
        agent: Any,
        *,
        progress: Progress | None = None,
        **options: Unpack[AgentArguments],
    ) -> SnapshotMetadata:
        """Saves a value under a name of its own: ``agent/session/index.json.zst``. The
        index is the next one of the session, unless ``snapshot_index`` says another.
        Nothing is replaced.

        Args:
            agent: What to save, as for :func:`persist.snapshot`.
            progress: As there.
            options: As there. ``agent_id`` and ``session_id`` may be any text.

        Returns:
            What was written down about it; ``key`` is what it is called here.
        """
        check_names(options, _SAVES)
        place, prefix = self._place("")
        saved, key = _operations.save(place, prefix, agent, _once(options), progress)
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
        """Restores a value; see :func:`persist.restore`. Where there is no such
        snapshot, ``default`` is what comes back, if it is given.
        """
        check_names(options, _RESTORES)
        place, full_key = self._place(key)
        try:
            return _operations.load(place, full_key, into, progress, dict(options))[0]
        except PersistNotFoundError:
            if default is _MISSING:
                raise
            return default

    def load(
        self, key: Key, *, into: Any = None, progress: Progress | None = None, **options: Unpack[RestoreOptions]
    ) -> tuple[Any, SnapshotMetadata]:
        """Restores a value, and gives its metadata too; see :func:`persist.restore`."""
        check_names(options, _RESTORES)
        place, full_key = self._place(key)
        value, metadata = _operations.load(place, full_key, into, progress, dict(options))
        return value, self._own(metadata, key, full_key)

    def verify(self, key: Key, *, progress: Progress | None = None) -> bool:
        """Checks every byte; see :func:`persist.verify_snapshot`."""
        place, full_key = self._place(key)
        return _operations.verify(place, full_key, progress)

    def metadata(self, key: Key) -> SnapshotMetadata:
        """What a snapshot says of itself; see :func:`persist.get_metadata`."""
        place, full_key = self._place(key)
        return self._own(_operations.metadata(place, full_key), key, full_key)

    def exists(self, key: Key) -> bool:
        """Whether there is anything with this key; see :func:`persist.snapshot_exists`."""
        place, full_key = self._place(key)
        return place.exists(full_key)

    def delete(self, key: Key, *, if_match: str | None = None, missing_ok: bool = False) -> None:
        """Deletes a snapshot; see :func:`persist.delete_snapshot`."""
        place, full_key = self._place(key)
        _operations.delete(place, full_key, if_match, missing_ok)

    def delete_prefix(self, prefix: str, *, force: bool = False) -> int:
        """Deletes all snapshots whose keys begin with ``prefix``, many at once, and the
        folders that became empty.

        Args:
            prefix: What the keys begin with: ``"support/"``.
            force: Delete all objects, also what is no snapshot, without looking at them.

        Returns:
            How many were deleted.
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
        """Copies a snapshot to a store, which may be this one; every byte is verified on
        the way. What is there already with the same digest stays as it is.

        Args:
            key: The snapshot.
            to: Where to copy it.
            to_key: Its key there; the same as here unless given.
            if_exists: ``fail`` never replaces another snapshot.
            progress: As for :func:`persist.snapshot`, with stored bytes.
        """
        place, full_key = self._place(key)
        name = to_key if to_key is not None else key if isinstance(key, str) else key.key
        target, target_key = _target(to)._place(name)
        copied = _operations.copy(place, full_key, target, target_key, {"if_exists": if_exists}, progress)
        return to._own(copied, name, target_key)

    def salvage(self, key: Key, *, max_size: int = MAX_SIZE) -> tuple[bytes, dict[str, Any]]:
        """What can be had of a damaged snapshot: bytes of its state, which are
        UNVERIFIED as a whole, and a report that says what is missing, as ``persist
        salvage --json`` prints it.
        """
        place, full_key = self._place(key)
        return _operations.salvage(place, full_key, max_size)

    def list(
        self, prefix: str = "", *, limit: int | None = None, errors: Errors = "warn", **wanted: Unpack[Wanted]
    ) -> list[SnapshotMetadata]:
        """The snapshots whose keys begin with ``prefix``; see :func:`persist.list_snapshots`."""
        check_names(wanted, WANTED)
        place, full_prefix = self._place(prefix)
        found = _operations.listed(place, full_prefix, errors, dict(wanted), limit)
        return [self._own(metadata, prefix, full_prefix) for metadata in found]

    def history(self, *, errors: Errors = "warn", **wanted: Unpack[Wanted]) -> builtins.list[SnapshotMetadata]:
        """The snapshots of a session, by their index; of several sessions, by their
        time. Arguments as for :meth:`list`.
        """
        check_names(wanted, WANTED)
        place, prefix = self._place("")
        found = _operations.history(place, prefix, errors, dict(wanted))
        return [self._own(metadata, "", prefix) for metadata in found]

    def latest(self, *, errors: Errors = "warn", **wanted: Unpack[Wanted]) -> SnapshotMetadata | None:
        """The last snapshot of a session, or ``None`` if there is none: that with the
        highest index; of several sessions, the one that was taken last. Arguments as
        for :meth:`list`::

            found = store.latest(session_id="case-4711")
            agent = store.restore(found)
        """
        found = self.history(errors=errors, **wanted)
        return found[-1] if found else None

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
        """Whether there is anything with this key."""
        if isinstance(key, SnapshotMetadata):
            key = key.key
        try:
            return isinstance(key, str) and bool(key) and self.exists(key)
        except PersistConfigurationError as error:
            # What can be no key is none.
            if error.code != "invalid-key":
                raise
            return False

    def __iter__(self) -> Iterator[str]:
        """The keys of all snapshots."""
        return iter([metadata.key for metadata in self.list()])

    def __len__(self) -> int:
        """How many snapshots there are."""
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

    def load_bytes(self, key: Key, *, progress: Progress | None = None) -> bytes:
        """The state as the bytes that were saved, whatever they are."""
        place, full_key = self._place(key)
        return _operations.load_bytes(place, full_key, progress)

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


@contextmanager
def _key_errors() -> Iterator[None]:
    """Raises the error of a mapping for a key that is not there, or can be none."""
    try:
        yield
    except (PersistNotFoundError, PersistConfigurationError) as error:
        if isinstance(error, PersistConfigurationError) and error.code != "invalid-key":
            raise
        raise PersistKeyError(*error.__reduce__()[1]) from None


def _target(to: Any) -> Any:
    if not isinstance(to, Base):
        name = type(to).__qualname__
        raise PersistTypeError(
            f"to must be a Store, not {name}", "invalid-argument", hint="pass persist.Store(…) of that place"
        )
    return to


def _once(options: Any) -> dict[str, Any]:
    """The arguments of a save under a name of its own, which replaces nothing."""
    for name in ("if_exists", "if_match"):
        if name in options:
            raise PersistTypeError(
                f"{name} can't be given: nothing is replaced here",
                "invalid-argument",
                hint="leave it out, or choose the key yourself with snapshot()",
            )
    return dict(options)


def _some(prefix: Any) -> Any:
    if prefix == "":
        raise PersistTypeError(
            "an empty prefix would delete all of the store",
            "invalid-argument",
            hint='say what the keys begin with: "support/"',
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


class AsyncStore(Base):
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

    async def save(
        self,
        agent: Any,
        *,
        progress: Progress | None = None,
        **options: Unpack[AgentArguments],
    ) -> SnapshotMetadata:
        """Saves a value under a name of its own; see :meth:`Store.save`."""
        check_names(options, _SAVES)
        place, prefix = self._place("")
        given = _once(options)
        state = await encoded(agent, given)
        saved, key = await in_thread(
            _operations.save, place, prefix, state, given, progress, changed=_operations.STORED
        )
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
            return (await _operations.aload(place, full_key, into, progress, dict(options)))[0]
        except PersistNotFoundError:
            if default is _MISSING:
                raise
            return default

    async def load(
        self, key: Key, *, into: Any = None, progress: Progress | None = None, **options: Unpack[RestoreOptions]
    ) -> tuple[Any, SnapshotMetadata]:
        """Restores a value, and gives its metadata too; see :func:`persist.restore`."""
        check_names(options, _RESTORES)
        place, full_key = self._place(key)
        value, metadata = await _operations.aload(place, full_key, into, progress, dict(options))
        return value, self._own(metadata, key, full_key)

    async def verify(self, key: Key, *, progress: Progress | None = None) -> bool:
        """Checks every byte; see :func:`persist.verify_snapshot`."""
        place, full_key = self._place(key)
        verified: bool = await in_thread(_operations.verify, place, full_key, progress)
        return verified

    async def metadata(self, key: Key) -> SnapshotMetadata:
        """What a snapshot says of itself; see :func:`persist.get_metadata`."""
        place, full_key = self._place(key)
        return self._own(await in_thread(_operations.metadata, place, full_key), key, full_key)

    async def exists(self, key: Key) -> bool:
        """Whether there is anything with this key; see :func:`persist.snapshot_exists`."""
        place, full_key = self._place(key)
        exists: bool = await in_thread(place.exists, full_key)
        return exists

    async def delete(self, key: Key, *, if_match: str | None = None, missing_ok: bool = False) -> None:
        """Deletes a snapshot; see :func:`persist.delete_snapshot`."""
        place, full_key = self._place(key)
        await in_thread(_operations.delete, place, full_key, if_match, missing_ok, changed=_operations.DELETED)

    async def delete_prefix(self, prefix: str, *, force: bool = False) -> int:
        """Deletes all snapshots whose keys begin with a prefix; see :meth:`Store.delete_prefix`."""
        place, full_prefix = self._place(_some(prefix))
        deleted: int = await in_thread(_operations.delete_all, place, full_prefix, force, changed=_operations.DELETED)
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
        """What can be had of a damaged snapshot; see :meth:`Store.salvage`."""
        place, full_key = self._place(key)
        salvaged: tuple[bytes, dict[str, Any]] = await in_thread(_operations.salvage, place, full_key, max_size)
        return salvaged

    async def list(
        self, prefix: str = "", *, limit: int | None = None, errors: Errors = "warn", **wanted: Unpack[Wanted]
    ) -> list[SnapshotMetadata]:
        """The snapshots whose keys begin with ``prefix``; see :func:`persist.list_snapshots`."""
        check_names(wanted, WANTED)
        place, full_prefix = self._place(prefix)
        found = await in_thread(_operations.listed, place, full_prefix, errors, dict(wanted), limit)
        return [self._own(metadata, prefix, full_prefix) for metadata in found]

    async def history(self, *, errors: Errors = "warn", **wanted: Unpack[Wanted]) -> builtins.list[SnapshotMetadata]:
        """The snapshots of a session; see :meth:`Store.history`."""
        check_names(wanted, WANTED)
        place, prefix = self._place("")
        found = await in_thread(_operations.history, place, prefix, errors, dict(wanted))
        return [self._own(metadata, "", prefix) for metadata in found]

    async def latest(self, *, errors: Errors = "warn", **wanted: Unpack[Wanted]) -> SnapshotMetadata | None:
        """The last snapshot of a session, or ``None``; see :meth:`Store.latest`."""
        found = await self.history(errors=errors, **wanted)
        return found[-1] if found else None

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

    async def load_bytes(self, key: Key, *, progress: Progress | None = None) -> bytes:
        """The state as the bytes that were saved, whatever they are."""
        place, full_key = self._place(key)
        state: bytes = await in_thread(_operations.load_bytes, place, full_key, progress)
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
