"""Restores into what the caller passes as ``into``: a class for the restored value, or an
instance that gets its state.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
from typing import Any

from persist import _registry
from persist._classes import (
    BUILT_IN,
    OF_FIELDS,
    is_all_attributes,
    is_attrs,
    is_pydantic,
    is_typed_dict,
    kind_of,
    slots,
)
from persist._models import BESIDE_FIELDS, made, misfit, raise_unfit, set_attributes, set_pydantic
from persist._values import restored
from persist._words import a
from persist.errors import PersistError, PersistTypeError


def put_into(value: Any, into: Any) -> Any:
    """Returns a restored value as an instance of the class that the caller passed, or puts
    it into the instance that the caller passed.
    """
    # Before Python 3.11, list[int] is an instance of type.
    is_class = isinstance(into, type) and not isinstance(into, types.GenericAlias)
    if not is_class and type(into).__module__ in ("types", "typing", "typing_extensions"):
        raise PersistTypeError(
            f"{into!r} is not a class", "invalid-argument", hint="pass a class, such as into=list, or an instance"
        )
    if is_class:
        return _as(value, into)
    return _fill(_as(value, type(into)), into)


def _as(value: Any, cls: type) -> Any:
    if is_typed_dict(cls):
        cls = dict
    try:
        is_one = isinstance(value, cls)
    except TypeError as error:  # A protocol that is not checkable at run time.
        raise PersistTypeError(
            f"{cls.__qualname__} cannot be used as into=: {error}", "invalid-argument", hint="pass another class"
        ) from error
    if is_one:
        return value
    entry = _registry.by_class(cls)
    if entry is not None and entry.restore is not None:
        return restored(entry, value)
    if kind_of(cls) is None or kind_of(type(value)) not in (None, "namedtuple"):
        raise PersistTypeError(
            f"the state is {a(type(value).__qualname__)}, not {a(cls.__qualname__)}",
            "invalid-argument",
            hint="restore without into= to see what it holds",
        )
    return _from_data(cls, value)


# ---- From plain data ------------------------------------------------------------


def _from_data(cls: Any, value: Any) -> Any:
    """Returns an instance of a class from plain data. Here ``__init__`` or validators run,
    because nothing proves that they ran before.
    """
    kind = kind_of(cls)
    if kind == "namedtuple":
        return _named_tuple(cls, value)
    if kind not in OF_FIELDS:
        return made(cls, {"value": value})
    if not isinstance(value, dict) and not _is_root_model(cls):
        raise misfit(cls, f"it is {a(type(value).__name__)}")
    try:
        if kind == "attrs":
            return _attrs_constructed(cls, value)
        return _validated(cls, value) if kind == "pydantic" else _constructed(cls, value)
    except PersistError:
        raise
    except Exception as error:
        raise_unfit(cls, error)


def _is_root_model(cls: type) -> bool:
    root = getattr(sys.modules.get("pydantic"), "RootModel", None)
    return isinstance(root, type) and issubclass(cls, root)


def _validated(cls: Any, value: Any) -> Any:
    if _is_root_model(cls):
        return cls.model_validate(value)
    if "by_name" in inspect.signature(cls.model_validate).parameters:
        return cls.model_validate(value, by_name=True, by_alias=True)
    names = cls.model_fields  # pydantic before 2.11
    return cls.model_validate({_alias(names[n], n) if n in names else n: item for n, item in value.items()})


def _alias(field: Any, name: str) -> str:
    alias = field.validation_alias or field.alias
    choices = getattr(alias, "choices", None)
    alias = choices[0] if choices else alias
    return alias if isinstance(alias, str) else name


def _constructed(cls: Any, value: dict[str, Any]) -> Any:
    fields = {name: field.init for name, field in cls.__dataclass_fields__.items()}
    unknown = next((name for name in value if name not in fields), None)
    if unknown is not None:
        raise misfit(cls, f"it has {unknown!r}, and the class has no such field")
    new = cls(**{name: item for name, item in value.items() if fields[name]})
    set_attributes(new, cls, {name: item for name, item in value.items() if not fields[name]})
    return new


def _argument(attribute: Any) -> str:
    alias: str | None = getattr(attribute, "alias", None)
    return alias or attribute.name.lstrip("_")  # attrs before 22.2


def _attrs_constructed(cls: Any, value: dict[str, Any]) -> Any:
    fields = {attribute.name: attribute for attribute in cls.__attrs_attrs__}
    unknown = next((name for name in value if name not in fields), None)
    if unknown is not None:
        raise misfit(cls, f"it has {unknown!r}, and the class has no such field")
    new = cls(**{_argument(fields[name]): item for name, item in value.items() if fields[name].init})
    set_attributes(new, cls, {name: item for name, item in value.items() if not fields[name].init})
    return new


def _named_tuple(cls: Any, value: Any) -> Any:
    """Returns a named tuple from a list of its values, or from a dict of its fields."""
    if isinstance(value, dict):
        unknown = next((name for name in value if name not in cls._fields), None)
        if unknown is not None:
            raise misfit(cls, f"it has {unknown!r}, and the class has no such field")
    elif not isinstance(value, (list, tuple)):
        raise misfit(cls, f"it is {a(type(value).__name__)}")
    try:
        return cls(**value) if isinstance(value, dict) else cls(*value)
    except Exception as error:
        raise_unfit(cls, error)


# ---- Into an instance -------------------------------------------------------------


_UNCHANGING = ("fractions", "pathlib", "pydantic", "uuid")
"""Packages whose instances are immutable by convention, though their attributes can be set."""


def _fill(new: Any, into: Any) -> Any:
    """Replaces everything in an instance by what another instance of its class holds."""
    cls = type(into)
    if cls in (dict, set):
        into.clear()
        into.update(new)
    elif cls in (list, bytearray):
        into[:] = new
    elif (
        not _is_frozen(cls)
        and kind_of(cls) not in ("enum", "namedtuple")
        and not (kind_of(cls) is None and cls.__module__.partition(".")[0] in _UNCHANGING)
        and not isinstance(into, BUILT_IN)
        and is_all_attributes(cls)
    ):
        if type(new) is not cls:
            raise PersistTypeError(
                f"the state is {a(type(new).__qualname__)}, and can't be put into {a(cls.__qualname__)}",
                "invalid-argument",
                hint=f"pass the class: into={type(new).__qualname__}",
            )
        for slot in slots(cls).values():
            try:
                item = slot.__get__(new, cls)
            except AttributeError:
                with contextlib.suppress(AttributeError):
                    slot.__delete__(into)
            else:
                slot.__set__(into, item)
        if hasattr(into, "__dict__"):
            into.__dict__.clear()
            into.__dict__.update(new.__dict__)
        if is_pydantic(cls):
            for name in BESIDE_FIELDS:
                set_pydantic(into, name, getattr(new, name))
    else:
        raise PersistTypeError(
            f"{a(cls.__qualname__)} can't be changed",
            "invalid-argument",
            hint=f"pass the class instead: into={cls.__qualname__}",
        )
    return into


def _is_frozen(cls: Any) -> bool:
    """Returns whether instances of a class must not be changed, because they may be keys."""
    if is_pydantic(cls):
        return bool(cls.model_config.get("frozen"))
    if is_attrs(cls):
        return getattr(cls.__setattr__, "__name__", "") == "_frozen_setattrs"
    return bool(getattr(getattr(cls, "__dataclass_params__", None), "frozen", False))
