"""Data frames, series and indexes of pandas come back equal and of the same types, or
are refused.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import importlib
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy
import persist
import pytest

# Neither has types.
pandas: Any = importlib.import_module("pandas")
pyarrow: Any = importlib.import_module("pyarrow")

store = persist.Store("memory://frames")

IS_3 = int(pandas.__version__.partition(".")[0]) >= 3


def same(one: Any, other: Any) -> None:
    """Fails unless two values of pandas are the same."""
    assert type(one) is type(other)
    if isinstance(one, pandas.DataFrame):
        pandas.testing.assert_frame_equal(
            one, other, check_exact=True, check_index_type="exact", check_column_type="exact", check_freq=True
        )
        assert [list(map(type, one.iloc[:, at])) for at in range(len(one.columns))] == [
            list(map(type, other.iloc[:, at])) for at in range(len(one.columns))
        ]
    elif isinstance(one, pandas.Series):
        pandas.testing.assert_series_equal(one, other, check_exact=True, check_index_type="exact", check_freq=True)
        assert list(map(type, one)) == list(map(type, other))
        assert type(one.name) is type(other.name)
    else:
        pandas.testing.assert_index_equal(one, other, exact=True)
        assert getattr(one, "freq", None) == getattr(other, "freq", None)
        assert list(map(type, one.names)) == list(map(type, other.names))
    if not isinstance(one, pandas.Index):
        assert one.attrs == other.attrs


SERIES: dict[str, Callable[[], Any]] = {
    "bool": lambda: pandas.Series([True, False]),
    "numbers": lambda: pandas.Series([1, -2], dtype="int16", name="n"),
    "floats": lambda: pandas.Series([1.5, float("nan"), -0.0, float("inf")], dtype="float32"),
    "half": lambda: pandas.Series([0.5, 2], dtype="float16"),
    "texts": lambda: pandas.Series(["a", None, "ä"]),
    "texts, nullable": lambda: pandas.Series(["a", None], dtype="string"),
    "nullable": lambda: pandas.Series([1, None], dtype="Int64"),
    "nullable bool": lambda: pandas.Series([True, None], dtype="boolean"),
    "nullable floats": lambda: pandas.Series([1.5, None], dtype="Float32"),
    "arrow": lambda: pandas.Series([1, None], dtype="int64[pyarrow]"),
    "categories": lambda: pandas.Series(pandas.Categorical(["b", "a", None], categories=["b", "a", "c"], ordered=True)),
    "categories of numbers": lambda: pandas.Series(pandas.Categorical([2, 1])),
    "no categories": lambda: pandas.Series(pandas.Categorical([None, None])),
    "moments": lambda: pandas.Series(pandas.to_datetime(["2026-01-31T12:00:00.123456789", None])),
    "moments, in seconds": lambda: pandas.Series(["2026-01-31"], dtype="datetime64[s]"),
    "moments in a zone": lambda: pandas.Series(pandas.date_range("2026-03-28", periods=3, tz="Europe/Berlin")),
    "moments in Python's UTC": lambda: pandas.Series(pandas.date_range("2026", periods=2, tz=datetime.timezone.utc)),
    "durations": lambda: pandas.Series(pandas.to_timedelta([1, None], unit="ms")),
    "objects": lambda: pandas.Series([1, None, "a", float("nan"), (1, 2), [1, [2]], {"a": b"b"}], dtype=object),
    "dates": lambda: pandas.Series([datetime.date(2026, 1, 31), decimal.Decimal("1.10")], dtype=object),
    "lists of one length": lambda: pandas.Series([[1, 2], [3, 4]]),
    "nothing": lambda: pandas.Series([], dtype="int64"),
    "no objects": lambda: pandas.Series([], dtype=object),
    "named by a tuple": lambda: pandas.Series([1], name=("a", 1)),
    "a part": lambda: pandas.Series(range(10), index=range(10))[2:8:3],
    "a part of texts": lambda: pandas.Series(list("abcdefghij"))[3:5],
}

AT_AN_OFFSET = pandas.Series(pandas.date_range("2026", periods=2, tz=datetime.timezone(datetime.timedelta(hours=-3))))
if IS_3:
    SERIES["moments at an offset"] = AT_AN_OFFSET.copy

INDEXES: dict[str, Callable[[], Any]] = {
    "numbers": lambda: pandas.Index([3, 1], name="n"),
    "texts": lambda: pandas.Index(["a", "b"]),
    "objects": lambda: pandas.Index(["a", 1, (2, 3)], dtype=object),
    "a range": lambda: pandas.RangeIndex(5, -5, -2, name="r"),
    "days": lambda: pandas.date_range("2026-01-01", periods=4, freq="D", name="d"),
    "days of work in a zone": lambda: pandas.date_range("2026-01-01", periods=4, freq="B", tz="UTC"),
    "moments": lambda: pandas.DatetimeIndex(["2026-01-01", "2026-01-05", "2026-01-06"]),
    "durations": lambda: pandas.timedelta_range("1s", periods=3, freq="2s"),
    "categories": lambda: pandas.CategoricalIndex(["a", "b", "a"]),
    "nullable": lambda: pandas.Index([1, None], dtype="Int64"),
    "levels": lambda: pandas.MultiIndex.from_product([["a", "b"], range(2)], names=["x", None]),
    "levels of moments": lambda: pandas.MultiIndex.from_arrays([pandas.date_range("2026", periods=2), [1.5, 2]]),
    "levels of objects": lambda: pandas.MultiIndex.from_tuples([("a", None), (1, "b")]),
}


@pytest.mark.parametrize("make", SERIES.values(), ids=SERIES)
def test_every_series_comes_back(make: Callable[[], Any]) -> None:
    series = make()
    series.attrs["unit"] = "m"
    store.snapshot(series, "x", check=True)
    same(store.restore("x", into=pandas.Series), series)
    frame = pandas.DataFrame({"a": series, 1: series.copy()})
    store.snapshot({"frames": [frame]}, "x", check=True)
    same(store.restore("x")["frames"][0], frame)


@pytest.mark.parametrize("make", INDEXES.values(), ids=INDEXES)
def test_every_index_comes_back(make: Callable[[], Any]) -> None:
    index = make()
    store.snapshot(index, "x", check=True)
    same(store.restore("x", into=type(index)), index)
    numbers = list(range(len(index)))
    for frame in (pandas.DataFrame({"a": numbers}, index=index), pandas.DataFrame([numbers], columns=index)):
        store.snapshot([frame], "x", check=True)
        same(store.restore("x")[0], frame)


def test_frames_of_every_kind() -> None:
    frames = [
        pandas.DataFrame(),
        pandas.DataFrame(index=[1, 2]),
        pandas.DataFrame(columns=["a", "b"]),
        pandas.DataFrame(numpy.arange(6.0).reshape(2, 3)),
        pandas.DataFrame([[1, 2.5, "a"]], columns=["a", "a", "b"]),
        pandas.DataFrame({"a": [None, None], "b": [1, "x"]}, dtype=object),
        pandas.DataFrame({"a": pandas.Series([1], dtype=object), "b": 1, "c": pandas.Series(["x"], dtype=object)}),
        pandas.DataFrame({name: make().reset_index(drop=True) for name, make in SERIES.items()}),
    ]
    for frame in frames:
        frame.attrs = {"source": ("a", 1)}
        store.snapshot(frame, "x", check=True)
        same(store.restore("x", into=pandas.DataFrame), frame)


def test_what_comes_back_can_be_changed() -> None:
    store.snapshot(pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "x")
    restored = store.restore("x", into=pandas.DataFrame)
    restored.loc[2] = [3, "z"]
    restored["c"] = restored["a"] * 2
    assert restored["c"].tolist() == [2, 4, 6]


# ---- What can not be kept, and what the hint says ------------------------------


TEXT, LIST = "save such values as text: .astype(str)", "save such values as a list: .tolist()"

UNKEPT: list[tuple[Any, str]] = [
    (pandas.Series(pandas.date_range("2026", periods=2, tz="dateutil/Europe/Berlin")), TEXT),
    (pandas.Series(pandas.period_range("2026", periods=2)), TEXT),
    (pandas.Series(pandas.interval_range(0, 2)), TEXT),
    (pandas.Series(pandas.cut([1, 2], 2)), TEXT),
    (pandas.Series(pandas.arrays.SparseArray([0, 1])), LIST),
    (pandas.Series([1j]), LIST),
    (pandas.Series(pandas.Categorical([(1, 2), (3, 4)])), LIST),
    (pandas.Series(pandas.Categorical([1, "a"])), LIST),
    (pandas.Series(pandas.Categorical([datetime.date(2026, 1, 1)])), LIST),
    (pandas.Series([[1]], dtype=pandas.ArrowDtype(pyarrow.list_(pyarrow.int64()))), LIST),
    (pandas.Series(["a"], dtype=pandas.ArrowDtype(pyarrow.string())), LIST),
]


if not IS_3:  # pyarrow gives pandas 2 a time zone of pytz.
    UNKEPT.append((AT_AN_OFFSET, TEXT))


@pytest.mark.parametrize(("series", "hint"), UNKEPT, ids=[str(series.dtype) for series, _ in UNKEPT])
def test_a_type_that_arrow_does_not_keep(series: Any, hint: str) -> None:
    for value, label in [(series, "it"), (pandas.DataFrame({"a": series}), "its column 'a'")]:
        with pytest.raises(persist.PersistTypeError) as refused:
            store.snapshot({"a": [value]}, "refused")
        assert f"can't be saved: {label} has the type" in str(refused.value)
        assert str(refused.value).endswith("at state['a'][0]")
        assert refused.value.hint == hint
    instead = series.astype(str) if hint == TEXT else series.tolist()
    store.snapshot({"a": [instead, pandas.Series(instead, dtype=object)]}, "x", check=True)


def test_an_index_of_another_type() -> None:
    index = pandas.period_range("2026", periods=2)
    with pytest.raises(persist.PersistTypeError, match=r"a PeriodIndex of pandas can't be saved.*state") as refused:
        store.snapshot([index], "refused")
    assert refused.value.hint == "save it as text: index.astype(str)"
    store.snapshot([index.astype(str)], "x", check=True)


def test_a_frequency_that_has_no_name() -> None:
    holidays = pandas.offsets.CustomBusinessDay(holidays=["2026-01-02"])
    index = pandas.date_range("2026-01-01", periods=3, freq=holidays)
    with pytest.raises(persist.PersistTypeError, match="a DatetimeIndex of pandas can't be saved"):
        store.snapshot([index], "refused")
    store.snapshot([pandas.Series(index)], "x", check=True)


def test_two_columns_of_objects_with_one_name() -> None:
    frame = pandas.DataFrame([[{}, {}]], columns=["a", "a"])
    with pytest.raises(persist.PersistTypeError, match="two columns are called 'a'") as refused:
        store.snapshot([frame], "refused")
    assert refused.value.hint == "give each column its own name"
    frame.columns = ["a", "b"]
    store.snapshot([frame], "x", check=True)


def test_where_in_a_frame_a_value_is() -> None:
    frame = pandas.DataFrame({"a": [1, 2], "b": [1, {"c": object()}]})
    with pytest.raises(persist.PersistTypeError) as refused:
        store.snapshot({"frame": frame}, "refused")
    assert refused.value.message.endswith("at state['frame']['b'][1]['c']")


def test_a_promise_that_would_be_lost() -> None:
    frame = pandas.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)
    with pytest.raises(persist.PersistTypeError, match="allows no duplicate labels") as refused:
        store.snapshot([frame], "refused")
    assert refused.value.hint == "save value.set_flags(allows_duplicate_labels=True)"
    store.snapshot([frame.set_flags(allows_duplicate_labels=True)], "x", check=True)


@pytest.mark.parametrize("value", [pandas.Timestamp("2026-01-31T12:00:00.123456789"), pandas.Timedelta("1s")])
def test_one_cell(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(persist.PersistTypeError, match="can't be saved, at state") as refused:
        store.snapshot({"cell": value}, "refused")
    cls = type(value)
    assert f"register its class with persist.register({cls.__name__}, save=…, restore=…)" in (refused.value.hint or "")
    # For this test alone.
    monkeypatch.setattr(persist._registry, "_classes", {})
    monkeypatch.setattr(persist._registry, "_names", {})
    persist.register(cls, save=str, restore=cls)
    store.snapshot({"cell": value}, "x", check=True)
    assert store.restore("x") == {"cell": value}


def test_pandas_and_pyarrow_are_never_imported() -> None:
    persist.snapshot(pandas.DataFrame({"a": [1, 2]}), "x")
    program = """
