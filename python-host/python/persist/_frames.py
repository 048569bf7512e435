"""The data frames, series and indexes of pandas. Typed columns are written as an Arrow stream,
columns of Python objects as lists, and the rest, such as the index, part by part.
"""

from __future__ import annotations

import sys
from typing import Any

from persist._arrow import from_arrow, refused, to_arrow
from persist._libraries import loaded
from persist._words import a

_MAX_FREQUENCY = 64
"""The largest length of the name of a frequency. pandas parses all of it."""

_INDEXES = ("Index", "RangeIndex", "MultiIndex", "DatetimeIndex", "TimedeltaIndex", "CategoricalIndex")


# ---- Saving -------------------------------------------------------------------


def saved(value: Any, cls: type) -> tuple[str, dict[str, Any]] | None:
    """Returns the kind of a pandas value and its fields, or ``None`` for others, such as a
    timestamp.
    """
    pandas: Any = sys.modules.get("pandas")
    if not hasattr(pandas, "DataFrame"):  # Another module with this name.
        return None
    if cls is pandas.DataFrame:
        return "dataframe", {**_frame(pandas, value), **_attributes(value)}
    if cls is pandas.Series:
        typed = value.reset_index(drop=True)
        fields = {"name": value.name, "index": value.index, "value": _column(pandas, typed, "Series", "it")}
        return "series", {**fields, **_attributes(value)}
    if issubclass(cls, pandas.Index):
        return "index", _index(pandas, value)
    return None


def _attributes(value: Any) -> dict[str, Any]:
    """Returns the attributes that a program set on a frame or series."""
    if not value.flags.allows_duplicate_labels:
        raise refused(
            type(value).__name__,
            "its flag allows_duplicate_labels=False would be lost",
            "save value.set_flags(allows_duplicate_labels=True)",
        )
    return {"attrs": dict(value.attrs)} if value.attrs else {}


def _frame(pandas: Any, frame: Any) -> dict[str, Any]:
    plain = frame.reset_index(drop=True)
    typed: dict[str, Any] = {}
    objects: dict[Any, list[Any]] = {}
    for at, label in enumerate(frame.columns):
        column = plain.iloc[:, at]
        if column.dtype != object:
            typed[str(at)] = column
        elif label in objects:
            raise refused("DataFrame", f"two columns are called {label!r}", "give each column its own name")
        else:
            objects[label] = column.tolist()
    labels = {str(at): f"its column {label!r}" for at, label in enumerate(frame.columns)}
    fields = {"columns": frame.columns, "index": frame.index}
    if objects:
        fields["objects"] = objects
    return {**fields, "value": to_arrow(pandas, typed, "DataFrame", labels) if typed else None}


def _index(pandas: Any, index: Any) -> dict[str, Any]:
    cls = type(index)
    if cls.__name__ not in _INDEXES or getattr(pandas, cls.__name__) is not cls:
        raise refused(cls.__name__, "Arrow does not have its type", "save it as text: index.astype(str)")
    fields: dict[str, Any] = {"type": cls.__name__, "names": list(index.names)}
    if cls is pandas.RangeIndex:
        return {**fields, "value": [index.start, index.stop, index.step]}
    if cls is pandas.MultiIndex:
        return {**fields, "levels": list(index.levels), "value": list(index.codes)}
    if getattr(index, "freq", None) is not None:
        fields["freq"] = index.freqstr
    fields["value"] = _column(pandas, pandas.Series(index), cls.__name__, "it")
    hint = "save it as a series: pandas.Series(index)"
    try:
        again = index_of(fields)
    except ValueError as error:  # The frequency has parts that are not in its name.
        raise refused(cls.__name__, f"it could not be restored: {error}", hint) from error
    is_same = again.equals(index) and getattr(again, "freq", None) == getattr(index, "freq", None)
    if not is_same or type(again) is not cls or again.dtype != index.dtype:
        raise refused(cls.__name__, "it would be restored differently", hint)
    return fields


def _column(pandas: Any, column: Any, what: str, label: str) -> bytes | list[Any]:
    if column.dtype == object:
        values: list[Any] = column.tolist()
        return values
    return to_arrow(pandas, {"0": column}, what, {"0": label})


