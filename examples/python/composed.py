"""Persist in Python with wasmtime's package and one component, for platforms without a prebuilt wheel.

    pip install wasmtime
    cargo xtask dist dist
    python composed.py dist/persist-fs.wasm FOLDER

It keeps snapshots as files in a folder, which has to exist. States are text, since wasmtime's package is slow to pass
bytes.
"""

import sys
import threading
import time
import weakref

from wasmtime import Config, Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Record, Variant


def _tick(engine: "weakref.ref[Engine]") -> None:
    while (alive := engine()) is not None:
        alive.increment_epoch()
        del alive
        time.sleep(0.1)


class Persist:
    """Snapshots in a folder. Each call has an instance of its own: after a trap an instance can't be entered again."""

    def __init__(self, component: str, folder: str, deadline: float = 60.0, memory: int = 128 << 20) -> None:
        config = Config()
        config.cache = True
        config.epoch_interruption = True
        self.engine = Engine(config)
        self.tenths = round(deadline * 10)  # Of a second that a call may take.
        self.memory = memory  # Bytes of an instance; a call holds the whole state.
        threading.Thread(target=_tick, args=(weakref.ref(self.engine),), daemon=True).start()
        self.component = Component.from_file(self.engine, component)
        self.linker = Linker(self.engine)
        self.linker.add_wasip2()
        self.folder = folder

    def call(self, name: str, *arguments: object) -> object:
        store = Store(self.engine)
        store.set_limits(memory_size=self.memory)
        store.set_epoch_deadline(self.tenths)
        wasi = WasiConfig()
        wasi.preopen_dir(self.folder, ".")
        store.set_wasi(wasi)
        instance = self.linker.instantiate(store, self.component)
        snapshots = instance.get_export_index(store, "persist:snapshot/snapshots@0.1.0")
        found = instance.get_func(store, instance.get_export_index(store, name, snapshots))(store, *arguments)
        found = found.payload if isinstance(found, Variant) else found
        if hasattr(found, "retryable"):
            raise OSError(f"{found.code}: {found.message}")
        return found

    def save(self, state: str, key: str, **options: object) -> Record:
        named = {"agent-id": "default_agent", "session-id": "default_session", "snapshot-index": 0, "labels": []}
        named |= dict.fromkeys(("description", "content-type", "extra", "codec", "level", "snapshot-id", "timestamp"))
        named |= {"precondition": Variant("none"), "attributes": [], "host-hashes": False}
        named["state-size-hint"] = len(state)
        record = Record()
        vars(record).update(named | {name.replace("_", "-"): value for name, value in options.items()})
        return self.call("save-text", key, state, record)

    def restore(self, key: str) -> str:
        return self.call("restore-text", key)


if __name__ == "__main__":
    component, folder = sys.argv[1:]
    key = "session-1/0001.json.gz"
    persist = Persist(component, folder)
    persist.save('{"messages": ["Hello"]}', key, agent_id="support")
    print(persist.restore(key), vars(persist.call("verify", key)))
