"""A second reader of snapshots, written from docs/format.md alone, with the
standard library of Python 3.10 or newer. Usage: reader.py FILE > STATE

Checks everything that the page asks of a reader. zstd frames are checked by
their hashes; to decompress them it needs Python 3.14's compression.zstd, and
says so where that is missing (exit code 3)."""

import hashlib
import json
import struct
import sys
import zlib

try:
    from compression import zstd  # Python 3.14
except ImportError:
    zstd = None

MAX_BLOCK, MAX_BLOCKS, MAX_METADATA = 8 << 20, 262_144, 48_000
GZIP_HEADER = bytes.fromhex("1f8b08000000000000ff")
SECTIONS = {"T": 0x184D2A51, "M": 0x184D2A52, "F": 0x184D2A53}


class Refused(Exception):
    pass


def require(condition, what):
    if not condition:
        raise Refused(what)


def unique(pairs):
    names = [name for name, _ in pairs]
    require(len(set(names)) == len(names), "a name stands twice in the metadata")
    return dict(pairs)


def carry(codec, section, payload):
    """What carries a payload, byte for byte."""
    if codec == "zstd":
        return struct.pack("<II", SECTIONS[section], len(payload)) + payload
    members = []
    for at in range(0, len(payload), 16_000):
        part = payload[at : at + 16_000]
        field = struct.pack("<H2sH", len(part) + 4, b"P" + section.encode(), len(part))
        members.append(bytes.fromhex("1f8b08040000000000ff") + field + part + b"\x03" + bytes(9))
    return b"".join(members)


def carried_length(codec, length):
    return length + 8 if codec == "zstd" else length + -(-length // 16_000) * 26


def uncarry(codec, section, carriers):
    if codec == "zstd":
        payload = carriers[8:]
    else:
        payload = b"".join(carriers[at : at + 16_026][16:-10] for at in range(0, len(carriers), 16_026))
    require(carry(codec, section, payload) == carriers, f"the carrier of section {section} was changed")
    return payload


def sections(file):
    """Codec, length of the data, rows of the table, document."""
    for codec, before, size in (("gzip", 74, 90), ("zstd", 64, 72)):
        start = len(file) - before
        if start >= 0 and file[start : start + 8] == b"PERSIST\0":
            break
    else:
        raise Refused("this is no snapshot")
    footer = file[start : start + 64]
    _, version, zero, data, table, metadata = struct.unpack("<8sIIQII", footer[:32])
    require(version == 1, f"format {version} is not known")
    require(uncarry(codec, "F", file[-size:]) == footer and zero == 0, "the footer was changed")
    table_end = data + carried_length(codec, table)
    total = table_end + carried_length(codec, metadata) + size
    require(total == len(file), "bytes are missing, or too many")
    require(table and table % 40 == 0 and table // 40 <= MAX_BLOCKS, "the table is not a number of rows")
    require(metadata <= MAX_METADATA, "the metadata is too long")
    rows = uncarry(codec, "T", file[data:table_end])
    document = uncarry(codec, "M", file[table_end : len(file) - size])
    digest = hashlib.sha256(footer[:32] + rows + document).digest()
    require(digest == footer[32:], "table, metadata or footer do not match the digest")
    return codec, data, list(struct.iter_unpack("<II32s", rows)), json.loads(document, object_pairs_hook=unique)


def decompress(codec, frame, length):
    """A block of exactly so many bytes, from a frame that ends with it; None
    where there is nothing here to decompress it with."""
    if codec == "zstd" and zstd is None:
        return None
    if codec == "gzip":
        inflate = zlib.decompressobj(wbits=-15)
        # The end mark of the stream has to be the one that is added here.
        block = inflate.decompress(frame + b"\x03\x00", length + 1)
    else:
        inflate = zstd.ZstdDecompressor()
        block = inflate.decompress(frame, length + 1)
    require(inflate.eof and not inflate.unused_data and len(block) == length, "a frame is not its block")
    return block


def blocks(file):
    """The blocks of the state, each checked before it is given out."""
    codec, data, rows, document = sections(file)
    metadata, block_size = document["metadata"], document["block_size"]
    require(document["codec"] == metadata["compression_algorithm"] == codec, "the codec is not the file's")
    require(0 < block_size <= MAX_BLOCK and metadata["format_version"] == 1, "the document breaks the format's rules")
    size = sum(length for _, length, _ in rows)
    require((size, data) == (metadata["uncompressed_size"], metadata["compressed_size"]), "the sizes do not agree")
    for encoded, length, _ in rows:
        empty_state = len(rows) == 1 and length == 0
        require(0 < length <= block_size or empty_state, "a block is too large, or empty")
        require(0 < encoded <= length + length // 64 + 1024, "a frame is too long for its block")
    header, trailer = b"", b""
    if codec == "gzip":
        header = GZIP_HEADER
        trailer = b"\x03\x00" + struct.pack("<II", document["crc32"], size & 0xFFFFFFFF)
    require(file[: len(header)] == header, "the header was changed")
    position = len(header)
    for encoded, length, digest in rows:
        frame = file[position : position + encoded]
        require(hashlib.sha256(frame).digest() == digest, f"the frame at byte {position} was changed")
        yield decompress(codec, frame, length)
        position += encoded
    require(file[position:data] == trailer, "the trailer was changed")


def main():
    with open(sys.argv[1], "rb") as opened:
        file = opened.read()
    try:
        unreadable = False
        for block in blocks(file):
            unreadable |= block is None
            sys.stdout.buffer.write(block or b"")
        sys.exit(3 if unreadable else 0)
    except (Refused, KeyError, TypeError, ValueError, zlib.error) as error:
        print(f"refused: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
