"""Instances of a component that may do wrong: with limits on time, memory and tables, and without waiting."""

import threading
import time
import weakref

from wasmtime import Config, Engine, Store, WasiConfig, WasmtimeError
from wasmtime.component import Component, Linker, Variant

POLL = "wasi:io/poll@0.2.12"
"""As wasmtime 50 calls it."""


def _tick(engine):
    while (alive := engine()) is not None:
        alive.increment_epoch()
        del alive
        time.sleep(0.1)


def _wait(*_):
    raise RuntimeError("there is nothing to wait for here")


class Sandbox:
    """A component, and a linker that has WASI without anything of this machine; what else it needs is to be added.

    One call is made at a time; `ended` is called after each.
    """

    def __init__(self, component, deadline, ended):
        config = Config()
        config.epoch_interruption = True
        self.engine, self.tenths, self.ended, self.lock = Engine(config), round(deadline * 10), ended, threading.Lock()
        self.component, self.linker = Component.from_file(self.engine, component), Linker(self.engine)
        threading.Thread(target=_tick, args=(weakref.ref(self.engine),), daemon=True).start()
        self.linker.add_wasip2()
        # Who waits does not compute, and would outwait the clock.
        for name in ("poll", "[method]pollable.block"):
            try:
                self._define(name)
            except WasmtimeError:
                # It is there, as it has to be, and is replaced.
                self.linker.allow_shadowing = True
                self._define(name)
                self.linker.allow_shadowing = False
            else:
                raise RuntimeError(f"this wasmtime has WASI of another version than {POLL}")

    def _define(self, name):
        with self.linker.root() as root, root.add_instance(POLL) as poll:
            poll.add_func(name, _wait)

    def call(self, interface, name, *arguments):
        """Calls a function in a fresh instance: after a trap one can't be entered again."""
        with self.lock:
            try:
                return self._call(Store(self.engine), interface, name, *arguments)
            finally:
                self.ended()

    def _call(self, store, interface, name, *arguments):
        store.set_limits(memory_size=128 << 20, memories=1, instances=32, tables=32, table_elements=100_000)
        store.set_epoch_deadline(self.tenths)
        store.set_wasi(WasiConfig())
        instance = self.linker.instantiate(store, self.component)
        function = instance.get_export_index(store, name, instance.get_export_index(store, interface))
        found = instance.get_func(store, function)(store, *arguments)
        return found.payload if isinstance(found, Variant) else found
