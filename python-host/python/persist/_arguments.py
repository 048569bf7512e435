"""The arguments that several functions share."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal, TypedDict

from persist import _persist
from persist._progress import Progress
from persist.errors import PersistTypeError

StorageMode = Literal["local", "s3", "memory"]
Errors = Literal["warn", "raise", "ignore"]
Redact = Sequence[str | re.Pattern[str]]
"""Names of fields and keys, in which ``*`` matches anything."""
Moment = datetime | date | timedelta | str
"""A time, a date (its start in UTC), or how long ago."""
Period = str | timedelta
"""A period of time: years, months, days and hours, such as ``1y6m``, ``30d`` or ``36h``."""


class StorageArguments(TypedDict, total=False):
    """Where to find a path without a scheme; see :func:`persist.snapshot`."""

    storage_mode: StorageMode | None
    s3_bucket: str | None
    s3_region: str | None
    s3_endpoint: str | None


class SaveArguments(TypedDict, total=False):
    """What is saved with a state, and how; see :func:`persist.snapshot`."""

    agent_id: str | None
    session_id: str | None
    snapshot_index: int
    description: str | None
    labels: Mapping[str, str] | None
    codec: Literal["gzip", "zstd"] | None
    level: int | None
    if_exists: Literal["replace", "fail"]
    if_match: str | None
    snapshot_id: str | None
    timestamp: str | datetime | None


class ValueArguments(TypedDict, total=False):
    """How values and agents are saved; see :func:`persist.snapshot`."""

    config: Mapping[str, Any] | None
    check: bool | Mapping[str, Any]
    redact: Redact | None


class AgentArguments(SaveArguments, ValueArguments, total=False):
    """Like :class:`SaveArguments`, for values and agents."""


class SaveBytesArguments(SaveArguments, total=False):
    """Like :class:`SaveArguments`, for bytes of any media type."""

    content_type: str


class StepArguments(TypedDict, total=False):
    """What is stored with a step of a timeline, and how; see :meth:`persist.Timeline.append`."""

    number: int | None
    description: str | None
    labels: Mapping[str, str] | None
    codec: Literal["gzip", "zstd"] | None
    level: int | None
    snapshot_id: str | None
    timestamp: str | datetime | None


class AppendArguments(StepArguments, ValueArguments, total=False):
    """Like :class:`StepArguments`, for values and agents."""


class AutosaveArguments(ValueArguments, total=False):
    """What is stored with each step that autosave appends, and how; see :func:`persist.snapshot`."""

    description: str | None
    codec: Literal["gzip", "zstd"] | None
    level: int | None


class AppendBytesArguments(StepArguments, total=False):
    """Like :class:`StepArguments`, for bytes of any media type."""

    content_type: str


class WantedSteps(TypedDict, total=False):
    """Which steps of a timeline to return; see :meth:`persist.Timeline.history`."""

    labels: Mapping[str, str] | None
    since: Moment | None
    until: Moment | None


class Rules(TypedDict, total=False):
    """What to keep of a timeline; see :meth:`persist.Timeline.prune`."""

    keep_last: int | None
    keep_hourly: int | None
    keep_daily: int | None
    keep_weekly: int | None
    keep_monthly: int | None
    keep_yearly: int | None
    keep_within: Period | None
    keep_within_hourly: Period | None
    keep_within_daily: Period | None
    keep_within_weekly: Period | None
    keep_within_monthly: Period | None
    keep_within_yearly: Period | None
    keep_labels: Mapping[str, str | None] | Sequence[str | tuple[str, str | None]] | None


class SnapshotArguments(AgentArguments, StorageArguments, total=False):
    """All keyword arguments of :func:`persist.snapshot`."""

    fsync: bool
    progress: Progress | None


class Wanted(TypedDict, total=False):
    """Which snapshots to list; see :func:`persist.list_snapshots`."""

    agent_id: str | None
    session_id: str | None
    labels: Mapping[str, str] | None
    since: Moment | None
    until: Moment | None


class ListArguments(Wanted, StorageArguments, total=False):
    """All keyword arguments of :func:`persist.list_snapshots` except ``limit`` and ``errors``."""


class RestoreOptions(TypedDict, total=False):
    """How to restore values and agents; see :func:`persist.restore`."""

    plain: bool
    config: Mapping[str, Any] | None
    allowed_objects: Any
    secrets: Mapping[str, str] | None
    max_size: int


class RestoreArguments(RestoreOptions, StorageArguments, total=False):
    """All keyword arguments of :func:`persist.restore` except ``into`` and ``progress``."""


_STORAGE = ("storage_mode", "s3_bucket", "s3_region", "s3_endpoint", "fsync")


SAVES = tuple(SnapshotArguments.__annotations__)
RESTORES = tuple(RestoreArguments.__annotations__)
PLACES = tuple(StorageArguments.__annotations__)
LISTS = tuple(ListArguments.__annotations__)
WANTED = tuple(Wanted.__annotations__)


def locate(
    path: str | os.PathLike[str], arguments: Any, known: tuple[str, ...] = PLACES
) -> tuple[_persist.Place, str, dict[str, Any]]:
    """Returns the place of a snapshot, its key, and the arguments that are not about
    its location.
    """
    check_names(arguments, known)
    storage = {name: arguments[name] for name in _STORAGE if name in arguments}
    place, key = _persist.locate(path, storage, known is SAVES)
    return place, key, {name: value for name, value in arguments.items() if name not in _STORAGE}


_OTHER_WORDS = {
    "overwrite": "if_exists",
    "exist_ok": "if_exists",
    "replace": "if_exists",
    "compression": "codec",
    "compress": "codec",
    "compression_level": "level",
    "compresslevel": "level",
    "name": "description",
    "note": "description",
    "tags": "labels",
    "metadata": "labels",
    "thread_id": "session_id",
    "index": "snapshot_index",
    "step": "snapshot_index",
    "time": "timestamp",
    "etag": "if_match",
    "cls": "into",
    "type": "into",
    "after": "since",
    "before": "until",
    "callback": "progress",
    "exclude": "redact",
    "mask": "redact",
    "durable": "fsync",
    "bucket": "s3_bucket",
    "region": "s3_region",
    "endpoint": "s3_endpoint",
    "endpoint_url": "s3_endpoint",
}
"""The names of other libraries for arguments that have another name here."""


def check_names(arguments: Any, known: tuple[str, ...]) -> None:
    """Refuses unknown arguments, as Python does."""
    for name in arguments:
        if name not in known:
            import difflib

            meant = _OTHER_WORDS.get(name)
            near = [meant] if meant in known else difflib.get_close_matches(name, known, 1)
            raise PersistTypeError(
                f"unknown argument {name!r}",
                "invalid-argument",
                hint=f"did you mean {near[0]}?" if near else f"the arguments are {', '.join(known)}",
            )
