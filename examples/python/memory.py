"""The import ``persist:snapshot/storage``, implemented on a dictionary. ``host.py`` shows how to use it.

A storage need not support what it does not claim in ``capabilities``: such calls fail with ``unsupported``. This one
claims ``if-absent``, which timelines need, and nothing else.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

from wasmtime.component import Linker, Record, ResourceAny, ResourceHost, ResourceType, Variant

INTERFACE = "persist:snapshot/storage@0.1.0"

MAX_KEY_BYTES = 1024
MAX_LISTED = 1000

MAX_HANDLES = 64
"""The most writers and readers that a component may hold at once."""

MAX_READ_BYTES = 1 << 20
"""The most bytes that one read returns, whatever the component asks for."""

OBJECT_OVERHEAD_BYTES = 4096
"""What each object costs in addition to its key and bytes, so that empty objects are not free."""

# The numbers by which wasmtime tells the two types of handles apart.
WRITER, READER = 0, 1


@dataclass
class Writer:
    """An object that is being written."""

    key: str
    if_absent: bool
    data: bytearray = field(default_factory=bytearray)


@dataclass
class Reader:
    """An object that is being read, and the bytes of the range that have not been read yet."""

    info: Record
    rest: memoryview


class RefusedError(Exception):
    """An error that is returned to the component. Any other exception stops it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def record(fields: dict[str, object]) -> Record:
    """Returns a WIT record. The names of its fields may contain hyphens."""
    made = Record()
    vars(made).update(fields)
    return made


def _require(condition: bool, code: str, message: str) -> None:
    if not condition:
        raise RefusedError(code, message)


def _require_claimed(condition: bool) -> None:
    _require(condition, "unsupported", "this storage has no precondition except if-absent, and no batches")


def _check_key(key: str) -> None:
    is_path = all(part not in ("", ".", "..") for part in key.split("/"))
    is_plain = not any(unicodedata.category(character) == "Cc" for character in key)
    _require(
        is_path and is_plain and len(key.encode()) <= MAX_KEY_BYTES,
        "invalid-key",
        "a key is a path of up to 1,024 bytes, without '.', '..' or control characters",
    )


def _in_range(data: memoryview, wanted: object) -> memoryview:
    # wasmtime passes the value of the variant alone: a record is a span, a number is a suffix, None is all.
    if isinstance(wanted, Record):
        return data[wanted.offset :][: wanted.length]
    if isinstance(wanted, int):
        return data[max(0, len(data) - wanted) :]
    return data


def _answering(method: Callable, is_tagged: bool) -> Callable:
    """Wraps a method for wasmtime: the method gets handles as numbers, and its errors become values."""

    def answer(store: object, *arguments: object) -> object:
        # `to_host` also releases a borrowed handle. wasmtime stops a component whose handles are not released.
        plain = [one.to_host(store).rep if isinstance(one, ResourceAny) else one for one in arguments]
        try:
            tag, value = "ok", method(store, *plain)
        except RefusedError as error:
            fields = {"code": error.code, "retryable": False, "key": None, "message": str(error), "details": []}
            tag, value = "err", record(fields)
        return Variant(tag, value) if is_tagged else value

    return answer


