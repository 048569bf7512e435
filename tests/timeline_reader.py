"""A second reader of timelines, written from docs/format.md alone, with the standard
library of Python 3.10 or newer. Usage: timeline_reader.py FOLDER [NUMBER] > STATE

It checks everything that the page requires of a reader. Without a number, it reads the
newest step. Steps that hold much new text have zstd frames, whose hashes and headers are
always checked. Decompressing them needs compression.zstd of Python 3.14; without it, the
exit code is 3."""

import bisect
import functools
import hashlib
import json
import os
import re
import struct
import sys
import zlib

import reader
from reader import Object, Refused, field, require, sha256

MAX_LINKS, MAX_RUNS, MAX_DICTIONARY, MAX_UNPACKED, MAX_HASHES = 64, 16_384, 32_768, 512_000, 8
PART, MAX_PIECES, MAX_HELD, MAX_NEEDED, MAX_STEP = 8 << 20, 262_144, 32 << 20, 16 << 20, 999_999_999_999
SIZES = {"removed": 192, "hidden": 192, "label": 192, "head": 192, "end": 200, "gap": 208}
FIELDS = {
    "removed": ("number", "root", "id"),
    "end": ("number", "root", "id"),
    "gap": ("first", "last"),
    "hidden": ("number",),
    "label": ("number", "name"),
    "head": ("number", "root"),
}
HASH = re.compile("[0-9a-f]{64}")

# What packed documents are compressed with.
DICTIONARY = (
    b'"description":"","extra":{},"base_root":"","labels":{"framework":"langgraph","reason":"error","name":"",'
    b'"text/plain","application/octet-stream"gzip","crc32":0,"default_agent","session_id":"default_session"'
    b'{"kind":"step","codec":"zstd","block_size":1048576,"table_hash":"",'
    b'"step":{"number":1,"parent":null,"base_size":0},"metadata":{"snapshot_id":"","agent_id":"","session_id":"",'
    b'"snapshot_index":1,"timestamp":"2026-01-01T00:00:00.000000Z","description":null,"labels":{},'
    b'"content_type":"application/json","content_hash":"","uncompressed_size":1,"compressed_size":1,'
    b'"compression_algorithm":"zstd","format_version":1,"producer":"persist/0.1.0"}}'
)


class Undecoded(Exception):
    """There is no decompressor for a frame."""


def read_record(file):
    """Returns the values of a record, which has only one form."""
    covered, found, rest = file.rpartition(b',"check":"')
    require(found, "a record has no checksum")
    values = reader.parse(covered + b"}")
    kind = values.get("kind")
    require(kind in FIELDS, "a record is of an unknown kind")
    names = ("kind", *FIELDS[kind], *(("value",) if kind == "label" and "value" in values else ()))
    require(tuple(values) == names, "a record has other names")
    for name in names:
        field(values, name, int if name in ("number", "first", "last") else str)
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    line = text[:-1] + b',"check":"' + sha256(text[:-1])[:8].hex().encode() + b'"}'
    require(file == line.ljust(SIZES[kind] - 1) + b"\n", "a record was changed")
    require(all(values.get(name, 0) >= 0 for name in ("number", "first", "last")), "a number is below 0")
    return values


def inflate(dictionary, stream, most):
    """Returns what a raw deflate stream holds, which ends with its last byte."""
    decoder = zlib.decompressobj(wbits=-15, zdict=dictionary)
    plain = decoder.decompress(stream, most + 1)
    require(len(plain) <= most and decoder.eof and not decoder.unused_data, "a deflate stream is wrong")
    return plain


