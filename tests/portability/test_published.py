"""What is published is whole, and the same component everywhere."""

from __future__ import annotations

import hashlib

from .programs import COMMAND, COMPONENTS, PROGRAMS, ROOT, run


def test_the_bare_component_is_the_same_everywhere() -> None:
    """In the folder, in the native command and in the wheel. The one that persist-cli.wasm is composed with is compared
    in ``test_command.py``, by the output of ``--version``.
    """
    from persist._persist import COMPONENT_HASH

    component = hashlib.sha256((COMPONENTS / "persist.wasm").read_bytes()).hexdigest()
    assert component == COMPONENT_HASH
    for command in (COMMAND, str(PROGRAMS / "persist")):
        assert f"component {component}" in run([command, "--version"], ROOT)


def test_what_is_published_is_whole() -> None:
    """There are all components, checksums, licences and the WIT package."""
    lines = (COMPONENTS / "SHA256SUMS").read_text().splitlines()
    listed = {name: checksum for checksum, name in (line.split("  ", 1) for line in lines)}
    files = {str(path.relative_to(COMPONENTS)): path for path in COMPONENTS.rglob("*") if path.is_file()}
    del files["SHA256SUMS"]
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == listed
    assert {"persist.wasm", "persist-fs.wasm", "persist-tools.wasm", "persist-cli.wasm", "policy.yaml"} <= files.keys()
    assert {"wit/snapshots.wit", "wit/storage.wit", "wit/tools.wit", "persist-snapshot.wit.wasm"} <= files.keys()
    inside = (COMPONENTS / "CONTENTS.txt").read_text().splitlines()
    packages = [line for line in inside if line.startswith("  ")]
    assert any(line.startswith("  zlib-rs ") for line in packages)
    assert all(line.split(": ", 1)[1] for line in packages), "a package without a licence"
