"""Pushes components to an OCI registry and pulls them back. ``cargo xtask packages`` runs these
tests; they need Debian's package docker-registry.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

# Read here, since no setting of the machine is left for the tests.
DIST = Path(os.environ["PERSIST_DIST"])
WKG = os.environ["PERSIST_WKG"]
COMPONENTS = ["persist", "persist-fs", "persist-tools", "persist-cli", "storage-fs"]


def wkg(*arguments: str | Path) -> None:
    done = subprocess.run([WKG, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Starts a registry on a free port, and returns its address."""
    program = shutil.which("docker-registry")
    assert program, "there is no docker-registry: install it with 'apt install docker-registry'"
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "objects")}},
        "http": {"addr": address},
    }
    # JSON is also YAML.
    (folder / "settings.yml").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program, "serve", folder / "settings.yml"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"http://{address}/v2/", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, "the registry does not answer"
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_comes_back_from_a_registry_as_it_was(registry: str, name: str, tmp_path: Path) -> None:
    reference = f"{registry}/agent-persist/{name}:0.1.0"
    wkg("oci", "push", "--insecure", registry, reference, DIST / f"{name}.wasm")
    wkg("oci", "pull", "--insecure", registry, reference, "--output", tmp_path / "pulled.wasm")
    assert (tmp_path / "pulled.wasm").read_bytes() == (DIST / f"{name}.wasm").read_bytes()


@pytest.mark.parametrize("name", [name for name in COMPONENTS if name != "persist"])
def test_a_component_says_what_it_is(name: str) -> None:
    about = sections((DIST / f"{name}.wasm").read_bytes())
    assert about["licenses"] == b"MIT OR Apache-2.0", about
    assert about["version"] == b"0.1.0", about
    assert about["source"].endswith(b"/persist"), about


def sections(component: bytes) -> dict[str, bytes]:
    """Returns the custom sections of a component, by name."""
    assert component[:8] == b"\0asm\x0d\0\x01\0"
    at, found = 8, {}
    while at < len(component):
        kind = component[at]
        size, at = number(component, at + 1)
        if kind == 0:
            length, begin = number(component, at)
            found[component[begin : begin + length].decode()] = component[begin + length : at + size]
        at += size
    return found


def number(data: bytes, at: int) -> tuple[int, int]:
    """Returns a number in the form of WebAssembly (LEB128), and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
