"""A component that misbehaves fails its own call, and the hosts of examples/ go on.

The host in Rust has such tests in examples/rust/tests.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from .programs import EXAMPLE_HOST, HOSTILE, NODE, NODE_PROGRAM, ROOT, STATE, component, example, run


def test_a_component_that_misbehaves_leaves_the_python_host_running() -> None:
    """The host runs in the process of this test."""
    from wasmtime import WasmtimeError

    module = example("host")
    hostile = module.Host(HOSTILE, deadline=2.0)
    good = module.Host(component("persist.wasm"))
    good.save(STATE, "kept.gz")
    for key, cause in [
        ("trap/x", "unreachable"),
        ("bloat/x", "unreachable|memory"),
        ("loop/x", "interrupt"),
        ("sleep/x", "nothing to wait for"),
        ("overflow/x", "stack"),
        ("leak/x", "handles"),
    ]:
        began = time.monotonic()
        for function in ("verify", "get-metadata", "restore-text"):
            # Not OSError, which stands for an error that the component returned.
            with pytest.raises((WasmtimeError, RuntimeError), match=cause):
                hostile.call(function, key)
        assert time.monotonic() - began < 60
        assert good.restore("kept.gz") == STATE


def test_a_component_that_writes_for_ever_is_refused() -> None:
    """A call may write a limited number of bytes, into one writer or into ever new objects."""
    most = 100_000
    for key, prefix in [("fill/x", "filled"), ("scatter/x", "scattered-")]:
        hostile = example("host").Host(HOSTILE, max_written_bytes=most)
        objects = hostile.storage.objects = {"kept": b"as it was"}
        # The component handles the refusal, and returns nonsense as metadata.
        assert vars(hostile.call("verify", key))["snapshot-index"] == 2**64 - 1
        assert objects.pop("kept") == b"as it was"
        assert all(name.startswith(prefix) for name in objects)
        assert len(objects) < most / 100
        assert sum(len(name) + len(data) for name, data in objects.items()) <= most
        # What is not committed is not stored.
        assert bool(objects) == (key == "scatter/x")


def test_a_component_that_misbehaves_leaves_the_node_host_running(transpiled: dict[str, str]) -> None:
    """Each call has a process of its own."""
    most = 1_000_000
    late = "stopped after 5000 ms"
    expected = {
        "trap/x": "unreachable",
        # No WebAssembly memory may have more than 128 MiB.
        "bloat/x": "unreachable",
        "loop/x": late,
        "sleep/x": late,
        "overflow/x": "stack|unreachable|bounds",
        # It may not write any more, and keeps trying.
        "leak/x": late,
        "exit/x": "the process of the call ended early",
        "escape/x": "returned",
        "fill/x": "returned",
        "scatter/x": "returned",
    }
    command = [NODE_PROGRAM, str(NODE / "misbehave.mjs"), transpiled["hostile"], transpiled["persist"], str(most)]
    done = subprocess.run([*command, *expected], cwd=NODE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [found["key"] for found in said] == list(expected)
    for found in said:
        key, stored = found["key"], found["stored"]
        assert found["kept"], key
        assert re.search(expected[key], found["ended"]), found["ended"]
        assert (found["ended"] == "returned") == (expected[key] == "returned"), found["ended"]
        assert bool(stored) == (key == "scatter/x")
        assert len(stored) < most / 100
        assert sum(stored) <= most
        assert found["peak"] < 300, "MiB of the host"


def test_a_table_that_grows_is_bounded_in_every_example(
    growing: str, transpiled: dict[str, str], tmp_path: Path
) -> None:
    """A component whose table needs too much memory gets no instance."""
    from wasmtime import WasmtimeError

    # With this key, the same component without the table returns normally.
    key = "escape/x"
    assert run([EXAMPLE_HOST, HOSTILE, str(tmp_path), "verify", key], ROOT)
    in_rust = subprocess.run(
        [EXAMPLE_HOST, growing, str(tmp_path), "verify", key], capture_output=True, text=True, timeout=60
    )
    assert in_rust.returncode == 1
    assert "growing table" in in_rust.stderr
    assert example("host").Host(HOSTILE).call("verify", key)
    with pytest.raises(WasmtimeError, match="unreachable"):
        example("host").Host(growing).call("verify", key)
    command = [NODE_PROGRAM, str(NODE / "misbehave.mjs")]
    for name, ended in [("hostile", "returned"), ("growing", "unreachable")]:
        found = json.loads(run([*command, transpiled[name], transpiled["persist"], "1000000", key], NODE))
        assert found["ended"] == ended
        assert found["kept"]
