"""Quick copies of messages, so that the rest of the work can be done in a thread
while other tasks change the messages themselves.
"""

from __future__ import annotations

import copy
import datetime
import types
import weakref
from collections.abc import Iterator
from typing import Any

from persist._models import is_all_attributes

_ATOMS = frozenset(
    (str, int, float, bool, bytes, type(None), datetime.datetime, datetime.date, datetime.time, datetime.timedelta)
)

_NONE = object()

_PYDANTIC = ("__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__")


AT_ONCE = 50
"""How many messages a framework writes or makes at once: other threads of Python wait
for each call."""

AS_PYDANTIC: list[Any] = []
"""Functions that frameworks have in the place of pydantic's ``__deepcopy__``, and that
copy a model as that does."""


def in_parts(items: list[Any]) -> Iterator[list[Any]]:
    """The items of a list, a few at a time."""
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


def copied(value: Any) -> Any:
    """A deep copy of a value; faster than ``copy.deepcopy`` for instances that
    keep everything in ``__dict__`` and say nothing else, and for pydantic's models.
    """
    cls = type(value)
    if cls in _ATOMS:
        return value
    if cls is list:
        return [item if type(item) in _ATOMS else copied(item) for item in value]
    if cls is dict:
        return {key: item if type(item) in _ATOMS else copied(item) for key, item in value.items()}
    kept = _kept_by(cls)
    if kept is None:
        return copy.deepcopy(value)
    new = object.__new__(cls)
    attributes = new.__dict__
    for name, item in value.__dict__.items():
        attributes[name] = item if type(item) in _ATOMS else copied(item)
    for slot in kept:
        item = slot.__get__(value, cls)
        slot.__set__(new, set(item) if type(item) is set else copied(item))
    return new


_known: weakref.WeakKeyDictionary[type, tuple[Any, ...] | None] = weakref.WeakKeyDictionary()
"""By class, what it keeps beside ``__dict__``; none where that is not known."""


def _kept_by(cls: Any) -> tuple[Any, ...] | None:
    if cls not in _known:
        slots = {
            name: slot
            for base in cls.__mro__
            for name, slot in vars(base).items()
            if isinstance(slot, types.MemberDescriptorType)
        }
        is_model = slots.keys() == set(_PYDANTIC) and hasattr(cls, "model_fields")
        is_plain = not slots and is_all_attributes(cls) and cls.__reduce_ex__ is object.__reduce_ex__
        names = ("__deepcopy__", "__getstate__", "__setstate__", "__reduce__")
        has_own = any(
            vars(base).get(name, _NONE) not in (_NONE, *AS_PYDANTIC)
            for base in cls.__mro__
            if base is not object and base.__module__ != "pydantic.main"
            for name in names
        )
        _known[cls] = tuple(slots.values()) if (is_model or is_plain) and not has_own else None
    return _known[cls]
