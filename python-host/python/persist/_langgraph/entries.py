"""The steps of the timeline of a namespace, without their states."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, NamedTuple

from persist import _persist
from persist._langgraph.checkpoints import CHECKPOINT
from persist._metadata import SnapshotMetadata

ANCESTOR = "langgraph"
"""A label of steps that pruning keeps only because later ones are rebuilt from them."""


class Entry(NamedTuple):
    """A step of the timeline, without its state."""

    number: int
    id: str
    is_ancestor: bool
    taken: datetime
    """When it was made, in UTC."""


def options_of(checkpoint_id: str, time: str | None) -> dict[str, Any]:
    """Returns the options of a step that has a checkpoint, made at this time."""
    options: dict[str, Any] = {} if time is None else {"timestamp": time}
    if is_uuid(checkpoint_id):
        return options | {"snapshot_id": checkpoint_id}
    return options | {"labels": {CHECKPOINT: checkpoint_id}}


def is_uuid(text: str) -> bool:
    """Returns whether a text is a UUID as it is usually written."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def entry_of(metadata: str, number: int | None = None) -> Entry:
    """Returns the step with this metadata as JSON, which has its key."""
    found = SnapshotMetadata._from_json(metadata, "")
    if number is None:
        step = _persist.step_of(found.key)
        number = 0 if step is None else step[1]
    return Entry(number, found.labels.get(CHECKPOINT, found.snapshot_id), ANCESTOR in found.labels, found.time)
