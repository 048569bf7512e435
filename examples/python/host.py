"""A host of the bare component, whose storage is a dictionary; it outlives what a component does wrong."""

import sys
import threading
import time

from wasmtime import Config, Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Record, ResourceHost, ResourceType, Variant

STORAGE, SNAPSHOTS = "persist:snapshot/storage@0.1.0", "persist:snapshot/snapshots@0.1.0"
UNSET = ("description", "content-type", "extra", "codec", "level", "snapshot-id", "timestamp", "size-hint")


def _record(**fields):
    made = Record()
    vars(made).update(fields)
    return made


def _error(code, message):
    return _record(code=code, retryable=False, message=message, details=[])


MISSING, UNSUPPORTED = _error("not-found", "there is no such object"), _error("unsupported", "no conditions here")
NO_SPACE = _error("no-space", "this call may write no more")
# Of one call: what it holds at once, and what it writes in all; an object counts with its key, and this much.
MOST_HANDLES, MOST_BYTES, ENTRY = 64, 1 << 30, 256


class Host:
    """Calls of a component, each in a fresh instance: after a trap one can't be entered again."""

    def __init__(self, component, deadline=30.0, most=MOST_BYTES):
        config = Config()
        config.epoch_interruption = True
        self.engine, self.objects, self.tenths, self.most = Engine(config), {}, round(deadline * 10), most
        self.component, self.linker = Component.from_file(self.engine, component), Linker(self.engine)
        threading.Thread(target=self.tick, daemon=True).start()
        self.linker.add_wasip2()
        with self.linker.root() as root, root.add_instance(STORAGE) as storage:
            for kind, name in enumerate(("writer", "reader")):
                storage.add_resource(name, ResourceType.host(kind), lambda _, rep: self.handles.pop(rep, None))
            storage.add_func("supported-conditions", lambda store: set())
            for name in ("open-write", "open-read", "stat", "delete", "list-objects"):
                storage.add_func(name, getattr(self, name.replace("-", "_")))
            storage.add_func("[method]writer.write", self.write)
            storage.add_func("[static]writer.commit", self.commit)
            storage.add_func("[method]reader.info", lambda store, own: self.handles[own.to_host(store).rep][0])
            storage.add_func("[method]reader.read", self.read)

    def tick(self):
        while True:
            time.sleep(0.1)
            self.engine.increment_epoch()

    def handle(self, store, kind, *opened):
        if len(self.handles) >= MOST_HANDLES:
            raise RuntimeError("the component holds too many handles")
        self.rep += 1
        self.handles[self.rep] = list(opened)
        return ResourceHost.own(self.rep, kind).to_any(store)

    def spend(self, size):
        self.room -= min(size, self.room + 1)
        return self.room >= 0

    def open_write(self, store, key, options):
        if options.precondition.tag != "none":
            return UNSUPPORTED
        return self.handle(store, 0, key, bytearray()) if self.spend(len(key) + ENTRY) else NO_SPACE

    def write(self, store, writer, chunk):
        data = self.handles[writer.to_host(store).rep][1]
        return data.extend(chunk) if self.spend(len(chunk)) else NO_SPACE

    def info(self, key):
        return _record(key=key, size=len(self.objects[key]), etag=None, modified=None)

    def stat(self, store, key):
        return Variant("ok", self.info(key)) if key in self.objects else Variant("err", MISSING)

    def delete(self, store, key, precondition):
        if precondition.tag != "none":
            return UNSUPPORTED
        return MISSING if self.objects.pop(key, None) is None else None

    def open_read(self, store, key, options):
        # No copy, however often it is opened.
        data, wanted = memoryview(self.objects.get(key, b"")), options.range
        if isinstance(wanted, Record):  # A span.
            data = data[wanted.offset :][: wanted.length]
        elif isinstance(wanted, int):  # The last so many.
            data = data[max(0, len(data) - wanted) :]
        return self.handle(store, 1, self.info(key), data) if key in self.objects else MISSING

    def read(self, store, reader, most):
        opened = self.handles[reader.to_host(store).rep]
        chunk, opened[1] = bytes(opened[1][:most]), opened[1][most:]
        return chunk

    def commit(self, store, writer):
        key, data = self.handles.pop(writer.to_host(store).rep)
        self.objects[key] = bytes(data)
        return self.stat(store, key)

    def list_objects(self, store, prefix, after, limit):
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and key > (after or "")]
        return [self.info(key) for key in keys[:limit]]

    def call(self, name, *arguments):
        self.handles, self.rep, self.room, store = {}, 0, self.most, Store(self.engine)
        store.set_limits(memory_size=128 << 20, memories=1, instances=32, tables=32, table_elements=100_000)
        store.set_epoch_deadline(self.tenths)
        store.set_wasi(WasiConfig())
        instance = self.linker.instantiate(store, self.component)
        function = instance.get_export_index(store, name, instance.get_export_index(store, SNAPSHOTS))
        found = instance.get_func(store, function)(store, *arguments)
        return found.payload if isinstance(found, Variant) else found

    def save(self, key, text, **options):
        named = {"agent-id": "default_agent", "session-id": "default_session", "snapshot-index": 0, "labels": []}
        named |= {"attributes": [], "precondition": Variant("none")} | dict.fromkeys(UNSET)
        return self.call("save-text", key, text, _record(**named | options))


if __name__ == "__main__":
    host = Host(sys.argv[1])
    print(vars(host.save("greeting.json.gz", '{"messages": ["Hello"]}')), host.call("restore-text", "greeting.json.gz"))