def unpack(packed):
    """Returns the text and the edits of a packed document."""
    require(len(packed) >= 2 and packed[0] == 1 and packed[1] <= MAX_HASHES, "the document is not packed")
    end = 2 + 32 * packed[1]
    require(len(packed) >= end + 16, "the document is cut short")
    hashes = iter([packed[at : at + 32].hex().encode() for at in range(2, end, 32)])
    digits = packed[end : end + 16].hex()
    uuids = iter(["-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])).encode()])
    text, terminator, edits = inflate(DICTIONARY, packed[end + 16 :], MAX_UNPACKED).partition(b"\0")
    require(terminator, "the text is not terminated")
    parts = [
        next(hashes if byte == b"\1" else uuids, None) if byte in (b"\1", b"\2") else byte
        for byte in re.split(b"([\1\2])", text)
    ]
    require(None not in parts, "the text refers to a hash that is not there")
    return b"".join(parts), edits


class Numbers:
    """Numbers of variable length."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def next(self):
        number = shift = 0
        while True:
            require(self.at < len(self.data), "the edits are cut short")
            byte = self.data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            require(byte or not shift, "a number is longer than necessary")
            shift += 7
            if byte < 0x80:
                require(number < 1 << 64, "a number is too large")
                return number
            require(shift < 70, "a number is too long")

    def signed(self):
        number = self.next()
        return -(number >> 1) - 1 if number & 1 else number >> 1


class Step:
    """A step that was read and checked, without what it depends on."""

    def __init__(self, file, number):
        require(len(file) not in SIZES.values(), "the step was removed")
        codec, data, table, text, self.root = reader.container(file)
        require(codec == "zstd", "a step does not have the carriers of zstd")
        if text[:1] != b"\1":
            require(False, f"this is another kind of object: {reader.parse(text).get('kind', 'snapshot')}")
        text, edits = unpack(text)
        document = reader.parse(text)
        require(document.get("kind") == "step", "this is another kind of object")
        self.metadata, own = reader.checked(document), document["step"]
        require(isinstance(own, Object) and own.is_unique, "a name in 'step' is not unique")
        require(field(own, "number", int) == number, "the step has another number")
        self.number, self.size, base_size = number, self.metadata["uncompressed_size"], field(own, "base_size", int)
        require(0 < number <= MAX_STEP and 0 <= base_size < 1 << 64, "a number is too large or too small")
        require(
            0 < own.get("restates", 1) <= max(number - 1, 1) and (number > 1 or "restates" not in own),
            "it restates itself",
        )
        parent, base_root = own.get("parent"), own.get("base_root")
        require(all(root is None or HASH.fullmatch(root) for root in (parent, base_root)), "a root is not a hash")
        require(parent is None or number > 1, "the first step has a parent")

        require(len(table) % 40 == 0 and len(table) // 40 <= reader.MAX_BLOCKS, "the table is not a number of rows")
        require(sha256(table).hex() == document["table_hash"], "the table does not match its hash")
        # Of each frame the place in the file and the row, and of each block the place in the literal bytes.
        self.frames, self.blocks, self.file, offset, self.literals = [], [], file, 0, 0
        for encoded, length, digest in struct.iter_unpack("<II32s", table):
            require(0 < length <= document["block_size"], "a block is too large, or empty")
            require(0 < encoded <= length + length // 64 + 1024, "a frame is too long for its block")
            self.frames.append((offset, encoded, length, digest))
            self.blocks.append((self.literals, length, False, 0))
            offset, self.literals = offset + encoded, self.literals + length
        require(offset == data == self.metadata["compressed_size"], "the sizes do not agree")

        numbers = Numbers(edits)
        count, above, self.links = numbers.next(), number, []
        require(count <= MAX_LINKS, "there are too many links")
        for _ in range(count):
            distance = numbers.next()
            require(0 < distance < above, "a link is not an earlier step")
            above -= distance
            self.links.append(above)
            numbers.next()
        if self.links:
            require(
                (base_root is None) == (self.links[0] == number - 1), "the root of the base is missing, or given twice"
            )
            require(base_root or parent, "the root of the base is missing")
            self.base = (self.links[0], base_root or parent, base_size)
        else:
            require(base_root is None and base_size == 0, "the step describes a base that it does not have")
            self.base = None
        self.read_runs(numbers, base_size)
        self.dictionaries = [self.read_ranges(numbers, base_size) for _ in self.frames]
        require(numbers.at == len(edits), "something follows the dictionaries")

    def read_runs(self, numbers, base_size):
        """Reads the runs: the place in the state, the length, and the place in the base's state or in the
        literal bytes."""
        count, expected, place, literals = numbers.next(), 0, 0, 0
        require(count <= MAX_RUNS, "there are too many runs")
        self.runs, before = [], None
        for _ in range(count):
            length, is_copy = divmod(numbers.next(), 2)
            require(length, "a run is empty")
            if is_copy:
                start = expected + numbers.signed()
                require(before != "copy" or start != expected, "a run continues the run before it")
                expected = start + length
                require(0 <= start and expected <= base_size, "a copy lies outside of the base")
            else:
                require(before != "literal", "a run continues the run before it")
                start, literals = literals, literals + length
            before = "copy" if is_copy else "literal"
            self.runs.append((place, length, is_copy, start))
            place += length
        require(place == self.size and literals == self.literals, "the sizes do not agree")

    def read_ranges(self, numbers, base_size):
        """Reads the ranges of a dictionary."""
        ranges = [(numbers.next(), numbers.next()) for _ in range(min(numbers.next(), MAX_DICTIONARY + 1))]
        require(
            all(length and start + length <= base_size for start, length in ranges),
            "a dictionary lies outside of the base",
        )
        require(sum(length for _, length in ranges) <= MAX_DICTIONARY, "a dictionary is too long")
        return ranges


def joined(ranges):
    """Returns ranges in order. Those that overlap or touch are one."""
    found = []
    for start, length in sorted(ranges):
        if found and start <= found[-1][0] + found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], start + length - found[-1][0]))
        else:
            found.append((start, length))
    return found


def overlaps(runs, start, length):
    """Yields the indexes of the runs that a range overlaps. For each, how many bytes, and from where."""
    index = bisect.bisect_right(runs, (start, 1 << 64)) - 1
    while length:
        place, size, _, source = runs[index]
        now = min(length, place + size - start)
        yield index, now, source + start - place
        start, length, index = start + now, length - now, index + 1


class State:
    """The state of a step, which is put together from what the step depends on."""

    def __init__(self, step, links):
        self.steps = [step]
        for link in links:
            base = self.steps[-1].base
            require(
                base == (link.number, link.root.hex(), link.size), "a step is not the one that another was made from"
            )
            self.steps.append(link)
        require(self.steps[-1].base is None, "the step does not list all that it depends on")
        require(
            step.size <= (1 << 20) + 64 * sum(step.literals for step in self.steps), "few bytes are repeated too often"
        )
        left = 64 * step.size + (64 << 20)
        for start in range(0, step.size, PART):
            left -= self.cost(start, min(PART, step.size - start))
            require(left >= 0, "too much is decoded for the state")
        self.frame = functools.lru_cache(maxsize=None)(self.decode)

    def read(self):
        """Yields the state in parts. The whole is right only if it ends without an error."""
        state, step = hashlib.sha256(), self.steps[0]
        for start in range(0, step.size, PART):
            self.frame.cache_clear()
            part = b"".join(self.range(0, start, min(PART, step.size - start)))
            state.update(part)
            yield part
        require(state.hexdigest() == step.metadata["content_hash"], "the hash of the state is wrong")

    def cost(self, start, length):
        """Returns how many bytes are decoded for a range of the state, which may not have too many pieces."""
        ranges, pieces, held, decoded = [(start, length)], 0, 0, 0
        for step in self.steps:
            below, literals, frames = [], [], set()
            needed = joined(ranges)
            require(sum(length for _, length in needed) <= MAX_NEEDED, "the state needs too much of a base")
            for start, length in needed:
                for place, now, source in overlaps(step.runs, start, length):
                    (below if step.runs[place][2] else literals).append((source, now))
                    pieces += 1
            for start, length in joined(literals):
                held += length
                for index, _, _ in overlaps(step.blocks, start, length):
                    frames.add(index)
                    pieces += 1
            decoded += sum(step.blocks[index][1] for index in frames)
            ranges = below + [part for index in frames for part in step.dictionaries[index]]
            require(pieces <= MAX_PIECES and held <= MAX_HELD, "the state has too many pieces")
        return decoded

    def range(self, depth, start, length):
        """Yields the pieces of a range of the state of a step."""
        step = self.steps[depth]
        for index, now, source in overlaps(step.runs, start, length):
            if step.runs[index][2]:
                yield from self.range(depth + 1, source, now)
                continue
            for frame, size, at in overlaps(step.blocks, source, now):
                yield self.frame(depth, frame)[at : at + size]

    def decode(self, depth, index):
        """Returns a block of a step."""
        step = self.steps[depth]
        offset, encoded, length, digest = step.frames[index]
        frame = step.file[offset : offset + encoded]
        require(sha256(frame) == digest, f"the frame at byte {offset} of step {step.number} was changed")
        ranges = step.dictionaries[index]
        require(frame[0] == 1 or not ranges, "a frame has a dictionary that it does not use")
        if frame[0] == 0:
            block = frame[1:]
        elif frame[0] == 1:
            block = inflate(
                b"".join(part for range in ranges for part in self.range(depth + 1, *range)), frame[1:], length
            )
        else:
            require(frame[0] == 2, "the coding of a frame is not known")
            block = reader.decompress("zstd", frame[1:], length, None)
            if block is None:
                raise Undecoded
        require(len(block) == length, "a block has another length")
        return block


class Timeline:
    def __init__(self, folder):
        self.folder = folder

    def file(self, name):
        try:
            with open(os.path.join(self.folder, name), "rb") as opened:
                return opened.read()
        except FileNotFoundError:
            return None

    def object(self, number):
        return self.file(f"{number:012}.step")

    def step(self, number):
        file = self.object(number)
        require(file is not None, f"step {number} is missing")
        if len(file) in SIZES.values():
            record = read_record(file)
            require(record.get("number", record.get("first")) == number, "the record has another number")
            raise Refused(f"step {number} was removed")
        return Step(file, number)

    def state(self, number):
        """Returns the state of a step, which is not hidden."""
        hidden = self.file(f"{number:012}.hidden")
        require(hidden is None, f"step {number} was removed")
        step = self.step(number)
        return State(step, [self.step(link) for link in step.links])

    def newest(self):
        """Returns the number of the newest step."""
        hint, newest = self.file("head"), 0
        hinted = read_record(hint) if hint is not None else None
        numbers = [int(name[:12]) for name in os.listdir(self.folder) if re.fullmatch(r"\d{12}\.step", name)]
        number = hinted["number"] if hinted else 1
        if hinted and self.root(number) != hinted["root"]:
            require(max(numbers, default=0) >= number, "the newest steps are lost")
            number = max(numbers)
        while (file := self.object(number)) is not None:
            newest = number
            record = read_record(file) if len(file) in SIZES.values() else {}
            number = record["last"] + 1 if record.get("kind") == "gap" else number + 1
        require(newest and newest == max(numbers), "the timeline has no steps, or some are missing")
        return newest

    def root(self, number):
        """Returns the root of a step, as the hint has it."""
        file = self.object(number)
        if file is None or len(file) not in SIZES.values():
            return file and reader.container(file)[4].hex()
        record = read_record(file)
        return sha256(file).hex() if record["kind"] == "end" else record.get("root")


ERRORS = (
    Refused,
    AttributeError,
    IndexError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def main():
    try:
        timeline = Timeline(sys.argv[1])
        number = int(sys.argv[2]) if len(sys.argv) > 2 else timeline.newest()
        state = list(timeline.state(number).read())
        sys.stdout.buffer.writelines(state)
    except Undecoded:
        sys.exit(3)
    except ERRORS as error:
        print(f"refused: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
