"""Runs an untrusted component within limits on time, memory and tables, and without waiting.

A call that exceeds a limit ends with an exception, and the host goes on. ``host.py`` shows how to use this.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wasmtime import Config, Engine, Store, WasiConfig, WasmtimeError
from wasmtime.component import Component, Linker, Variant

TICK_SECONDS = 0.1

MEMORY_BYTES = 128 << 20
"""The most memory that an instance may have. A call holds the whole state."""

WASI_POLL = "wasi:io/poll@0.2.12"
"""The interface with which a component waits, in the version that wasmtime 50 has."""


def _tick(engine: weakref.ref[Engine]) -> None:
    """Advances the engine's epoch, so that calls reach their deadlines, until the engine is gone."""
    while (alive := engine()) is not None:
        alive.increment_epoch()
        # Dropped before the sleep, so that this thread does not keep the engine alive.
        del alive
        time.sleep(TICK_SECONDS)


def _refuse_to_wait(*_: object) -> None:
    raise RuntimeError("there is nothing to wait for here")


class Sandbox:
    """A component, and a linker with a WASI that grants access to nothing on this machine.

    Whatever else the component imports has to be added to ``linker``. There is one instance at a time, and
    ``after_call`` runs after its last call.
    """

    def __init__(self, component: str, deadline: float, after_call: Callable[[], None]) -> None:
        config = Config()
        config.epoch_interruption = True
        self.engine = Engine(config)
        threading.Thread(target=_tick, args=(weakref.ref(self.engine),), daemon=True).start()
        self.deadline_ticks = round(deadline / TICK_SECONDS)
        self.after_call = after_call
        self.lock = threading.Lock()
        self.component = Component.from_file(self.engine, component)
        self.linker = Linker(self.engine)
        self.linker.add_wasip2()
        self._forbid_waiting()

    def _forbid_waiting(self) -> None:
        """Makes every wait trap.

        The deadline only stops code that runs, so a component that waits would never be stopped. Nothing here needs to
        wait: the storage answers at once.
        """
        for function in ("poll", "[method]pollable.block"):
            try:
                self._define_in_poll(function)
            except WasmtimeError:
                # WASI defines it already, as expected, and this replaces it.
                self.linker.allow_shadowing = True
                self._define_in_poll(function)
                self.linker.allow_shadowing = False
            else:
                raise RuntimeError(f"this version of wasmtime has no {WASI_POLL}: update WASI_POLL")

    def _define_in_poll(self, function: str) -> None:
        with self.linker.root() as root, root.add_instance(WASI_POLL) as poll:
            poll.add_func(function, _refuse_to_wait)

    @contextmanager
    def instance(self) -> Iterator[Callable[..., object]]:
        """Yields a function that calls a fresh instance: after a trap an instance can't be entered again.

        The deadline is for all of its calls together.
        """
        with self.lock:
            try:
                yield self._instantiate()
            finally:
                self.after_call()

    def _instantiate(self) -> Callable[..., object]:
        store = Store(self.engine)
        store.set_limits(memory_size=MEMORY_BYTES, memories=1, instances=32, tables=32, table_elements=100_000)
        store.set_epoch_deadline(self.deadline_ticks)
        store.set_wasi(WasiConfig())
        instance = self.linker.instantiate(store, self.component)

        def call(interface: str, function: str, *arguments: object) -> object:
            exports = instance.get_export_index(store, interface)
            answer = instance.get_func(store, instance.get_export_index(store, function, exports))(store, *arguments)
            # wasmtime wraps the answer in a Variant only if its type does not tell success from failure.
            return answer.payload if isinstance(answer, Variant) else answer

        return call