# ---- Restoring ------------------------------------------------------------------


def frame(fields: dict[str, Any]) -> Any:
    """Returns the data frame that was written as these fields."""
    pandas = loaded("pandas", "a pandas data frame")
    columns, index, objects, data = fields["columns"], fields["index"], fields.get("objects", {}), fields["value"]
    if not isinstance(columns, pandas.Index) or not isinstance(index, pandas.Index) or not isinstance(objects, dict):
        raise ValueError("its parts are not valid")
    typed = {} if data is None else from_arrow(pandas, loaded("pyarrow", "a pandas data frame"), data)
    if len(typed) + len(objects) != len(columns):
        raise ValueError("it does not have as many columns as names")
    lists = iter(objects.values())
    parts: dict[int, Any] = {}
    for at in range(len(columns)):
        found = typed.pop(str(at), None)
        parts[at] = _objects(pandas, next(lists)) if found is None else found
    if any(len(part) != len(index) for part in parts.values()):
        raise ValueError("its columns are not as long as its index")
    new = pandas.DataFrame(parts) if parts else pandas.DataFrame(index=index)
    new.columns, new.index = columns, index
    return _with_attributes(new, fields)


def series(fields: dict[str, Any]) -> Any:
    """Returns the series that was written as these fields."""
    pandas = loaded("pandas", "a pandas series")
    index = fields["index"]
    if not isinstance(index, pandas.Index):
        raise ValueError("its index is not valid")
    new = _values(pandas, fields["value"])
    if len(new) != len(index):
        raise ValueError("it is not as long as its index")
    new.index, new.name = index, fields["name"]
    return _with_attributes(new, fields)


def index_of(fields: dict[str, Any]) -> Any:
    """Returns the index that was written as these fields."""
    pandas = loaded("pandas", "a pandas index")
    name, names, value = fields["type"], fields["names"], fields["value"]
    if name not in _INDEXES or type(names) is not list:
        raise ValueError("its type or names are not valid")
    if name == "RangeIndex":
        start, stop, step = value
        new = pandas.RangeIndex(start, stop, step)
    elif name == "MultiIndex":
        new = _multi_index(pandas, fields["levels"], value)
    else:
        values = _values(pandas, value)
        new = pandas.Index(values, dtype=values.dtype)
    if type(new).__name__ != name:
        raise ValueError(f"its values make {a(type(new).__name__)}, not {a(name)}")
    new.names = names
    if name in ("DatetimeIndex", "TimedeltaIndex") and "freq" in fields:
        frequency = fields["freq"]
        if type(frequency) is not str or len(frequency) > _MAX_FREQUENCY:
            raise ValueError("its frequency is not valid")
        new.freq = frequency
    return new


def _multi_index(pandas: Any, levels: Any, codes: Any) -> Any:
    numpy = sys.modules["numpy"]
    is_right = (
        type(levels) is type(codes) is list
        and all(isinstance(level, pandas.Index) for level in levels)
        and all(isinstance(code, numpy.ndarray) and code.dtype.kind == "i" and code.ndim == 1 for code in codes)
    )
    if not is_right:
        raise ValueError("its levels are not valid")
    return pandas.MultiIndex(levels=levels, codes=codes)


def _with_attributes(new: Any, fields: dict[str, Any]) -> Any:
    attributes = fields.get("attrs", {})
    if not isinstance(attributes, dict):
        raise ValueError("its attrs are not valid")
    new.attrs.update(attributes)
    return new


def _values(pandas: Any, value: Any) -> Any:
    """Returns the series of a single column."""
    if type(value) is list:
        return _objects(pandas, value)
    columns = list(from_arrow(pandas, loaded("pyarrow", "pandas values"), value).values())
    if len(columns) != 1:
        raise ValueError("it does not have exactly one column")
    return columns[0]


def _objects(pandas: Any, values: Any) -> Any:
    if type(values) is not list:
        raise ValueError("a column of objects is not a list")
    numpy = sys.modules["numpy"]
    array = numpy.empty(len(values), dtype=object)
    # Given all items at once, numpy would turn lists into more dimensions.
    for at, item in enumerate(values):
        array[at] = item
    return pandas.Series(array, dtype=object)
