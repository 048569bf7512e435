"""Values come back equal and of the same types, or are refused when saved."""

from __future__ import annotations

import datetime
import decimal
import math
import os
import struct
import uuid
from typing import Any

import persist
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

floats = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack(">d", bits.to_bytes(8, "big"))[0])
texts = st.text(st.characters(codec=None))
zones = st.one_of(
    st.none(), st.timedeltas(-datetime.timedelta(hours=23), datetime.timedelta(hours=23)).map(datetime.timezone)
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
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=6).map(tuple),
        st.dictionaries(keys, inner, max_size=6),
        st.sets(keys, max_size=6),
        st.frozensets(keys, max_size=6),
    ),
    max_leaves=30,
)


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types, to the last bit and in the same order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack(">d", one) == struct.pack(">d", other)
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


EXAMPLES = int(os.environ.get("PERSIST_TEST_EXAMPLES", "10000"))


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
    with pytest.raises(persist.PersistTypeError, match=r"levels deep, of which an instance takes two, at"):
        store.snapshot(value, "deep")
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(persist.PersistTypeError, match="contains itself"):
        store.snapshot(loop, "deep")


class Alike:
    """All have one hash."""

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


@pytest.mark.parametrize("value", [object(), Word("x"), range(3), len, ..., 1j, memoryview(b"x"), type, uuid])
def test_what_can_not_be_kept_is_refused(value: Any) -> None:
    store = persist.Store("memory://values")
    with pytest.raises(persist.PersistTypeError) as refused:
        store.snapshot({"a": [1, value]}, "refused")
    assert "at state['a'][1]" in str(refused.value)
    assert refused.value.hint
    assert not store.exists("refused")
