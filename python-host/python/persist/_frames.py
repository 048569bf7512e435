"""Data frames, series and indexes of pandas. Columns with a type are written as a stream
of Arrow, in one record batch; columns of Python objects as lists; what is around them,
such as the index, by its parts.

Who wrote a stream may mean harm, so it is checked before pandas sees it: it names only
types that are written here, never one that a program registered with Arrow, which may
run code; nothing in it is compressed; and each column has the bytes that it needs.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from typing import Any

from persist._libraries import loaded
from persist.errors import PersistConfigurationError, PersistTypeError

_TYPE = re.compile(
    r"(?:bool|u?int(?:8|16|32|64)|float(?:16|32|64)|boolean|U?Int(?:8|16|32|64)|Float(?:32|64)|str|string"
    r"|(?:datetime64|timedelta64)\[(?:s|ms|us|ns)\]"
    r"|(?:bool|u?int(?:8|16|32|64)|float|double|halffloat)\[pyarrow\])",
    re.ASCII,
)
"""What pandas calls the types of the columns that are written as Arrow. Those of a time
zone and of categories say the rest in Arrow's own type.
"""

_WHOLE = re.compile(r"bool|u?int(?:8|16|32|64)|float(?:16|32|64)", re.ASCII)
"""Types without a place for a missing value."""

_CATEGORIES = "int8"
"""What pyarrow notes as the type of categories: that of their numbers."""

_MAX_FREQUENCY = 64
"""How many characters the name of a frequency may have: pandas looks through all of it."""

_INDEXES = ("Index", "RangeIndex", "MultiIndex", "DatetimeIndex", "TimedeltaIndex", "CategoricalIndex")


# ---- Saving -------------------------------------------------------------------


def saved(value: Any, cls: type) -> tuple[str, dict[str, Any]] | None:
    """The kind of a value of pandas, and its fields; none for others, such as a
    timestamp.
    """
    pandas: Any = sys.modules.get("pandas")
    if not hasattr(pandas, "DataFrame"):  # Another module of this name.
        return None
    if cls is pandas.DataFrame:
        return "dataframe", {**_frame(pandas, value), **_attributes(value)}
    if cls is pandas.Series:
        typed = value.reset_index(drop=True)
        fields = {"name": value.name, "index": value.index, "value": _column(pandas, typed, "a Series", "it")}
        return "series", {**fields, **_attributes(value)}
    if issubclass(cls, pandas.Index):
        return "index", _index(pandas, value)
    return None


def _attributes(value: Any) -> dict[str, Any]:
    """What a program noted of a frame or series."""
    if not value.flags.allows_duplicate_labels:
        raise _refused(
            f"a {type(value).__name__}",
            "that it allows no duplicate labels would be lost",
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
            raise _refused("a DataFrame", f"two columns are called {label!r}", "give each column its own name")
        else:
            objects[label] = column.tolist()
    labels = {str(at): f"its column {label!r}" for at, label in enumerate(frame.columns)}
    fields = {"columns": frame.columns, "index": frame.index}
    if objects:
        fields["objects"] = objects
    return {**fields, "value": _to_arrow(pandas, typed, "a DataFrame", labels) if typed else None}


def _index(pandas: Any, index: Any) -> dict[str, Any]:
    cls = type(index)
    if cls.__name__ not in _INDEXES or getattr(pandas, cls.__name__) is not cls:
        raise _refused(f"a {cls.__name__}", "its type is not one of Arrow's", "save it as text: index.astype(str)")
    fields: dict[str, Any] = {"type": cls.__name__, "names": list(index.names)}
    if cls is pandas.RangeIndex:
        return {**fields, "value": [index.start, index.stop, index.step]}
    if cls is pandas.MultiIndex:
        return {**fields, "levels": list(index.levels), "value": list(index.codes)}
    if getattr(index, "freq", None) is not None:
        fields["freq"] = index.freqstr
    fields["value"] = _column(pandas, pandas.Series(index), f"a {cls.__name__}", "it")
    hint = "save it as a series: pandas.Series(index)"
    try:
        again = index_of(fields)
    except ValueError as error:  # Its frequency has parts that its name does not say.
        raise _refused(f"a {cls.__name__}", f"it would not come back: {error}", hint) from error
    is_same = again.equals(index) and getattr(again, "freq", None) == getattr(index, "freq", None)
    if not is_same or type(again) is not cls or again.dtype != index.dtype:
        raise _refused(f"a {cls.__name__}", "it would come back changed", hint)
    return fields


def _column(pandas: Any, column: Any, what: str, label: str) -> bytes | list[Any]:
    if column.dtype == object:
        values: list[Any] = column.tolist()
        return values
    return _to_arrow(pandas, {"0": column}, what, {"0": label})


def _to_arrow(pandas: Any, columns: dict[str, Any], what: str, labels: dict[str, str]) -> bytes:
    """Columns as a stream of Arrow, which was proven to give the same columns."""
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is None:
        raise PersistTypeError(
            f"{what} of pandas can't be saved without pyarrow",
            "invalid-argument",
            hint="import pyarrow; where it is not installed, pip install pyarrow first",
        )
    arrays = {name: _arrow_of(pandas, pyarrow, column) for name, column in columns.items()}
    wrong = next((name for name, array in arrays.items() if array is None), None)
    if wrong is not None:
        raise _no_column(pandas, what, labels[wrong], columns[wrong].dtype)
    table = pyarrow.table(arrays).unify_dictionaries().combine_chunks()
    table = table.replace_schema_metadata(
        _about({name: _name_of(pandas, column.dtype) for name, column in columns.items()})
    )
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    try:
        again = _from_arrow(pandas, pyarrow, data)
    except (ValueError, TypeError, LookupError) as error:
        problem = f"Arrow does not give its columns back: {error}"
        raise _refused(what, problem, "save its columns as lists: .tolist()") from error
    for name, column in columns.items():
        if not _is_same(column, again[name]):
            raise _no_column(pandas, what, labels[name], column.dtype)
    return data


def _arrow_of(pandas: Any, pyarrow: Any, column: Any) -> Any:
    """A column as Arrow has it; none where it does not."""
    dtype = column.dtype
    if str(dtype) in ("float16", "float32", "float64"):
        # Not a number is a value of it, and not a missing one.
        return pyarrow.array(column.to_numpy(), from_pandas=False)
    if not isinstance(dtype, (pandas.CategoricalDtype, pandas.DatetimeTZDtype)) and not _TYPE.fullmatch(str(dtype)):
        return None
    try:
        array = pyarrow.array(column, from_pandas=True)
    # Categories of several types, time zones of dateutil: each a class of pyarrow's own.
    except (ValueError, TypeError, pyarrow.ArrowException):
        return None
    return array if _is_written(pyarrow, array.type) else None


def _name_of(pandas: Any, dtype: Any) -> str:
    if isinstance(dtype, pandas.CategoricalDtype):
        return _CATEGORIES
    # The time zone is in Arrow's type.
    return f"datetime64[{dtype.unit}]" if isinstance(dtype, pandas.DatetimeTZDtype) else str(dtype)


def _no_column(pandas: Any, what: str, label: str, dtype: Any) -> PersistTypeError:
    of = dtype.categories.dtype if isinstance(dtype, pandas.CategoricalDtype) else dtype
    problem = f"{label} has the type {dtype}, which Arrow does not keep as it is"
    is_list = isinstance(of, (pandas.ArrowDtype, pandas.SparseDtype)) or not pandas.api.types.is_extension_array_dtype(
        of
    )
    how = "a list: .tolist()" if is_list else "text: .astype(str)"
    return _refused(what, problem, f"save such values as {how}")


def _is_same(one: Any, other: Any) -> bool:
    dtypes = one.dtype, other.dtype
    if dtypes[0] != dtypes[1] or len({(repr(dtype), getattr(dtype, "storage", None)) for dtype in dtypes}) > 1:
        return False
    categories = [getattr(dtype, "categories", None) for dtype in dtypes]
    if categories[0] is not None and not categories[0].equals(categories[1]):
        return False
    return bool(one.equals(other))


def _refused(what: str, problem: str, hint: str) -> PersistTypeError:
    return PersistTypeError(f"{what} of pandas can't be saved: {problem}", "invalid-argument", hint=hint)


# ---- Restoring ------------------------------------------------------------------


def frame(fields: dict[str, Any]) -> Any:
    """The data frame of its fields."""
    pandas = loaded("pandas", "a data frame")
    columns, index, objects, data = fields["columns"], fields["index"], fields.get("objects", {}), fields["value"]
    if not isinstance(columns, pandas.Index) or not isinstance(index, pandas.Index) or not isinstance(objects, dict):
        raise ValueError("its parts are not valid")
    typed = {} if data is None else _from_arrow(pandas, loaded("pyarrow", "a data frame"), data)
    if len(typed) + len(objects) != len(columns):
        raise ValueError("its columns are not as many as their names")
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
    """The series of its fields."""
    pandas = loaded("pandas", "a series")
    index = fields["index"]
    if not isinstance(index, pandas.Index):
        raise ValueError("its index is not valid")
    new = _values(pandas, fields["value"])
    if len(new) != len(index):
        raise ValueError("it is not as long as its index")
    new.index, new.name = index, fields["name"]
    return _with_attributes(new, fields)


def index_of(fields: dict[str, Any]) -> Any:
    """The index of its fields."""
    pandas = loaded("pandas", "an index")
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
        raise ValueError(f"its values make a {type(new).__name__}, not a {name}")
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
    """The series of a column that stands alone."""
    if type(value) is list:
        return _objects(pandas, value)
    columns = list(_from_arrow(pandas, loaded("pyarrow", "values"), value).values())
    if len(columns) != 1:
        raise ValueError("it is not one column")
    return columns[0]


def _objects(pandas: Any, values: Any) -> Any:
    if type(values) is not list:
        raise ValueError("a column of objects is no list")
    numpy = sys.modules["numpy"]
    array = numpy.empty(len(values), dtype=object)
    # All at once, numpy would look into lists.
    for at, item in enumerate(values):
        array[at] = item
    return pandas.Series(array, dtype=object)


def _from_arrow(pandas: Any, pyarrow: Any, data: Any) -> dict[str, Any]:
    """The columns of a stream, by name."""
    if type(data) is not bytes:
        raise ValueError("its columns are no bytes")
    buffer = pyarrow.py_buffer(data)
    for message in pyarrow.ipc.MessageReader.open_stream(buffer):
        _check_message(message.metadata.to_pybytes())
    reader = pyarrow.ipc.open_stream(buffer)
    names, types = reader.schema.names, reader.schema.types
    if len(set(names)) != len(names) or not all(_is_written(pyarrow, kind) for kind in types):
        raise ValueError("its columns are not valid")
    declared = {column["name"]: column["numpy_type"] for column in reader.schema.pandas_metadata["columns"]}
    table = reader.read_all()
    table.validate(full=True)
    # Columns may share bytes, and then take more than there are.
    if table.nbytes > len(data):
        raise ValueError("its columns do not fit into its bytes")
    clean: dict[str, str] = {}
    for name, kind in zip(names, types, strict=True):
        as_pandas = declared[name]
        if pyarrow.types.is_dictionary(kind):
            as_pandas = _CATEGORIES
            # Of the type null, these take no bytes.
            if pyarrow.types.is_null(kind.value_type) and any(map(len, _dictionaries(table.column(name)))):
                raise ValueError("a category is missing")
        elif type(as_pandas) is not str or not _TYPE.fullmatch(as_pandas):
            raise ValueError("the type of a column is not valid")
        elif _WHOLE.fullmatch(as_pandas) and table.column(name).null_count:
            raise ValueError("a column without missing values lacks some")
        clean[name] = as_pandas
    try:
        frame = table.replace_schema_metadata(_about(clean)).to_pandas()
    except KeyError as error:  # A time zone, where pytz is what knows them.
        raise ValueError(f"{error} is not known") from error
    for name, kind in zip(names, types, strict=True):
        _check_dtype(pandas, pyarrow, frame[name].dtype, kind, declared[name])
    return {name: frame[name] for name in names}


def _about(types: dict[str, str]) -> dict[str, str]:
    """What pyarrow notes for pandas in a schema: what the types of columns are."""
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": kind, "metadata": None}
        for name, kind in types.items()
    ]
    return {"pandas": json.dumps({"index_columns": [], "column_indexes": [], "columns": columns})}


def _dictionaries(column: Any) -> list[Any]:
    return [chunk.dictionary for chunk in column.chunks]


def _check_dtype(pandas: Any, pyarrow: Any, dtype: Any, kind: Any, declared: str) -> None:
    """Refuses a column that did not become what it was."""
    if pyarrow.types.is_dictionary(kind):
        is_right = isinstance(dtype, pandas.CategoricalDtype)
    elif pyarrow.types.is_timestamp(kind) and kind.tz is not None:
        is_right = isinstance(dtype, pandas.DatetimeTZDtype)
    else:
        is_right = str(dtype) == declared
    if is_right:
        return
    if declared == "str" and not hasattr(dtype, "storage"):
        raise PersistConfigurationError(
            f"the snapshot holds a column of the type str, which pandas {pandas.__version__} does not have",
            "invalid-argument",
            hint="pip install --upgrade pandas; or restore with plain=True to get the data",
        )
    raise ValueError(f"a column became {dtype}, and was something else")


def _is_written(pyarrow: Any, kind: Any) -> bool:
    """Whether a column of a type of Arrow is one that is written here: every row of it
    takes bytes, and pandas makes at most a few times as many of them.
    """
    of = pyarrow.types
    if of.is_dictionary(kind):
        inner = kind.value_type
        return not of.is_dictionary(inner) and (of.is_null(inner) or _is_written(pyarrow, inner))
    tests = (
        of.is_boolean,
        of.is_integer,
        of.is_floating,
        of.is_timestamp,
        of.is_duration,
        of.is_string,
        of.is_large_string,
    )
    return any(test(kind) for test in tests)


_DICTIONARY, _RECORDS = 2, 3


def _check_message(metadata: bytes) -> None:
    """Refuses a part of a stream that is compressed, or of a type that a program
    registered: reading these allocates what it says, or runs what was registered.
    """
    # How both are said where Arrow's format has no field for it.
    if b"ARROW:" in metadata:
        raise ValueError("it has a type that is not written here")
    (message,) = struct.unpack_from("<I", metadata)
    at = _field(metadata, message, 1)
    kind = metadata[at] if at else 0
    if kind not in (_DICTIONARY, _RECORDS):
        return
    records = _table(metadata, message, 2)
    if kind == _DICTIONARY:
        records = _table(metadata, records, 1)
    if _field(metadata, records, 3):
        raise ValueError("it is compressed")


def _table(metadata: bytes, table: int, number: int) -> int:
    """Where the table is that a field of another refers to."""
    at = _field(metadata, table, number)
    if not at:
        raise ValueError("a part of it is missing")
    return at + int(struct.unpack_from("<I", metadata, at)[0])


def _field(metadata: bytes, table: int, number: int) -> int:
    """Where a field of a table of a flatbuffer is; 0 where it has none."""
    fields = table - struct.unpack_from("<i", metadata, table)[0]
    if fields < 0:
        raise ValueError("a part of it is missing")
    (length,) = struct.unpack_from("<H", metadata, fields)
    if 4 + 2 * number + 2 > length:
        return 0
    (offset,) = struct.unpack_from("<H", metadata, fields + 4 + 2 * number)
    return table + int(offset) if offset else 0
