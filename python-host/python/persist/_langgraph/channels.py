"""The values of a checkpoint's channels, of which only the changed ones are serialized anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.checkpoint.base import ChannelVersions, Checkpoint, SerializerProtocol

from persist._langgraph import msgpack
from persist._langgraph.checkpoints import Text
from persist._langgraph.namespace import Namespace

Values = dict[str, "tuple[Any, Text | None]"]
"""The version of each channel, and its value, if it has one."""


def loaded(serde: SerializerProtocol, value: Any) -> Any:
    """Returns a value that was read, with its classes."""
    return serde.loads_typed(msgpack.to_typed(value))


def dumped(serde: SerializerProtocol, value: Any) -> Text:
    """Serializes a value."""
    typed = serde.dumps_typed(value)
    return Text(msgpack.to_json(typed), msgpack.Form(typed))


def channel_values(
    space: Namespace,
    serde: SerializerProtocol,
    parent: str | None,
    checkpoint: Checkpoint,
    new_versions: ChannelVersions,
) -> Values:
    """Returns all channels of a checkpoint. Those that did not change are taken over from earlier
    checkpoints.
    """
    given = checkpoint["channel_values"]
    values: Values = {}
    known = space.head.values if space.head is not None else {}
    missing = {}
    for channel, version in checkpoint["channel_versions"].items():
        if channel in new_versions:
            values[channel] = version, dumped(serde, given[channel]) if channel in given else None
        elif channel in known and known[channel][0] == version:
            values[channel] = known[channel]
        else:
            missing[channel] = version
    for channel in given:
        if channel not in checkpoint["channel_versions"]:
            values[channel] = None, dumped(serde, given[channel])
    if missing:
        values |= _earlier(space, serde, parent, missing, given)
    return values


def _earlier(
    space: Namespace,
    serde: SerializerProtocol,
    parent: str | None,
    missing: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Values:
    """Returns the values that channels had in the parent, if they had the same versions there;
    otherwise those that are given.
    """
    found = None
    if parent is not None:
        if space.head is not None and space.head.id == parent:
            found = space.head.document
        if found is None and (number := space.number_of(parent)) is not None:
            found = space.document(number)
    versions = {} if found is None else loaded(serde, found.checkpoint)["channel_versions"]

    def value_of(channel: str, version: Any) -> Text | None:
        if found is None or versions.get(channel) != version:
            return dumped(serde, given[channel]) if channel in given else None
        if not found.has(channel):
            return None
        typed = msgpack.to_typed(found.value(channel))
        return Text(msgpack.to_json(typed), msgpack.Form(typed))

    return {channel: (version, value_of(channel, version)) for channel, version in missing.items()}
