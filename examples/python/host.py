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
MOST_HANDLES, MOST_BYTES = 64, 1 << 30  # Of one call, and of an object that is being written.


class Host:
    """Calls of a component, each in a fresh instance: after a trap one can't be entered again."""

    def __init__(self, component, deadline=30.0):
        config = Config()
        config.epoch_interruption = True
        self.engine, self.objects, self.handles, self.tenths = Engine(config), {}, {}, round(deadline * 10)
        self.component, self.linker = Component.from_file(self.engine, component), Linker(self.engine)
        threading.Thread(target=self.tick, daemon=True).start()
        self.linker.add_wasip2()
        with self.linker.root() as root, root.add_instance(STORAGE) as storage:
            for kind, name in enumerate(("writer", "reader")):
                storage.add_resource(name, ResourceType.host(kind), lambda _, rep: self.handles.pop(rep, None))
            storage.add_func("supported-conditions", lambda store: set())
            storage.add_func("open-write", self.open_write)
            storage.add_func("open-read", self.open_read)
            storage.add_func(
                "stat", lambda _, key: Variant(*("ok", self.info(key)) if key in self.objects else ("err", MISSING))
            )
            storage.add_func("delete", self.delete)
            storage.add_func("list-objects", self.list_objects)
            storage.add_func("[method]writer.write", self.write)
            storage.add_func("[static]writer.commit", self.commit)
            storage.add_func(
                "[method]reader.info", lambda store, own: self.info(self.handles[own.to_host(store).rep][0])
            )
            storage.add_func("[method]reader.read", self.read)

    def tick(self):
        while True:
            time.sleep(0.1)
            self.engine.increment_epoch()

    def handle(self, store, kind, key, data):
        if len(self.handles) >= MOST_HANDLES:
            raise RuntimeError("the component holds too many handles")
        self.rep += 1
        self.handles[self.rep] = (key, data)
        return ResourceHost.own(self.rep, kind).to_any(store)

    def open_write(self, store, key, options):
        return self.handle(store, 0, key, bytearray()) if options.precondition.tag == "none" else UNSUPPORTED

    def write(self, store, writer, chunk):
        data = self.handles[writer.to_host(store).rep][1]
        if len(data) + len(chunk) > MOST_BYTES:
            return _error("no-space", "an object has at most 1 GiB here")
        return data.extend(chunk)

    def info(self, key):
        return _record(key=key, size=len(self.objects[key]), etag=None, modified=None)

    def delete(self, store, key, precondition):
        if precondition.tag != "none":
            return UNSUPPORTED
        return MISSING if self.objects.pop(key, None) is None else None

    def open_read(self, store, key, options):
        data, wanted = self.objects.get(key), options.range
        if data is None:
            return MISSING
        if isinstance(wanted, Record):  # A span.
            data = data[wanted.offset :][: wanted.length]
        elif isinstance(wanted, int):  # The last so many.
            data = data[max(0, len(data) - wanted) :]
        return self.handle(store, 1, key, bytearray(data))

    def read(self, store, reader, most):
        data = self.handles[reader.to_host(store).rep][1]
        chunk, data[:most] = bytes(data[:most]), b""
        return chunk

    def commit(self, store, writer):
        key, data = self.handles.pop(writer.to_host(store).rep)
        self.objects[key] = bytes(data)
        return Variant("ok", self.info(key))

    def list_objects(self, store, prefix, after, limit):
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and key > (after or "")]
        return [self.info(key) for key in keys[:limit]]

    def call(self, name, *arguments):
        self.handles, self.rep, store = {}, 0, Store(self.engine)
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
