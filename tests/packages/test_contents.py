"""What is inside the files that are published. ``cargo xtask packages`` runs these tests."""

from __future__ import annotations

import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from test_installed import CARGO, DIST

REPOSITORY = Path(__file__).parents[2]
WHEELS = sorted(path.name for path in (DIST / "python").glob("*.whl"))
DOCUMENTS = sorted(path.name.removesuffix(".spdx.json") for path in (DIST / "sbom").glob("*.spdx.json"))


@pytest.mark.parametrize("name", WHEELS)
def test_a_wheel_has_no_paths_of_the_machine_that_built_it(name: str) -> None:
    wheel = zipfile.ZipFile(DIST / "python" / name)
    (library,) = (entry for entry in wheel.namelist() if entry.endswith(".so"))
    contents = wheel.read(library)
    for path in (REPOSITORY, os.path.expanduser("~"), CARGO.parent, "/registry/src/", "/.rustup/"):
        assert str(path).encode() not in contents, path


def relations(name: str) -> dict[str, set[str]]:
    """Returns the parts of a file by their relation to it, without their versions."""
    document = json.loads((DIST / "sbom" / f"{name}.spdx.json").read_text())
    names = {package["SPDXID"]: package["name"] for package in document["packages"]}
    found: dict[str, set[str]] = {}
    for relation in document["relationships"]:
        both = [relation["spdxElementId"], relation["relatedSpdxElement"]]
        if "SPDXRef-File" in both and "SPDXRef-DOCUMENT" not in both:
            both.remove("SPDXRef-File")
            found.setdefault(relation["relationshipType"], set()).add(names[both[0]])
    return found


def test_every_file_has_a_bill_of_materials() -> None:
    published = [*DIST.glob("*.wasm"), *DIST.glob("*.tgz"), *DIST.glob("crates/*"), *DIST.glob("python/*")]
    assert sorted(path.name for path in published) == DOCUMENTS


def test_bills_of_materials_name_what_is_inside() -> None:
    assert {"rust-std", "wasi-libc", "zrip"} <= relations("persist.wasm")["CONTAINS"]
    for wheel in WHEELS:
        assert {"persist-python", "persist-guest", "rust-std", "wasi-libc", "wasmtime"} <= relations(wheel)["CONTAINS"]
    (package,) = DIST.glob("*.tgz")
    node = relations(package.name)
    assert node["DEPENDS_ON"] == {"@bytecodealliance/preview2-shim"}
    assert node["BUILD_TOOL_OF"] == {"@bytecodealliance/jco"}
    (crate,) = DIST.glob("crates/persist-model-*.crate")
    model = relations(crate.name)
    assert model["CONTAINS"] == {"persist-model"}
    assert "serde_json" in model["DEPENDS_ON"]
    assert relations("persist-snapshot.wit.wasm") == {}


def test_a_crate_compiles_its_tests_without_the_repository() -> None:
    """Its files name none that are outside of it."""
    for crate in DIST.glob("crates/*.crate"):
        with tarfile.open(crate) as archive:
            for member in archive:
                if member.name.endswith(".rs"):
                    source = archive.extractfile(member)
                    assert source is not None
                    depth = member.name.count("/") - 1
                    included = [line for line in source.read().decode().splitlines() if 'include_str!("' in line]
                    outside = [line for line in included if line.count("../") > depth]
                    assert not outside, (member.name, outside)
