"""Crafted data frames and Arrow streams are refused if they are not valid."""

from __future__ import annotations

import base64
import importlib
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy
import persist
import pytest
from craft import crafted

pandas: Any = importlib.import_module("pandas")
pyarrow: Any = importlib.import_module("pyarrow")

store = persist.Store("memory://frames")


def stream(table: Any, types: list[str] | None = None, **options: Any) -> dict[str, str]:
    """Returns an Arrow stream with the notes of pandas."""
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
    """An extension type whose code a crafted snapshot tries to run."""

    ran = 0

    def __init__(self) -> None:
        super().__init__(pyarrow.int64(), "persist.test.running")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"code"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Running:
        cls.ran += 1
        return cls()


def test_a_valid_stream_is_restored() -> None:
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
def test_an_invalid_stream_is_refused(make: Callable[[], Any]) -> None:
    crafted(series_of(make()))
    with pytest.raises(persist.PersistIntegrityError, match=r"an invalid series|an invalid bytes"):
        persist.restore("crafted")


def test_extension_types_are_never_instantiated() -> None:
    kind = Running()
    pyarrow.register_extension_type(kind)
    try:
        data = stream(pyarrow.table({"0": pyarrow.ExtensionArray.from_storage(kind, NUMBERS)}))
        Running.ran = 0
        crafted(series_of(data))
        with pytest.raises(persist.PersistIntegrityError, match="a type that is not supported"):
            persist.restore("crafted")
        assert Running.ran == 0
    finally:
        pyarrow.unregister_extension_type(kind.extension_name)


def test_columns_that_share_bytes_are_refused() -> None:
    """Such columns could take a thousand times as much memory as the stream has bytes."""
    numbers = pyarrow.array(numpy.arange(1000))
    data = bytearray(base64.b64decode(stream(pyarrow.table({str(n): numbers for n in range(3)}))["value"]))
    # The buffers of the second and third column point to that of the first.
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
    with pytest.raises(persist.PersistIntegrityError, match="columns are larger than its bytes"):
        persist.restore("crafted")


INDEX: dict[str, Any] = {"$persist": "index", "type": "RangeIndex", "names": [None], "value": [0, 2, 1]}


@pytest.mark.parametrize("frequency", ["2D", "x", "D" * 100, "", 1, ["D"], {"days": 1}], ids=str)
def test_an_invalid_frequency_is_refused(frequency: Any) -> None:
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
def test_invalid_parts_are_refused(value: dict[str, Any]) -> None:
    crafted([value])
    with pytest.raises(persist.PersistIntegrityError, match="not a valid value"):
        persist.restore("crafted")
    assert persist.restore("crafted", plain=True)
