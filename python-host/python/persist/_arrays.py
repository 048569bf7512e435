"""The arrays and scalars of numpy. An array is written as its bytes, with their type, byte
order and shape; a scalar is written as the plain value that it represents.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any

from persist._libraries import loaded
from persist._words import a
from persist.errors import PersistTypeError

_UNIT = r"(?:\[(?:[1-9]\d*)?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"

_TYPE = re.compile(rf"[<>|](?:b1|[iu][1248]|f[248]|c(?:8|16)|[SU][1-9]\d*|[mM]8{_UNIT})", re.ASCII)
"""Types whose bytes mean the same on every machine: no objects, no extended precision."""

_MOMENT = re.compile(rf"(?:datetime64|timedelta64){_UNIT}", re.ASCII)

_MAX_DIMENSIONS = 64
"""The limit of numpy itself."""

_PLAIN: dict[str, type] = {
    "bool": bool,
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), int),
    **dict.fromkeys(("float16", "float32", "float64"), float),
    **dict.fromkeys(("complex64", "complex128"), complex),
    "str": str,
    "bytes": bytes,
}
"""The plain type that a scalar of each type is written as."""


def _class(numpy: Any, name: str) -> Any:
    """Returns the class of the scalars of a type."""
    return getattr(numpy, f"{name}_" if name in ("bool", "str", "bytes") else name)


# ---- Saving -------------------------------------------------------------------


def saved(value: Any, cls: type) -> tuple[str, dict[str, Any]] | None:
    """Returns the kind of a numpy value and its fields, or ``None`` if it is neither an
    array nor a scalar.
    """
    numpy: Any = sys.modules.get("numpy")
    if not hasattr(numpy, "generic"):  # Another module with this name.
        return None
    if cls is numpy.ndarray:
        return "ndarray", _array(numpy, value)
    if issubclass(cls, numpy.generic):
        return "numpy", _scalar(numpy, value, cls)
    if not issubclass(cls, numpy.ndarray):
        return None
    if issubclass(cls, numpy.recarray):
        raise _with_fields()
    if issubclass(cls, numpy.ma.MaskedArray):
        hint = "save its parts: numpy.ma.getdata(array) and numpy.ma.getmaskarray(array)"
    else:
        hint = "save a plain array: numpy.asarray(array)"
    raise _refused(f"array of class {cls.__qualname__}", hint)


def _with_fields() -> PersistTypeError:
    return _refused("array with fields", "save its fields: {name: array[name] for name in array.dtype.names}")


def _array(numpy: Any, array: Any) -> dict[str, Any]:
    dtype = array.dtype
    if dtype.names is not None:
        raise _with_fields()
    if dtype.char in "gG":
        other = "numpy.float64" if dtype.char == "g" else "numpy.complex128"
        raise _refused(f"array of {dtype.name}", f"save array.astype({other})", _DIFFERS)
    if not _TYPE.fullmatch(dtype.str) or numpy.dtype(dtype.str) != dtype:
        raise _refused(f"array of type {dtype}", "save a list: array.tolist()")
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    fields: dict[str, Any] = {"dtype": dtype.str, "shape": list(array.shape)}
    if order == "F":
        fields["order"] = order
    return {**fields, "value": array.tobytes(order)}


def _scalar(numpy: Any, value: Any, cls: type) -> dict[str, Any]:
    if cls in (numpy.datetime64, numpy.timedelta64):
        return {"type": value.dtype.name, "value": int(value.view(numpy.int64))}
    if cls is numpy.str_:
        return {"type": "str", "value": str.__str__(value)}
    if cls is numpy.bytes_:
        return {"type": "bytes", "value": bytes.__getitem__(value, slice(None))}
    name = numpy.dtype(cls).name
    # long long may have the same name and size as another type.
    if name in _PLAIN and _class(numpy, name) is cls:
        return {"type": name, "value": value.item()}
    if name in _PLAIN:
        raise _refused(f"scalar of class {cls.__qualname__}", f"save it as numpy.{name}(value)")
    if issubclass(cls, (numpy.longdouble, numpy.clongdouble)):
        other = "float" if issubclass(cls, numpy.longdouble) else "complex"
        raise _refused(cls.__qualname__, f"save {other}(value)", _DIFFERS)
    raise _refused(f"scalar of class {cls.__qualname__}", "save a plain value: value.item()")


_DIFFERS = ", because that type differs between machines"


def _refused(what: str, hint: str, why: str = "") -> PersistTypeError:
    return PersistTypeError(f"a numpy {what} can't be saved{why}", "invalid-argument", hint=hint)


# ---- Restoring ------------------------------------------------------------------


def array(fields: dict[str, Any]) -> Any:
    """Returns the array that was written as these fields. It allocates no more memory than
    the bytes fill.
    """
    numpy = loaded("numpy", "a numpy array")
    name, shape, order, data = fields["dtype"], fields["shape"], fields.get("order", "C"), fields["value"]
    if type(name) is not str or not _TYPE.fullmatch(name):
        raise ValueError("its dtype is not valid")
    if (
        type(shape) is not list
        or len(shape) > _MAX_DIMENSIONS
        or not all(type(length) is int and 0 <= length < 1 << 63 for length in shape)
    ):
        raise ValueError("its shape is not valid")
    if order not in ("C", "F"):
        raise ValueError("its order is not valid")
    dtype = numpy.dtype(name)
    if type(data) is not bytes or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("its bytes do not fill its shape")
    new = numpy.ndarray(shape, dtype, buffer=data, order=order)
    # Python and numpy rely on these values being in range.
    if dtype.kind == "b" and numpy.frombuffer(data, numpy.uint8).max(initial=0) > 1:
        raise ValueError("a bool in it is neither 0 nor 1")
    if dtype.kind == "U":
        characters = numpy.frombuffer(data, numpy.dtype(numpy.uint32).newbyteorder(dtype.byteorder))
        if characters.max(initial=0) > sys.maxunicode:
            raise ValueError("a character in it is not valid")
    # The copy is writable and owns its memory.
    return new.copy(order)


def scalar(fields: dict[str, Any]) -> Any:
    """Returns the scalar that was written as these fields."""
    numpy = loaded("numpy", "a numpy value")
    name, value = fields["type"], fields["value"]
    if type(name) is not str:
        raise ValueError("its type is not valid")
    if _MOMENT.fullmatch(name):
        if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
            raise ValueError("its value is not a 64-bit integer")
        return numpy.int64(value).view(numpy.dtype(name))
    if name not in _PLAIN or type(value) is not _PLAIN[name]:
        raise ValueError("its value does not match its type")
    with numpy.errstate(all="ignore"):
        new = _class(numpy, name)(value)
    # NaN is not equal to itself.
    if _PLAIN[name] in (int, float, complex) and new.item() != value and value == value:
        raise ValueError(f"its value is not {a(name)}")
    return new
