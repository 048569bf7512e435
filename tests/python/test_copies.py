"""Copies of messages, which are made while all other tasks wait, and native comparisons of
messages, without a call to Python for each field.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import enum
import gc
import weakref
from typing import Any, ClassVar

import pydantic
import pytest
from persist import _copies, _persist
from persist.adapters._compare import same


@dataclasses.dataclass
class Part:
    text: str
    at: datetime.datetime
    more: Any = None


@dataclasses.dataclass
class Message:
    parts: list[Part]
    kind: str = "request"


@dataclasses.dataclass
class OfTheClass:
    kind: ClassVar[str] = "a"
    number: int = 1


class Usage(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    tokens: int = 0
    details: dict[str, Any] = {}
    _seen: list[int] = pydantic.PrivateAttr(default_factory=list)


class Color(enum.Enum):
    RED = "red"


class Plain:
    def __init__(self) -> None:
        self.items = [1, {"a": (2, [3])}]


class Own:
    """A class that defines how it is copied."""

    def __init__(self) -> None:
        self.copies = 0

    def __deepcopy__(self, memo: Any) -> Own:
        new = Own()
        new.copies = self.copies + 1
        return new


@dataclasses.dataclass
class Slotted:
    __slots__ = ("a",)
    a: list[int]


NOW = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc)


def usage() -> Usage:
    made = Usage(tokens=3, more=[1])  # type: ignore[call-arg]
    made._seen.append(4)
    return made


VALUES: list[Any] = [
    None,
    "text",
    2**70,
    1.5,
    b"bytes",
    NOW,
    Color.RED,
    [1, [2, {"a": [3]}]],
    {"a": {1, 2}, 3: frozenset([4])},
    (1, [2]),
    {("a", 1): [bytearray(b"x")]},
    Message([Part("a", NOW, {"b": [Color.RED]})]),
    usage(),
    [usage(), Message([])],
    Slotted([1]),
]


def held(value: Any) -> Any:
    """Returns what an instance holds, if its class does not define equality."""
    return (type(value), value.__dict__, getattr(value, "__pydantic_private__", 0)) if hasattr(value, "__dict__") else 0


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_copy_is_what_deepcopy_makes(value: Any) -> None:
    made, wanted = _copies.copied(value), copy.deepcopy(value)
    assert type(made) is type(wanted)
    assert made == wanted
    assert held(made) == held(wanted)


def test_a_copy_shares_nothing_mutable() -> None:
    value: Any = [Message([Part("a", NOW, {"b": [1]})]), usage(), Plain(), ([1],), {"a": {1}}]
    frozen, before = _persist.freeze(value), copy.deepcopy(value)
    value[0].parts[0].more["b"].append(2)
    value[0].parts.append(None)
    value[0].note = "new"
    value[1].details["c"] = 1
    value[1]._seen.append(5)
    value[1].more.append(2)
    value[1].model_fields_set.clear()
    value[2].items[1]["a"][1].append(4)
    value[3][0].append(2)
    value[4]["a"].add(2)
    made = frozen.thaw()
    assert (made[:2], made[3:]) == (before[:2], before[3:])
    assert made[1].model_fields_set == before[1].model_fields_set
    assert made[1]._seen == [4]
    assert made[2].items == before[2].items
    assert not hasattr(made[0], "note")


def test_a_class_with_deepcopy_is_copied_by_it() -> None:
    assert _copies.copied([Own()])[0].copies == 1


def test_a_copy_can_be_taken_once() -> None:
    frozen = _persist.freeze([1])
    assert frozen.thaw() == [1]
    with pytest.raises(ValueError, match="was already taken"):
        frozen.thaw()


def test_copies_of_a_list_can_be_taken_once() -> None:
    copies = _copies.Copies([1, 2])
    assert list(copies.parts()) == [[1, 2]]
    with pytest.raises(ValueError, match="were already taken"):
        list(copies.parts())


class Key:
    """A key whose hash changes with its content."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and other.number == self.number


def test_keys_that_change_later_stay_apart() -> None:
    keys = [Key(1), Key(2)]
    frozen = _persist.freeze({key: key.number for key in keys})
    keys[1].number = 1
    made = frozen.thaw()
    assert [(key.number, number) for key, number in made.items()] == [(1, 1), (2, 2)]


def test_what_contains_itself_is_not_copied() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(RecursionError):
        _persist.freeze(endless)