import sys
import persist
try:
    persist.restore("x")
except persist.PersistConfigurationError as error:
    assert "pandas, which this program has not imported" in str(error), error
    assert error.hint.startswith("import pandas first"), error.hint
assert not {"numpy", "pandas", "pyarrow"} & set(sys.modules)
plain = persist.restore("x", plain=True)
assert sorted(plain) == ["columns", "index", "value"], plain
assert plain["index"] == {"type": "RangeIndex", "names": [None], "value": [0, 2, 1]}, plain
assert not {"numpy", "pandas", "pyarrow"} & set(sys.modules)
sys.modules["pyarrow"] = None
import pandas
del sys.modules["pyarrow"]
try:
    persist.restore("x")
except persist.PersistConfigurationError as error:
    assert "pyarrow, which this program has not imported" in str(error), error
    assert error.hint.startswith("import pyarrow first"), error.hint
frame = pandas.DataFrame({"a": [1, 2]})
try:
    persist.snapshot([frame], "y")
except persist.PersistTypeError as error:
    assert "can't be saved without pyarrow, at state[0]" in str(error), error
    assert error.hint.startswith("import pyarrow;"), error.hint
# What is in objects alone needs no pyarrow.
persist.snapshot([pandas.DataFrame([["a", 1]], dtype=object)], "z")
import pyarrow
persist.snapshot([frame], "y", check=True)
assert persist.restore("y")[0].equals(frame)
assert persist.restore("x").equals(frame)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- What somebody else wrote ---------------------------------------------------


