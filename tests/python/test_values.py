"""Values come back equal and with the same types, or are refused when they are saved."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import json
import math
import os
import pathlib
import struct
import uuid
from typing import Any, NamedTuple

import persist
import pytest
from craft import crafted
from effort import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

floats = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack(">d", bits.to_bytes(8, "big"))[0])
texts = st.text(st.characters(codec=None))
zones = st.one_of(
    st.none(), st.timedeltas(-datetime.timedelta(hours=23), datetime.timedelta(hours=23)).map(datetime.timezone)
)
kinds_of_paths = st.sampled_from([pathlib.Path, pathlib.PurePosixPath, pathlib.PureWindowsPath])
paths = st.builds(lambda cls, parts: cls(*parts), kinds_of_paths, st.lists(texts, max_size=4)).filter(
    lambda path: type(path)(str(path)).parts == path.parts
)
keys = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    floats.filter(lambda number: not math.isnan(number)),
    texts,
    st.sampled_from(["$persist", "value", "type"]),
    st.binary(max_size=10),
    st.dates(),
    st.uuids(),
    st.fractions(),
    paths,
    st.builds(complex, floats, floats).filter(lambda number: number == number),
)
scalars = st.one_of(
    keys,
    floats,
    st.integers(-(10**400), 10**400),
    st.binary().map(bytearray),
    st.datetimes(timezones=zones),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.builds(complex, floats, floats),
)
factories = st.sampled_from([None, *(int, list, dict, str, tuple, collections.Counter, collections.deque)])


def dicts(inner: Any) -> Any:
    """Returns a strategy for all kinds of dicts of the standard library."""
    plain = st.dictionaries(keys, inner, max_size=6)
    return st.one_of(
        plain,
        plain.map(collections.OrderedDict),
        st.builds(collections.defaultdict, factories, plain),
        st.dictionaries(keys, st.integers(), max_size=6).map(collections.Counter),
    )


values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=6).map(tuple),
        st.builds(collections.deque, st.lists(inner, max_size=6), st.one_of(st.none(), st.integers(0, 9))),
        dicts(inner),
        st.sets(keys, max_size=6),
        st.frozensets(keys, max_size=6),
    ),
    max_leaves=30,
)


def same(one: Any, other: Any) -> bool:
    """Returns whether two values are equal to the last bit, with the same types and order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack(">d", one) == struct.pack(">d", other)
    if isinstance(one, complex):
        return struct.pack(">dd", one.real, one.imag) == struct.pack(">dd", other.real, other.imag)
    if isinstance(one, pathlib.PurePath):
        return str(one) == str(other) and one.parts == other.parts
    if isinstance(one, collections.deque):
        return one.maxlen == other.maxlen and same(list(one), list(other))
    if isinstance(one, collections.defaultdict) and one.default_factory is not other.default_factory:
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (set, frozenset)):
        return bool(one == other) and sorted(map(repr, map(type, one))) == sorted(map(repr, map(type, other)))
    if isinstance(one, decimal.Decimal):
        return bool(one.as_tuple() == other.as_tuple())
    if isinstance(one, (datetime.datetime, datetime.time)):
        return bool(one == other) and one.utcoffset() == other.utcoffset() and one.fold == other.fold
    return bool(one == other)


@settings(max_examples=EXAMPLES, deadline=None)
@given(values)
def test_every_value_comes_back(value: Any) -> None:
    store = persist.Store("memory://values")
    store.snapshot(value, "x.json.gz", level=1)
    restored = store.restore("x.json.gz")
    assert same(value, restored), restored


@pytest.mark.parametrize(
    "wrap", [lambda value: [value], lambda value: {"a": value}, lambda value: (value,), lambda value: {1: value}]
)
def test_deep_values_come_back(wrap: Any) -> None:
    value: Any = None
    for _ in range(500):
        value = wrap(value)
    store = persist.Store("memory://values")
    store.snapshot(value, "deep")
    assert store.restore("deep") == value
    for _ in range(600):
        value = wrap(value)
    with pytest.raises(persist.PersistTypeError, match="levels deep"):
        store.snapshot(value, "deep")
    for _ in range(100):
        value = {"a": value}
    with pytest.raises(persist.PersistTypeError, match=r"levels deep \(an instance counts as two\), at"):
        store.snapshot(value, "deep")
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(persist.PersistTypeError, match="contains itself"):
        store.snapshot(loop, "deep")


