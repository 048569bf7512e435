"""Finds the classes that a class names. If the caller passes a class, instances of the
classes that it names are restored without being registered.
"""

from __future__ import annotations

import inspect
import sys
import types
import weakref
from collections.abc import Iterable
from typing import Any

from persist._classes import is_attrs, is_pydantic, is_typed_dict, kind_of, name_of

_annotations: weakref.WeakKeyDictionary[type, list[Any]] = weakref.WeakKeyDictionary()


def _types_in(cls: type) -> list[Any]:
    """Returns the types of a class's attributes, as far as they can be resolved."""
    import typing

    known = _annotations.get(cls)
    if known is not None:
        return known
    found: list[Any] = []
    is_whole = True
    fields = getattr(cls, "model_fields", None) if is_pydantic(cls) else None
    if isinstance(fields, dict):
        found.extend(field.annotation for field in fields.values())
    if is_attrs(cls):
        found.extend(attribute.type for attribute in vars(cls).get("__attrs_attrs__", ()))
    try:
        found.extend(typing.get_type_hints(cls).values())
    except Exception:  # Names that exist only for type checkers, or within a function.
        for base in cls.__mro__:
            scope = {**vars(sys.modules.get(base.__module__, typing)), cls.__name__: cls}
            for annotation in inspect.get_annotations(base).values():
                hint = types.SimpleNamespace(__annotations__={"it": annotation})
                try:
                    found.extend(typing.get_type_hints(hint, scope).values())
                except Exception:
                    is_whole = False
                    continue
    if is_whole:
        _annotations[cls] = found
    return found


def _is_own(cls: type) -> bool:
    """Returns whether the program or a library defines a class. General base classes, such as
    those of pydantic, have far too many subclasses.
    """
    top = cls.__module__.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in ("pydantic", "pydantic_core", "typing_extensions")


def _meant(candidate: Any) -> list[Any]:
    """Returns the types behind an alias, a new type, a type variable or a literal value."""
    enum = sys.modules.get("enum")
    kind = type(candidate).__name__
    try:
        if kind == "TypeAliasType":
            return [candidate.__value__]
        if kind == "NewType":
            return [candidate.__supertype__]
        if kind == "TypeVar":
            return [candidate.__bound__, *candidate.__constraints__]
    except NameError:  # Names that exist only for type checkers.
        return []
    # A value as in Literal[Color.RED].
    return [type(candidate)] if enum is not None and isinstance(candidate, enum.Enum) else []


def reachable(roots: Iterable[Any]) -> dict[str, type]:
    """Returns the classes that these types name, by name: the types themselves, the types of
    their attributes, and the subclasses of all of these.
    """
    import typing

    found: dict[str, type] = {}
    seen: set[int] = set()
    waiting, later = list(roots), list[Any]()
    while waiting or later:
        # Named classes come before their subclasses.
        candidate = waiting.pop(0) if waiting else later.pop(0)
        if id(candidate) in seen:
            continue
        seen.add(id(candidate))
        waiting.extend(typing.get_args(candidate))
        waiting.extend(_meant(candidate))
        if not isinstance(candidate, type) or isinstance(candidate, types.GenericAlias):
            continue
        is_known = kind_of(candidate) is not None
        if is_known:
            found.setdefault(name_of(candidate), candidate)
        if is_known or is_typed_dict(candidate):
            waiting.extend(_types_in(candidate))
        if _is_own(candidate):
            # The newest comes first: a class that was defined again, or replaced by a
            # decorator, may have the same name as its predecessor.
            later.extend(reversed(type.__subclasses__(candidate)))
    return found