def crafted(value: Any) -> None:
    place, key = persist._persist.locate("crafted", {})
    options = {"content_type": "application/json", "extra": '{"value_encoding": 1}'}
    place.save_bytes(key, json.dumps(value).encode(), options)


def stream(table: Any, types: list[str] | None = None, **options: Any) -> dict[str, str]:
    """A stream of Arrow with what pandas would note."""
    columns = [
        {"name": name, "field_name": name, "numpy_type": kind}
        for name, kind in zip(table.column_names, types or ["int64"] * table.num_columns, strict=True)
    ]
    about = {"index_columns": [], "column_indexes": [], "columns": columns}
    kept = table.schema.metadata or {}
    table = table.replace_schema_metadata({**kept, b"pandas": json.dumps(about).encode()})
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema, options=pyarrow.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return {"$persist": "bytes", "value": base64.b64encode(sink.getvalue()).decode()}


def series_of(value: Any, length: int = 2) -> list[Any]:
    index = {"$persist": "index", "type": "RangeIndex", "names": [None], "value": [0, length, 1]}
    return [{"$persist": "series", "name": None, "index": index, "value": value}]


NUMBERS = pyarrow.array([1, 2])


class Running(pyarrow.ExtensionType):  # type: ignore[misc]
    """A type whose code a snapshot wants to run."""

    ran = 0

    def __init__(self) -> None:
        super().__init__(pyarrow.int64(), "persist.test.running")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"code"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Running:
        cls.ran += 1
        return cls()


