"""The functions of the package, each for a single snapshot in any location. Each has a
twin for asyncio, whose name begins with an ``a``.

This module is longer than 400 lines because most of it is signatures and docstrings, and
because pickles of these functions name this module.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from persist import _listing, _operations, _persist, _restoring, _saving
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
from persist._progress import Progress
from persist._restoring import MAX_SIZE
from persist._saving import encoded
from persist._threads import DELETED, STORED, in_thread

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def _twin_of(function: Callable[..., Any]) -> Callable[[F], F]:
    """Gives a twin the signature of its function and the description of the arguments."""

    def shown(twin: F) -> F:
        twin.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        # Before Python 3.13, __doc__ is still indented.
        _, head, rest = (inspect.getdoc(function) or "").partition("Args:\n")
        twin.__doc__ = f"{inspect.getdoc(twin)}\n\n{head}{rest}"
        return twin

    return shown


def _checks_names(function: F) -> F:
    """Refuses unknown arguments with a hint that suggests the right name."""
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
    """Saves the state of an agent as a snapshot, as a whole or not at all.

    Args:
        agent: A value: JSON types, bytes, dates and numbers of the standard
            library, dataclasses, pydantic models, objects with
            ``__persist_state__()``, and lists, tuples, sets and dicts of these;
            or an agent, a session or messages of a framework, as described in
            docs/frameworks.md. No other thread may change it in the
            meantime.
        path: A path, or a location: ``s3://bucket/key``, ``file:///path``,
            ``memory://key``.
        agent_id: The agent that the state belongs to; ``default_agent`` by
            default.
        session_id: The conversation, run or thread; ``default_session`` by
            default.
        snapshot_index: The position in the session, from 0.
        description: A note for people.
        labels: Names and values to find the snapshot by.
        codec: ``gzip`` or ``zstd``. By default, the path's extension decides:
            ``.zst`` and ``.zstd`` are zstd, everything else is gzip.
        level: The compression level: 1 to 9 for gzip (6 by default), -7 to 4
            except 0 for zstd (4 by default).
        if_exists: ``fail`` never replaces an existing snapshot.
        if_match: Replace only the object that has this etag, which is in its
            metadata. Not supported for local files.
        fsync: Whether to wait until the snapshot is on disk. Without it, a power
            cut may lose the new snapshot.
        storage_mode: The storage for a path without a scheme; by default
            ``PERSIST_STORAGE``, else ``local``.
        s3_bucket: The bucket; ``PERSIST_S3_BUCKET`` by default.
        s3_region: The bucket's region; by default from the AWS configuration.
        s3_endpoint: A server other than AWS: ``http://127.0.0.1:9000``.
        snapshot_id: A UUID; a new one by default.
        timestamp: A ``datetime`` with a time zone, or an RFC 3339 string; the
            current time by default.
        config: For LangGraph graphs: the thread, as for ``graph.invoke``. If the
            checkpointer encrypts, add ``"plaintext": True``.
        check: ``True`` proves, before anything is stored, that a plain restore
            (for an instance, one with its class as ``into``) gives the same state.
            A dict of arguments of :func:`restore` (``into``, ``allowed_objects``,
            ``secrets``, ``max_size``) proves it for those arguments:
            ``{"allowed_objects": [Document]}``.
        redact: Names of fields and keys whose values are left out, ignoring case:
            ``["api_key", "*_token"]``, or compiled expressions that match whole
            names. The text ``[redacted]`` replaces the values.
        progress: A function that is called from time to time with the number of
            bytes of state processed so far and the total, or ``None`` if the total
            is not known. ``True`` shows a tqdm bar if tqdm is installed, else a
            line on stderr.

    Returns:
        The metadata of the snapshot.

    Raises:
        PersistTypeError: A value can't be saved; the error says where it is.
        PersistConfigurationError: An argument is wrong.
        PersistConflictError: ``if_exists`` or ``if_match`` does not hold.
        PersistAccessError: Credentials or permissions are missing.
        PersistStorageError: The storage failed. Nothing has changed, except with
            the next two errors.
        PersistNotDurableError: It is stored, but a power cut may lose it.
        PersistOutcomeUnknownError: It is not known whether it was stored.
    """
    arguments = dict(locals())
    del arguments["agent"], arguments["path"], arguments["progress"]
    place, key, options = locate(path, arguments, SAVES)
    return _saving.snapshot(place, key, agent, options, progress)


@_twin_of(snapshot)
async def asnapshot(
    agent: Any, path: str | os.PathLike[str], **arguments: Unpack[SnapshotArguments]
) -> SnapshotMetadata:
    """Like :func:`snapshot`, without blocking other tasks. The value is copied
    before any other task runs, so that other tasks may change it. A cancelled task
    leaves nothing behind, unless its snapshot was already being stored.
    """
    place, key, options = locate(path, arguments, SAVES)
    progress = options.pop("progress", None)
    state = await encoded(agent, options)
    metadata: SnapshotMetadata = await in_thread(_saving.snapshot, place, key, state, options, progress, changed=STORED)
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
    """Restores a snapshot. Every byte is checked before it is used.

    Args:
        path: The location, as for :func:`snapshot`.
        into: The class of the restored value, or an instance or agent that gets
            the state. Without it, instances of registered classes are restored
            as such. If the whole state is an instance of another class, it is
            returned as plain data; within a state, such an instance is an error.
            A snapshot itself never decides which code runs.
        storage_mode, s3_bucket, s3_region, s3_endpoint: As for :func:`snapshot`.
        plain: Return plain data instead of agents and instances. Can't be used
            together with ``into``.
        config: For agents of some frameworks. LangGraph: the thread that gets
            the state; by default the thread that was saved. Google ADK:
            ``{"state": ["app:limit", "user:"]}`` selects the parts of the shared
            state to restore. CrewAI: ``{"resume": True}`` makes the
            next kickoff continue after the methods that had finished.
        allowed_objects: LangChain classes that may be restored; by default the
            message classes.
        secrets: Values for the secrets that LangChain objects name, which are
            never in a snapshot.
        max_size: The largest state to read, in bytes; 1 GiB by default. Small
            values take up to 50 times as much memory in Python as in JSON.
        progress: As for :func:`snapshot`.

    Returns:
        The value, or ``into`` if that is an instance.

    Raises:
        PersistNotFoundError: There is no such snapshot.
        PersistIntegrityError: It is damaged, or is not a snapshot.
        PersistTypeError: It does not fit ``into``, or holds instances of classes
            that are not registered.
        PersistConfigurationError: It holds an agent of a framework that is not
            imported, or that needs ``into`` or another ``config``.
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
    return _restoring.load(place, key, into, progress, options)[0]


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
    """Like :func:`restore`, without blocking other tasks."""
    place, key, options = locate(path, arguments, RESTORES)
    return (await _restoring.aload(place, key, into, progress, options))[0]


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
        ``True``. Anything else raises an error.

    Args:
        path: The location, as for :func:`snapshot`.
        progress: A function that is called from time to time with the number of
            stored bytes processed so far, and the total.
        storage_mode, s3_bucket, s3_region, s3_endpoint: As for :func:`snapshot`.

    Raises:
        PersistNotFoundError: There is no such snapshot.
        PersistIntegrityError: It is damaged, or is not a snapshot.
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
    """Like :func:`verify_snapshot`, without blocking other tasks."""
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
    """Reads the metadata of a snapshot, without its state.

    Returns:
        A typed object that is also a mapping.

    Args:
        path: The location, as for :func:`snapshot`.
        storage_mode, s3_bucket, s3_region, s3_endpoint: As for :func:`snapshot`.

    Raises:
        PersistNotFoundError: There is no such snapshot.
        PersistIntegrityError: It is damaged, or is not a snapshot.
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
    """Like :func:`get_metadata`, without blocking other tasks."""
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
    """Returns whether there is an object at a location.

    Returns:
        ``False`` only if it is certain that there is none.

    Args:
        path: The location, as for :func:`snapshot`.
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
    """Like :func:`snapshot_exists`, without blocking other tasks."""
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
    """Deletes a snapshot, or any other object at the location.

    Args:
        path: The location, as for :func:`snapshot`.
        if_match: Delete only the object that has this etag. Not supported for
            local files.
        missing_ok: Whether to ignore a missing snapshot.
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
    """Like :func:`delete_snapshot`, without blocking other tasks."""
    place, key, _ = locate(path, storage)
    await in_thread(_operations.delete, place, key, if_match, missing_ok, changed=DELETED)


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
    """Lists the snapshots whose locations begin with a prefix, in the order of their
    keys. Numbers in keys are compared as numbers.

    Args:
        prefix: The start of the locations: ``agents/`` lists everything below that
            folder, ``agents/a`` the names in it that begin with ``a``, and
            ``agents`` also includes ``agents-old/``. An ``os.PathLike`` is a
            folder. By default, the current folder or the whole bucket.
        agent_id, session_id, labels: Only snapshots of this agent, of this session,
            and with all these labels.
        since, until: Only snapshots taken at or after ``since`` and before ``until``:
            a ``datetime`` with a time zone, a ``date`` (its start in UTC), how long
            ago as a ``timedelta`` or ``"7d"``, or an RFC 3339 string.
        limit: The largest number of snapshots to return.
        errors: What to do about a snapshot that can't be read: ``warn`` and
            leave it out, ``raise``, or ``ignore`` it. Files that are not
            snapshots are left out.
        storage_mode, s3_bucket, s3_region, s3_endpoint: As for :func:`snapshot`.

    Returns:
        The metadata of the snapshots. Their ``location`` is what the other functions
        take.

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
    return _listing.listed(place, start, errors, wanted, limit)


@_twin_of(list_snapshots)
async def alist_snapshots(
    prefix: str | os.PathLike[str] = "",
    *,
    limit: int | None = None,
    errors: Errors = "warn",
    **arguments: Unpack[ListArguments],
) -> list[SnapshotMetadata]:
    """Like :func:`list_snapshots`, without blocking other tasks."""
    check_names(arguments, LISTS)
    wanted: dict[str, Any] = {name: value for name, value in arguments.items() if name not in PLACES}
    storage: Any = {name: value for name, value in arguments.items() if name in PLACES}
    place, start = _folder(prefix, storage)
    found: list[SnapshotMetadata] = await in_thread(_listing.listed, place, start, errors, wanted, limit)
    return found


def _folder(prefix: str | os.PathLike[str], storage: StorageArguments) -> tuple[_persist.Place, str]:
    """Returns the place of a prefix, and the start of the keys in it."""
    folder, start = prefix, ""
    if isinstance(prefix, str):
        before, slash, start = prefix.rpartition("/")
        if before.endswith(":/"):
            # The slash belongs to the scheme, so the prefix is a whole bucket.
            before, slash, start = prefix, "", ""
        folder = before + slash or "."
    place, below = _persist.open_folder(folder, dict(storage))
    return place, below + start
