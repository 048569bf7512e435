"""Arrays and scalars of numpy come back to the last bit and with the same types, or are
refused.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import numpy
import persist
import pytest
from craft import crafted
from effort import EXAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

store = persist.Store("memory://arrays")

types = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(),
    arrays.unsigned_integer_dtypes(),
    arrays.floating_dtypes(sizes=(16, 32, 64)),
    arrays.complex_number_dtypes(sizes=(64, 128)),
    arrays.datetime64_dtypes(),
    arrays.timedelta64_dtypes(),
    arrays.byte_string_dtypes(),
    arrays.unicode_string_dtypes(),
)


def same(one: Any, other: Any) -> bool:
    """Returns whether two arrays have the same class, type, shape, order and bits."""
    flags = [(array.flags.c_contiguous, array.flags.f_contiguous, array.dtype.str) for array in (one, other)]
    is_same = type(one) is type(other) and one.shape == other.shape and flags[0] == flags[1]
    return is_same and one.tobytes() == other.tobytes()


@settings(max_examples=EXAMPLES // 5, deadline=None)
@given(arrays.arrays(types, arrays.array_shapes(min_dims=0, min_side=0, max_side=4)), st.sampled_from("CF"))
def test_every_array_comes_back(array: Any, order: Any) -> None:
    array = array.copy(order)
    store.snapshot({"a": [array]}, "x", level=1)
    restored = store.restore("x")["a"][0]
    assert same(array, restored)
    assert restored.flags.writeable
    assert restored.flags.owndata


def test_an_array_may_be_the_whole_state() -> None:
    array = numpy.arange(6).reshape(2, 3)
    for part in (array, array.T, array[:, ::2], array[1, 1:2], numpy.array(7.5), array[:0]):
        store.snapshot(part, "x", check=True)
        restored = store.restore("x", into=numpy.ndarray)
        assert numpy.array_equal(restored, part)
        assert (restored.shape, restored.dtype) == (part.shape, part.dtype)
    store.snapshot(numpy.array([[1, 2]], dtype=">i2"), "x")
    assert json.loads(store.load_bytes("x")) == {
        "$persist": "ndarray",
        "dtype": ">i2",
        "shape": [1, 2],
        "value": {"$persist": "bytes", "value": "AAEAAg=="},
    }


SCALARS = [
    *(numpy.bool_(True), numpy.bool_(False), numpy.int8(-128), numpy.uint64(2**64 - 1), numpy.int64(-(2**63))),
    *(numpy.float16(0.1), numpy.float32(0.1), numpy.float64(0.1), numpy.float64("nan"), numpy.float32("-inf")),
    *(numpy.float64(-0.0), numpy.complex64(1 + 2j), numpy.complex128(complex(-0.0, float("nan")))),
    *(numpy.str_("ä\0"), numpy.str_(""), numpy.bytes_(b"a\0"), numpy.bytes_(b"")),
    *(numpy.datetime64("2026-01-31T12:00:00", ("s", 25)), numpy.datetime64("NaT"), numpy.timedelta64(3, "ns")),
]


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_every_scalar_comes_back(value: Any) -> None:
    store.snapshot(value, "x", check=True)
    for restored in (store.restore("x"), store.restore("x", into=type(value))):
        assert type(restored) is type(value)
        assert restored.dtype == value.dtype
        assert restored == value or (restored != restored and value != value)
        if isinstance(value, (numpy.floating, numpy.complexfloating)):
            assert restored.tobytes() == value.tobytes()
    if value == value:
        store.snapshot({"keys": {value: 1}, "set": {value}}, "x")
        assert [type(key) for key in store.restore("x")["keys"]] == [type(value)]
        assert store.restore("x")["set"] == {value}


def test_a_scalar_is_written_as_its_plain_value() -> None:
    store.snapshot([numpy.float32(0.5), numpy.datetime64(1, "ns"), numpy.bool_(True)], "x")
    assert json.loads(store.load_bytes("x")) == [
        {"$persist": "numpy", "type": "float32", "value": 0.5},
        {"$persist": "numpy", "type": "datetime64[ns]", "value": 1},
        {"$persist": "numpy", "type": "bool", "value": True},
    ]


# ---- What can't be saved, and its hint ------------------------------------------


def test_an_array_of_objects_is_refused() -> None:
    array = numpy.array([{"a": 1}, None], dtype=object)
    refused(array, "a numpy array of type object")
    kept(array.tolist())


def test_an_array_with_fields_is_refused() -> None:
    array = numpy.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])
    refused(array, "a numpy array with fields")
    kept({name: array[name] for name in array.dtype.names or ()})
    refused(array[0], "a numpy scalar of class void")
    kept(array[0].item())


def test_extended_precision_is_refused() -> None:
    for cls, plain, other in [
        (numpy.longdouble, float, numpy.float64),
        (numpy.clongdouble, complex, numpy.complex128),
    ]:
        refused(numpy.zeros(2, cls), "because that type differs between machines", f"astype(numpy.{other.__name__})")
        kept(numpy.zeros(2, cls).astype(other))
        refused(cls(1), "because that type differs between machines", f"{plain.__name__}(value)")
        kept(plain(cls(1)))


def test_an_integer_type_with_the_name_of_another_is_refused() -> None:
    values = [cls(1) for cls in (numpy.longlong, numpy.intc, numpy.int_, numpy.ulonglong)]
    names = [value.dtype.name for value in values]
    others = [value for value, name in zip(values, names, strict=True) if type(value) is not getattr(numpy, name)]
    assert others
    for value in others:
        refused(value, f"a numpy scalar of class {type(value).__name__}", f"numpy.{value.dtype.name}(value)")
        kept(getattr(numpy, value.dtype.name)(value))


def test_subclasses_of_arrays_are_refused() -> None:
    masked = numpy.ma.masked_array([1, 2], mask=[True, False])
    refused(masked, "of class Masked")
    kept([numpy.ma.getdata(masked), numpy.ma.getmaskarray(masked)])
    records = numpy.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])
    refused(records, "a numpy array with fields")
    kept({name: records[name] for name in records.dtype.names or ()})
    for array in (numpy.asmatrix([[1]]), numpy.memmap("numbers", dtype="u1", mode="w+", shape=3)):
        refused(array, f"of class {type(array).__name__}", "numpy.asarray(array)")
        kept(numpy.asarray(array))


def test_void_and_variable_width_strings_are_refused() -> None:
    void = numpy.array([b"abc"], dtype="V3")
    refused(void, "a numpy array of type |V3", "array.tolist()")
    kept(void.tolist())
    refused(void[0], "a numpy scalar of class void", "value.item()")
    kept(void[0].item())
    if hasattr(numpy.dtypes, "StringDType"):  # Since numpy 2.
        texts = numpy.array(["a", "bb"], dtype=numpy.dtypes.StringDType())
        refused(texts, "a numpy array of type StringDType", "array.tolist()")
        kept(texts.tolist())


def refused(value: Any, says: str, hint: str = "") -> None:
    with pytest.raises(persist.PersistTypeError) as error:
        store.snapshot({"a": [value]}, "refused")
    assert says in str(error.value)
    said = r"a numpy .+ can't be saved(, because that type differs between machines)?, at state\['a'\]\[0\]$"
    assert re.search(said, str(error.value))
    assert hint in (error.value.hint or "")


def kept(value: Any) -> None:
    """Checks that what a hint advises works."""
    store.snapshot({"a": [value]}, "x", check=True)


# ---- Crafted states ---------------------------------------------------------------

DATA = {"$persist": "bytes", "value": "AAAAAAAAAAA="}
RIGHT: dict[str, Any] = {"$persist": "ndarray", "dtype": "<u2", "shape": [2, 2], "value": DATA}


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": [1 << 40]},
        {"shape": [1 << 62, 1 << 62]},
        {"shape": [-2, -2]},
        {"shape": [0, 1 << 62]},
        {"shape": [10**30]},
        {"shape": [2, 2.0]},
        {"shape": [True, 4]},
        {"shape": 4},
        {"shape": [1] * 65},
        {"shape": []},
        {"shape": [3]},
        {"dtype": "O"},
        {"dtype": "|O"},
        {"dtype": "<u2,<u2"},
        {"dtype": "object"},
        {"dtype": "<U0"},
        {"dtype": "|S0", "shape": [1 << 40]},
        {"dtype": "|V8", "shape": [1]},
        {"dtype": "<f16"},
        {"dtype": "<U99999999999"},
        {"dtype": "<m8[0s]", "shape": [1]},
        {"dtype": "<M8[x]", "shape": [1]},
        {"dtype": ["<u2"]},
        {"dtype": None},
        {"dtype": "<u2\n"},
        {"order": "K"},
        {"value": "AAAAAAAAAAA="},
        {"value": [0, 0, 0, 0]},
        {"value": {"$persist": "bytearray", "value": "AAAAAAAAAAA="}},
        {"dtype": "|b1", "shape": [2, 4], "value": {"$persist": "bytes", "value": "AgAAAAAAAAA="}},
        {"dtype": "<U2", "shape": [1], "value": {"$persist": "bytes", "value": "//////////8="}},
    ],
    ids=str,
)
def test_an_invalid_array_is_refused(fields: dict[str, Any]) -> None:
    crafted([RIGHT])
    assert persist.restore("crafted")[0].tolist() == [[0, 0], [0, 0]]
    crafted([{**RIGHT, **fields}])
    with pytest.raises(persist.PersistIntegrityError, match="ndarray"):
        persist.restore("crafted")
    assert persist.restore("crafted", plain=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "int8", "value": 128},
        {"type": "uint8", "value": -1},
        {"type": "int64", "value": 1 << 64},
        {"type": "int64", "value": 1.5},
        {"type": "int64", "value": True},
        {"type": "float32", "value": 1},
        {"type": "float32", "value": 1e300},
        {"type": "float16", "value": 0.1},
        {"type": "bool", "value": 1},
        {"type": "str", "value": 1},
        {"type": "datetime64[ns]", "value": 1 << 63},
        {"type": "datetime64[ns]", "value": 1.0},
        {"type": "datetime64[ns]]", "value": 1},
        {"type": "object_", "value": 1},
        {"type": "load", "value": "x.npy"},
        {"type": "longdouble", "value": 1.0},
        {"type": ["int8"], "value": 1},
        {"type": "int8"},
        {"value": 1},
    ],
    ids=str,
)
def test_an_invalid_scalar_is_refused(fields: dict[str, Any]) -> None:
    crafted([{"$persist": "numpy", **fields}])
    with pytest.raises(persist.PersistIntegrityError, match="numpy"):
        persist.restore("crafted")


def test_restoring_never_imports_numpy() -> None:
    persist.snapshot({"a": numpy.arange(2), "b": numpy.float64(0.5)}, "x")
    program = """
import sys
import persist
try:
    persist.restore("x")
except persist.PersistConfigurationError as error:
    assert "a numpy array, but this program has not imported numpy" in str(error), error
    assert error.hint.startswith("import numpy first"), error.hint
    assert "numpy" not in sys.modules
plain = persist.restore("x", plain=True)
assert plain == {"a": {"dtype": "<i8", "shape": [2], "value": bytes(8) + b"\\1" + bytes(7)}, "b": 0.5}, plain
assert "numpy" not in sys.modules
import numpy
assert persist.restore("x")["a"].tolist() == [0, 1]
sys.modules["numpy"] = None
try:
    persist.restore("x")
except persist.PersistConfigurationError as error:
    assert "but numpy is not installed" in str(error), error
    assert error.hint.startswith("pip install numpy and import it, or"), error.hint
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