class Alike:
    """A class whose instances all have the same hash."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike) and other.number == self.number

    def __persist_state__(self) -> int:
        return self.number

    @classmethod
    def __persist_restore__(cls, state: Any) -> Alike:
        return cls(state)


def test_what_would_be_slow_to_restore_is_refused() -> None:
    persist.register(Alike)
    store = persist.Store("memory://values")
    few = {Alike(number) for number in range(256)}
    store.snapshot({"few": few, "keys": dict.fromkeys(few)}, "few", check=True)
    assert store.restore("few") == {"few": few, "keys": dict.fromkeys(few)}
    many = {*few, Alike(256)}
    for kind, value in (("set", many), ("frozenset", frozenset(many)), ("dict", dict.fromkeys(many))):
        with pytest.raises(
            persist.PersistTypeError, match=rf"more than 256 values of a {kind} have the same hash.*state"
        ):
            store.snapshot({"a": [value]}, "many")


class Word(str):
    pass


@persist.register
class Point(NamedTuple):
    x: int


@pytest.mark.parametrize("value", [object(), Word("x"), range(3), len, ..., memoryview(b"x"), type, uuid])
def test_a_value_that_cannot_be_saved_is_refused(value: Any) -> None:
    store = persist.Store("memory://values")
    with pytest.raises(persist.PersistTypeError) as refused:
        store.snapshot({"a": [1, value]}, "refused")
    assert "at state['a'][1]" in str(refused.value)
    assert refused.value.hint
    assert not store.exists("refused")


def test_zcat_shows_the_documented_forms() -> None:
    """These forms are in docs/python.md."""
    counts = collections.defaultdict(list, {"a": [1]})
    state = [pathlib.PurePosixPath("a/b"), 1j, fractions.Fraction(1, 3), collections.deque([1], 2), counts]
    store = persist.Store("memory://values")
    store.snapshot([*state, collections.OrderedDict(a=1), collections.Counter("aa")], "x")
    assert json.loads(store.load_bytes("x")) == [
        {"$persist": "path", "type": "PurePosixPath", "value": "a/b"},
        {"$persist": "complex", "value": [0.0, 1.0]},
        {"$persist": "fraction", "value": [1, 3]},
        {"$persist": "deque", "maxlen": 2, "value": [1]},
        {"$persist": "defaultdict", "factory": "list", "value": {"a": [1]}},
        {"$persist": "ordereddict", "value": {"a": 1}},
        {"$persist": "counter", "value": {"a": 2}},
    ]


def test_each_value_can_be_the_whole_state_and_into_its_class() -> None:
    store = persist.Store("memory://values")
    wholes: list[Any] = [
        pathlib.Path("a"),
        fractions.Fraction(-7, 3),
        complex(-0.0, math.inf),
        collections.deque([{"a": collections.deque()}], maxlen=3),
        collections.OrderedDict([("b", 1), ("a", 2)]),
        collections.defaultdict(set, {1: {2}}),
        collections.Counter({"a": -1, (1, 2): 0}),
    ]
    for value in wholes:
        store.snapshot(value, "x", check=True)
        assert same(store.restore("x", into=type(value)), value)
        assert same(store.restore("x"), value)
        with pytest.raises(persist.PersistTypeError, match="not a UUID"):
            store.restore("x", into=uuid.UUID)


class Noted(collections.OrderedDict[str, int]):
    pass


def noted() -> Any:
    counts = collections.Counter("ab")
    counts.notes = 1  # type: ignore[attr-defined]
    return counts


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (collections.defaultdict(lambda: 0), "its factory .*<lambda> is part of the program's code"),
        (collections.defaultdict(Noted), "its factory Noted is part of the program's code"),
        (collections.defaultdict(uuid.uuid4), "its factory uuid4 is part of the program's code"),
        (noted(), "its attribute notes would be lost"),
        (fractions.Fraction(1, 1 << 20_000), "its parts have more than 16384 bits"),
        (Noted(), "type .*Noted can't be saved"),
    ],
)
def test_collections_that_cannot_be_saved_are_refused(value: Any, says: str) -> None:
    store = persist.Store("memory://values")
    with pytest.raises(persist.PersistTypeError, match=says) as refused:
        store.snapshot({"a": [collections.deque([{"b": value}])]}, "refused")
    assert str(refused.value).endswith("at state['a'][0][0]['b']")
    assert refused.value.hint


def test_the_error_says_where_in_a_collection_a_value_is() -> None:
    store = persist.Store("memory://values")
    for value, place in [
        (collections.OrderedDict(a=[object()]), "state['a'][0]"),
        (collections.defaultdict(list, {1: [object()]}), "state[1][0]"),
        (collections.deque([0, object()]), "state[1]"),
    ]:
        with pytest.raises(persist.PersistTypeError) as refused:
            store.snapshot(value, "refused")
        assert refused.value.message.endswith(f"can't be saved, at {place}")


def test_a_path_of_another_system_is_refused() -> None:
    is_windows = os.name == "nt"
    foreign = "PosixPath" if is_windows else "WindowsPath"
    pure = pathlib.PurePosixPath if is_windows else pathlib.PureWindowsPath
    crafted([{"$persist": "path", "type": foreign, "value": "a"}], "x")
    with pytest.raises(persist.PersistTypeError, match=f"{foreign}, which this system does not have") as refused:
        persist.restore("x")
    assert refused.value.hint == f"restore with plain=True to get it as a Pure{foreign}"
    assert same(persist.restore("x", plain=True), [pure("a")])


def test_plain_dicts_with_instances_as_keys_are_lists() -> None:
    store = persist.Store("memory://values")
    for made in (collections.OrderedDict, collections.Counter, lambda entries: collections.defaultdict(int, entries)):
        store.snapshot(made({Point(1): 2}), "x")
        assert store.restore("x", plain=True) == [[[1], 2]]


def test_a_state_larger_than_max_size_is_refused() -> None:
    persist.snapshot(["a" * 1000], "x")
    assert persist.restore("x", max_size=1004) == ["a" * 1000]
    with pytest.raises(persist.PersistMemoryLimitError, match="1004 bytes, but max_size is 1003") as limit:
        persist.restore("x", max_size=1003)
    assert limit.value.hint
    with pytest.raises(persist.PersistTypeError, match="max_size must be a number of bytes"):
        persist.restore("x", max_size="1 GiB")  # type: ignore[call-overload]
