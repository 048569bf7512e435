"""States crafted by somebody who knows how values are written: they are refused, run no code,
and take no more time or memory than their size justifies.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import copy
import importlib
import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy
import persist
import pydantic
import pytest
from craft import crafted
from effort import EXAMPLES

pandas: Any = importlib.import_module("pandas")


LONG = {"$persist": "int", "value": "f" * 5000}

WRONG: dict[str, list[dict[str, Any]]] = {
    "complex": [
        {"value": [1, 2]},
        {"value": [1.0]},
        {"value": [1.0, 2.0, 3.0]},
        {"value": ["1", "2"]},
        {"value": 1.0},
        {},
    ],
    "fraction": [
        *({"value": [1, 0]}, {"value": [1.0, 2]}, {"value": [True, 1]}, {"value": [LONG, 1]}, {"value": [1, LONG]}),
        *({"value": "1/2"}, {"value": [1]}, {}),
    ],
    "path": [
        *(
            {"type": "Path", "value": "a"},
            {"type": "os", "value": "a"},
            {"type": "PosixPath", "value": 1},
            {"value": "a"},
        ),
        *({"type": "PurePosixPath", "value": ["a", "b"]}, {"type": ["PurePosixPath"], "value": "a"}, {}),
    ],
    "deque": [
        *({"value": [1, 2], "maxlen": 1}, {"value": [], "maxlen": -1}, {"value": [], "maxlen": 1.0}, {"value": "ab"}),
        *({"value": [], "maxlen": True}, {"value": [], "maxlen": 1 << 80}, {"value": {"a": 1}}, {}),
    ],
    "defaultdict": [
        *({"factory": "eval", "value": {}}, {"factory": "os.system", "value": {}}, {"factory": 1, "value": {}}),
        *(
            {"factory": ["list"], "value": {}},
            {"factory": "__import__", "value": {}},
            {"value": {}},
            {"factory": "list"},
        ),
        *({"factory": "list", "value": []}, {"factory": "list", "value": [[1, 2]]}, {"factory": "object", "value": {}}),
    ],
    "ordereddict": [{"value": []}, {"value": [["a", 1]]}, {"value": "ab"}, {"value": 1}, {}],
    "counter": [{"value": []}, {"value": "aab"}, {"value": ["a", "a"]}, {"value": None}, {}],
}


@pytest.mark.parametrize(
    ("kind", "fields"), [(kind, fields) for kind, cases in WRONG.items() for fields in cases], ids=str
)
def test_an_invalid_value_is_refused(kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(persist.PersistIntegrityError, match=f"not a valid value: it holds an? .*{kind}"):
        persist.restore(crafted([{"$persist": kind, **fields}]))


def test_a_long_fraction_is_refused_quickly() -> None:
    """Reducing a fraction of ten million digits would take minutes."""
    number = {"$persist": "int", "value": "f" * 10_000_000}
    began = time.monotonic()
    with pytest.raises(persist.PersistIntegrityError, match="fraction"):
        persist.restore(crafted({"$persist": "fraction", "value": [number, number]}))
    assert time.monotonic() - began < 5


def test_a_long_fraction_beside_a_decimal_is_refused() -> None:
    """To compare them, Python would convert the integer to base 10."""
    number = (1 << 16_000) + (12345 - (1 << 16_000)) % (2**61 - 1)
    decimal = {"$persist": "decimal", "value": "12345"}
    fraction = {"$persist": "fraction", "value": [{"$persist": "int", "value": f"{number:x}"}, 1]}
    with pytest.raises(persist.PersistIntegrityError, match="a long integer and a decimal number in a set"):
        persist.restore(crafted({"$persist": "set", "value": [decimal, fraction]}))


def test_a_long_integer_beside_a_decimal_is_refused() -> None:
    number = 1 << 1_000_000
    number += (12345 - number) % (2**61 - 1)
    decimal = {"$persist": "decimal", "value": "12345"}
    state = {"$persist": "set", "value": [decimal, {"$persist": "int", "value": f"{number:x}"}]}
    began = time.monotonic()
    with pytest.raises(persist.PersistIntegrityError, match="a long integer and a decimal number in a set"):
        persist.restore(crafted(state))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", ["set", "frozenset", "dict"])
def test_colliding_hashes_are_refused(kind: str) -> None:
    numbers = [n * (2**61 - 1) for n in range(20_000)]
    makers: dict[str, Any] = {"set": set, "frozenset": frozenset, "dict": dict.fromkeys}
    state = makers[kind](numbers[:256])
    persist.snapshot({"a": state}, "x")
    assert persist.restore("x") == {"a": state}
    items = [[number, None] for number in numbers] if kind == "dict" else numbers
    with pytest.raises(persist.PersistIntegrityError, match="have the same hash"):
        persist.restore(crafted({"$persist": kind, "value": items}))


@pytest.mark.parametrize("kind", ["ordereddict", "counter", "defaultdict"])
def test_colliding_hashes_in_other_dicts_are_refused(kind: str) -> None:
    entries = [[n * (2**61 - 1), 1] for n in range(1000)]
    state = {"$persist": kind, "factory": None, "value": {"$persist": "dict", "value": entries}}
    with pytest.raises(persist.PersistIntegrityError, match="have the same hash"):
        persist.restore(crafted(state))


# ---- Random changes ---------------------------------------------------------------


def examples() -> list[Any]:
    frame = pandas.DataFrame(
        {"a": [1, 2], "b": ["x", None], "c": [[1], {}], "d": pandas.Categorical(["x", "y"])},
        index=pandas.date_range("2026", periods=2, freq="D"),
    )
    levels = pandas.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", "y"])
    return [
        frame,
        frame["b"],
        pandas.Series([1.5, 2, 3, 4], index=levels, name=("a", 1)),
        numpy.arange(6, dtype=">i2").reshape(2, 3).T,
        numpy.array(["a", "bc"]),
        [numpy.float32(0.5), numpy.datetime64(1, "ns"), numpy.str_("a"), numpy.complex64(1j)],
        collections.deque([1, {"a": 1j}], maxlen=3),
        collections.defaultdict(list, {1: collections.OrderedDict(a=collections.Counter("ab"))}),
        pydantic.HttpUrl("http://a.b/"),
    ]


ATOMS: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    1 << 31,
    1 << 62,
    1 << 80,
    1.5,
    1e308,
    "",
    "a",
    "<i8",
    "list",
    "RangeIndex",
    [],
    {},
    [[]],
]


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields every place in a value that can be changed: its container and its key."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from spots(item)


def changed(chance: random.Random, state: Any) -> Any:
    state = copy.deepcopy(state)
    for _ in range(chance.choice([1, 1, 2, 3])):
        found = list(spots(state))
        if not found:
            break
        inside, key = chance.choice(found)
        old = inside[key]
        if isinstance(old, str) and len(old) > 100:
            data = bytearray(base64.b64decode(old))
            at = chance.randrange(len(data))
            if chance.random() < 0.2:
                del data[at:]
            else:
                # Arrow's numbers are aligned to four bytes, and mostly to eight.
                number = chance.choice([-1, 0, 1, 8, 1 << 20, 1 << 31, 1 << 40, 1 << 62, len(data)])
                size = chance.choice([1, 4, 8])
                data[at - at % size : at - at % size + size] = number.to_bytes(9, "little", signed=True)[:size]
            inside[key] = base64.b64encode(data).decode()
        elif chance.random() < 0.2 and isinstance(inside, dict) and key != "$persist":
            del inside[key]
        else:
            inside[key] = copy.deepcopy(chance.choice([*ATOMS, chance.choice(found)[0]]))
    return state


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(len(examples())))
def test_random_changes_of_states_are_refused_or_harmless(number: int) -> None:
    store = persist.Store("memory://crafted")
    store.snapshot([examples()[number]], "x", check=True)
    right = json.loads(store.load_bytes("x"))
    chance = random.Random(number)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = set(sys.modules)
    refused, longest = 0, 0.0
    for _ in range(EXAMPLES):
        state = changed(chance, right)
        began = time.monotonic()
        try:
            persist.restore(crafted(state))
        except (persist.PersistIntegrityError, persist.PersistConfigurationError):
            refused += 1
        longest = max(longest, time.monotonic() - began)
        with contextlib.suppress(persist.PersistIntegrityError):
            persist.restore(crafted(state), plain=True)
    assert refused > 100
    assert longest < 5
    # ru_maxrss is in kibibytes on Linux and in bytes on macOS.
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < (300 << 10) * (1 if sys.platform == "linux" else 1024)
    # A frequency or a time zone may load more modules of pandas and Python.
    names = {name.partition(".")[0] for name in set(sys.modules) - loaded}
    assert names <= {"pandas", "pyarrow", "numpy", "dateutil", "pytz", "zoneinfo", "_zoneinfo", "tzdata"}
