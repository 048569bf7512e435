"""A host of the bare component, whose storage is a dictionary; it outlives what a component does wrong.

python host.py persist.wasm
"""

import sys

from limits import Sandbox
from wasmtime.component import Record, ResourceAny, ResourceHost, ResourceType, Variant

UNSET = ("description", "content-type", "extra", "codec", "level", "snapshot-id", "timestamp", "state-size-hint")
CLAIMED = "open-write open-read stat delete list-objects [method]writer.write [static]writer.commit [method]reader.read"
# Of one call: what it holds at once, what it writes in all, and what it reads at a time. An object counts with
# its key, and so much.
MOST_HANDLES, MOST_BYTES, MOST_READ, ENTRY = 64, 1 << 28, 1 << 20, 4096


class _Record(Record):
    def __init__(self, **fields):
        vars(self).update(fields)


class RefusedError(Exception):
    """An answer to the component: code and message. Any other exception stops it."""


def _require(is_so, code, message):
    if not is_so:
        raise RefusedError({"code": code, "message": message})


class Storage:
    """The objects, what a call holds, and how much it may still write; below, what the contract asks for."""

    def __init__(self, most):
        self.objects, self.rep, self.most = {}, 0, most
        self.reset()

    def reset(self):
        self.handles, self.room = {}, self.most

    def handle(self, store, kind, *opened):
        if len(self.handles) >= MOST_HANDLES:
            raise RuntimeError("the component holds too many handles")
        self.handles[self.rep + 1], self.rep = list(opened), self.rep + 1
        return ResourceHost.own(self.rep, kind).to_any(store)

    def spend(self, size):
        _require(size <= self.room, "no-space", "this call may write no more")
        self.room -= size

    def check(self, key, is_claimed=True):
        _require(is_claimed, "unsupported", "not here: one object at a time, and no conditions")
        is_path = all(part not in ("", ".", "..") for part in key.split("/")) and len(key.encode()) <= 1024
        is_plain = not any(ord(one) < 32 or 127 <= ord(one) < 160 for one in key)
        _require(is_path and is_plain, "invalid-key", "a key is a path of up to 1,024 bytes, without '.' and '..'")

    def stat(self, store, key):
        self.check(key)
        _require(key in self.objects, "not-found", "there is no such object")
        unknown = dict.fromkeys(("etag", "modified", "content-type", "storage-time"))
        return _Record(key=key, size=len(self.objects[key]), attributes=[], **unknown)

    def delete(self, store, key, precondition):
        _require(precondition.tag != "if-absent", "invalid-argument", "a delete can't ask for an absent object")
        self.check(key, precondition.tag == "none")
        del self.objects[self.stat(store, key).key]

    def list_objects(self, store, prefix, after, limit):
        _require(1 <= limit <= 1000, "invalid-argument", "a listing has 1 to 1,000 entries")
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and key > (after or "")]
        return [self.stat(store, key) for key in keys[:limit]]

    def open_write(self, store, key, options):
        self.check(key, options.precondition.tag == "none")
        self.spend(len(key.encode()) + ENTRY)
        return self.handle(store, 0, key, bytearray())

    def write(self, store, writer, chunk):
        self.spend(len(chunk))
        self.handles[writer][1].extend(chunk)

    def commit(self, store, writer):
        key, data = self.handles.pop(writer)
        self.objects[key] = bytes(data)
        return self.stat(store, key)

    def open_read(self, store, key, options):
        self.check(key, vars(options)["if-match"] is None)
        info, data, wanted = self.stat(store, key), memoryview(self.objects[key]), options.range
        # A span is a record, and a number the last so many.
        data = data[wanted.offset :][: wanted.length] if isinstance(wanted, Record) else data
        data = data[max(0, len(data) - wanted) :] if isinstance(wanted, int) else data
        return self.handle(store, 1, info, data)

    def read(self, store, reader, most):
        opened = self.handles[reader]
        chunk, opened[1] = opened[1][: min(most, MOST_READ)], opened[1][min(most, MOST_READ) :]
        return bytes(chunk)


def _answering(method):
    def answer(store, *arguments):
        # A handle that was lent has to be given back, and is so by being looked at.
        given = (one.to_host(store).rep if isinstance(one, ResourceAny) else one for one in arguments)
        try:
            tag, found = "ok", method(store, *given)
        except RefusedError as refused:
            tag, found = "err", _Record(retryable=False, key=None, details=[], **refused.args[0])
        # Where both are records, the answer says which it is.
        return Variant(tag, found) if method.__name__ in ("stat", "commit") else found

    return answer


class Host:
    """Calls of a component, each in a fresh instance: after a trap one can't be entered again."""

    def __init__(self, component, deadline=30.0, most=MOST_BYTES):
        self.storage = storage = Storage(most)
        self.sandbox = Sandbox(component, deadline, ended=storage.reset)
        with self.sandbox.linker.root() as root, root.add_instance("persist:snapshot/storage@0.1.0") as linked:
            for kind, name in enumerate(("writer", "reader")):
                linked.add_resource(name, ResourceType.host(kind), lambda _, rep: storage.handles.pop(rep, None))
            linked.add_func("capabilities", lambda store: set())
            linked.add_func("[method]reader.info", lambda store, reader: storage.handles[reader.to_host(store).rep][0])
            for name in (*CLAIMED.split(), "read-many", "delete-many", "list-level", "[method]writer.copy-range"):
                method = name.split(".")[-1].replace("-", "_")
                linked.add_func(name, _answering(getattr(storage, method, lambda *_: storage.check("any", False))))

    def call(self, name, *arguments):
        found = self.sandbox.call("persist:snapshot/snapshots@0.1.0", name, *arguments)
        if hasattr(found, "retryable"):
            raise OSError(f"{found.code}: {found.message}")
        return found

    def save(self, key, text, **options):
        named = {"agent-id": "default_agent", "session-id": "default_session", "snapshot-index": 0, "labels": []}
        named |= {"attributes": [], "precondition": Variant("none"), "host-hashes": False} | dict.fromkeys(UNSET)
        return self.call("save-text", key, text, _Record(**named | options))


if __name__ == "__main__":
    host = Host(sys.argv[1])
    print(vars(host.save("greeting.json.gz", '{"messages": ["Hello"]}')), host.call("restore-text", "greeting.json.gz"))
