"""Installs each package from the folder that is published, with nothing else, and tries it. What one
has saved, every other one restores.

``cargo xtask packages`` builds the folder and runs these tests. CI runs those of the Python
packages.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

DIST = Path(os.environ["PERSIST_DIST"])
"""The folder that is published."""

BUILT = os.environ.get("PERSIST_PACKAGES_TARGET")
"""Where cargo builds what has to be built. By default, each time anew."""

CARGO = Path(shutil.which("cargo") or "cargo").parent
WHEELS = ("--no-index", "--only-binary", ":all:", "--find-links", DIST / "python")
STATE = {"messages": [{"role": "user", "content": "Grüße"}], "step": 3}


class Machine:
    """An empty home folder, and the programs that every machine has."""

    def __init__(self, folder: Path, *, has_rust: bool) -> None:
        self.folder = folder
        self.environment = {"HOME": str(folder), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
        for name in (
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "PIP_INDEX_URL",
            "PIP_CONFIG_FILE",
            "SSL_CERT_FILE",
            "NODE_EXTRA_CA_CERTS",
        ):
            if name in os.environ:
                self.environment[name] = os.environ[name]
        if has_rust:
            self.environment["PATH"] = f"{CARGO}:{self.environment['PATH']}"
            self.environment["CARGO_HOME"] = str(folder / "cargo")
            self.environment["RUSTUP_HOME"] = os.environ.get("RUSTUP_HOME") or os.path.expanduser("~/.rustup")
            self.environment["RUSTC"] = str(without_webassembly(folder))
            if BUILT:
                self.environment["CARGO_TARGET_DIR"] = BUILT

    def run(self, *command: str | Path) -> str:
        """Runs a program in the home folder, and returns its output."""
        done = subprocess.run(
            [*map(str, command)], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout


def without_webassembly(folder: Path) -> Path:
    """Makes a compiler that knows no target but the machine's own."""
    compiler = folder / "rustc"
    refused = 'case "$*" in *--target?wasm32*) echo "there is no WebAssembly here" >&2; exit 1;; esac'
    compiler.write_text(f'#!/bin/sh\n{refused}\nexec {CARGO}/rustc "$@"\n')
    compiler.chmod(0o755)
    return compiler


def python_on(machine: Machine, *package: str | Path) -> Path:
    """Installs a package for Python into an empty environment, and returns its Python."""
    folder = machine.folder / "environment"
    venv.create(folder, with_pip=True)
    machine.run(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *package)
    listed = machine.run(folder / "bin/pip", "list", "--format=json", "--disable-pip-version-check")
    assert {each["name"] for each in json.loads(listed)} <= {"agent-persist", "pip", "setuptools"}
    return folder / "bin/python"


Use = Callable[[str, Path], object]


def in_python(machine: Machine, *package: str | Path) -> Use:
    python = python_on(machine, *package)

    def use(what: str, path: Path) -> object:
        code = {
            "save": f"persist.snapshot({STATE!r}, {str(path)!r})",
            "restore": f"print(json.dumps(persist.restore({str(path)!r})))",
        }[what]
        return machine.run(python, "-c", f"import json, persist; {code}")

    return use


def by_command(machine: Machine, *command: str | Path) -> Use:
    def use(what: str, path: Path) -> object:
        state = machine.folder / "state.json"
        if what == "save":
            state.write_text(json.dumps(STATE))
            shutil.rmtree(machine.folder / "snapshots", ignore_errors=True)
            machine.run(*command, "snapshot", "state.json", "snapshots/0001.json.gz")
            shutil.copy(machine.folder / "snapshots/0001.json.gz", path)
            return None
        shutil.copy(path, machine.folder / "given.json.gz")
        return machine.run(*command, "restore", "given.json.gz")

    return use


def only(pattern: str) -> Path:
    (found,) = DIST.glob(pattern)
    return found


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Machine]:
    return lambda name, has_rust: Machine(tmp_path_factory.mktemp(name), has_rust=has_rust)


@pytest.fixture(scope="session")
def installed(machine: Callable[[str, bool], Machine]) -> Callable[[str], Use]:
    """Returns a function that installs a package once, by its kind."""
    known: dict[str, Use] = {}

    def install(kind: str) -> Use:
        if kind not in known:
            known[kind] = KINDS[kind](machine)
        return known[kind]

    return install


def sdist(machine: Callable[[str, bool], Machine]) -> Use:
    package = only("python/agent_persist-*.tar.gz")
    if BUILT:
        # In the same folder each time, since cargo keeps what it builds by folder.
        folder = Path(BUILT) / "sdist"
        shutil.rmtree(folder, ignore_errors=True)
        with tarfile.open(package) as archive:
            archive.extractall(folder, filter="data")
        (package,) = folder.iterdir()
    empty = machine("sdist", True)
    # Its lock file is complete.
    empty.environment["MATURIN_PEP517_ARGS"] = "--locked"
    return in_python(empty, package)


def wheel(machine: Callable[[str, bool], Machine]) -> Use:
    # pip chooses the one for this machine.
    return in_python(machine("wheel", False), *WHEELS, "agent-persist")


