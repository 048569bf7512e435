"""Writes instances of classes and restores them.

An instance is restored without running ``__init__``, ``__post_init__`` or validators:
these ran when the instance was created, and their result is what was saved.
"""

from __future__ import annotations

import inspect
import types
from typing import Any, NoReturn

from persist._classes import OF_FIELDS, field_names, is_attrs, kind_of, may_be_set, name_of, slots
from persist._words import a
from persist.errors import PersistError, PersistTypeError, raise_foreign

_PLAIN = (str, int, float, bool, type(None))

_CACHED_HASH = "_attrs_cached_hash"
"""The attribute in which attrs caches the hash of an instance, which differs between processes."""

BESIDE_FIELDS = ("__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__")
"""The attributes that pydantic keeps in addition to the fields of a model."""


# ---- Saving -------------------------------------------------------------------


def _attributes(value: Any, cls: type) -> dict[str, Any]:
    attributes = dict(getattr(value, "__dict__", ()))
    # Typing sets it on an instance of Box[int].
    attributes.pop("__orig_class__", None)
    # A model may declare the type of its extra fields.
    for name in BESIDE_FIELDS:
        attributes.pop(name, None)
    for name, slot in slots(cls).items():
        try:
            attributes[name] = slot.__get__(value, cls)
        except AttributeError:
            continue
    if is_attrs(cls) and _CACHED_HASH in attributes:
        attributes[_CACHED_HASH] = None
    return attributes


def saved(value: Any, cls: Any, kind: str) -> dict[str, Any]:
    """Returns what is written for an instance. ``value`` has its fields. If there are any,
    ``attributes`` has its other attributes, ``extra`` and ``private`` what pydantic keeps
    separately, ``unset`` the private attributes without a value, and ``set`` the fields
    that were set.
    """
    if kind == "protocol":
        try:
            return {"value": value.__persist_state__()}
        except PersistError:
            raise
        except Exception as error:
            raise_foreign(error, f"{name_of(cls)} failed to return its state", "check its method __persist_state__")
    if kind == "enum":
        # A member without a name is a combination of flags.
        is_named = value.name is not None and value.name in cls.__members__
        return {"member": value.name, "value": None if is_named and type(value.value) not in _PLAIN else value.value}
    if kind == "namedtuple":
        if getattr(value, "__dict__", None):
            name = next(iter(vars(value)))
            raise PersistTypeError(
                f"{a(name_of(cls))} can't be saved: its attribute {name} is not a field of the named tuple",
                "invalid-argument",
                hint="use a dataclass, or register the class with save and restore",
            )
        return {"value": list(tuple.__iter__(value))}
    attributes = _attributes(value, cls)
    fields = {}
    for name in field_names(cls):
        if name in attributes:
            fields[name] = attributes.pop(name)
        elif not _has_class_attribute(cls, name):
            raise PersistTypeError(
                f"{a(name_of(cls))} can't be saved: it has no value for its field {name}",
                "invalid-argument",
                hint="set the field first",
            )
        elif _is_kept_elsewhere(cls, name):
            raise PersistTypeError(
                f"{a(name_of(cls))} can't be saved: a descriptor keeps its field {name} outside the instance",
                "invalid-argument",
                hint="register the class with save and restore",
            )
    written: dict[str, Any] = {"value": fields}
    wrong = next((name for name in attributes if not may_be_set(cls, name)), None)
    if wrong is not None:
        raise PersistTypeError(
            f"{a(name_of(cls))} can't be saved: its attribute {wrong} hides an attribute of the class",
            "invalid-argument",
            hint="give the attribute another name, or register the class with save and restore",
        )
    if attributes:
        written["attributes"] = attributes
    if kind == "pydantic":
        extra, private = value.__pydantic_extra__, value.__pydantic_private__
        given = value.__pydantic_fields_set__
        if extra:
            written["extra"] = dict(extra)
        if private:
            written["private"] = dict(private)
        unset = [name for name in cls.__private_attributes__ if name not in (private or {})]
        if unset:
            written["unset"] = unset
        if given != fields.keys() | (extra or {}).keys():
            written["set"] = sorted(given)
    return written


