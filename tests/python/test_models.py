"""Instances of dataclasses, of pydantic models and of classes with ``__persist_state__`` come
back equal and as the same classes, or are refused.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any, ClassVar, Generic, TypedDict, TypeVar

import persist
import pydantic
import pydantic.dataclasses
import pytest
from craft import crafted
from instances import Frozen, Search, Strict, Tool, comes_back, parts


@dataclasses.dataclass
class Counted:
    runs = 0
    tools: list[Tool]
    seed: dataclasses.InitVar[int]
    frozen: Frozen | None = None
    total: int = dataclasses.field(init=False, default=0)
    hidden: str = dataclasses.field(init=False, repr=False, default="not set")

    def __post_init__(self, seed: int) -> None:
        type(self).runs += 1
        self.total = self.total + seed


def test_dataclasses_come_back_without_running_init() -> None:
    value = Counted([Search("a", "b"), Tool("c")], 3, Frozen(number=1))
    value.notes = ["not a field"]  # type: ignore[attr-defined]
    runs = Counted.runs
    restored = comes_back(value)
    assert Counted.runs == runs
    assert (restored.total, restored.notes) == (3, ["not a field"])
    del value.tools
    with pytest.raises(persist.PersistTypeError, match="no value for its field tools"):
        persist.snapshot(value, "x")


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    password: str
    left: int = pydantic.Field(default=1, ge=0, alias="remaining")
    hidden: str = pydantic.Field(default="default", exclude=True)
    tools: list[Model] = []
    made: list[Tool] = []
    _history: list[str] = pydantic.PrivateAttr(default_factory=list)
    _unset: int = pydantic.PrivateAttr()

    @pydantic.field_validator("password")
    @classmethod
    def hashed(cls, value: str) -> str:
        return f"hash of {value}"

    def model_post_init(self, context: Any) -> None:
        self._history.append("made")


class Special(Model):
    index: int


class Root(pydantic.RootModel[list[Model]]):
    pass


def test_models_come_back_without_validation() -> None:
    inner = Special(password="p", index=2)
    value = Model(password="secret", hidden="mine", tools=[inner], made=[Search("a")], more=(1, 2))  # type: ignore[call-arg]
    value.left = -5
    value.tools.append("not a model")  # type: ignore[arg-type]
    value._history.append("Hello")
    restored = comes_back(value)
    assert restored.password == "hash of secret"
    assert restored._history == ["made", "Hello"]
    comes_back(Root([inner]))
    into = Model(password="old", of_old=True)  # type: ignore[call-arg]
    into._history.append("of old")
    persist.snapshot(value, "x")
    assert persist.restore("x", into=into) is into
    assert parts(into) == parts(value)


def test_restoring_into_an_instance_keeps_nothing_old() -> None:
    value, into = Search("new"), Search("old")
    into.notes = "of old"  # type: ignore[attr-defined]
    persist.snapshot(value, "x")
    persist.restore("x", into=into)
    assert vars(into) == vars(value)


def test_a_subclass_is_not_put_into_its_base() -> None:
    persist.snapshot(Search("a"), "x")
    into = Tool("old")
    with pytest.raises(persist.PersistTypeError, match="can't be put into a Tool"):
        persist.restore("x", into=into)
    assert vars(into) == {"name": "old"}


def test_plain_data_is_validated() -> None:
    persist.snapshot({"password": "p", "left": "many"}, "x")
    with pytest.raises(persist.PersistTypeError, match="ValidationError") as wrong:
        persist.restore("x", into=Model)
    assert isinstance(wrong.value.__cause__, pydantic.ValidationError)
    persist.snapshot({"password": "p", "left": 3}, "x")
    assert persist.restore("x", into=Model).password == "hash of p"
    persist.snapshot({"name": "a", "index": "b"}, "x")
    assert persist.restore("x", into=Search) == Search("a", "b")
    for state, says in [({"name": "a", "size": 1}, "no such field"), ({}, "missing"), ([1], "it is a list")]:
        persist.snapshot(state, "x")
        with pytest.raises(persist.PersistTypeError, match=says):
            persist.restore("x", into=Search)


def test_the_errors_of_a_class_become_the_right_errors() -> None:
    persist.snapshot(Strict(-1), "x")
    with pytest.raises(persist.PersistTypeError, match="refused the state: ValueError: below zero") as wrong:
        persist.restore("x", into=Strict)
    assert isinstance(wrong.value.__cause__, ValueError)
    persist.snapshot(Strict(10), "x")
    with pytest.raises(ConnectionError, match="db gone") as gone:
        persist.restore("x", into=Strict)
    assert isinstance(gone.value, persist.PersistError)
    assert gone.value.retryable


class State(TypedDict):
    step: int


def test_into_must_be_a_class() -> None:
    persist.snapshot(State(step=3), "x")
    assert persist.restore("x", into=State) == {"step": 3}
    with pytest.raises(persist.PersistTypeError, match="not a class"):
        persist.restore("x", into=list[int])


@pytest.mark.parametrize("value", [(n for n in range(3)), iter([1]), range(3), {}.keys()])
def test_the_hint_for_an_iterator_is_a_list(value: Any) -> None:
    with pytest.raises(persist.PersistTypeError) as refused:
        persist.snapshot({"steps": value}, "x")
    assert refused.value.hint == "save a list of its items: list(…)"


@dataclasses.dataclass
class Checked(Tool):
    limit: ClassVar[int] = 3

    def check(self) -> bool:
        return False


def test_restored_attributes_cannot_hide_methods() -> None:
    fields = {"$persist": "object", "type": f"{__name__}.Checked", "value": {"name": "a"}}
    assert persist.restore(crafted({**fields, "attributes": {"notes": 1}}), into=Checked).notes == 1  # type: ignore[attr-defined]
    for name in ("__class__", "__eq__", "check", "limit"):
        with pytest.raises(persist.PersistTypeError, match="is not valid"):
            persist.restore(crafted({**fields, "attributes": {name: 1}}), into=Checked)


@pytest.mark.parametrize("name", ["check", "limit"])
def test_an_attribute_that_hides_one_of_the_class_is_refused(name: str) -> None:
    checked = Checked("a")
    setattr(checked, name, 1)
    with pytest.raises(persist.PersistTypeError, match=f"its attribute {name} hides"):
        persist.snapshot(checked, "x")


class Keeping:
    __slots__ = ("__even__", "__own")

    def __init__(self, even: int, own: int) -> None:
        self.__even__, self.__own = even, own


@dataclasses.dataclass
class Kept(Keeping):
    a: int = 1


def test_slots_of_every_name_come_back() -> None:
    value = Kept()
    Keeping.__init__(value, 2, 3)
    persist.snapshot(value, "x", check=True)
    back = persist.restore("x", into=Kept)
    assert (back.a, back.__even__, back._Keeping__own) == (1, 2, 3)  # type: ignore[attr-defined]


@dataclasses.dataclass
class Node:
    name: str
    parent: Node | None = None
    children: list[Node] = dataclasses.field(default_factory=list)


def test_the_error_names_the_path_of_a_cycle() -> None:
    root = Node("root")
    root.children.append(Node("leaf", root))
    with pytest.raises(persist.PersistTypeError, match=r"contains itself: a (Node|list) is inside itself") as cycle:
        persist.snapshot(root, "x")
    assert "state.children[0].parent.children[0].parent" in str(cycle.value)


def test_times_of_pydantic_come_back() -> None:
    class At(pydantic.BaseModel):
        at: datetime.datetime

    value = At.model_validate_json('{"at": "2026-01-31T12:00:00+02:00"}')
    persist.snapshot(value, "x")
    assert persist.restore("x", into=At) == value


B = TypeVar("B")


@dataclasses.dataclass
class Box(Generic[B]):
    item: B


def test_a_generic_dataclass_comes_back() -> None:
    persist.snapshot(Box[int](1), "x")
    assert persist.restore("x", into=Box) == Box(1)


@pydantic.dataclasses.dataclass
class Grown:
    a: int
    b: list[int] = pydantic.Field(default_factory=list)


def test_a_field_that_the_state_lacks_gets_its_default() -> None:
    state = {"$persist": "object", "type": f"{__name__}.Grown", "value": {"a": 1}}
    assert persist.restore(crafted(state), into=Grown) == Grown(1)
