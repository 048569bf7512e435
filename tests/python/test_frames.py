"""Data frames, series and indexes of pandas come back equal and with the same types, or are
refused.
"""

from __future__ import annotations

import datetime
import decimal
import importlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy
import persist
import pytest

# Neither package has type annotations.
pandas: Any = importlib.import_module("pandas")
pyarrow: Any = importlib.import_module("pyarrow")

store = persist.Store("memory://frames")

IS_3 = int(pandas.__version__.partition(".")[0]) >= 3


def same(one: Any, other: Any) -> None:
    """Fails unless two pandas values are the same."""
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


def test_every_frame_comes_back() -> None:
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


def test_a_restored_frame_can_be_changed() -> None:
    store.snapshot(pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "x")
    restored = store.restore("x", into=pandas.DataFrame)
    restored.loc[2] = [3, "z"]
    restored["c"] = restored["a"] * 2
    assert restored["c"].tolist() == [2, 4, 6]


# ---- What can't be saved, and its hint ------------------------------------------


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


if not IS_3:  # With pandas 2, pyarrow returns a pytz time zone.
    UNKEPT.append((AT_AN_OFFSET, TEXT))


@pytest.mark.parametrize(("series", "hint"), UNKEPT, ids=[str(series.dtype) for series, _ in UNKEPT])
def test_a_type_that_arrow_does_not_preserve_is_refused(series: Any, hint: str) -> None:
    for value, label in [(series, "it"), (pandas.DataFrame({"a": series}), "its column 'a'")]:
        with pytest.raises(persist.PersistTypeError) as refused:
            store.snapshot({"a": [value]}, "refused")
        assert f"can't be saved: {label} has the type" in str(refused.value)
        assert str(refused.value).endswith("at state['a'][0]")
        assert refused.value.hint == hint
    instead = series.astype(str) if hint == TEXT else series.tolist()
    store.snapshot({"a": [instead, pandas.Series(instead, dtype=object)]}, "x", check=True)


def test_an_index_of_another_type_is_refused() -> None:
    index = pandas.period_range("2026", periods=2)
    with pytest.raises(persist.PersistTypeError, match=r"a pandas PeriodIndex can't be saved.*state") as refused:
        store.snapshot([index], "refused")
    assert refused.value.hint == "save it as text: index.astype(str)"
    store.snapshot([index.astype(str)], "x", check=True)


def test_a_frequency_without_a_name_is_refused() -> None:
    holidays = pandas.offsets.CustomBusinessDay(holidays=["2026-01-02"])
    index = pandas.date_range("2026-01-01", periods=3, freq=holidays)
    with pytest.raises(persist.PersistTypeError, match="a pandas DatetimeIndex can't be saved"):
        store.snapshot([index], "refused")
    store.snapshot([pandas.Series(index)], "x", check=True)


def test_two_object_columns_with_one_name_are_refused() -> None:
    frame = pandas.DataFrame([[{}, {}]], columns=["a", "a"])
    with pytest.raises(persist.PersistTypeError, match="two columns are called 'a'") as refused:
        store.snapshot([frame], "refused")
    assert refused.value.hint == "give each column its own name"
    frame.columns = ["a", "b"]
    store.snapshot([frame], "x", check=True)


def test_the_error_says_where_in_a_frame_a_value_is() -> None:
    frame = pandas.DataFrame({"a": [1, 2], "b": [1, {"c": object()}]})
    with pytest.raises(persist.PersistTypeError) as refused:
        store.snapshot({"frame": frame}, "refused")
    assert refused.value.message.endswith("at state['frame']['b'][1]['c']")


def test_a_flag_that_would_be_lost_is_refused() -> None:
    frame = pandas.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)
    with pytest.raises(persist.PersistTypeError, match="allows_duplicate_labels=False would be lost") as refused:
        store.snapshot([frame], "refused")
    assert refused.value.hint == "save value.set_flags(allows_duplicate_labels=True)"
    store.snapshot([frame.set_flags(allows_duplicate_labels=True)], "x", check=True)


@pytest.mark.parametrize("value", [pandas.Timestamp("2026-01-31T12:00:00.123456789"), pandas.Timedelta("1s")])
def test_a_scalar_of_pandas_can_be_registered(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(persist.PersistTypeError, match="can't be saved, at state") as refused:
        store.snapshot({"cell": value}, "refused")
    cls = type(value)
    assert f"register its class with persist.register({cls.__name__}, save=…, restore=…)" in (refused.value.hint or "")
    # Only for this test.
    monkeypatch.setattr(persist._registry, "_classes", {})
    monkeypatch.setattr(persist._registry, "_names", {})
    persist.register(cls, save=str, restore=cls)
    store.snapshot({"cell": value}, "x", check=True)
    assert store.restore("x") == {"cell": value}


def test_restoring_never_imports_pandas_or_pyarrow() -> None:
    persist.snapshot(pandas.DataFrame({"a": [1, 2]}), "x")
    program = """
import sys
import persist
try:
    persist.restore("x")
except persist.PersistConfigurationError as error:
    assert "but this program has not imported pandas" in str(error), error
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
    assert "but this program has not imported pyarrow" in str(error), error
    assert error.hint.startswith("import pyarrow first"), error.hint
frame = pandas.DataFrame({"a": [1, 2]})
try:
    persist.snapshot([frame], "y")
except persist.PersistTypeError as error:
    assert "can't be saved without pyarrow, at state[0]" in str(error), error
    assert error.hint.startswith("import pyarrow ("), error.hint
# Columns of objects do not need pyarrow.
persist.snapshot([pandas.DataFrame([["a", 1]], dtype=object)], "z")
import pyarrow
persist.snapshot([frame], "y", check=True)
assert persist.restore("y")[0].equals(frame)
assert persist.restore("x").equals(frame)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
