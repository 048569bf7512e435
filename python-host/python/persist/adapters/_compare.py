"""Compares what a framework makes of a saved state with the original."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, time
from enum import Enum
from typing import Any

_NUMBERS = (int, float)


def is_data(value: Any) -> bool:
    """Returns whether a value consists of JSON types and bytes."""
    if type(value) is dict:
        return all(type(name) is str and is_data(item) for name, item in value.items())
    if type(value) is list:
        return all(map(is_data, value))
    return value is None or type(value) in (str, int, float, bool, bytes)


def same(one: Any, other: Any, depth: int = 0) -> bool:
    """Returns whether a new value has the same content as the original, in values of the same
    classes. A framework may turn 0 into 0.0, and a dataclass into a more specific one of its
    own, such as binary content into an image.
    """
    if one is other:
        return True
    if depth > 200:
        return False
    cls: Any = type(other)
    if type(one) in _NUMBERS and cls in _NUMBERS:
        return bool(one == other) or (one != one and other != other)
    if hasattr(cls, "__dataclass_fields__") and isinstance(one, cls):
        names = [field.name for field in dataclasses.fields(cls) if not field.name.startswith("_")]
        if not _attributes(other) <= _attributes(one) | {*names}:
            return False
        return all(same(getattr(one, name, None), getattr(other, name, None), depth + 1) for name in names)
    if type(one) is not cls:
        return False
    if issubclass(cls, (datetime, time)):
        # The time zone may be another object with the same meaning.
        return bool(one == other) and bool(one.utcoffset() == other.utcoffset())
    if issubclass(cls, Mapping):
        return len(one) == len(other) and all(
            name in other and same(value, other[name], depth + 1) for name, value in one.items()
        )
    if issubclass(cls, (list, tuple)):
        return len(one) == len(other) and all(same(*pair, depth + 1) for pair in zip(one, other, strict=True))
    if issubclass(cls, (str, bytes, bytearray, set, frozenset, Enum)):
        return bool(one == other)
    if hasattr(cls, "model_fields"):
        if not _attributes(other) <= _attributes(one):
            return False
        return same(_fields(one), _fields(other), depth + 1)
    return bool(one == other) or getattr(one, "__dict__", 0) == getattr(other, "__dict__", 1)


def _attributes(value: Any) -> set[str]:
    """Returns the names of the public attributes of a value."""
    return {name for name in getattr(value, "__dict__", ()) if not name.startswith("_")}


def _fields(model: Any) -> dict[str, Any]:
    return {**model.__dict__, **(model.__pydantic_extra__ or {})}
