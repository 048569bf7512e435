"""LangGraph's checkpoints as states of a timeline, and its pending writes as snapshots.

A checkpoint is one JSON document: its ID and that of its parent, its metadata, the writes of its
parent that led to it, and the values of its channels, which come last because that is where a
conversation grows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from langgraph.checkpoint.base import WRITES_IDX_MAP

from persist._langgraph import msgpack
from persist.errors import PersistIntegrityError

VERSION = 1
"""The version of the documents."""

CONTENT_TYPE = "application/vnd.persist.langgraph+json"
"""Tells the command what to show of a checkpoint."""

CHECKPOINT = "checkpoint_id"
"""A label with the ID of a checkpoint: of its writes, and of itself if it can't be the ID of a
snapshot.
"""

_PREFIX = "$"
"""Channels whose names begin with it get it once more, since ``$`` has a meaning in JSON."""


class Write(NamedTuple):
    """What a task wrote to a channel."""

    task_id: str
    place: int
    """Its place among the writes of the task; below 0 for special ones, such as interrupts."""
    channel: str
    value: Any
    """JSON text when it is to be stored, and a value of :func:`msgpack.loads` when it was read."""
    task_path: str
    turn: int
    """Of several with the same task and place, the first counts, and of special ones the last."""


class Writes:
    """The pending writes of a checkpoint, by task and place."""

    def __init__(self, writes: Iterable[Write] = ()) -> None:
        self._writes: dict[tuple[str, int], Write] = {}
        for write in writes:
            self.add(write)

    def add(self, write: Write) -> None:
        """Adds a write, unless there is one that counts instead."""
        key = write.task_id, write.place
        known = self._writes.get(key)
        if (
            known is None
            or (write.place < 0 and write.turn >= known.turn)
            or (write.place >= 0 and write.turn < known.turn)
        ):
            self._writes[key] = write

    def has(self, task_id: str, place: int) -> bool:
        """Returns whether a write counts that makes another one superfluous."""
        return place >= 0 and (task_id, place) in self._writes

    @property
    def next_turn(self) -> int:
        """A turn that is later than all."""
        return max((write.turn for write in self._writes.values()), default=-1) + 1

    def ordered(self) -> list[Write]:
        """Returns the writes in the order in which a run applies them."""
        return sorted(self._writes.values(), key=lambda each: (each.task_path, each.task_id, each.place))


def place_of(channel: str, place: int) -> int:
    """Returns the place of a write: the given one, or that of a special write."""
    return int(WRITES_IDX_MAP.get(channel, place))


class Document:
    """A checkpoint, without any classes."""

    def __init__(
        self,
        checkpoint_id: str,
        parent: str | None,
        namespace: str,
        metadata: Any,
        checkpoint: Any,
        folded: Sequence[Write],
        values: Mapping[str, Any],
    ) -> None:
        self.id, self.parent, self.namespace = checkpoint_id, parent, namespace
        self.metadata, self.checkpoint = metadata, checkpoint
        self.folded = folded
        """The writes of the parent that this checkpoint made superfluous."""
        self._values = values

    @classmethod
    def read(cls, state: bytes, place: str) -> Document:
        """Returns the checkpoint in a state."""
        found = _read(state, place)
        values = {_unescaped(name): value for name, value in found["channel_values"].items()}
        writes = [Write(*write) for write in found["writes"]]
        return cls(
            found["id"], found["parent"], found["namespace"], found["metadata"], found["checkpoint"], writes, values
        )

    def channels(self) -> Iterable[tuple[str, Any]]:
        """Returns the channels that have a value."""
        return self._values.items()

    def has(self, channel: str) -> bool:
        """Returns whether a channel has a value."""
        return channel in self._values

    def value(self, channel: str) -> Any:
        """Returns the value of a channel."""
        return self._values[channel]


class Text(NamedTuple):
    """A value as JSON text, and as its serializer has made it."""

    text: str
    form: msgpack.Form


class Made(NamedTuple):
    """A checkpoint that is to be stored."""

    id: str
    parent: str | None
    namespace: str
    metadata: Text
    checkpoint: Text
    time: str | None
    values: Mapping[str, tuple[Any, Text | None]]
    """The version of each channel, and its value, if it has one."""
    follows_tasks: bool = False
    """Whether tasks have run since the parent, so that there are writes of it."""

    def state(self, folded: Iterable[Write]) -> bytes:
        """Returns it as a state, with the writes that it folds."""
        plain = {"langgraph": VERSION, "id": self.id, "parent": self.parent, "namespace": self.namespace}
        texts = ((name, value.text) for name, (_, value) in self.values.items() if value is not None)
        members = (f"{msgpack.dumps(_escaped(name))}:{text}" for name, text in texts)
        parts = [
            msgpack.dumps(plain)[:-1],
            f'"metadata":{self.metadata.text}',
            f'"checkpoint":{self.checkpoint.text}',
            f'"writes":[{",".join(map(_write, folded))}]',
            f'"channel_values":{{{",".join(members)}}}}}',
        ]
        return ",".join(parts).encode()

    def document(self, folded: Iterable[Write]) -> Document:
        """Returns it as if it had been read."""
        forms = {name: value.form for name, (_, value) in self.values.items() if value is not None}
        writes = [as_read(write) for write in folded]
        return Document(self.id, self.parent, self.namespace, self.metadata.form, self.checkpoint.form, writes, forms)


def writes_document(checkpoint_id: str, writes: Iterable[Write]) -> bytes:
    """Returns the writes of one task as a state."""
    start = msgpack.dumps({"langgraph": VERSION, "id": checkpoint_id})[:-1]
    return f'{start},"writes":[{",".join(map(_write, writes))}]}}'.encode()


def read_writes(state: bytes, place: str) -> list[Write]:
    """Reads the writes of one task."""
    return [Write(*write) for write in _read(state, place)["writes"]]


def _read(state: bytes, place: str) -> dict[str, Any]:
    """Reads a document. ``place`` is where it is, for the error."""
    found = msgpack.loads(state, place)
    if not isinstance(found, dict) or found.get("langgraph") != VERSION:
        raise PersistIntegrityError(
            "Format error: this is not a LangGraph checkpoint, or a later version of this package wrote it",
            "invalid-format",
            place,
            hint="update the package, or use another thread ID",
        )
    return found


def as_read(write: Write) -> Write:
    """Returns a write that is to be stored as one that was read."""
    return write._replace(value=msgpack.loads(write.value.encode()))


def as_text(write: Write) -> Write:
    """Returns a write that was read as one to be stored."""
    return write._replace(value=msgpack.to_json(msgpack.to_typed(write.value)))


def _write(write: Write) -> str:
    task_id, place, channel, value, task_path, turn = write
    return f"{msgpack.dumps([task_id, place, channel])[:-1]},{value},{json.dumps(task_path)},{turn}]"


def _escaped(channel: str) -> str:
    return _PREFIX + channel if channel.startswith(_PREFIX) else channel


def _unescaped(name: str) -> str:
    return name[len(_PREFIX) :] if name.startswith(_PREFIX) else name
