"""What these tests share: components transpiled for Node, all hosts, and a state of several blocks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .hosts import Command, Host, Program
from .in_process import PythonBare, PythonComposed, Tools
from .programs import EXAMPLE_HOST, HOSTILE, JCO, NODE, NODE_PROGRAM, PROGRAMS, ROOT, STATE, component, run

GROW = """
    (table $grown 1 funcref)
    (func $grow
      (br_if 0 (i32.ne (table.grow $grown (ref.null func) (i32.const 200000)) (i32.const -1)))
      unreachable)
    (start $grow)"""
"""Makes a core module ask for more table entries than any example host allows, and trap if it does not get them."""


@pytest.fixture(scope="session")
def growing(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The component that misbehaves, with a table that grows. Rust can't express that."""
    folder = tmp_path_factory.mktemp("growing")
    text, wasm = folder / "growing.wat", folder / "growing.wasm"
    run([*JCO, "print", HOSTILE, "-o", str(text)], NODE)
    whole = text.read_text()
    end_of_first_module = whole.index("\n  )", whole.index("\n  (core module"))
    text.write_text(whole[:end_of_first_module] + GROW + whole[end_of_first_module:])
    run([*JCO, "parse", str(text), "-o", str(wasm)], NODE)
    return str(wasm)


@pytest.fixture(scope="session")
def transpiled(tmp_path_factory: pytest.TempPathFactory, growing: str) -> dict[str, str]:
    """Components that jco has transpiled to JavaScript, by name. The scripts that load them are copied to NODE."""
    for source in (*(ROOT / "tests/portability").glob("*.mjs"), *(ROOT / "examples/node").glob("*.mjs")):
        # There they find the packages that they import.
        shutil.copy(source, NODE)
    modules = {}
    for name, wasm in {
        "persist": component("persist.wasm"),
        "persist-fs": component("persist-fs.wasm"),
        "hostile": HOSTILE,
        "growing": growing,
    }.items():
        out = tmp_path_factory.mktemp(name)
        run([*JCO, "transpile", wasm, "--instantiation", "async", "--quiet", "-o", str(out), "--name", name], NODE)
        # Without this, Node takes the files for plain scripts.
        (out / "package.json").write_text('{"type": "module"}')
        modules[name] = str(out / f"{name}.js")
    return modules


@pytest.fixture(scope="session")
def hosts(transpiled: dict[str, str]) -> list[Host]:
    """Every host; the native one comes first."""
    import wasmtime_cli  # type: ignore[import-untyped]

    wasmtime = Path(wasmtime_cli.__file__).with_name("wasmtime")
    wasmtime.chmod(0o755)
    drive = [NODE_PROGRAM, str(NODE / "drive.mjs")]
    return [
        Command("native", [str(PROGRAMS / "persist")]),
        Command("wasmtime command", [str(wasmtime), "run", "--dir", ".", component("persist-cli.wasm")]),
        PythonComposed(),
        Tools(),
        Program("node, composed", [*drive, "composed", transpiled["persist-fs"]]),
        Program("rust, bare", [EXAMPLE_HOST, component("persist.wasm")]),
        PythonBare(),
        Program("node, bare", [*drive, "bare", transpiled["persist"]]),
    ]


@pytest.fixture(scope="session")
def state_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state of several blocks, as text: the sample agent's state, many times over."""
    path = tmp_path_factory.mktemp("state") / "state.json"
    parts = (STATE.replace("0", str(number % 10)) for number in range(1 + 2_200_000 // len(STATE)))
    path.write_text("[" + ",\n".join(parts) + "]")
    return path
