"""Named tuples and members of enums come back as the same classes, or are refused."""

from __future__ import annotations

import collections
import dataclasses
import enum
import http
from typing import Any, Literal, NamedTuple

import persist
import pydantic
import pydantic.dataclasses
import pytest
from craft import crafted
from instances import Shape, parts


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Loud(str, enum.Enum):
    YES = "yes"


class Step(NamedTuple):
    number: int
    shape: Shape = Shape.DOT


Old = collections.namedtuple("Old", "a b")


@pytest.mark.parametrize(
    "value",
    [
        *(Shape.DOT, Shape.LINE, Rights.READ, Rights.READ | Rights.WRITE, Rights(0), Loud.YES, http.HTTPStatus.OK),
        *(Step(1), Step(2, Shape.LINE), Old(1, (2, 3))),
    ],
    ids=repr,
)
def test_one_member_or_named_tuple_may_be_the_whole_state(value: Any) -> None:
    persist.snapshot(value, "x", check=True)
    restored = persist.restore("x", into=type(value))
    assert type(restored) is type(value)
    assert restored == value
    assert not isinstance(value, enum.Enum) or restored is value


@dataclasses.dataclass
class Plan:
    steps: list[Step]
    rights: dict[str, Rights]
    last: tuple[Old, Literal[Shape.LINE]] | None = None
    loud: Loud | None = None


class PlanModel(pydantic.BaseModel):
    steps: dict[Shape, Step]


@pytest.mark.parametrize(
    "value",
    [
        Plan([Step(1, Shape.LINE)], {"a": Rights.READ | Rights.WRITE}, (Old(1, 2), Shape.LINE), Loud.YES),
        PlanModel(steps={Shape.DOT: Step(1)}),
    ],
)
def test_named_tuples_and_enums_in_annotations_come_back(value: Any) -> None:
    persist.snapshot(value, "x", check=True)
    restored = persist.restore("x", into=type(value))
    assert restored == value
    assert parts(restored) == parts(value)


def test_plain_data_becomes_a_named_tuple() -> None:
    states: list[Any] = [{"number": 1}, [1], (1,)]
    for state in states:
        persist.snapshot(state, "x")
        assert persist.restore("x", into=Step) == Step(1)
    wrong: list[Any] = [({"nmber": 1}, "no such field"), ({}, "number"), ([1, 2, 3], "refused"), (1, "it is an int")]
    for state, says in wrong:
        persist.snapshot(state, "x")
        with pytest.raises(persist.PersistTypeError, match=says):
            persist.restore("x", into=Step)
    fields = {"$persist": "object", "type": f"{__name__}.Step"}
    states = ["ab", {"number": 1, "shape": 2}, 7]
    for state in states:
        with pytest.raises(persist.PersistTypeError, match="does not match"):
            persist.restore(crafted({**fields, "value": state}), into=Step)


class Color(enum.Enum):
    RED = "red"


def test_an_enum_is_never_changed() -> None:
    persist.register(Color)
    persist.snapshot(Color.RED, "x")
    with pytest.raises(persist.PersistTypeError, match="can't be changed"):
        persist.restore("x", into=Color.RED)
    assert Color("red").name == "RED"


class Key(NamedTuple):
    a: int


def test_instances_can_be_keys() -> None:
    persist.register(Key)
    persist.snapshot({Key(1): {Key(2)}}, "x")
    assert persist.restore("x") == {Key(1): {Key(2)}}
    assert persist.restore("x", plain=True) == [[[1], [[2]]]]
    crafted(persist.Store(".").load_bytes("x").replace(b"Key", b"Gone"), "y")
    with pytest.raises(persist.PersistTypeError, match="Gone, which is not registered"):
        persist.restore("y")
