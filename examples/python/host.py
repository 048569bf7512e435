"""A host of the bare component, built on wasmtime's package alone. Its storage is a dictionary.

    pip install wasmtime
    cargo xtask component persist.wasm
    python host.py persist.wasm

``memory.py`` implements the storage: start there to keep snapshots somewhere else. ``limits.py`` keeps the
component in bounds: if it traps, asks for too much memory, computes or waits too long, or writes too much, the
call raises an exception and the host goes on. ``timelines.py`` keeps timelines with it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from limits import Sandbox
from memory import MemoryStorage, record
from wasmtime.component import Record, Variant

SNAPSHOTS = "persist:snapshot/snapshots@0.1.0"

SAVE_OPTIONS = {
    "agent-id": "default_agent",
    "session-id": "default_session",
    "snapshot-index": 0,
    "description": None,
    "labels": [],
    "content-type": None,
    "extra": None,
    "codec": None,
    "level": None,
    "snapshot-id": None,
    "timestamp": None,
    "precondition": Variant("none"),
    "state-size-hint": None,
    "attributes": [],
    "host-hashes": False,
}


class Host:
    """Snapshots in memory."""

    def __init__(self, component: str, deadline: float = 30.0, max_written_bytes: int = 256 << 20) -> None:
        """Compiles a component. Limits calls to ``deadline`` seconds and ``max_written_bytes``, keys included."""
        self.storage = MemoryStorage(max_written_bytes)
        self.sandbox = Sandbox(component, deadline, after_call=self.storage.end_call)
        self.storage.link(self.sandbox.linker)

    @contextmanager
    def instance(self) -> Iterator[Callable[..., object]]:
        """Yields a function that calls a fresh instance; it raises OSError if the call returns an error."""
        with self.sandbox.instance() as call_sandbox:

            def call(interface: str, name: str, *arguments: object) -> object:
                answer = call_sandbox(interface, name, *arguments)
                # Only an error has this field.
                if hasattr(answer, "retryable"):
                    raise OSError(f"{answer.code}: {answer.message}")
                return answer

            yield call

    def call(self, name: str, *arguments: object) -> object:
        """Calls a function of the interface ``snapshots``."""
        with self.instance() as call:
            return call(SNAPSHOTS, name, *arguments)

    def options(self, **options: object) -> Record:
        """Returns the ``save-options`` of ``wit/snapshots.wit``."""
        return record(SAVE_OPTIONS | {name.replace("_", "-"): value for name, value in options.items()})

    def save(self, state: str, key: str, **options: object) -> Record:
        """Saves a state and returns the metadata.

        The state is text, since wasmtime's package is slow to pass bytes.
        """
        return self.call("save-text", key, state, self.options(**options))

    def restore(self, key: str) -> str:
        """Returns the state of a snapshot."""
        return self.call("restore-text", key)


if __name__ == "__main__":
    host = Host(sys.argv[1])
    metadata = host.save('{"messages": ["Hello"]}', "session-1/0001.json.gz", agent_id="support")
    print(host.restore("session-1/0001.json.gz"), vars(metadata))
