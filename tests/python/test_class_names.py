"""The class that a name in a snapshot means."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, NewType, TypeVar

import persist
import pydantic
import pydantic.dataclasses
import pytest
from craft import crafted
from instances import Frozen, Search, Strict, Tool, Toolbox


class Pair(NamedTuple):
    left: Any
    right: Any


class Color(enum.Enum):
    RED = "red"


class Outsider(pydantic.BaseModel):
    a: int = 1


@dataclasses.dataclass
class Holder:
    anything: Any


@pytest.mark.parametrize("inner", [Tool("a"), Outsider(), Pair(1, 2), Color.RED, Strict(1), Frozen(number=1)])
def test_an_instance_of_a_class_that_nobody_names_is_refused(inner: Any) -> None:
    for value, place in [
        ({"a": [1, inner]}, r"state\['a'\]\[1\]"),
        (Holder([inner]), r"state\.anything\[0\]"),
        ([Holder({"b": inner})], r"state\[0\]"),
    ]:
        with pytest.raises(
            persist.PersistTypeError, match=rf"would be restored as plain data, at {place}(\n|$)"
        ) as refused:
            persist.snapshot(value, "x")
        assert refused.value.hint is not None
        assert refused.value.hint.startswith("register its class: persist.register(")
        assert not persist.snapshot_exists("x")


def test_the_error_names_a_missing_class() -> None:
    @dataclasses.dataclass
    class Gone(Tool):
        size: int = 1

    persist.snapshot(Toolbox([Gone("a")]), "x")
    crafted(persist.Store(".").load_bytes("x").replace(b"Gone", b"Lost"), "y")
    with pytest.raises(persist.PersistTypeError, match=r"Lost, which is not registered") as lost:
        persist.restore("y", into=Toolbox)
    assert lost.value.hint is not None
    assert "persist.register" in lost.value.hint
    assert persist.restore("y", plain=True) == {"tools": [{"name": "a", "size": 1}]}


def test_a_class_of_a_script_is_the_same_when_it_is_imported(folder: Path) -> None:
    source = """
    import dataclasses, sys
    import persist

    @dataclasses.dataclass
    class Step:
        number: int

    @dataclasses.dataclass
    class Agent:
        steps: list[Step]

    if __name__ == "__main__":
        if sys.argv[1] == "save":
            persist.snapshot(Agent([Step(1)]), "agent")
        else:
            assert persist.restore("agent", into=Agent) == Agent([Step(1)])
    """
    (folder / "myagent.py").write_text(textwrap.dedent(source))
    imported = "import myagent, persist, sys\nagent = myagent.Agent([myagent.Step(1)])\n"
    imported += "if sys.argv[1] == 'save': persist.snapshot(agent, 'agent')\n"
    imported += "else: assert persist.restore('agent', into=myagent.Agent) == agent\n"
    (folder / "importing.py").write_text(imported)
    for saves in ("myagent.py", "importing.py"):
        for restores in ("myagent.py", "importing.py"):
            for script, what in [(saves, "save"), (restores, "restore")]:
                done = subprocess.run([sys.executable, script, what], capture_output=True, text=True)
                assert done.returncode == 0, (saves, restores, done.stderr)


def test_of_two_classes_with_one_name_the_latest_is_saved() -> None:
    def make() -> Any:
        @dataclasses.dataclass
        class Twin:
            a: int

        return persist.register(Twin)

    first, second = make(), make()
    with pytest.raises(persist.PersistTypeError, match="now belongs to another class"):
        persist.snapshot([first(1)], "x")
    persist.snapshot([second(1)], "x")
    assert type(persist.restore("x")[0]) is second


def test_a_class_that_the_caller_names_takes_precedence() -> None:
    @dataclasses.dataclass
    class New:
        name: str

    persist.register(New, name=f"{Tool.__module__}.Tool")
    persist.snapshot(Toolbox([Tool("a")]), "x", check=True)
    assert persist.restore("x", into=Toolbox) == Toolbox([Tool("a")])


Level = NewType("Level", Tool)


R = TypeVar("R", bound=Pair)


@dataclasses.dataclass
class Named(Generic[R]):
    """Names its classes in every possible way."""

    tool: Level | None
    color: Literal[Color.RED, "none"]
    key: R


def test_classes_can_be_named_in_every_way() -> None:
    value = Named(Level(Search("a")), Color.RED, Pair(1, 2))
    persist.snapshot(value, "x", check=True)
    assert persist.restore("x", into=Named) == value
