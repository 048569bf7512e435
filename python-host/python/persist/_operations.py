"""Operations on existing snapshots: metadata, verify, salvage, copy and delete."""

from __future__ import annotations

import json
from typing import Any

from persist import _persist
from persist._metadata import SnapshotMetadata
from persist._progress import Progress, shown
from persist._restoring import checked_size
from persist.errors import PersistConfigurationError, PersistError, PersistNotFoundError


def metadata(place: _persist.Place, key: str, token: _persist.CancelToken | None = None) -> SnapshotMetadata:
    """Returns the metadata of a snapshot."""
    return SnapshotMetadata._from_json(place.metadata(key, token), place.location(key))


def verify(
    place: _persist.Place,
    key: str,
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> bool:
    """Checks every byte of a snapshot. Returns ``True`` or raises an error."""
    with shown(progress, "verifying") as told:
        place.verify(key, told, token)
    return True


def salvage(
    place: _persist.Place, key: str, max_size: int, token: _persist.CancelToken | None = None
) -> tuple[bytes, dict[str, Any]]:
    """Returns what can be recovered from a damaged snapshot, and the report."""
    state, report = place.salvage(key, checked_size(max_size), token)
    return state, json.loads(report)


def copy(
    place: _persist.Place,
    key: str,
    target: _persist.Place,
    target_key: str,
    options: dict[str, Any],
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> SnapshotMetadata:
    """Copies a snapshot and verifies it on the way."""
    with shown(progress, "copying") as told:
        text, _ = place.copy(key, (target, target_key), options, told, token)
    return SnapshotMetadata._from_json(text, target.location(target_key))


def delete(
    place: _persist.Place,
    key: str,
    if_match: str | None = None,
    missing_ok: bool = False,
    token: _persist.CancelToken | None = None,
) -> None:
    """Deletes a snapshot. A step of a timeline is refused, since later steps refer to it."""
    if _persist.step_of(key) is not None:
        raise PersistConfigurationError(
            "a step of a timeline can't be deleted on its own",
            "invalid-argument",
            place.location(key),
            hint="Timeline.prune() removes steps, and Timeline.delete() removes the whole timeline",
        )
    try:
        place.delete(key, if_match, token)
    except PersistNotFoundError:
        if not missing_ok:
            raise


def delete_all(place: _persist.Place, prefix: str, force: bool, token: _persist.CancelToken | None = None) -> int:
    """Deletes all snapshots and timelines whose keys begin with a prefix, or all objects.
    Returns how many snapshots, steps or objects were deleted.
    """
    failed: PersistError | None = None
    steps = 0
    if force:
        found = place.keys(prefix, token)
    else:
        found = []
        for key, _, error in place.list(prefix, {}, token):
            step = _persist.step_of(key)
            if step is not None:
                # A prefix that begins in the middle of a timeline leaves it alone.
                if step[0].startswith(prefix):
                    steps += place.timeline(step[0]).delete(None, token)
            elif error is None:
                found.append(key)
            elif error.code != "not-a-snapshot":
                # A snapshot that can't be read stays. Its error is raised after the others are deleted.
                failed = failed or error
    failures = place.delete_many(found, token)
    above = prefix.rstrip("/").rpartition("/")[0]
    place.remove_empty_folders(above and above + "/", found)
    failed = failed or (failures[0][1] if failures else None)
    if failed is not None:
        raise type(failed)(
            f"{failed.message}; other snapshots deleted: {len(found) - len(failures) + steps}",
            failed.code,
            failed.location,
            failed.retryable,
            failed.hint,
            failed.facts,
        )
    return len(found) + steps