def crate(machine: Callable[[str, bool], Machine]) -> Use:
    """Unpacks the crates. Where they are published, cargo finds them by their names; here by paths."""
    empty = machine("crate", True)
    paths = {}
    for package in DIST.glob("crates/*.crate"):
        with tarfile.open(package) as archive:
            archive.extractall(empty.folder / "crates", filter="data")
        paths[package.name.rpartition("-")[0]] = empty.folder / "crates" / package.stem
    patch = empty.folder / "patch.toml"
    lines = (f"{name} = {{ path = {str(path)!r} }}" for name, path in paths.items() if name != "persist-cli")
    patch.write_text("\n".join(["[patch.crates-io]", *lines, ""]))
    empty.run("cargo", "install", "--quiet", "--config", patch, "--path", paths["persist-cli"])
    return by_command(empty, empty.folder / "cargo/bin/persist")


def component(machine: Callable[[str, bool], Machine]) -> Use:
    import wasmtime_cli  # type: ignore[import-untyped]

    wasmtime = Path(wasmtime_cli.__file__).with_name("wasmtime")
    wasmtime.chmod(0o755)
    return by_command(machine("component", False), wasmtime, "run", "--dir", ".", DIST.absolute() / "persist-cli.wasm")


def npm(machine: Callable[[str, bool], Machine]) -> Use:
    empty = machine("npm", False)
    programs = Path(sys.executable).parent
    empty.environment["PATH"] = f"{programs}:{empty.environment['PATH']}"
    (empty.folder / "package.json").write_text('{"type": "module"}')
    # A copy, since npm adds what the package needs to its folder.
    shutil.copytree(DIST / "npm", empty.folder / "dist" / "npm")
    empty.run("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "./dist/npm")

    def use(what: str, path: Path) -> object:
        code = {
            "save": f"await store.save({path.name!r}, {json.dumps(STATE)})",
            "restore": f"console.log(JSON.stringify(await store.restore({path.name!r})))",
        }[what]
        program = empty.folder / "program.js"
        lines = [
            'import { open } from "@agent-persist/persist";',
            f"const store = await open({str(path.parent)!r});",
            f"{code};",
        ]
        program.write_text("\n".join(lines))
        return empty.run("node", program)

    return use


def debian(machine: Callable[[str, bool], Machine]) -> Use:
    """Installs the wheel into another release of Debian, which has a newer Python and newer libraries."""
    empty = machine("debian", False)
    root = empty.folder / "root"
    release = "trixie"
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    mirrors = subprocess.run(targets, check=True, capture_output=True, text=True).stdout.split()
    mirror = next(mirror for mirror in mirrors if mirror.endswith("/debian/"))
    empty.environment["PATH"] += ":/usr/sbin:/sbin"
    bootstrap: list[str | Path] = ["debootstrap", "--variant=minbase", "--include=python3-venv", release, root, mirror]
    assert shutil.which("debootstrap", path=empty.environment["PATH"]), "install it with 'apt install debootstrap'"
    empty.run(*bootstrap)
    shutil.copytree(DIST / "python", root / "wheels")
    inside: list[str | Path] = ["chroot", root, "/usr/bin/env", "-i", "PATH=/usr/bin:/bin", "HOME=/root"]
    empty.run(*inside, "python3", "-m", "venv", "/environment")
    found: list[str | Path] = [*WHEELS[:-1], "/wheels"]
    empty.run(*inside, "/environment/bin/pip", "install", "--quiet", *found, "agent-persist")

    def use(what: str, path: Path) -> object:
        code = {
            "save": f"persist.snapshot({STATE!r}, '/{path.name}')",
            "restore": f"print(json.dumps(persist.restore('/{path.name}')))",
        }[what]
        (root / path.name).unlink(missing_ok=True)
        if what == "restore":
            shutil.copy(path, root / path.name)
        printed = empty.run(*inside, "/environment/bin/python", "-c", f"import json, persist; {code}")
        if what == "save":
            shutil.copy(root / path.name, path)
        return printed

    return use


ALL = {"sdist": sdist, "wheel": wheel, "debian": debian, "crate": crate, "component": component, "npm": npm}
KINDS = {kind: ALL[kind] for kind in os.environ.get("PERSIST_KINDS", " ".join(ALL)).split()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "0001.json.gz"


@pytest.mark.parametrize(("writer", "reader"), [*itertools.permutations(KINDS, 2)])
def test_what_one_saves_another_restores(installed: Callable[[str], Use], writer: str, reader: str, path: Path) -> None:
    installed(writer)("save", path)
    assert json.loads(str(installed(reader)("restore", path))) == STATE


PYTHON = sorted(path.name for path in (DIST / "python").iterdir())
NOTICES = "THIRD-PARTY-NOTICES.txt"


@pytest.mark.parametrize("name", PYTHON)
def test_a_python_package_has_its_licences(name: str) -> None:
    package = DIST / "python" / name
    if name.endswith(".tar.gz"):
        with tarfile.open(package) as archive:
            names = archive.getnames()
    else:
        names = zipfile.ZipFile(package).namelist()
    # Only a release collects the licences of others.
    notices = [NOTICES] if (DIST / NOTICES).exists() else []
    for licence in ("LICENSE-APACHE", "LICENSE-MIT", *notices):
        assert any(name.endswith(licence) for name in names), names
