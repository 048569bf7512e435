"""Quick copies of messages. The rest of a save then runs in a thread, while other tasks
may change the messages.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import inspect
import types
import weakref
from collections.abc import Iterator
from typing import Any

from persist import _persist
from persist._classes import is_all_attributes

_TIMES = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)

_NONE = object()

_PYDANTIC = ("__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__")

AT_ONCE = 50
"""How many messages a framework writes or makes in one call. Other Python threads wait
during each call.
"""


def copied(value: Any) -> Any:
    """Returns a deep copy of a value. It is faster than ``copy.deepcopy`` for pydantic models
    and for instances that keep everything in ``__dict__`` and do not define how they are
    copied.
    """
    return _persist.freeze(value).thaw()


class Copies:
    """A frozen list. Each item is taken once, and its copy is made at that time: with
    thousands of new objects at once, the garbage collector would scan all objects of the
    process, and every other thread would wait.
    """

    def __init__(self, items: list[Any]) -> None:
        self._items: _persist.FrozenItems | None = _persist.freeze_each(items)

    def parts(self) -> Iterator[list[Any]]:
        """Yields the copies, a few at a time."""
        items, self._items = self._items, None
        if items is None:
            raise ValueError("the copies were already taken")
        while some := items.take(AT_ONCE):
            yield some


def in_parts(items: list[Any]) -> Iterator[list[Any]]:
    """Yields the items of a list, a few at a time."""
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


AS_PYDANTIC: list[Any] = []
"""Functions with which frameworks replace pydantic's ``__deepcopy__``, and which copy a
model in the same way.
"""

_known: weakref.WeakKeyDictionary[type, str | None] = weakref.WeakKeyDictionary()
"""Cached results of :func:`kind_of`."""


def kind_of(cls: Any) -> str | None:
    """Returns how to copy the instances of a class. Those of ``time`` and ``enum`` are not
    copied. ``attributes``, ``dataclass`` and ``model`` say what an instance consists of.
    ``None`` means that only ``copy.deepcopy`` can copy them.
    """
    if cls not in _known:
        _known[cls] = _kind_of(cls)
    return _known[cls]


def _kind_of(cls: Any) -> str | None:
    if cls in _TIMES:
        return "time"
    names = ("__deepcopy__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")
    if cls.__getattribute__ is not object.__getattribute__ or inspect.isabstract(cls):
        return None
    if any(
        vars(base).get(name, _NONE) not in (_NONE, *AS_PYDANTIC)
        for base in cls.__mro__
        if base is not object and base.__module__ not in ("pydantic.main", "enum")
        for name in names
    ):
        return None
    if issubclass(cls, enum.Enum):
        return "enum"
    slots = {
        name
        for base in cls.__mro__
        for name, slot in vars(base).items()
        if isinstance(slot, types.MemberDescriptorType)
    }
    if slots == set(_PYDANTIC) and hasattr(cls, "model_fields"):
        are_own = all(isinstance(inspect.getattr_static(cls, name), types.MemberDescriptorType) for name in _PYDANTIC)
        return "model" if are_own else None
    if slots or not is_all_attributes(cls):
        return None
    return "dataclass" if hasattr(cls, "__dataclass_fields__") and _is_its_fields(cls) else "attributes"


def _is_its_fields(cls: Any) -> bool:
    """Returns whether every field of a dataclass is an attribute of the instance or a default
    of the class, so that no method or descriptor computes it.
    """
    return not hasattr(cls, "__getattr__") and not any(
        hasattr(type(inspect.getattr_static(cls, field.name, None)), "__get__") for field in dataclasses.fields(cls)
    )
