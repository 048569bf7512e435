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

DIST = Path(os.environ["PERSIST_DIST"])
COMPONENTS = ["persist", "persist-fs", "persist-tools", "persist-cli", "storage-fs"]


def wkg(*arguments: str | Path) -> None:
    done = subprocess.run(
        [os.environ["PERSIST_WKG"], *map(str, arguments)], capture_output=True, text=True, check=False
    )
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


def test_a_registry_shows_what_a_component_is(registry: str) -> None:
    reference = f"{registry}/agent-persist/shown:0.1.0"
    wkg("oci", "push", "--insecure", registry, reference, DIST / "persist-fs.wasm")
    request = urllib.request.Request(
        f"http://{registry}/v2/agent-persist/shown/manifests/0.1.0",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        manifest = json.load(answer)
    annotations = manifest.get("annotations", {})
    assert annotations.get("org.opencontainers.image.licenses") == "MIT OR Apache-2.0", manifest
    assert annotations.get("org.opencontainers.image.version") == "0.1.0", manifest
    assert annotations.get("org.opencontainers.image.source", "").endswith("/persist"), manifest
