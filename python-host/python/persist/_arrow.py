"""Columns of pandas objects as an Arrow stream, in one record batch.

A stream may be malicious, so it is checked before pandas sees it: it names only types that
this module writes, and no extension type that a program registered with Arrow, which could
run code; nothing in it is compressed; and each column has the bytes that it needs.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from typing import Any

from persist.errors import PersistConfigurationError, PersistTypeError

_TYPE = re.compile(
    r"(?:bool|u?int(?:8|16|32|64)|float(?:16|32|64)|boolean|U?Int(?:8|16|32|64)|Float(?:32|64)|str|string"
    r"|(?:datetime64|timedelta64)\[(?:s|ms|us|ns)\]"
    r"|(?:bool|u?int(?:8|16|32|64)|float|double|halffloat)\[pyarrow\])",
    re.ASCII,
)
"""The pandas names of the types that are written as Arrow. For time zones and categories,
Arrow's own type has the rest.
"""

_WHOLE = re.compile(r"bool|u?int(?:8|16|32|64)|float(?:16|32|64)", re.ASCII)
"""Types that have no missing values."""

_CATEGORIES = "int8"
"""The type that pyarrow notes for categories: the type of their codes."""


# ---- Saving -------------------------------------------------------------------


def to_arrow(pandas: Any, columns: dict[str, Any], what: str, labels: dict[str, str]) -> bytes:
    """Returns columns as an Arrow stream, after checking that it reads back as the same
    columns.
    """
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is None:
        raise PersistTypeError(
            f"a pandas {what} can't be saved without pyarrow",
            "invalid-argument",
            hint="import pyarrow (if it is not installed: pip install pyarrow)",
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
        again = from_arrow(pandas, pyarrow, data)
    except (ValueError, TypeError, LookupError) as error:
        problem = f"its columns can't be read back from Arrow: {error}"
        raise refused(what, problem, "save its columns as lists: .tolist()") from error
    for name, column in columns.items():
        if not _is_same(column, again[name]):
            raise _no_column(pandas, what, labels[name], column.dtype)
    return data


def _arrow_of(pandas: Any, pyarrow: Any, column: Any) -> Any:
    """Returns a column as an Arrow array, or ``None`` if Arrow has no such type."""
    dtype = column.dtype
    if str(dtype) in ("float16", "float32", "float64"):
        # NaN is a value of these types, and not a missing one.
        return pyarrow.array(column.to_numpy(), from_pandas=False)
    if not isinstance(dtype, (pandas.CategoricalDtype, pandas.DatetimeTZDtype)) and not _TYPE.fullmatch(str(dtype)):
        return None
    try:
        array = pyarrow.array(column, from_pandas=True)
    # Mixed categories and dateutil time zones raise pyarrow's own classes of errors.
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
    problem = f"{label} has the type {dtype}, which Arrow does not preserve"
    is_list = isinstance(of, (pandas.ArrowDtype, pandas.SparseDtype)) or not pandas.api.types.is_extension_array_dtype(
        of
    )
    how = "a list: .tolist()" if is_list else "text: .astype(str)"
    return refused(what, problem, f"save such values as {how}")


def _is_same(one: Any, other: Any) -> bool:
    dtypes = one.dtype, other.dtype
    if dtypes[0] != dtypes[1] or len({(repr(dtype), getattr(dtype, "storage", None)) for dtype in dtypes}) > 1:
        return False
    categories = [getattr(dtype, "categories", None) for dtype in dtypes]
    if categories[0] is not None and not categories[0].equals(categories[1]):
        return False
    return bool(one.equals(other))


def refused(what: str, problem: str, hint: str) -> PersistTypeError:
    return PersistTypeError(f"a pandas {what} can't be saved: {problem}", "invalid-argument", hint=hint)


# ---- Restoring ------------------------------------------------------------------


def from_arrow(pandas: Any, pyarrow: Any, data: Any) -> dict[str, Any]:
    """Returns the columns of a stream, by name."""
    if type(data) is not bytes:
        raise ValueError("its columns are not bytes")
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
    # Columns that share bytes could take far more memory than the stream has bytes.
    if table.nbytes > len(data):
        raise ValueError("its columns are larger than its bytes")
    clean: dict[str, str] = {}
    for name, kind in zip(names, types, strict=True):
        as_pandas = declared[name]
        if pyarrow.types.is_dictionary(kind):
            as_pandas = _CATEGORIES
            # Categories of the type null take no bytes.
            if pyarrow.types.is_null(kind.value_type) and any(map(len, _dictionaries(table.column(name)))):
                raise ValueError("a category is missing")
        elif type(as_pandas) is not str or not _TYPE.fullmatch(as_pandas):
            raise ValueError("the type of a column is not valid")
        elif _WHOLE.fullmatch(as_pandas) and table.column(name).null_count:
            raise ValueError("a column whose type allows no missing values has missing values")
        clean[name] = as_pandas
    try:
        frame = table.replace_schema_metadata(_about(clean)).to_pandas()
    except KeyError as error:  # An unknown time zone, where pandas uses pytz.
        raise ValueError(f"{error} is not known") from error
    for name, kind in zip(names, types, strict=True):
        _check_dtype(pandas, pyarrow, frame[name].dtype, kind, declared[name])
    return {name: frame[name] for name in names}


def _about(types: dict[str, str]) -> dict[str, str]:
    """Returns what pyarrow notes for pandas in a schema: the types of the columns."""
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": kind, "metadata": None}
        for name, kind in types.items()
    ]
    return {"pandas": json.dumps({"index_columns": [], "column_indexes": [], "columns": columns})}


def _dictionaries(column: Any) -> list[Any]:
    return [chunk.dictionary for chunk in column.chunks]


def _check_dtype(pandas: Any, pyarrow: Any, dtype: Any, kind: Any, declared: str) -> None:
    """Refuses a column that was read with a different type from the one it was written with."""
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
            f"the snapshot holds a column of type str, which pandas {pandas.__version__} does not have",
            "invalid-argument",
            hint="pip install --upgrade pandas; or restore with plain=True to get the data",
        )
    raise ValueError(f"a column was read as {dtype}, and was written with another type")


def _is_written(pyarrow: Any, kind: Any) -> bool:
    """Returns whether this module writes columns of an Arrow type. In these, every row takes
    bytes, and pandas needs at most a few times as many.
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
    """Refuses a message of a stream that is compressed or has an extension type. Reading
    these would allocate any size that the stream claims, or run registered code.
    """
    # Arrow's key-value metadata names extension types and older compression under this prefix.
    if b"ARROW:" in metadata:
        raise ValueError("it has a type that is not supported")
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
    """Returns the position of the table that a field of another table refers to."""
    at = _field(metadata, table, number)
    if not at:
        raise ValueError("a part of it is missing")
    return at + int(struct.unpack_from("<I", metadata, at)[0])


def _field(metadata: bytes, table: int, number: int) -> int:
    """Returns the position of a field of a flatbuffer table, or 0 if the field is missing."""
    fields = table - struct.unpack_from("<i", metadata, table)[0]
    if fields < 0:
        raise ValueError("a part of it is missing")
    (length,) = struct.unpack_from("<H", metadata, fields)
    if 4 + 2 * number + 2 > length:
        return 0
    (offset,) = struct.unpack_from("<H", metadata, fields + 4 + 2 * number)
    return table + int(offset) if offset else 0