def _is_kept_elsewhere(cls: type, name: str) -> bool:
    """Returns whether a descriptor other than a property provides the value of a field."""
    there = inspect.getattr_static(cls, name, None)
    return hasattr(type(there), "__set__") and not isinstance(there, (property, types.MemberDescriptorType))


def _has_class_attribute(cls: type, name: str) -> bool:
    """Returns whether the class has a value for an attribute that the instance lacks."""
    return hasattr(cls, name) and name not in slots(cls)


def as_data(fields: dict[str, Any]) -> Any:
    """Returns what was written for an instance as plain data."""
    value = fields["value"]
    if isinstance(value, dict):
        more = [fields[name] for name in ("attributes", "extra", "private") if isinstance(fields.get(name), dict)]
        return {name: item for part in (value, *more) for name, item in part.items()} if more else value
    return value


# ---- Restoring ------------------------------------------------------------------


def made(cls: Any, fields: dict[str, Any]) -> Any:
    """Returns an instance of a class that the caller named, from what was written for it."""
    kind, value = kind_of(cls), fields["value"]
    if kind in OF_FIELDS:
        if not isinstance(value, dict):
            raise misfit(cls, f"it is {a(type(value).__name__)}")
        return _model(cls, kind, fields)
    try:
        if kind == "protocol":
            return cls.__persist_restore__(value)
        if kind == "enum":
            member = fields.get("member")
            return cls[member] if isinstance(member, str) and member in cls.__members__ else cls(value)
        if kind == "namedtuple":
            if not isinstance(value, (list, tuple)):
                raise misfit(cls, f"it is {a(type(value).__name__)}")
            return cls._make(value)
    except PersistError:
        raise
    except Exception as error:
        raise_unfit(cls, error)
    raise PersistTypeError(
        f"Persist does not know how to restore {a(name_of(cls))}",
        "invalid-argument",
        hint="register the class with persist.register(…), or restore without into= to get the data",
    )


def _model(cls: Any, kind: str, fields: dict[str, Any]) -> Any:
    names = field_names(cls)
    value, extra = dict(fields["value"]), _part(cls, fields, "extra")
    allows_more = kind == "pydantic" and cls.model_config.get("extra") == "allow"
    for name in [name for name in value if name not in names]:
        if not allows_more:
            raise misfit(cls, f"it has {name!r}, and the class has no such field")
        extra[name] = value.pop(name)
    if extra and kind != "pydantic":
        raise misfit(cls, f"it has {next(iter(extra))!r}, and the class allows no extra fields")
    more = _part(cls, fields, "attributes")
    wrong = next((name for name in more if not may_be_set(cls, name)), None)
    if wrong is not None:
        raise misfit(cls, f"its attribute {wrong!r} is not valid: it would hide an attribute of the class")
    if kind == "attrs" and _CACHED_HASH in more:
        more[_CACHED_HASH] = None
    attributes = {**value, **more}
    for name in names:
        if name not in attributes:
            _set_default(cls, kind, name, attributes)
    # In the order of the class, whatever the order of the snapshot.
    attributes = {name: attributes[name] for name in [*names, *attributes] if name in attributes}
    try:
        new = object.__new__(cls)
    except TypeError as error:
        raise_unfit(cls, error)
    set_attributes(new, cls, attributes)
    if kind == "pydantic":
        given = fields.get("set")
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            given = [*value, *extra]
        # A single call of model_validate may have allowed extra fields.
        set_pydantic(new, "__pydantic_extra__", extra if allows_more or extra else None)
        set_pydantic(new, "__pydantic_fields_set__", set(given))
        set_pydantic(new, "__pydantic_private__", _private(cls, _part(cls, fields, "private"), fields.get("unset")))
    return new


def _part(cls: type, fields: dict[str, Any], name: str) -> dict[str, Any]:
    part = fields.get(name, {})
    if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
        raise misfit(cls, f"its part {name!r} is invalid")
    return dict(part)


