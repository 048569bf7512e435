"""The functions of the package: one snapshot, wherever it is. Each has a twin
for asyncio, whose name begins with an ``a``.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from persist import _operations, _persist
from persist._arguments import (
    LISTS,
    PLACES,
    RESTORES,
    SAVES,
    Errors,
    ListArguments,
    Moment,
    Redact,
    RestoreArguments,
    SnapshotArguments,
    StorageArguments,
    StorageMode,
    check_names,
    locate,
)
from persist._metadata import SnapshotMetadata
from persist._operations import MAX_SIZE, encoded, in_thread
from persist._progress import Progress

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def _twin_of(function: Callable[..., Any]) -> Callable[[F], F]:
    """Shows all arguments of a function, and what is said of them, for its twin."""

    def shown(twin: F) -> F:
        twin.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        # Python 3.13 takes the indentation away by itself.
        _, head, rest = (inspect.getdoc(function) or "").partition("Args:\n")
        twin.__doc__ = f"{inspect.getdoc(twin)}\n\n{head}{rest}"
        return twin

    return shown


def _checks_names(function: F) -> F:
    """Says what is meant where an argument is called otherwise elsewhere."""
    known = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*arguments: Any, **named: Any) -> Any:
        check_names(named, known)
        return function(*arguments, **named)

    return cast(F, checked)


@_checks_names
def snapshot(
    agent: Any,
    path: str | os.PathLike[str],
    *,
    agent_id: str | None = None,
    session_id: str | None = None,
    snapshot_index: int = 0,
    description: str | None = None,
    labels: Mapping[str, str] | None = None,
    codec: Literal["gzip", "zstd"] | None = None,
    level: int | None = None,
    if_exists: Literal["replace", "fail"] = "replace",
    if_match: str | None = None,
    fsync: bool = True,
    storage_mode: StorageMode | None = None,
    s3_bucket: str | None = None,
    s3_region: str | None = None,
    s3_endpoint: str | None = None,
    snapshot_id: str | None = None,
    timestamp: str | datetime | None = None,
    config: Mapping[str, Any] | None = None,
    check: bool | Mapping[str, Any] = False,
    redact: Redact | None = None,
    progress: Progress | None = None,
) -> SnapshotMetadata:
    """Saves the state of an agent, all of it at once or not at all.

    Args:
        agent: A value: what JSON has, bytes, dates and numbers of the standard
            library, dataclasses, pydantic models, what has
            ``__persist_state__()``, and lists, tuples, sets and dicts of these;
            or an agent, a session or messages of a framework, as
            docs/frameworks.md says. No other thread may change it meanwhile.
        path: A path, or a location: ``s3://bucket/key``, ``file:///path``,
            ``memory://key``.
        agent_id: Whose state it is; ``default_agent`` unless given.
        session_id: Which conversation, run or thread; ``default_session``
            unless given.
        snapshot_index: The place in its session, from 0.
        description: A note for people.
        labels: Names and values to find it by.
        codec: ``gzip`` or ``zstd``; by the path's ending unless given: ``.zst``
            and ``.zstd`` are zstd, any other is gzip.
        level: 1 to 9 for gzip (6 unless given), -7 to 4 without 0 for zstd (4).
        if_exists: ``fail`` never replaces a snapshot that is there.
        if_match: Replace only the object that has this etag, as its metadata
            gives it. Local files can't do that.
        fsync: Whether to wait until the disk has it. Without, a power cut may
            lose the new snapshot.
        storage_mode: Where a path without a scheme is; ``PERSIST_STORAGE``
            unless given, else ``local``.
        s3_bucket: The bucket; ``PERSIST_S3_BUCKET`` unless given.
        s3_region: Its region; as AWS is configured unless given.
        s3_endpoint: Another server than AWS: ``http://127.0.0.1:9000``.
        snapshot_id: A UUID; a new one unless given.
        timestamp: A ``datetime`` with a time zone, or RFC 3339; the current time
            unless given.
        config: For graphs of LangGraph: which thread, as ``graph.invoke`` takes
            it; with ``"plaintext": True`` beside it, also where the checkpointer
            encrypts.
        check: ``True`` proves, before anything is stored, that a plain restore
            (for an instance, one with its class as ``into``) gives the same state.
            A dict of arguments of :func:`restore` (``into``, ``allowed_objects``,
            ``secrets``, ``max_size``) proves it for these:
            ``{"allowed_objects": [Document]}``.
        redact: Names of fields and keys whose values are left out, in any case:
            ``["api_key", "*_token"]``, or compiled expressions that match whole
            names. The text ``[redacted]`` stands in their places.
        progress: Called now and then with the bytes of state that are done, and
            with how many there are if that is known, else ``None``. ``True`` shows
            a bar of tqdm where that is installed, else a line on stderr.

    Returns:
        What was written down about it.

    Raises:
        PersistTypeError: A value in it can't be saved; the error says where.
        PersistConfigurationError: An argument is wrong.
        PersistConflictError: ``if_exists`` or ``if_match`` does not hold.
        PersistAccessError: Credentials are missing, or permissions.
        PersistStorageError: The storage failed. What was there before is there,
            but for the next two.
        PersistNotDurableError: It is stored, but a power cut may lose it.
        PersistOutcomeUnknownError: It is not known whether it was stored.
    """
    arguments = dict(locals())
    del arguments["agent"], arguments["path"], arguments["progress"]
    place, key, options = locate(path, arguments, SAVES)
    return _operations.snapshot(place, key, agent, options, progress)


@_twin_of(snapshot)
async def asnapshot(
    agent: Any, path: str | os.PathLike[str], **arguments: Unpack[SnapshotArguments]
) -> SnapshotMetadata:
    """As :func:`snapshot`, without blocking other tasks. The value is copied
    before the first of them runs, so that they may change it. A cancelled task
    leaves nothing behind, unless its snapshot was being stored already.
    """
    place, key, options = locate(path, arguments, SAVES)
    progress = options.pop("progress", None)
    state = await encoded(agent, options)
    metadata: SnapshotMetadata = await in_thread(
        _operations.snapshot, place, key, state, options, progress, changed=_operations.STORED
    )
    return metadata


@overload
def restore(
    path: str | os.PathLike[str],
    *,
    into: type[T],
    progress: Progress | None = ...,
    **arguments: Unpack[RestoreArguments],
) -> T: ...


@overload
def restore(
    path: str | os.PathLike[str],
    *,
    into: None = ...,
    progress: Progress | None = ...,
    **arguments: Unpack[RestoreArguments],
) -> Any: ...


@overload
def restore(
    path: str | os.PathLike[str],
    *,
    into: T,
    progress: Progress | None = ...,
    **arguments: Unpack[RestoreArguments],
) -> T: ...
@_checks_names
def restore(
    path: str | os.PathLike[str],
    *,
    into: Any = None,
    storage_mode: StorageMode | None = None,
    s3_bucket: str | None = None,
    s3_region: str | None = None,
    s3_endpoint: str | None = None,
    plain: bool = False,
    config: Mapping[str, Any] | None = None,
    allowed_objects: Any = None,
    secrets: Mapping[str, str] | None = None,
    max_size: int = MAX_SIZE,
    progress: Progress | None = None,
) -> Any:
    """Restores what was saved. Every byte is checked before it is used.

    Args:
        path: Where it is, as for :func:`snapshot`.
        into: The class of the value that comes back, or an instance or agent
            that gets the state. Without it, classes that were registered come
            back as such. A whole state of another class is plain data then; one
            within a state is an error. A snapshot itself never decides which
            code runs.
        storage_mode, s3_bucket, s3_region, s3_endpoint: As for :func:`snapshot`.
        plain: Give plain data where there would be agents or instances. Not
            together with ``into``.
        config: For agents of some frameworks. LangGraph: the thread that gets
            the state; the one it was saved from unless given. Google ADK:
            ``{"state": ["app:limit", "user:"]}``, what is restored of the state
            that sessions share. CrewAI: ``{"resume": True}``, whether the next
            kickoff goes on behind the methods that had finished.
        allowed_objects: Classes of LangChain that may come back; the classes
            of messages unless given.
        secrets: Values for the secrets that LangChain's objects name, which are
            never in a snapshot.
        max_size: The largest state that is read, in bytes: 1 GiB unless given.
            Small values in JSON take up to 50 times as much memory in Python.
        progress: As for :func:`snapshot`.

    Returns:
        The value, or ``into`` if that is an instance.

    Raises:
        PersistNotFoundError: There is no such snapshot.
        PersistIntegrityError: It is damaged, or is none.
        PersistTypeError: It does not fit ``into``, or holds instances of classes
            that are not registered.
        PersistConfigurationError: It holds an agent of a framework that is not
            imported here, or that needs ``into`` or another ``config``.
        PersistMemoryLimitError: It is larger than ``max_size``.
        PersistAccessError, PersistStorageError: As for :func:`snapshot`.
    """
    storage: StorageArguments = {
        "storage_mode": storage_mode,
        "s3_bucket": s3_bucket,
        "s3_region": s3_region,
        "s3_endpoint": s3_endpoint,
    }
    place, key, _ = locate(path, storage)
    options = {
        "plain": plain,
        "config": config,
        "allowed_objects": allowed_objects,
        "secrets": secrets,
        "max_size": max_size,
    }
    return _operations.load(place, key, into, progress, options)[0]


@overload
async def arestore(
    path: str | os.PathLike[str],
    *,
    into: type[T],
    progress: Progress | None = ...,
    **arguments: Unpack[RestoreArguments],
) -> T: ...


@overload
async def arestore(
    path: str | os.PathLike[str],
    *,
    into: None = ...,
    progress: Progress | None = ...,
    **arguments: Unpack[RestoreArguments],
) -> Any: ...


@overload
async def arestore(
    path: str | os.PathLike[str],
    *,
    into: T,
    progress: Progress | None = ...,
    **arguments: Unpack[RestoreArguments],
) -> T: ...
@_twin_of(restore)
async def arestore(
    path: str | os.PathLike[str],
    *,
    into: Any = None,
    progress: Progress | None = None,
    **arguments: Unpack[RestoreArguments],
) -> Any:
    """As :func:`restore`, without blocking other tasks."""
    place, key, options = locate(path, arguments, RESTORES)
    return (await _operations.aload(place, key, into, progress, options))[0]


@_checks_names
def verify_snapshot(
    path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    storage_mode: StorageMode | None = None,
    s3_bucket: str | None = None,
    s3_region: str | None = None,
    s3_endpoint: str | None = None,
) -> bool:
    """Checks every byte of a snapshot and the hash of its state.

    Returns:
        ``True``: what is not right raises.

    Args:
        path: Where it is, as for :func:`snapshot`.
        progress: Called now and then with the stored bytes that are done, and
            with how many there are.
        storage_mode, s3_bucket, s3_region, s3_endpoint: As for :func:`snapshot`.

    Raises:
        PersistNotFoundError: There is no such snapshot.
        PersistIntegrityError: It is damaged, or is none.
        PersistAccessError, PersistStorageError: As for :func:`snapshot`.
    """
    storage: StorageArguments = {
        "storage_mode": storage_mode,
        "s3_bucket": s3_bucket,
        "s3_region": s3_region,
        "s3_endpoint": s3_endpoint,
    }
    place, key, _ = locate(path, storage)
    return _operations.verify(place, key, progress)


@_twin_of(verify_snapshot)
async def averify_snapshot(
    path: str | os.PathLike[str], *, progress: Progress | None = None, **storage: Unpack[StorageArguments]
) -> bool:
    """As :func:`verify_snapshot`, without blocking other tasks."""
    place, key, _ = locate(path, storage)
    verified: bool = await in_thread(_operations.verify, place, key, progress)
    return verified


@_checks_names
def get_metadata(
    path: str | os.PathLike[str],
    *,
    storage_mode: StorageMode | None = None,
    s3_bucket: str | None = None,
    s3_region: str | None = None,
    s3_endpoint: str | None = None,
) -> SnapshotMetadata:
    """What a snapshot says of itself; its state is not read.

    Returns:
        A typed object that is also a mapping.

    Args:
        path: Where it is, as for :func:`snapshot`.
        storage_mode, s3_bucket, s3_region, s3_endpoint: As for :func:`snapshot`.

    Raises:
        PersistNotFoundError: There is no such snapshot.
        PersistIntegrityError: It is damaged, or is none.
        PersistAccessError, PersistStorageError: As for :func:`snapshot`.
    """
    storage: StorageArguments = {
        "storage_mode": storage_mode,
        "s3_bucket": s3_bucket,
        "s3_region": s3_region,
        "s3_endpoint": s3_endpoint,
    }
    place, key, _ = locate(path, storage)
    return _operations.metadata(place, key)


@_twin_of(get_metadata)
async def aget_metadata(path: str | os.PathLike[str], **storage: Unpack[StorageArguments]) -> SnapshotMetadata:
    """As :func:`get_metadata`, without blocking other tasks."""
    place, key, _ = locate(path, storage)
    metadata: SnapshotMetadata = await in_thread(_operations.metadata, place, key)
    return metadata


@_checks_names
def snapshot_exists(
    path: str | os.PathLike[str],
    *,
    storage_mode: StorageMode | None = None,
    s3_bucket: str | None = None,
    s3_region: str | None = None,
    s3_endpoint: str | None = None,
) -> bool:
    """Whether there is anything at a location.

    Returns:
        ``False`` only if it is certain that there is nothing.

    Args:
        path: Where it is, as for :func:`snapshot`.
        storage_mode, s3_bucket, s3_region, s3_endpoint: As for :func:`snapshot`.

    Raises:
        PersistAccessError, PersistStorageError: As for :func:`snapshot`.
    """
    storage: StorageArguments = {
        "storage_mode": storage_mode,
        "s3_bucket": s3_bucket,
        "s3_region": s3_region,
        "s3_endpoint": s3_endpoint,
    }
    place, key, _ = locate(path, storage)
    return place.exists(key)


@_twin_of(snapshot_exists)
async def asnapshot_exists(path: str | os.PathLike[str], **storage: Unpack[StorageArguments]) -> bool:
    """As :func:`snapshot_exists`, without blocking other tasks."""
    place, key, _ = locate(path, storage)
    exists: bool = await in_thread(place.exists, key)
    return exists


@_checks_names
def delete_snapshot(
    path: str | os.PathLike[str],
    *,
    if_match: str | None = None,
    missing_ok: bool = False,
    storage_mode: StorageMode | None = None,
    s3_bucket: str | None = None,
    s3_region: str | None = None,
    s3_endpoint: str | None = None,
) -> None:
    """Deletes a snapshot, or whatever else is at the location.

    Args:
        path: Where it is, as for :func:`snapshot`.
        if_match: Delete only the object that has this etag. Local files can't
            do that.
        missing_ok: Whether it is no error if there is none.
        storage_mode, s3_bucket, s3_region, s3_endpoint: As for :func:`snapshot`.

    Raises:
        PersistNotFoundError: There is no such snapshot.
        PersistConflictError: ``if_match`` does not hold.
        PersistAccessError, PersistStorageError: As for :func:`snapshot`.
        PersistNotDurableError: It is deleted, but a power cut may bring it back.
        PersistOutcomeUnknownError: It is not known whether it was deleted.
    """
    storage: StorageArguments = {
        "storage_mode": storage_mode,
        "s3_bucket": s3_bucket,
        "s3_region": s3_region,
        "s3_endpoint": s3_endpoint,
    }
    place, key, _ = locate(path, storage)
    _operations.delete(place, key, if_match, missing_ok)


@_twin_of(delete_snapshot)
async def adelete_snapshot(
    path: str | os.PathLike[str],
    *,
    if_match: str | None = None,
    missing_ok: bool = False,
    **storage: Unpack[StorageArguments],
) -> None:
    """As :func:`delete_snapshot`, without blocking other tasks."""
    place, key, _ = locate(path, storage)
    await in_thread(_operations.delete, place, key, if_match, missing_ok, changed=_operations.DELETED)


@_checks_names
def list_snapshots(
    prefix: str | os.PathLike[str] = "",
    *,
    agent_id: str | None = None,
    session_id: str | None = None,
    labels: Mapping[str, str] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
    errors: Errors = "warn",
    storage_mode: StorageMode | None = None,
    s3_bucket: str | None = None,
    s3_region: str | None = None,
    s3_endpoint: str | None = None,
) -> list[SnapshotMetadata]:
    """The snapshots whose locations begin with a prefix, in the order of their
    keys, in which numbers are compared as numbers.

    Args:
        prefix: What locations begin with: ``agents/`` has all below that
            folder, ``agents/a`` those in it whose names begin with ``a``, and
            ``agents`` also what is in ``agents-old/``. An ``os.PathLike`` is a
            folder. The current folder, or the whole bucket, unless given.
        agent_id, session_id, labels: Only those of this agent, of this session, with
            all these labels.
        since, until: Only those taken at this time or later, and before this time:
            a ``datetime`` with a time zone, a ``date`` (its beginning in UTC), how long
            ago as a ``timedelta`` or ``"7d"``, or RFC 3339.
        limit: At most so many.
        errors: What to do about a snapshot that can't be read: ``warn`` and
            leave it out, ``raise``, or ``ignore`` it. Files that are no
            snapshots are left out.
        storage_mode, s3_bucket, s3_region, s3_endpoint: As for :func:`snapshot`.

    Returns:
        Their metadata; ``location`` is what the other functions take.

    Raises:
        PersistAccessError, PersistStorageError: As for :func:`snapshot`.
    """
    storage: StorageArguments = {
        "storage_mode": storage_mode,
        "s3_bucket": s3_bucket,
        "s3_region": s3_region,
        "s3_endpoint": s3_endpoint,
    }
    place, start = _folder(prefix, storage)
    wanted = {"agent_id": agent_id, "session_id": session_id, "labels": labels, "since": since, "until": until}
    return _operations.listed(place, start, errors, wanted, limit)


@_twin_of(list_snapshots)
async def alist_snapshots(
    prefix: str | os.PathLike[str] = "",
    *,
    limit: int | None = None,
    errors: Errors = "warn",
    **arguments: Unpack[ListArguments],
) -> list[SnapshotMetadata]:
    """As :func:`list_snapshots`, without blocking other tasks."""
    check_names(arguments, LISTS)
    wanted: dict[str, Any] = {name: value for name, value in arguments.items() if name not in PLACES}
    storage: Any = {name: value for name, value in arguments.items() if name in PLACES}
    place, start = _folder(prefix, storage)
    found: list[SnapshotMetadata] = await in_thread(_operations.listed, place, start, errors, wanted, limit)
    return found


def _folder(prefix: str | os.PathLike[str], storage: StorageArguments) -> tuple[_persist.Place, str]:
    """The storage of a prefix, and what the keys there begin with."""
    folder, start = prefix, ""
    if isinstance(prefix, str):
        before, slash, start = prefix.rpartition("/")
        if before.endswith(":/"):
            # The slash belongs to the scheme: all of the bucket.
            before, slash, start = prefix, "", ""
        folder = before + slash or "."
    place, below = _persist.open_folder(folder, dict(storage))
    return place, below + start
