"""What the ancestors of a checkpoint wrote, from which LangGraph rebuilds channels of deltas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import PendingWrite

from persist._langgraph.checkpoints import Write
from persist._langgraph.namespace import Namespace

if TYPE_CHECKING:
    # Not in all versions.
    from langgraph.checkpoint.base import DeltaChannelHistory


def pending(write: Write, value: Callable[[Any], Any]) -> PendingWrite:
    """Returns a write as LangGraph has it. ``value`` loads what was stored."""
    return write.task_id, write.channel, value(write.value)


def delta_history(
    space: Namespace, checkpoint_id: str | None, channels: Sequence[str], value: Callable[[Any], Any]
) -> Mapping[str, DeltaChannelHistory]:
    """Returns what the ancestors of a checkpoint, or of the latest, wrote to channels, up to the nearest
    ancestor that stored a value of the channel. ``value`` loads what was stored.
    """
    if not channels:
        return {}
    writes: dict[str, list[PendingWrite]] = {channel: [] for channel in channels}
    seeds: dict[str, Any] = {}
    if not checkpoint_id:
        latest = space.latest()
        checkpoint_id = None if latest is None else latest.document.id
    remaining = set(channels)
    for _, ancestor, written in space.ancestors(checkpoint_id) if checkpoint_id else ():
        for write in reversed(written()):
            if write.channel in remaining:
                writes[write.channel].append(pending(write, value))
        for channel in [each for each in remaining if ancestor.has(each)]:
            seeds[channel] = value(ancestor.value(channel))
            remaining.discard(channel)
        if not remaining:
            break
    history: dict[str, DeltaChannelHistory] = {}
    for channel in channels:
        history[channel] = {"writes": writes[channel][::-1]}
        if channel in seeds:
            history[channel]["seed"] = seeds[channel]
    return history