def test_a_stream_that_is_right() -> None:
    crafted(series_of(stream(pyarrow.table({"0": NUMBERS}))))
    assert persist.restore("crafted")[0].tolist() == [1, 2]


def no_columns() -> Any:
    return stream(pyarrow.table({"0": NUMBERS}).select([]))


WRONG: dict[str, Callable[[], Any]] = {
    "compressed": lambda: stream(pyarrow.table({"0": NUMBERS}), compression="zstd"),
    "compressed, a dictionary": lambda: stream(
        pyarrow.table({"0": pyarrow.array(["a" * 1000, "b"]).dictionary_encode()}), compression="lz4"
    ),
    "null": lambda: stream(pyarrow.table({"0": pyarrow.nulls(2)}), ["object"]),
    "null as a number": lambda: stream(pyarrow.table({"0": pyarrow.nulls(2)})),
    "a list": lambda: stream(pyarrow.table({"0": pyarrow.array([[1], [2]])}), ["object"]),
    "a struct": lambda: stream(pyarrow.table({"0": pyarrow.array([{"a": 1}] * 2)}), ["object"]),
    "run ends": lambda: stream(
        pyarrow.table({"0": pyarrow.RunEndEncodedArray.from_arrays(pyarrow.array([1 << 30]), pyarrow.array([7]))})
    ),
    "objects": lambda: stream(pyarrow.table({"0": NUMBERS}), ["object"]),
    "another type": lambda: stream(pyarrow.table({"0": NUMBERS}), ["float64"]),
    "a type that is not known": lambda: stream(pyarrow.table({"0": NUMBERS}), ["U1000000"]),
    "missing values": lambda: stream(pyarrow.table({"0": pyarrow.array([True, None])}), ["bool"]),
    "two columns": lambda: stream(pyarrow.table({"0": NUMBERS, "1": NUMBERS})),
    "one name twice": lambda: stream(pyarrow.Table.from_arrays([NUMBERS, NUMBERS], names=["0", "0"])),
    "no columns": no_columns,
    "no bytes": lambda: {"$persist": "bytes", "value": ""},
    "a text": lambda: "ARROW1",
    "a number": lambda: 1,
    "cut short": lambda: {
        "$persist": "bytes",
        "value": base64.b64encode(base64.b64decode(stream(pyarrow.table({"0": NUMBERS}))["value"])[:-40]).decode(),
    },
    "another zone": lambda: stream(
        pyarrow.table({"0": pyarrow.array([1, 2], pyarrow.timestamp("us", tz="../../etc/passwd"))}), ["datetime64[us]"]
    ),
    "categories that take no bytes": lambda: stream(
        pyarrow.table({"0": pyarrow.DictionaryArray.from_arrays([0, 0], pyarrow.nulls(1 << 16))})
    ),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_a_stream_that_is_wrong(make: Callable[[], Any]) -> None:
    crafted(series_of(make()))
    with pytest.raises(persist.PersistIntegrityError, match=r"an invalid series|an invalid bytes"):
        persist.restore("crafted")


def test_no_registered_type_is_made() -> None:
    kind = Running()
    pyarrow.register_extension_type(kind)
    try:
        data = stream(pyarrow.table({"0": pyarrow.ExtensionArray.from_storage(kind, NUMBERS)}))
        Running.ran = 0
        crafted(series_of(data))
        with pytest.raises(persist.PersistIntegrityError, match="a type that is not written here"):
            persist.restore("crafted")
        assert Running.ran == 0
    finally:
        pyarrow.unregister_extension_type(kind.extension_name)


def test_columns_that_share_bytes() -> None:
    """What would take a thousand times the bytes that there are."""
    numbers = pyarrow.array(numpy.arange(1000))
    data = bytearray(base64.b64decode(stream(pyarrow.table({str(n): numbers for n in range(3)}))["value"]))
    # Where the buffers of the second and third column are: that of the first.
    for at in (8000, 16000):
        found = data.find(struct.pack("<4q", at, 0, at, 8000))
        assert found > 0
        data[found : found + 32] = struct.pack("<4q", 0, 0, 0, 8000)
    del data[-16008:-8]
    length = data.find((24000).to_bytes(8, "little"))
    assert length > 0
    data[length : length + 8] = (8000).to_bytes(8, "little")
    columns = {"$persist": "index", "type": "RangeIndex", "names": [None], "value": [0, 3, 1]}
    rows = {"$persist": "index", "type": "RangeIndex", "names": [None], "value": [0, 1000, 1]}
    value = {"$persist": "bytes", "value": base64.b64encode(data).decode()}
    crafted([{"$persist": "dataframe", "columns": columns, "index": rows, "value": value}])
    with pytest.raises(persist.PersistIntegrityError, match="do not fit into its bytes"):
        persist.restore("crafted")


INDEX: dict[str, Any] = {"$persist": "index", "type": "RangeIndex", "names": [None], "value": [0, 2, 1]}


@pytest.mark.parametrize("frequency", ["2D", "x", "D" * 100, "", 1, ["D"], {"days": 1}], ids=str)
def test_a_frequency_that_is_wrong(frequency: Any) -> None:
    store.snapshot([pandas.date_range("2026", periods=3, freq="D")], "x")
    (written,) = json.loads(store.load_bytes("x"))
    assert written["freq"] == "D"
    crafted([{**written, "freq": frequency}])
    with pytest.raises(persist.PersistIntegrityError, match="an invalid index"):
        persist.restore("crafted")


CODES = {"$persist": "ndarray", "dtype": "|i1", "shape": [2], "value": {"$persist": "bytes", "value": "AQA="}}
LEVELS: dict[str, Any] = {**INDEX, "type": "MultiIndex"}
LISTS = {"0": [1, 2], "1": [3, 4]}
FRAME: dict[str, Any] = {"$persist": "dataframe", "columns": INDEX, "index": INDEX, "objects": LISTS}


@pytest.mark.parametrize(
    "value",
    [
        {**INDEX, "value": [0, 2]},
        {**INDEX, "value": [0, 2, 0]},
        {**INDEX, "value": [0, 2.5, "a"]},
        {**INDEX, "names": []},
        {**INDEX, "names": [[]]},
        {**INDEX, "names": None},
        {**INDEX, "type": "Index", "value": {"$persist": "tuple", "value": []}},
        {**INDEX, "type": "PeriodIndex"},
        {**INDEX, "type": "DataFrame"},
        {**INDEX, "type": ["Index"]},
        {**INDEX, "type": "DatetimeIndex", "value": [1, 2]},
        LEVELS,
        {**LEVELS, "levels": [INDEX], "value": [CODES, CODES]},
        {**LEVELS, "levels": [INDEX], "value": [[0, 1]]},
        {**LEVELS, "levels": [INDEX], "value": 7},
        {**LEVELS, "levels": [0], "value": [CODES]},
        {**LEVELS, "levels": [INDEX], "value": [{**CODES, "value": {"$persist": "bytes", "value": "AgE="}}]},
        {**LEVELS, "levels": [INDEX], "value": [{**CODES, "shape": [2, 1]}]},
        {**INDEX, "type": "DatetimeIndex", "value": [1, 2], "freq": "D"},
        {**FRAME, "value": None, "columns": [0, 1]},
        {**FRAME, "value": None, "index": None},
        {**FRAME, "value": None, "columns": {**INDEX, "value": [0, 1 << 60, 1]}},
        {**FRAME, "value": None, "index": {**INDEX, "value": [0, 1 << 60, 1]}},
        {**FRAME, "value": None, "objects": {"0": [1, 2], "1": [3]}},
        {**FRAME, "value": None, "objects": {"0": [1, 2], "1": {"a": 1, "b": 2}}},
        {**FRAME, "value": None, "objects": [[1, 2], [3, 4]]},
        {**FRAME, "value": None, "attrs": [1]},
        FRAME,
        {"$persist": "series", "name": None, "index": INDEX, "value": [1]},
        {"$persist": "series", "name": [], "index": INDEX, "value": [1, 2]},
        {"$persist": "series", "name": None, "index": 0, "value": [1, 2]},
    ],
    ids=str,
)
def test_parts_that_are_wrong(value: dict[str, Any]) -> None:
    crafted([value])
    with pytest.raises(persist.PersistIntegrityError, match="not a valid value"):
        persist.restore("crafted")
    assert persist.restore("crafted", plain=True)
