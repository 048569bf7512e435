"""Instances of attrs classes come back equal and as the same classes, or are refused."""

from __future__ import annotations

import collections
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, ClassVar

import attr
import attrs
import persist
import pytest
from craft import crafted
from instances import Shape, comes_back


@attrs.define
class Part:
    name: str
    runs: ClassVar[int] = 0
    _hidden: list[Part] = attrs.field(factory=list)
    shape: Shape = Shape.DOT
    total: int = attrs.field(init=False, default=0, on_setattr=attrs.setters.frozen)

    def __attrs_post_init__(self) -> None:
        type(self).runs += 1


@attrs.define
class BigPart(Part):
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1), kw_only=True)


OldStyle: Any = attr.make_class(
    "OldStyle",
    {"a": attr.ib(type=Shape), "b": attr.ib(default=attr.Factory(lambda self: self.a, takes_self=True))},
    frozen=True,
    cache_hash=True,
)


OldStyle.__module__ = __name__


@attrs.frozen(cache_hash=True)
class Hashed:
    a: str


Undecorated: Any = type("Undecorated", (OldStyle,), {"__module__": __name__})


def test_attrs_instances_come_back_without_running_init() -> None:
    value = Part("a", [BigPart("b", size=2), Part("c")], Shape.LINE)
    object.__setattr__(value._hidden[0], "size", "not checked")
    runs = Part.runs
    comes_back(value)
    assert Part.runs == runs
    old = OldStyle(Shape.LINE, {"a": Hashed("b")})
    with pytest.raises(persist.PersistTypeError, match=r"Hashed would be restored as plain data, at state.b\['a'\]"):
        persist.snapshot(old, "x")
    for whole in (OldStyle(Shape.LINE), Undecorated(Shape.DOT, [1])):
        whole.__dict__["notes"] = (1, 2)
        comes_back(whole)
    into = Part("old")
    persist.snapshot(value, "x")
    assert persist.restore("x", into=into) is into
    assert into == value
    persist.snapshot(Hashed("b"), "x")
    with pytest.raises(persist.PersistTypeError, match="can't be changed"):
        persist.restore("x", into=Hashed("a"))


def test_a_cached_hash_is_not_restored(folder: Path) -> None:
    """The hash of a text differs between processes."""
    source = """
    import sys
    import attr, attrs, persist

    @attrs.frozen(cache_hash=True)
    class Slotted:
        a: str

    @attr.s(frozen=True, cache_hash=True)
    class Plain:
        a = attr.ib()

    for cls in (Slotted, Plain):
        persist.register(cls)
    found = [Slotted("x"), Plain("x")]
    if sys.argv[1] == "save":
        persist.snapshot({key: hash(key) for key in found}, "x")
    else:
        restored = persist.restore("x")
        assert [restored[key] for key in found], restored
        assert [hash(key) for key in restored] == [hash(key) for key in found] != list(restored.values())
    """
    (folder / "hashing.py").write_text(textwrap.dedent(source))
    for what in ("save", "restore"):
        done = subprocess.run([sys.executable, "hashing.py", what], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    fields = {"$persist": "object", "type": f"{__name__}.Hashed", "value": {"a": "b"}}
    state = {**fields, "attributes": {"_attrs_cached_hash": 7}}
    assert hash(persist.restore(crafted(state), into=Hashed)) == hash(Hashed("b")) != 7


@attrs.frozen(hash=False)
class Wide:
    items: Any

    def __hash__(self) -> int:
        return 1


def test_the_fields_of_attrs_instances_count_as_comparisons() -> None:
    persist.register(Wide)
    persist.snapshot({Wide(collections.deque([n])) for n in range(64)}, "x", check=True)
    wide = {Wide(collections.deque(range(20_000 + n))) for n in range(64)}
    with pytest.raises(persist.PersistTypeError, match="comparing them takes too long"):
        persist.snapshot(wide, "x")


def test_plain_data_becomes_an_attrs_instance() -> None:
    persist.snapshot({"name": "a", "_hidden": [], "size": 3, "total": 5}, "x")
    assert persist.restore("x", into=BigPart).total == 5
    for state, says in [({"name": "a", "size": 0}, "ValueError"), ({"nme": "a"}, "no such field"), ({}, "missing")]:
        persist.snapshot(state, "x")
        with pytest.raises(persist.PersistTypeError, match=says):
            persist.restore("x", into=BigPart)
    fields = {"$persist": "object", "type": f"{__name__}.BigPart"}
    assert persist.restore(crafted({**fields, "value": {"name": "a"}}), into=BigPart) == BigPart("a")
    for value, says in [({}, "missing"), ({"name": "a", "x": 1}, "no such field"), ([], "it is a list")]:
        with pytest.raises(persist.PersistTypeError, match=says):
            persist.restore(crafted({**fields, "value": value}), into=BigPart)
    with pytest.raises(persist.PersistTypeError, match="depends on the other fields"):
        persist.restore(crafted({**fields, "type": f"{__name__}.OldStyle", "value": {"a": 1}}), into=OldStyle)
