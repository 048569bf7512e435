"""The kinds of classes whose instances can be saved, and what their instances have:
dataclasses, attrs classes, pydantic models, named tuples, enums, and classes with
``__persist_state__()``.
"""

from __future__ import annotations

import inspect
import sys
import types
from typing import Any

BUILT_IN = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float)

OF_FIELDS = ("pydantic", "attrs", "dataclass")
"""The kinds of classes whose instances consist of fields and other attributes."""

_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8


def name_of(cls: type) -> str:
    """Returns the name of a class in snapshots, unless it was registered with another name."""
    return f"{cls.__module__}.{cls.__qualname__}"


def kind_of(cls: type) -> str | None:
    """Returns how instances of a class are saved, or ``None`` if that is not known."""
    if hasattr(cls, "__persist_state__") and hasattr(cls, "__persist_restore__"):
        return "protocol"
    if is_pydantic(cls):
        return "pydantic"
    enum = sys.modules.get("enum")
    if enum is not None and issubclass(cls, enum.Enum):
        return "enum"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "namedtuple"
    if is_attrs(cls) and is_all_attributes(cls):
        return "attrs"
    if hasattr(cls, "__dataclass_fields__") and is_all_attributes(cls):
        return "dataclass"
    return None


def is_pydantic(cls: type) -> bool:
    """Returns whether a class is a pydantic model."""
    pydantic = sys.modules.get("pydantic")
    model = getattr(pydantic, "BaseModel", None)
    return isinstance(model, type) and issubclass(cls, model)


def is_attrs(cls: type) -> bool:
    """Returns whether a class is an attrs class."""
    return "attr" in sys.modules and isinstance(getattr(cls, "__attrs_attrs__", None), tuple)


def is_all_attributes(cls: type) -> bool:
    """Returns whether everything in an instance is an attribute. Classes in C, such as
    exceptions and dicts, keep more.
    """
    return all(base is object or base.__module__ == "typing" or takes_methods(base) for base in cls.__mro__)


def takes_methods(cls: type) -> bool:
    """Returns whether methods can be added to a class, which means that it is not written in C."""
    return bool(cls.__flags__ & _HEAP_TYPE) and not cls.__flags__ & _IMMUTABLE_TYPE


def is_typed_dict(cls: Any) -> bool:
    """Returns whether a class is a typed dict of the standard library or its backports."""
    import typing

    backports = sys.modules.get("typing_extensions")
    return typing.is_typeddict(cls) or (backports is not None and backports.is_typeddict(cls))


def slots(cls: type) -> dict[str, Any]:
    """Returns the descriptors of the attributes that are not in ``__dict__``."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if base.__flags__ & _HEAP_TYPE:
            for name, slot in vars(base).items():
                if isinstance(slot, types.MemberDescriptorType) and not name.startswith("__pydantic_"):
                    found.setdefault(name, slot)
    return found


def field_names(cls: Any) -> list[str]:
    """Returns the names of the fields of a class, in order."""
    if is_pydantic(cls):
        return list(cls.model_fields)
    if is_attrs(cls):
        return [attribute.name for attribute in cls.__attrs_attrs__]
    import dataclasses

    return [field.name for field in dataclasses.fields(cls)]


def may_be_set(cls: type, name: str) -> bool:
    """Returns whether an instance may have an attribute of its own: one that hides neither a
    method nor a class variable.
    """
    if name in slots(cls):
        return True
    field = getattr(cls, "__dataclass_fields__", {}).get(name)
    is_class_variable = (
        field is not None and str(getattr(field, "_field_type", "")) == "_FIELD_CLASSVAR"
    ) or name in getattr(cls, "__class_vars__", ())
    return not (is_class_variable or name.startswith("__") or hides_code(cls, name))


def hides_code(cls: type, name: str) -> bool:
    """Returns whether an attribute of an instance would hide a method or property of the
    class. A cached property does not count: its value is kept under its own name.
    """
    import functools

    there = inspect.getattr_static(cls, name, None)
    if isinstance(there, (functools.cached_property, types.MemberDescriptorType)):
        return False
    return callable(there) or hasattr(type(there), "__get__")
