"""Quick copies of messages, so that the rest of the work can be done in a thread
while other tasks change the messages themselves.
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
from persist._models import is_all_attributes

_TIMES = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)

_NONE = object()

_PYDANTIC = ("__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__")

AT_ONCE = 50
"""How many messages a framework writes or makes at once: other threads of Python wait
for each call."""


def copied(value: Any) -> Any:
    """A deep copy of a value; faster than ``copy.deepcopy`` for instances that
    keep everything in ``__dict__`` and say nothing else, and for pydantic's models.
    """
    return _persist.freeze(value).thaw()


class Copies:
    """A list as it was. The copy of each item is made when it is taken, and each is taken
    once: thousands of them at a time would have the garbage collector look at all that
    the process has, while every other thread waits.
    """

    def __init__(self, items: list[Any]) -> None:
        self._items: _persist.FrozenItems | None = _persist.freeze_each(items)

    def parts(self) -> Iterator[list[Any]]:
        """The copies, a few at a time."""
        items, self._items = self._items, None
        if items is None:
            raise ValueError("the copies were given away")
        while some := items.take(AT_ONCE):
            yield some


def in_parts(items: list[Any]) -> Iterator[list[Any]]:
    """The items of a list, a few at a time."""
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


AS_PYDANTIC: list[Any] = []
"""Functions that frameworks have in the place of pydantic's ``__deepcopy__``, and that
copy a model as that does."""

_known: weakref.WeakKeyDictionary[type, str | None] = weakref.WeakKeyDictionary()
"""What :func:`kind_of` said of a class."""


def kind_of(cls: Any) -> str | None:
    """How instances of a class are copied: ``time`` and ``enum`` are kept as they are;
    ``attributes``, ``dataclass`` and ``model`` say what else there is to an instance than
    its attributes. None where nothing is known: ``copy.deepcopy`` does it.
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
    """Whether the fields of a dataclass are in its instances, or are the defaults that the
    class has: no method or descriptor gives them.
    """
    return not hasattr(cls, "__getattr__") and not any(
        hasattr(type(inspect.getattr_static(cls, field.name, None)), "__get__") for field in dataclasses.fields(cls)
    )