def test_frozen_copies_are_no_work_for_the_garbage_collector() -> None:
    messages = [Message([Part("a", NOW, {"b": [number]})]) for number in range(1000)]
    _persist.freeze(messages)  # Each instance has a __dict__ now.
    gc.collect()
    before = len(gc.get_objects())
    copies = _copies.Copies(messages)
    after = len(gc.get_objects())
    assert after - before < 100
    assert [message for some in copies.parts() for message in some] == messages


def test_copies_come_a_few_at_a_time() -> None:
    copies = _copies.Copies(list(range(2 * _copies.AT_ONCE + 1)))
    assert [len(some) for some in copies.parts()] == [_copies.AT_ONCE, _copies.AT_ONCE, 1]


PAIRS: list[tuple[Any, Any]] = [
    *zip(VALUES, copy.deepcopy(VALUES), strict=True),
    (1, 1.0),
    (1, True),
    (0.0, -0.0),
    (float("nan"), float("nan")),
    ("1", 1),
    ([1], (1,)),
    ([1], [1, 2]),
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": 1}, {"b": 1}),
    ({1: 1}, {True: 1}),
    (NOW, NOW.astimezone(datetime.timezone(datetime.timedelta(hours=1)))),
    (Message([]), Message([], "response")),
    (Message([Part("a", NOW)]), Message([Part("b", NOW)])),
    (usage(), Usage(tokens=3)),
    (Usage(tokens=3), Usage(tokens=3, details={})),
    (Color.RED, "red"),
]


@pytest.mark.parametrize("pair", PAIRS, ids=repr)
def test_only_equal_messages_are_reported_as_equal(pair: tuple[Any, Any]) -> None:
    one, other = pair
    for made, given in ((one, other), (other, one)):
        if _persist.differing([made], [given]) == []:
            assert same(made, given)


def test_common_messages_are_compared_natively() -> None:
    many: list[Any] = [
        1,
        [1, {"a": (2,)}],
        Message([Part("a", NOW, {"b": [1.5]})]),
        Usage(tokens=3),
    ]
    assert _persist.differing(copy.deepcopy(many), many) == []
    changed = copy.deepcopy(many)
    changed[2].note = "new"
    assert _persist.differing(changed, many) == [2]
    assert _persist.differing(many, changed) == [2]


def test_a_class_default_counts_as_the_attribute() -> None:
    bare: Any = object.__new__(Message)
    bare.parts = []
    assert _persist.differing([bare], [Message([])]) == []
    assert _persist.differing([bare], [Message([], "response")]) == [0]
    bare.parts, Message.note = [], "of the class"  # type: ignore[attr-defined]
    with_note: Any = Message([])
    with_note.note = "of the class"
    assert _persist.differing([bare], [with_note]) == [0], "it is not a field"
    del Message.note  # type: ignore[attr-defined]
    with_kind: Any = OfTheClass()
    with_kind.__dict__["kind"] = "a"
    assert _persist.differing([OfTheClass()], [with_kind]) == [0], "it is not a field either"
    assert _persist.differing([OfTheClass()], [OfTheClass()]) == []


class Elsewhere:
    """A descriptor that keeps its values outside the instance."""

    kept: ClassVar[weakref.WeakKeyDictionary[Any, Any]] = weakref.WeakKeyDictionary()

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else self.kept[instance]

    def __set__(self, instance: Any, value: Any) -> None:
        self.kept[instance] = value


@dataclasses.dataclass(eq=False)
class Hidden:
    value: Any
    more: int = 0


Hidden.value = Elsewhere()


@dataclasses.dataclass
class Asking:
    number: int = 1

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name)


def test_computed_attributes_are_left_to_python() -> None:
    for one, other in ((Hidden(1), Hidden(2)), (Asking(), Asking())):
        assert _persist.differing([one], [other]) == [0], one
        assert vars(_copies.copied(one)) == vars(one)
    assert not same(Hidden(1), Hidden(2))


class Text(str):
    __slots__ = ()


def test_only_exact_types_are_plain() -> None:
    assert _persist.is_plain({"a": [1, 2.0, None, True, b"x", NOW, "y"]})
    for odd in (Text("a"), (1,), {1: 2}, {Text("a"): 1}, {1}, Color.RED, True.__class__, Message([])):
        assert not _persist.is_plain([odd]), odd
