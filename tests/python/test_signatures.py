"""The arguments of functions are listed in several places, which agree."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import persist
import pytest
from persist import _arguments, _persist, _restoring

FUNCTIONS = [
    "snapshot",
    "restore",
    "verify_snapshot",
    "get_metadata",
    "snapshot_exists",
    "delete_snapshot",
    "list_snapshots",
]


def documented(function: Any) -> set[str]:
    """Returns the arguments that a docstring describes."""
    _, _, text = (inspect.getdoc(function) or "").partition("Args:\n")
    text = re.split(r"\n(?=\S)", text)[0]
    found = re.findall(r"^    (\w+(?:, \w+)*): ", text, flags=re.MULTILINE)
    return {name for names in found for name in names.split(", ")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_and_its_twin_document_the_same_arguments(name: str) -> None:
    function, twin = getattr(persist, name), getattr(persist, f"a{name}")
    arguments = set(inspect.signature(function).parameters)
    assert documented(function) == arguments
    assert inspect.signature(twin) == inspect.signature(function)
    assert documented(twin) == arguments
    assert inspect.iscoroutinefunction(twin)
    # The keyword arguments of the twin are declared for type checkers.
    declared = {
        "snapshot": _arguments.SAVES,
        "restore": (*_arguments.RESTORES, "into", "progress"),
    }.get(name)
    if declared is not None:
        assert set(declared) == arguments - {"path", "agent"}


@pytest.mark.parametrize(
    "name", ["Place", "Reader", "Writer", "Listing", "Timeline", "History", "Appender", "CancelToken"]
)
def test_the_stub_matches_the_native_classes(name: str) -> None:
    cls = getattr(_persist, name)
    stub = ast.parse((Path(persist.__file__).parent / "_persist.pyi").read_text())
    (declared,) = (node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == name)
    methods = {node.name: node.args for node in declared.body if isinstance(node, ast.FunctionDef)}
    attributes = {
        node.target.id
        for node in declared.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    public = {found for found in methods if not found.startswith("_")}
    assert public | attributes == {found for found in vars(cls) if not found.startswith("_")}
    for method in public:
        names = [argument.arg for argument in methods[method].args]
        assert names == list(inspect.signature(getattr(cls, method)).parameters), method


def test_the_native_module_knows_the_arguments_of_a_save() -> None:
    place, key = _persist.locate("memory://x", {})
    for name in (*_arguments.SaveBytesArguments.__annotations__, "extra"):
        with pytest.raises((persist.PersistTypeError, persist.PersistConfigurationError)) as wrong:
            place.save_bytes(key, b"", {name: object()})
        assert "unknown argument" not in str(wrong.value), name
    with pytest.raises(persist.PersistTypeError, match="unknown argument"):
        place.save_bytes(key, b"", {"of_nobody": 1})
    for name in _arguments.StorageArguments.__annotations__:
        with pytest.raises((persist.PersistTypeError, persist.PersistConfigurationError)) as wrong:
            _persist.locate("x", {name: object()})
        assert "unknown argument" not in str(wrong.value), name


def test_a_store_declares_the_options_of_the_functions() -> None:
    methods: list[tuple[Any, Any]] = [
        (persist.Store.snapshot, _arguments.AgentArguments),
        (persist.Store.restore, _arguments.RestoreOptions),
        (persist.Store.save_bytes, _arguments.SaveBytesArguments),
    ]
    for method, declared in methods:
        twin = getattr(persist.AsyncStore, method.__name__)
        assert list(inspect.signature(method).parameters) == list(inspect.signature(twin).parameters)
        assert "options" in inspect.signature(method).parameters
        assert set(declared.__annotations__) <= {*_arguments.SAVES, *_arguments.RESTORES, "content_type"}
    appends: list[tuple[Any, Any]] = [
        (persist.Timeline.append, _arguments.AppendArguments),
        (persist.Timeline.append_bytes, _arguments.AppendBytesArguments),
    ]
    for method, declared in appends:
        assert "options" in inspect.signature(method).parameters
        assert set(declared.__annotations__) <= {*_arguments.SAVES, "content_type", "number"}
    assert inspect.signature(persist.restore).parameters["max_size"].default == _restoring.MAX_SIZE
