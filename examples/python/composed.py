"""Persist in Python with wasmtime's package and one component, for platforms without a prebuilt wheel.

    pip install wasmtime
    cargo xtask dist dist
    python composed.py dist/persist-fs.wasm FOLDER

It keeps snapshots as files in a folder, which has to exist. States are text, since wasmtime's package is slow to pass
bytes. ``timelines.py`` keeps timelines with it.
"""

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wasmtime import Config, Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Record, Variant

SNAPSHOTS = "persist:snapshot/snapshots@0.1.0"
TICK_SECONDS = 0.1


def _tick(engine: "weakref.ref[Engine]") -> None:
    """Advances the engine's epoch, so that calls reach their deadlines, until the engine is gone."""
    while (alive := engine()) is not None:
        alive.increment_epoch()
        del alive
        time.sleep(TICK_SECONDS)


class Persist:
    """Snapshots in a folder. Each call gets a fresh instance: after a trap an instance can't be entered again."""

    def __init__(self, component: str, folder: str, deadline: float = 60.0, memory: int = 128 << 20) -> None:
        """Limits each call to ``deadline`` seconds and ``memory`` bytes, which have to hold the whole state."""
        config = Config()
        config.cache = True
        config.epoch_interruption = True
        self.engine = Engine(config)
        threading.Thread(target=_tick, args=(weakref.ref(self.engine),), daemon=True).start()
        self.component = Component.from_file(self.engine, component)
        self.linker = Linker(self.engine)
        self.linker.add_wasip2()
        self.folder = folder
        self.deadline_ticks = round(deadline / TICK_SECONDS)
        self.memory = memory

    @contextmanager
    def instance(self) -> Iterator[Callable[..., object]]:
        """Yields a function that calls a fresh instance; it raises OSError if the call returns an error."""
        store = Store(self.engine)
        store.set_limits(memory_size=self.memory)
        store.set_epoch_deadline(self.deadline_ticks)
        wasi = WasiConfig()
        wasi.preopen_dir(self.folder, ".")
        store.set_wasi(wasi)
        instance = self.linker.instantiate(store, self.component)

        def call(interface: str, name: str, *arguments: object) -> object:
            exports = instance.get_export_index(store, interface)
            answer = instance.get_func(store, instance.get_export_index(store, name, exports))(store, *arguments)
            answer = answer.payload if isinstance(answer, Variant) else answer
            if hasattr(answer, "retryable"):
                raise OSError(f"{answer.code}: {answer.message}")
            return answer

        yield call

    def call(self, name: str, *arguments: object) -> object:
        """Calls a function of ``wit/snapshots.wit``."""
        with self.instance() as call:
            return call(SNAPSHOTS, name, *arguments)

    def options(self, **options: object) -> Record:
        """Returns the ``save-options`` of ``wit/snapshots.wit``."""
        named = {"agent-id": "default_agent", "session-id": "default_session", "snapshot-index": 0, "labels": []}
        named |= {"precondition": Variant("none"), "attributes": [], "host-hashes": False, "state-size-hint": None}
        named |= dict.fromkeys(("description", "content-type", "extra", "codec", "level", "snapshot-id", "timestamp"))
        record = Record()
        vars(record).update(named | {name.replace("_", "-"): value for name, value in options.items()})
        return record

    def save(self, state: str, key: str, **options: object) -> Record:
        """Saves a state and returns the metadata."""
        return self.call("save-text", key, state, self.options(state_size_hint=len(state), **options))

    def restore(self, key: str) -> str:
        """Returns the state of a snapshot."""
        return self.call("restore-text", key)


if __name__ == "__main__":
    component, folder = sys.argv[1:]
    key = "session-1/0001.json.gz"
    persist = Persist(component, folder)
    persist.save('{"messages": ["Hello"]}', key, agent_id="support")
    print(persist.restore(key), vars(persist.call("verify", key)))
