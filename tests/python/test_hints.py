"""Hints never advise what does not work: each one is followed here."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import itertools
import pathlib
import re
import types
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import persist
import pydantic
import pytest

store = persist.Store("memory://hints")


def hint_of(act: Callable[[], Any]) -> str:
    """Returns the hint of the error that a call raises."""
    with pytest.raises(persist.PersistError) as refused:
        act()
    assert refused.value.hint
    return refused.value.hint


def comes_back(value: Any) -> Any:
    store.snapshot([value], "x", check=True)
    return store.restore("x")[0]


class Word(str):
    __slots__ = ()


class Numbers(dict[str, int]):
    pass


class Plain:
    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and other.number == self.number

    __hash__ = None  # type: ignore[assignment]


class FailedError(Exception):
    pass


class Steps:
    """A program's own iterator."""

    def __init__(self) -> None:
        self.left = [1, 2]

    def __iter__(self) -> Steps:
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        return self.left.pop()


LIST, LEAVE = "save a list of its items: list(…)", "save the data in it, or leave it out"

REPLACED: list[tuple[Callable[[], Any], str, Callable[[Any], Any]]] = [
    (lambda: (n for n in range(3)), LIST, list),
    (lambda: range(3), LIST, list),
    (lambda: {"a": 1}.items(), LIST, list),
    (lambda: zip("ab", [1, 2], strict=True), LIST, list),
    (lambda: io.BytesIO(b"a\nb"), LIST, list),
    (Steps, LIST, list),
    (lambda: itertools.count(2), "save the arguments it was made from, or leave it out", lambda value: 2),
    (lambda: itertools.cycle("ab"), "save the arguments it was made from, or leave it out", lambda value: "ab"),
    (lambda: memoryview(b"abc")[::2], "save its bytes: bytes(…)", bytes),
    (lambda: types.MappingProxyType({"a": 1}), "save a plain dict: dict(…)", dict),
    (lambda: uuid.UUID, "save its name, or an instance", lambda value: value.__qualname__),
    (lambda: uuid.UUID, "save its name, or an instance", lambda value: value(int=1)),
    (lambda: slice(1, 2), LEAVE, lambda value: [value.start, value.stop]),
    (lambda: ValueError("a", 1), LEAVE, lambda value: value.args),
    (lambda: len, LEAVE, lambda value: value.__name__),
    (lambda: Word("a"), "save a plain str, or register", str),
    (lambda: Numbers(a=1), "save a plain dict, or register", dict),
    (lambda: collections.defaultdict(lambda: 1, a=2), "save a plain dict: dict(…)", dict),
    (
        lambda: collections.defaultdict(lambda: 0, a=2),
        "use one of these factories: None, bool,",
        lambda value: collections.defaultdict(int, value),
    ),
    (
        lambda: fractions.Fraction(1, 1 << 20_000),
        "save its parts: (value.numerator, value.denominator)",
        lambda value: (value.numerator, value.denominator),
    ),
    (
        lambda: {1 << 5000, decimal.Decimal(1 << 5000 % 61)},  # With the same hash.
        "save a list, or give the class a better __hash__",
        list,
    ),
    (
        lambda: datetime.datetime(2026, 1, 1, tzinfo=Zone()),
        "use datetime.timezone or zoneinfo.ZoneInfo(key)",
        lambda value: value.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    ),
]


class Zone(datetime.tzinfo):
    def utcoffset(self, moment: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=1)

    def dst(self, moment: datetime.datetime | None) -> None:
        return None

    def tzname(self, moment: datetime.datetime | None) -> None:
        return None


@pytest.mark.parametrize(("make", "hint", "follow"), REPLACED, ids=lambda part: part if isinstance(part, str) else "")
def test_the_replacement_in_a_hint_can_be_saved(
    make: Callable[[], Any], hint: str, follow: Callable[[Any], Any]
) -> None:
    assert hint in hint_of(lambda: store.snapshot([make()], "refused"))
    instead = follow(make())
    assert comes_back(instead) == instead


REGISTERED: list[tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]] = [
    (Word("a"), str, Word),
    (Numbers(a=1), dict, Numbers),
    (Plain(1), lambda value: value.number, Plain),
    (re.compile("a+"), lambda value: value.pattern, re.compile),
    (types.SimpleNamespace(a=1), vars, lambda state: types.SimpleNamespace(**state)),
    (zoneinfo.ZoneInfo("Europe/Berlin"), str, zoneinfo.ZoneInfo),
    (datetime.timezone.utc, lambda value: value.utcoffset(None), datetime.timezone),
    (pydantic.SecretStr("a"), lambda value: value.get_secret_value(), pydantic.SecretStr),
    (collections.UserDict(a=1), dict, collections.UserDict),
]


