"""Crafts snapshots that no writer of this project makes, by the rules of docs/format.md."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from typing import Any

from persist import _persist

FOOTER = struct.Struct("<8sIIQII")
MAGIC = b"PERSIST\0"
SKIPPABLE = {"T": 0x184D2A51, "M": 0x184D2A52, "S": 0x184D2A54, "F": 0x184D2A53}


@dataclasses.dataclass
class Parts:
    """The parts of a snapshot."""

    codec: str
    data: bytes
    table: bytes
    document: dict[str, Any]
    seal: bytes


def take_apart(file: bytes) -> Parts:
    """Returns the parts of a snapshot, unchecked."""
    codec, before = ("gzip", 74) if file[-74:-66] == MAGIC else ("zstd", 64)
    head = file[len(file) - before :][: FOOTER.size]
    _, _, seal, data, table, metadata = FOOTER.unpack(head)
    rest = file[data:]
    payloads = []
    for length in (table, metadata, seal):
        carried = len(carry(codec, "T", bytes(length)))
        payloads.append(payload(codec, rest[:carried]))
        rest = rest[carried:]
    return Parts(codec, file[:data], payloads[0], json.loads(payloads[1]), payloads[2])


def put_together(parts: Parts) -> bytes:
    """Returns the snapshot of these parts. Its digest is right, whatever the parts are."""
    text = json.dumps(parts.document, ensure_ascii=False, separators=(",", ":")).encode()

    def head(seal: int) -> bytes:
        return FOOTER.pack(MAGIC, 1, seal, len(parts.data), len(parts.table), len(text))

    root = hashlib.sha256(b"persist.root.v1\0" + head(0) + text).digest()
    footer = head(len(parts.seal)) + hashlib.sha256(root + parts.seal).digest()
    sections = {"T": parts.table, "M": text, "S": parts.seal, "F": footer}
    return parts.data + b"".join(carry(parts.codec, name, section) for name, section in sections.items())


def carry(codec: str, section: str, payload: bytes) -> bytes:
    """Returns the carrier of a section, which decompresses to nothing."""
    if codec == "zstd":
        return struct.pack("<II", SKIPPABLE[section], len(payload)) + payload if payload else b""
    members = []
    for at in range(0, len(payload), 16_000):
        part = payload[at : at + 16_000]
        field = struct.pack("<H2sH", len(part) + 4, b"P" + section.encode(), len(part))
        members.append(bytes.fromhex("1f8b08040000000000ff") + field + part + bytes.fromhex("03000000000000000000"))
    return b"".join(members)


def payload(codec: str, carriers: bytes) -> bytes:
    """Returns the section in a carrier."""
    if codec == "zstd":
        return carriers[8:]
    return b"".join(carriers[at : at + 16_026][16:-10] for at in range(0, len(carriers), 16_026))


def crafted(value: Any, name: str = "crafted") -> str:
    """Saves a value as JSON, or JSON as it is, as the state of a snapshot. Returns the name."""
    place, key = _persist.locate(name, {})
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    place.save_bytes(key, text, {"content_type": "application/json", "extra": '{"value_encoding": 1}'})
    return name