class MemoryStorage:
    """A dictionary of objects, and what one call holds and may still write."""

    def __init__(self, max_written_bytes: int) -> None:
        self.objects: dict[str, bytes] = {}
        self.max_written_bytes = max_written_bytes
        self.last_handle = 0
        self.end_call()

    def end_call(self) -> None:
        """Drops what the component left open, without storing it, and renews the budget."""
        self.handles: dict[int, Writer | Reader] = {}
        self.writable_bytes = self.max_written_bytes

    def link(self, linker: Linker) -> None:
        """Adds the interface to a linker."""
        functions = {
            "capabilities": lambda store: {"if-absent"},
            "open-write": self.open_write,
            "[method]writer.write": self.write,
            "[static]writer.commit": self.commit,
            "open-read": self.open_read,
            "[method]reader.info": self.info,
            "[method]reader.read": self.read,
            "stat": self.stat,
            "delete": self.delete,
            "list-objects": self.list_objects,
        }
        for unclaimed in ("[method]writer.copy-range", "read-many", "delete-many", "list-level"):
            functions[unclaimed] = self.unsupported
        # Success and failure are both records here, so the answer must say which it is.
        tagged = ("stat", "[static]writer.commit")
        with linker.root() as root, root.add_instance(INTERFACE) as interface:
            interface.add_resource("writer", ResourceType.host(WRITER), self.drop)
            interface.add_resource("reader", ResourceType.host(READER), self.drop)
            for name, method in functions.items():
                interface.add_func(name, _answering(method, name in tagged))

    def _open(self, store: object, kind: int, opened: Writer | Reader) -> ResourceAny:
        if len(self.handles) >= MAX_HANDLES:
            raise RuntimeError("the component holds too many handles")
        self.last_handle += 1
        self.handles[self.last_handle] = opened
        return ResourceHost.own(self.last_handle, kind).to_any(store)

    def _spend(self, size: int) -> None:
        _require(size <= self.writable_bytes, "no-space", "this call may not write any more")
        self.writable_bytes -= size

    # The functions of the interface follow.

    def unsupported(self, *_: object) -> None:
        _require_claimed(False)

    def open_write(self, store: object, key: str, options: Record) -> ResourceAny:
        _require_claimed(options.precondition.tag in ("none", "if-absent"))
        _check_key(key)
        self._spend(len(key.encode()) + OBJECT_OVERHEAD_BYTES)
        return self._open(store, WRITER, Writer(key, options.precondition.tag == "if-absent"))

    def write(self, store: object, writer: int, chunk: bytes) -> None:
        self._spend(len(chunk))
        self.handles[writer].data.extend(chunk)

    def commit(self, store: object, writer: int) -> Record:
        written = self.handles.pop(writer)
        # Not earlier: the component may hold two writers of one key.
        is_taken = written.if_absent and written.key in self.objects
        _require(not is_taken, "already-exists", "an object has this key")
        self.objects[written.key] = bytes(written.data)
        return self.stat(store, written.key)

    def open_read(self, store: object, key: str, options: Record) -> ResourceAny:
        _require_claimed(vars(options)["if-match"] is None)
        info = self.stat(store, key)
        rest = _in_range(memoryview(self.objects[key]), options.range)
        return self._open(store, READER, Reader(info, rest))

    def info(self, store: object, reader: int) -> Record:
        return self.handles[reader].info

    def read(self, store: object, reader: int, most: int) -> bytes:
        opened = self.handles[reader]
        length = min(most, MAX_READ_BYTES)
        chunk, opened.rest = opened.rest[:length], opened.rest[length:]
        return bytes(chunk)

    def drop(self, store: object, handle: int) -> None:
        self.handles.pop(handle, None)

    def stat(self, store: object, key: str) -> Record:
        _check_key(key)
        _require(key in self.objects, "not-found", "no object has this key")
        unknown = dict.fromkeys(("etag", "modified", "content-type", "storage-time"))
        return record({"key": key, "size": len(self.objects[key]), "attributes": [], **unknown})

    def delete(self, store: object, key: str, precondition: Variant) -> None:
        _require(precondition.tag != "if-absent", "invalid-argument", "a delete can't have the precondition if-absent")
        _require_claimed(precondition.tag == "none")
        self.stat(store, key)
        del self.objects[key]

    def list_objects(self, store: object, prefix: str, start_after: str | None, limit: int) -> list[Record]:
        _require(1 <= limit <= MAX_LISTED, "invalid-argument", "the limit of a listing is 1 to 1,000")
        # Code points sort as the bytes of UTF-8 do, which is the order of the contract.
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and key > (start_after or "")]
        return [self.stat(store, key) for key in keys[:limit]]
