"""A host of the bare component in Python: its storage is a dictionary.

    python host.py persist.wasm STATE KEY OUT [FILE ...]

saves the file STATE under KEY, writes the object to OUT, then reads it and every FILE back.
A component that traps, wants too much memory or does not end is stopped, and the host goes on.
"""

import os
import sys
import threading
from pathlib import Path

from wasmtime import Config, Engine, Store, Trap, WasiConfig, WasmtimeError
from wasmtime.component import Component, Linker, Record, ResourceHost, ResourceType, Variant

STORAGE, SNAPSHOTS = "persist:snapshot/storage@0.1.0", "persist:snapshot/snapshots@0.1.0"
MEMORY, DEADLINE = 128 << 20, 10.0  # bytes of an instance, seconds of a call
WRITER, READER = 1, 2


def record(**fields):
    made = Record()
    vars(made).update({name.replace("_", "-"): value for name, value in fields.items()})
    return made


class Host:
    def __init__(self, component):
        config = Config()
        config.epoch_interruption = True
        self.engine, self.objects, self.handles = Engine(config), {}, {}
        self.component = Component.from_file(self.engine, component)
        self.linker = Linker(self.engine)
        self.linker.add_wasip2()
        with self.linker.root() as root, root.add_instance(STORAGE) as storage:
            for name, kind in (("writer", WRITER), ("reader", READER)):
                storage.add_resource(name, ResourceType.host(kind), lambda _, rep: self.handles.pop(rep, None))
            for function in (self.open_write, self.open_read, self.stat, self.delete, self.list_objects):
                storage.add_func(function.__name__.replace("_", "-"), function)
            storage.add_func("supported-conditions", lambda _: set())
            storage.add_func("[method]writer.write", lambda _, w, chunk: self.handles[w.to_host(_).rep][1].extend(chunk))
            storage.add_func("[static]writer.commit", self.commit)
            storage.add_func("[method]reader.info", lambda _, r: self.info(self.handles[r.to_host(_).rep][0]))
            storage.add_func("[method]reader.read", self.read)

    def info(self, key):
        return record(key=key, size=len(self.objects[key]), etag=None, modified=None)

    def handle(self, store, kind, key, data):
        rep = max(self.handles, default=0) + 1
        self.handles[rep] = (key, data)
        return ResourceHost.own(rep, kind).to_any(store)

    def missing(self):
        return record(code="not-found", retryable=False, message="there is no such object", details=[])

    def open_write(self, store, key, options):
        return self.handle(store, WRITER, key, bytearray())

    def open_read(self, store, key, options):
        if key not in self.objects:
            return self.missing()
        data, wanted = self.objects[key], options.range
        if isinstance(wanted, Record):  # A span.
            data = data[wanted.offset :][: wanted.length]
        elif isinstance(wanted, int):  # The last so many.
            data = data[max(0, len(data) - wanted) :]
        return self.handle(store, READER, key, bytearray(data))

    def read(self, store, reader, most):
        data = self.handles[reader.to_host(store).rep][1]
        chunk = bytes(data[:most])
        del data[:most]
        return chunk

    def commit(self, store, writer):
        key, data = self.handles.pop(writer.to_host(store).rep)
        self.objects[key] = bytes(data)
        return Variant("ok", self.info(key))

    def stat(self, store, key):
        return Variant("ok", self.info(key)) if key in self.objects else Variant("err", self.missing())

    def delete(self, store, key, precondition):
        return None if self.objects.pop(key, None) is not None else self.missing()

    def list_objects(self, store, prefix, after, limit):
        return [self.info(key) for key in sorted(self.objects) if key.startswith(prefix) and key > (after or "")][:limit]

    def call(self, name, *arguments):
        """Calls into a fresh instance: after a trap one can't be entered again."""
        store = Store(self.engine)
        store.set_limits(memory_size=MEMORY)
        store.set_epoch_deadline(1)
        store.set_wasi(WasiConfig())
        timer = threading.Timer(DEADLINE, self.engine.increment_epoch)
        timer.start()
        try:
            instance = self.linker.instantiate(store, self.component)
            index = instance.get_export_index(store, name, instance.get_export_index(store, SNAPSHOTS))
            found = instance.get_func(store, index)(store, *arguments)
        finally:
            timer.cancel()
        return found.payload if isinstance(found, Variant) else found
