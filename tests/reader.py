"""A second reader of snapshots, written from docs/format.md alone, with the
standard library of Python 3.10 or newer. Usage: reader.py FILE > STATE

It checks everything that the page requires of a reader. The hashes and headers
of zstd frames are always checked. Decompressing them needs compression.zstd of
Python 3.14; without it, the exit code is 3."""

import datetime
import hashlib
import json
import re
import struct
import sys
import zlib

try:
    from compression import zstd  # Python 3.14
except ImportError:
    zstd = None

MAX_BLOCK, MAX_BLOCKS, MAX_METADATA, MAX_SEAL = 8 << 20, 262_144, 48_000, 4096
GZIP_HEADER = bytes.fromhex("1f8b08000000000000ff")
FOOTER = struct.Struct("<8sIIQII")
SECTIONS = {"T": 0x184D2A51, "M": 0x184D2A52, "F": 0x184D2A53, "S": 0x184D2A54}
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
TEXTS = ("snapshot_id", "agent_id", "session_id", "timestamp", "content_type", "content_hash", "producer")
RESERVED = {"key", "kind", "seal", "encryption", "root", "digest", "etag", "stored_size"}


class Refused(Exception):
    pass


def require(condition, what):
    if not condition:
        raise Refused(what)


class Object(dict):
    """A JSON object that knows whether its names were unique."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.is_unique = len(self) == len(pairs)


def parse(text):
    def refuse(what):
        raise Refused(f"{what} is not JSON")

    document = json.loads(text.decode("utf-8"), object_pairs_hook=Object, parse_constant=refuse)
    text.decode("utf-8").encode("utf-16")  # No lone surrogate can be in it.
    require(isinstance(document, Object) and document.is_unique, "the metadata is not one object of unique names")
    return document


def field(fields, name, kind):
    """Returns a field of the metadata, which must have this type."""
    require(type(fields.get(name)) is kind, f"the metadata's '{name}' is missing or wrong")
    return fields[name]


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def carry(codec, section, payload):
    """Returns the carrier of a payload, byte for byte."""
    if codec == "zstd":
        return struct.pack("<II", SECTIONS[section], len(payload)) + payload if payload else b""
    members = []
    for at in range(0, len(payload), 16_000):
        part = payload[at : at + 16_000]
        field = struct.pack("<H2sH", len(part) + 4, b"P" + section.encode(), len(part))
        members.append(bytes.fromhex("1f8b08040000000000ff") + field + part + b"\x03" + bytes(9))
    return b"".join(members)


def carried_length(codec, length):
    return length + (8 if length else 0) if codec == "zstd" else length + -(-length // 16_000) * 26


def uncarry(codec, section, carriers):
    if codec == "zstd":
        payload = carriers[8:]
    else:
        payload = b"".join(carriers[at : at + 16_026][16:-10] for at in range(0, len(carriers), 16_026))
    require(carry(codec, section, payload) == carriers, f"the carrier of section {section} was changed")
    return payload


def container(file):
    """Returns the codec of the carriers, the length of the data, the table, the metadata and the root."""
    for codec, before, size in (("gzip", 74, 90), ("zstd", 64, 72)):
        start = len(file) - before
        if start >= 0 and file[start : start + 8] == b"PERSIST\0":
            break
    else:
        raise Refused("this is not a snapshot")
    footer = file[start : start + 64]
    magic, version, seal, data, table, metadata = FOOTER.unpack(footer[:32])
    require(version == 1, f"format {version} is not known")
    require(uncarry(codec, "F", file[-size:]) == footer, "the footer was changed")
    require(metadata <= MAX_METADATA and seal <= MAX_SEAL, "the metadata or the seal is too long")
    table_end = data + carried_length(codec, table)
    metadata_end = table_end + carried_length(codec, metadata)
    total = metadata_end + carried_length(codec, seal) + size
    require(total == len(file), "the file is too short or too long")
    text = uncarry(codec, "M", file[table_end:metadata_end])
    root = sha256(b"persist.root.v1\0", FOOTER.pack(magic, version, 0, data, table, metadata), text)
    digest = sha256(root, uncarry(codec, "S", file[metadata_end : len(file) - size]))
    require(digest == footer[32:], "metadata, seal or footer do not match the digest")
    return codec, data, uncarry(codec, "T", file[data:table_end]), text, root


def decompress(codec, frame, length, member):
    """Returns the block of a frame, which must have this length and end the frame.
    Returns None if there is no decompressor for it."""
    if codec == "zstd":
        require(frame[:13] == struct.pack("<IBQ", 0xFD2FB528, 0xE4, length), "the header of a frame is wrong")
        if zstd is None:
            return None
        inflate = zstd.ZstdDecompressor()
        block = inflate.decompress(frame, length + 1)
    else:
        require(frame.endswith(b"\0\0\xff\xff"), "a frame does not end with a sync flush")
        inflate = zlib.decompressobj(wbits=-15)
        # The only end of the stream must be the one that is added here.
        block = inflate.decompress(frame + b"\x03\x00", length + 1)
        # The frame must mean the same alone as after the frames before it.
        again = member.decompress(frame, length + 1)
        require(again == block and not member.unconsumed_tail and not member.eof, "a frame does not end at a block boundary")
    require(inflate.eof and not inflate.unused_data and len(block) == length, "a frame and its block differ")
    return block


def checked(document):
    """Returns the metadata of a document, every value of which is checked."""
    metadata, block_size = document["metadata"], field(document, "block_size", int)
    require(isinstance(metadata, Object) and metadata.is_unique, "a name in the metadata is not unique")
    for name in TEXTS:
        field(metadata, name, str)
    for name in ("format_version", "uncompressed_size", "compressed_size"):
        require(field(metadata, name, int) >= 0, f"'{name}' is below 0")
    require(0 <= field(metadata, "snapshot_index", int) < 1 << 53, "the index is too large")
    require(type(metadata.get("description", "")) in (str, type(None)), "the description is not text")
    labels = metadata.get("labels", Object([]))
    require(isinstance(labels, Object) and labels.is_unique, "a label is not unique")
    require(all(type(value) is str for value in labels.values()), "a label is not text")
    require(not RESERVED & metadata.keys(), "the metadata has a name that only the reader may set")
    require(document["codec"] == metadata["compression_algorithm"], "there are two codecs")
    require(0 < block_size <= MAX_BLOCK and metadata["format_version"] == 1, "the document breaks the format's rules")
    require(UUID.fullmatch(metadata["snapshot_id"]) and TIME.fullmatch(metadata["timestamp"]), "not an ID, or not a time")
    datetime.datetime.fromisoformat(metadata["timestamp"].rstrip("Z"))
    return metadata


def blocks(file):
    """Yields the blocks of the state, each of which is checked first. The whole state is
    right only if the generator ends without an error."""
    codec, data, table, text, _ = container(file)
    document = parse(text)
    require(document.get("kind", "snapshot") == "snapshot", "this is another kind of object")
    require(table and len(table) % 40 == 0 and len(table) // 40 <= MAX_BLOCKS, "the table is not a number of rows")
    require(sha256(table).hex() == document["table_hash"], "the table does not match its hash")
    rows, metadata = list(struct.iter_unpack("<II32s", table)), checked(document)
    require(document["codec"] == codec, "the codec is not the file's")
    size = sum(length for _, length, _ in rows)
    require((size, data) == (metadata["uncompressed_size"], metadata["compressed_size"]), "the sizes do not agree")
    for encoded, length, _ in rows:
        require(0 < length <= document["block_size"] or len(rows) == 1 and length == 0, "a block is too large, or empty")
        require(0 < encoded <= length + length // 64 + 1024, "a frame is too long for its block")
    header, trailer = b"", b""
    if codec == "gzip":
        header = GZIP_HEADER
        trailer = b"\x03\x00" + struct.pack("<II", document["crc32"], size & 0xFFFFFFFF)
    require(file[: len(header)] == header, "the header was changed")
    position, state, crc32, member = len(header), hashlib.sha256(), 0, zlib.decompressobj(wbits=-15)
    for encoded, length, digest in rows:
        frame = file[position : position + encoded]
        require(sha256(frame) == digest, f"the frame at byte {position} was changed")
        block = decompress(codec, frame, length, member)
        state.update(block or b"")
        crc32 = zlib.crc32(block or b"", crc32)
        yield block
        position += encoded
    require(file[position:data] == trailer, "the trailer was changed")
    if codec == "gzip":
        require(not member.decompress(trailer[:2]) and member.eof, "the data does not end with its last frame")
        require(not member.unused_data, "the data does not end with its last frame")
    require(codec == "zstd" or crc32 == document["crc32"], "the CRC-32 of the state is wrong")
    is_read = codec == "gzip" or zstd is not None
    require(not is_read or state.hexdigest() == metadata["content_hash"], "the hash of the state is wrong")


def is_sealed(file):
    """Returns whether a file that was read has a seal: its length is in the footer."""
    footer = file[-64:] if file[-64:].startswith(b"PERSIST\0") else file[-74:-10]
    return FOOTER.unpack(footer[:32])[2] > 0


def main():
    with open(sys.argv[1], "rb") as opened:
        file = opened.read()
    try:
        state = list(blocks(file))
        if is_sealed(file):
            print("sealed, not checked", file=sys.stderr)
        sys.stdout.buffer.writelines(block or b"" for block in state)
        sys.exit(3 if None in state else 0)
    except (Refused, AttributeError, KeyError, RecursionError, TypeError, ValueError, struct.error, zlib.error) as error:
        print(f"refused: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