@pytest.mark.parametrize(("value", "save", "restore"), REGISTERED, ids=[type(case[0]).__name__ for case in REGISTERED])
def test_a_class_can_be_registered_as_its_hint_says(
    value: Any, save: Any, restore: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = type(value)
    hint = hint_of(lambda: store.snapshot([value], "refused"))
    assert f"persist.register({cls.__name__}, save=…, restore=…)" in hint
    # The hint mentions methods only for classes that can have them.
    if "__persist_state__" in hint:
        monkeypatch.setattr(cls, "__persist_state__", lambda self: save(self), raising=False)
        monkeypatch.setattr(cls, "__persist_restore__", classmethod(lambda cls, state: restore(state)), raising=False)
        persist.register(cls)
        assert comes_back(value) == value
        monkeypatch.undo()
        store.snapshot([0], "x")
    else:
        assert isinstance(value, (str, dict)) or cls.__module__ != __name__
    persist.register(cls, save=save, restore=restore)
    assert comes_back(value) == value


def test_an_exception_class_can_have_the_methods_of_its_hint() -> None:
    hint = hint_of(lambda: store.snapshot([FailedError("a")], "refused"))
    assert "give the class __persist_state__()" in hint
    FailedError.__persist_state__ = lambda self: list(self.args)  # type: ignore[attr-defined]
    FailedError.__persist_restore__ = classmethod(lambda cls, state: cls(*state))  # type: ignore[attr-defined]
    persist.register(FailedError)
    assert comes_back(FailedError("a")).args == ("a",)


def test_a_class_that_needs_functions_can_be_registered_with_them() -> None:
    class Bare:
        pass

    assert "give the class" in hint_of(lambda: persist.register(Bare))
    assert hint_of(lambda: persist.register(re.Match)) == "pass save and restore"
    persist.register(re.Match, save=lambda match: match.group(), restore=lambda text: re.match(re.escape(text), text))  # type: ignore[arg-type, return-value]
    assert comes_back(re.match("a+", "aab")).group() == "aa"


class Color(enum.Enum):
    RED = 1


class Pair(NamedTuple):
    left: int


@dataclasses.dataclass
class Tool:
    name: str


@pytest.mark.parametrize("value", [Color.RED, Pair(1), Tool("a")])
def test_a_class_that_would_be_restored_as_data_can_be_registered(value: Any) -> None:
    name = type(value).__name__
    assert hint_of(lambda: store.snapshot([value], "refused")) == f"register its class: persist.register({name})"
    persist.register(type(value))
    assert comes_back(value) == value


def test_the_hint_for_two_classes_with_one_name_works() -> None:
    def make() -> Any:
        @dataclasses.dataclass
        class Twin:
            a: int

        return persist.register(Twin)

    first, second = make(), make()
    hint = hint_of(lambda: store.snapshot([first(1)], "refused"))
    assert hint == "give each class its own name: persist.register(Twin, name=…)"
    persist.register(first, name="first")
    persist.register(second, name="second")
    assert type(comes_back(first(1))) is first
    assert type(comes_back(second(1))) is second


def test_the_hints_for_attributes_work() -> None:
    class Noted(Pair):
        pass

    noted = Noted(1)
    noted.notes = 2  # type: ignore[attr-defined]
    hint = "use a dataclass, or register the class with save and restore"
    persist.register(Noted)
    assert hint_of(lambda: store.snapshot([noted], "refused")) == hint
    persist.register(Noted, save=lambda value: [*value, vars(value)], restore=lambda state: Noted(state[0]))
    store.snapshot([noted], "x")
    assert store.restore("x") == [noted]

    counts = collections.Counter("a")
    counts.notes = 1  # type: ignore[attr-defined]
    assert hint_of(lambda: store.snapshot([counts], "refused")) == "delete the attribute, or save it separately"
    del counts.notes  # type: ignore[attr-defined]
    assert comes_back(counts) == counts

    @dataclasses.dataclass
    class Hidden:
        a: int

        def method(self) -> None: ...

    hidden = Hidden(1)
    hidden.method = 2  # type: ignore[assignment, method-assign]
    persist.register(Hidden)
    hint = hint_of(lambda: store.snapshot([hidden], "refused"))
    assert hint == "give the attribute another name, or register the class with save and restore"
    del hidden.method
    hidden.other = 2  # type: ignore[attr-defined]
    assert comes_back(hidden).other == 2

    del hidden.a
    assert hint_of(lambda: store.snapshot([hidden], "refused")) == "set the field first"
    hidden.a = 3
    assert comes_back(hidden) == hidden


def test_the_hints_for_cycles_and_depth_work() -> None:
    state: dict[str, Any] = {"name": "a"}
    state["self"] = state
    hint = "remove the circular reference, or save the index or name of what it refers to"
    assert hint_of(lambda: store.snapshot(state, "refused")) == hint
    state["self"] = state["name"]
    store.snapshot(state, "x", check=True)
    deep: list[Any] = []
    for _ in range(1001):
        deep = [deep]
    hint = "save flatter data, for example a list with references by index"
    assert hint_of(lambda: store.snapshot(deep, "refused")) == hint
    store.snapshot([None, *range(1000)], "x", check=True)


# ---- Hints of restores ------------------------------------------------------------


def test_the_hints_for_a_wrong_into_work() -> None:
    store.snapshot({"a": 1}, "x")
    assert hint_of(lambda: store.restore("x", into=pathlib.Path)) == "restore without into= to see what it holds"
    assert store.restore("x") == {"a": 1}
    hint = hint_of(lambda: store.restore("x", into=list[int]))
    assert hint == "pass a class, such as into=list, or an instance"
    store.snapshot([1], "x")
    assert store.restore("x", into=list) == [1]
    assert store.restore("x", into=[]) == [1]

    class Named(Protocol):
        name: str

    assert hint_of(lambda: store.restore("x", into=Named)) == "pass another class"
    store.snapshot({"nme": "a"}, "x")
    assert hint_of(lambda: store.restore("x", into=Tool)) == "restore with plain=True to see what it holds"
    assert store.restore("x", plain=True) == {"nme": "a"}


@pytest.mark.parametrize(
    "value",
    [
        *(1, "a", (1,), Color.RED, Pair(1), decimal.Decimal(1), uuid.UUID(int=1)),
        *(pathlib.Path("a"), fractions.Fraction(1, 2), pydantic.HttpUrl("http://a.b/")),
        *(collections.deque([1]), collections.Counter("a"), collections.OrderedDict(a=1), collections.defaultdict(int)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_hint_for_an_immutable_instance_works(value: Any) -> None:
    store.snapshot(value, "x")
    name = type(value).__name__
    before = repr(value)
    assert hint_of(lambda: store.restore("x", into=value)) == f"pass the class instead: into={name}"
    assert repr(value) == before
    assert store.restore("x", into=type(value)) == value


@dataclasses.dataclass
class Search(Tool):
    index: str = "a"


def test_the_hint_for_a_subclass_works() -> None:
    store.snapshot(Search("a"), "x")
    assert hint_of(lambda: store.restore("x", into=Tool("b"))) == "pass the class: into=Search"
    assert store.restore("x", into=Search) == Search("a")


def test_the_hint_for_an_unknown_class_works() -> None:
    @dataclasses.dataclass
    class Old:
        a: int

    persist.register(Old, name="test_hints.Gone")
    store.snapshot([Old(1)], "x")
    persist._registry._names.pop("test_hints.Gone")
    hint = hint_of(lambda: store.restore("x"))
    assert hint == (
        "import it and register it with persist.register(…, name='test_hints.Gone'), or restore with plain=True "
        "to get the data"
    )
    assert store.restore("x", plain=True) == [{"a": 1}]

    @dataclasses.dataclass
    class New:
        a: int

    persist.register(New, name="test_hints.Gone")
    assert store.restore("x") == [New(1)]


def test_the_hint_for_a_renamed_class_works() -> None:
    @dataclasses.dataclass
    class Old:
        a: int

    store.snapshot(Old(1), "x")

    @dataclasses.dataclass
    class New:
        a: int

    hint = hint_of(lambda: store.restore("x", into=New))
    written = f"{Old.__module__}.{Old.__qualname__}"
    assert hint == (
        f"if the class has a new name: persist.register(New, name={written!r}); "
        "or restore with plain=True to get the data"
    )
    assert store.restore("x", plain=True) == {"a": 1}
    persist.register(New, name=written)
    assert store.restore("x", into=New) == New(1)
