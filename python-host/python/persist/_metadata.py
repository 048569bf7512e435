"""The metadata of snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal


class SnapshotMetadata(Mapping[str, Any]):
    """The metadata of a snapshot, from the snapshot itself and from its storage.

    The fields are attributes and also the entries of a mapping::

        metadata.agent_id == metadata["agent_id"]
        dict(metadata)

    Other fields, which other programs may have written, are only entries of the
    mapping.
    """

    __slots__ = ("_fields",)
    _fields: dict[str, Any]

    location: str
    """The location: a path or a URI that the functions of this package take."""
    key: str
    """The key in the storage."""
    kind: str
    """The kind of the object: ``snapshot``, or ``step`` for a step of a timeline."""
    snapshot_id: str
    """A UUID, unique to this snapshot."""
    agent_id: str
    """The agent that the state belongs to."""
    session_id: str
    """The conversation, run or thread of that agent."""
    snapshot_index: int
    """The position in the session."""
    timestamp: str
    """When the snapshot was taken: RFC 3339, UTC, microseconds."""
    description: str | None
    """A note for people."""
    labels: dict[str, str]
    """Names and values."""
    content_type: str
    """The media type of the state."""
    content_hash: str
    """SHA-256 of the state, 64 hexadecimal digits."""
    uncompressed_size: int
    """The size of the state in bytes."""
    compressed_size: int
    """The size of the compressed data in bytes, without table and metadata."""
    compression_algorithm: str
    """``gzip`` or ``zstd``."""
    format_version: int
    """The version of the format."""
    producer: str
    """The program that wrote the snapshot: name and version."""
    seal: Literal["none", "checked", "not-checked", "wrong"]
    """The result of checking the seal, a signature of every byte: there is ``none``, it is
    from a trusted signer (``checked``), it was ``not-checked``, or it is ``wrong``. This
    version does not check seals.
    """
    encryption: Literal["none", "age"]
    """How the object is encrypted: not at all, or as an age file."""
    root: str
    """A SHA-256 over every byte of the snapshot except its seal."""
    digest: str
    """A SHA-256 over every byte of the snapshot."""
    adapter: dict[str, Any] | None
    """The adapter that saved an agent of a framework: name, version and type. ``None`` for plain values."""
    etag: str | None
    """Changes when the object is replaced, and is what ``if_match`` takes. The etags of local
    files are for reading only.
    """
    stored_size: int
    """The size of the whole object in bytes."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_fields", dict(fields))

    @classmethod
    def _from_json(cls, text: str, location: str) -> SnapshotMetadata:
        # The location comes first in the mapping, and never from the file itself.
        return cls({"location": location} | json.loads(text) | {"location": location})

    def _with_key(self, key: str) -> SnapshotMetadata:
        return SnapshotMetadata({**self._fields, "key": key})

    @property
    def ratio(self) -> float:
        """The compression ratio: the size of the state divided by that of the stored object."""
        size: int = self._fields["stored_size"]
        return float("inf") if size == 0 else self._fields["uncompressed_size"] / size

    @property
    def time(self) -> datetime:
        """When the snapshot was taken, in UTC."""
        return datetime.fromisoformat(self._fields["timestamp"].replace("Z", "+00:00"))

    def __getattr__(self, name: str) -> Any:
        if name in _NAMES:
            return self._fields.get(name) if name == "adapter" else self._fields[name]
        raise AttributeError(f"snapshot metadata has no field {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_NAMES})

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("metadata can't be changed: it describes the stored snapshot")

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return self._fields == other._fields if isinstance(other, SnapshotMetadata) else NotImplemented

    def __hash__(self) -> int:
        return hash((self._fields["location"], self._fields["digest"]))

    def __reduce__(self) -> tuple[Any, ...]:
        return SnapshotMetadata, (self._fields,)

    def __repr__(self) -> str:
        shown = (
            "location",
            "agent_id",
            "session_id",
            "snapshot_index",
            "timestamp",
            "uncompressed_size",
            "stored_size",
        )
        return f"SnapshotMetadata({', '.join(f'{name}={self._fields.get(name)!r}' for name in shown)})"

    def _repr_html_(self) -> str:
        import html

        rows = (
            f"<tr><th style='text-align:left'>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in self._fields.items()
        )
        return f"<table>{''.join(rows)}</table>"


_NAMES = frozenset(name for name in SnapshotMetadata.__annotations__ if not name.startswith("_"))