def _set_default(cls: Any, kind: str, name: str, attributes: dict[str, Any]) -> None:
    """Sets a field that the state lacks to its default. The class may have got it later."""
    import dataclasses

    if kind == "pydantic":
        field = cls.model_fields[name]
        if field.is_required():
            raise misfit(cls, f"{name!r} is missing")
        attributes[name] = _default(cls, field)
        return
    if kind == "attrs":
        attributes[name] = _attrs_default(cls, name)
        return
    pydantic_field = getattr(cls, "__pydantic_fields__", {}).get(name)
    if pydantic_field is not None and not pydantic_field.is_required():
        attributes[name] = _default(cls, pydantic_field)
        return
    if pydantic_field is None and _has_class_attribute(cls, name):
        return
    field = cls.__dataclass_fields__[name]
    if field.default is not dataclasses.MISSING:
        attributes[name] = field.default
    elif field.default_factory is not dataclasses.MISSING:
        try:
            attributes[name] = field.default_factory()
        except Exception as error:
            raise_unfit(cls, error)
    else:
        raise misfit(cls, f"{name!r} is missing")


def _attrs_default(cls: Any, name: str) -> Any:
    import attr

    default: Any = attr.fields_dict(cls)[name].default
    if not hasattr(default, "takes_self"):
        if default is attr.NOTHING:
            raise misfit(cls, f"{name!r} is missing")
        return default
    if default.takes_self:
        raise misfit(cls, f"{name!r} is missing, and its default depends on the other fields")
    try:
        return default.factory()
    except Exception as error:
        raise_unfit(cls, error)


def _default(cls: type, field: Any) -> Any:
    try:
        return field.get_default(call_default_factory=True)
    except Exception as error:  # The default may depend on the other fields.
        raise_unfit(cls, error)


def set_attributes(new: Any, cls: type, attributes: dict[str, Any]) -> None:
    """Sets attributes in ``__dict__`` and slots, without running properties or
    ``__setattr__``.
    """
    known = slots(cls)
    for name, item in attributes.items():
        if name in known:
            known[name].__set__(new, item)
        elif hasattr(new, "__dict__"):
            new.__dict__[name] = item
        else:
            raise misfit(cls, f"it has {name!r}, and the class has no place for it")


def set_pydantic(model: Any, name: str, item: Any) -> None:
    """Sets one of pydantic's own attributes, if the model has it. A root model has fewer of them."""
    slot = inspect.getattr_static(type(model), name, None)
    if isinstance(slot, types.MemberDescriptorType):
        slot.__set__(model, item)
    elif slot is not None:
        object.__setattr__(model, name, item)


def _private(cls: Any, private: dict[str, Any], unset: Any) -> dict[str, Any] | None:
    """Returns the private attributes. Attributes that the class got later have their
    defaults, and those that had no value still have none.
    """
    known = cls.__private_attributes__
    wrong = next((name for name in private if name not in known), None)
    if wrong is not None:
        raise misfit(cls, f"it has {wrong!r}, and the class has no such private attribute")
    if not known:
        return None
    from pydantic_core import PydanticUndefined

    unset = unset if isinstance(unset, list) else ()
    defaults = {}
    for name, attribute in known.items():
        if name in private or name in unset:
            continue
        takes = inspect.signature(attribute.get_default).parameters
        try:
            defaults[name] = attribute.get_default(**{"call_default_factory": True} if takes else {})
        except Exception as error:
            raise_unfit(cls, error)
    return {**private, **{name: item for name, item in defaults.items() if item is not PydanticUndefined}}


def misfit(cls: type, problem: str) -> PersistTypeError:
    """Returns the error for a state that does not fit a class."""
    return PersistTypeError(
        f"the state does not match {name_of(cls)}: {problem}",
        "invalid-argument",
        hint="restore with plain=True to see what it holds",
    )


def raise_unfit(cls: type, error: Exception) -> NoReturn:
    """Raises the error for a state that a class refused with an error of its own."""
    raise_foreign(error, f"{name_of(cls)} refused the state", "restore with plain=True to see what it holds")
