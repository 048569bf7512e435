"""Classes whose instances are saved by what they hold: dataclasses, classes of attrs,
pydantic models, named tuples, enums, and those with methods for it.

An instance comes back without its class's ``__init__``, ``__post_init__`` or
validators: these ran when it was made, and what they made of their arguments is
what was saved.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
import weakref
from collections.abc import Iterable
from typing import Any, NoReturn

from persist.errors import PersistError, PersistTypeError, raise_foreign

BUILT_IN = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float)

_PLAIN = (str, int, float, bool, type(None))

OF_FIELDS = ("pydantic", "attrs", "dataclass")
"""Kinds of classes whose instances are their fields and other attributes."""

_CACHED_HASH = "_attrs_cached_hash"
"""Where attrs keeps the hash of an instance: another process has another one."""

_BESIDE_FIELDS = ("__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__")
"""What pydantic keeps of a model beside its fields."""

_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8


def name_of(cls: type) -> str:
    """What snapshots call a class that was not registered with another name."""
    return f"{cls.__module__}.{cls.__qualname__}"


def kind_of(cls: type) -> str | None:
    """How instances of a class are saved; none if nothing says so."""
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
    """Whether a class is a pydantic model."""
    pydantic = sys.modules.get("pydantic")
    model = getattr(pydantic, "BaseModel", None)
    return isinstance(model, type) and issubclass(cls, model)


def is_attrs(cls: type) -> bool:
    """Whether a class is one of attrs."""
    return "attr" in sys.modules and isinstance(getattr(cls, "__attrs_attrs__", None), tuple)


def is_all_attributes(cls: type) -> bool:
    """Whether everything in an instance is an attribute: no class in C keeps more
    in it, as exceptions and dicts do.
    """
    return all(base is object or base.__module__ == "typing" or takes_methods(base) for base in cls.__mro__)


def takes_methods(cls: type) -> bool:
    """Whether methods can be given to a class: it is no class in C."""
    return bool(cls.__flags__ & _HEAP_TYPE) and not cls.__flags__ & _IMMUTABLE_TYPE


# ---- The classes that a class names -----------------------------------------


_annotations: weakref.WeakKeyDictionary[type, list[Any]] = weakref.WeakKeyDictionary()


def _types_in(cls: type) -> list[Any]:
    """The types of a class's attributes, as far as they can be found out."""
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
    except Exception:  # Names that are there for type checkers alone, or in a function.
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
    """Whether a class is no general one, of which everything may be a subclass."""
    top = cls.__module__.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in ("pydantic", "pydantic_core", "typing_extensions")


def _meant(candidate: Any) -> list[Any]:
    """What a name for a type means: an alias, a new type, a variable, a value."""
    enum = sys.modules.get("enum")
    kind = type(candidate).__name__
    try:
        if kind == "TypeAliasType":
            return [candidate.__value__]
        if kind == "NewType":
            return [candidate.__supertype__]
        if kind == "TypeVar":
            return [candidate.__bound__, *candidate.__constraints__]
    except NameError:  # Of names that are there for type checkers alone.
        return []
    # Of Literal[Color.RED].
    return [type(candidate)] if enum is not None and isinstance(candidate, enum.Enum) else []


def reachable(roots: Iterable[Any]) -> dict[str, type]:
    """The classes, by name, that these types name: they themselves, what their
    attributes are annotated with, and the subclasses of those that are defined.
    """
    import typing

    found: dict[str, type] = {}
    seen: set[int] = set()
    waiting, later = list(roots), list[Any]()
    while waiting or later:
        # What is named comes before what is derived from it.
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
            # The newest first: a class that was defined again, or that a decorator made
            # of another, has the name of one that may still be there.
            later.extend(reversed(type.__subclasses__(candidate)))
    return found


def is_typed_dict(cls: Any) -> bool:
    """Whether a class is a typed dict, of the standard library or its backports."""
    import typing

    backports = sys.modules.get("typing_extensions")
    return typing.is_typeddict(cls) or (backports is not None and backports.is_typeddict(cls))


# ---- Saving -------------------------------------------------------------------


def _slots(cls: type) -> dict[str, Any]:
    """What gets and sets the attributes that are not in ``__dict__``."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if base.__flags__ & _HEAP_TYPE:
            for name, slot in vars(base).items():
                if isinstance(slot, types.MemberDescriptorType) and not name.startswith("__pydantic_"):
                    found.setdefault(name, slot)
    return found


def _attributes(value: Any, cls: type) -> dict[str, Any]:
    attributes = dict(getattr(value, "__dict__", ()))
    # What typing notes of an instance of Box[int].
    attributes.pop("__orig_class__", None)
    # Where a model says of which type its extra fields are.
    for name in _BESIDE_FIELDS:
        attributes.pop(name, None)
    for name, slot in _slots(cls).items():
        try:
            attributes[name] = slot.__get__(value, cls)
        except AttributeError:
            continue
    if is_attrs(cls) and _CACHED_HASH in attributes:
        attributes[_CACHED_HASH] = None
    return attributes


def _field_names(cls: Any) -> list[str]:
    if is_pydantic(cls):
        return list(cls.model_fields)
    if is_attrs(cls):
        return [attribute.name for attribute in cls.__attrs_attrs__]
    import dataclasses

    return [field.name for field in dataclasses.fields(cls)]


def saved(value: Any, cls: Any, kind: str) -> dict[str, Any]:
    """What is written of an instance: ``value`` has its fields, and where there
    are any, ``attributes`` the others, ``extra`` and ``private`` what pydantic
    keeps by itself, and ``set`` the fields that were given.
    """
    if kind == "protocol":
        try:
            return {"value": value.__persist_state__()}
        except PersistError:
            raise
        except Exception as error:
            raise_foreign(error, f"{name_of(cls)} failed to give its state", "check its method __persist_state__")
    if kind == "enum":
        # A member of no name is a combination of flags.
        is_named = value.name is not None and value.name in cls.__members__
        return {"member": value.name, "value": None if is_named and type(value.value) not in _PLAIN else value.value}
    if kind == "namedtuple":
        if getattr(value, "__dict__", None):
            name = next(iter(vars(value)))
            raise PersistTypeError(
                f"a {name_of(cls)} can't be saved: a named tuple does not keep its attribute {name}",
                "invalid-argument",
                hint="use a dataclass, or register the class with save and restore",
            )
        return {"value": list(tuple.__iter__(value))}
    attributes = _attributes(value, cls)
    fields = {}
    for name in _field_names(cls):
        if name in attributes:
            fields[name] = attributes.pop(name)
        elif not _has_class_attribute(cls, name):
            raise PersistTypeError(
                f"a {name_of(cls)} can't be saved: it has no value for its field {name}",
                "invalid-argument",
                hint="set the field first",
            )
        elif _is_kept_elsewhere(cls, name):
            raise PersistTypeError(
                f"a {name_of(cls)} can't be saved: a descriptor keeps its field {name} outside of the instance",
                "invalid-argument",
                hint="register the class with save and restore",
            )
    written: dict[str, Any] = {"value": fields}
    wrong = next((name for name in attributes if not _may_be_set(cls, name)), None)
    if wrong is not None:
        raise PersistTypeError(
            f"a {name_of(cls)} can't be saved: its attribute {wrong} hides what belongs to the class",
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


def _may_be_set(cls: type, name: str) -> bool:
    """Whether an attribute may be one of an instance alone: it hides no method, and
    nothing that the class says is the class's own.
    """
    if name in _slots(cls):
        return True
    field = getattr(cls, "__dataclass_fields__", {}).get(name)
    is_class_variable = (
        field is not None and str(getattr(field, "_field_type", "")) == "_FIELD_CLASSVAR"
    ) or name in getattr(cls, "__class_vars__", ())
    return not (is_class_variable or name.startswith("__") or hides_code(cls, name))


def hides_code(cls: type, name: str) -> bool:
    """Whether an attribute of this name would hide a method or property of the class.
    One that is computed once is kept under its own name.
    """
    import functools

    there = inspect.getattr_static(cls, name, None)
    if isinstance(there, (functools.cached_property, types.MemberDescriptorType)):
        return False
    return callable(there) or hasattr(type(there), "__get__")


def _is_kept_elsewhere(cls: type, name: str) -> bool:
    """Whether a descriptor that is no property gives the value of a field."""
    there = inspect.getattr_static(cls, name, None)
    return hasattr(type(there), "__set__") and not isinstance(there, (property, types.MemberDescriptorType))


def _has_class_attribute(cls: type, name: str) -> bool:
    """Whether the class gives a value where the instance has none."""
    return hasattr(cls, name) and name not in _slots(cls)


def as_data(fields: dict[str, Any]) -> Any:
    """What was written of an instance, as plain data."""
    value = fields["value"]
    if isinstance(value, dict):
        more = [fields[name] for name in ("attributes", "extra", "private") if isinstance(fields.get(name), dict)]
        return {name: item for part in (value, *more) for name, item in part.items()} if more else value
    return value


# ---- Restoring ------------------------------------------------------------------


def made(cls: Any, fields: dict[str, Any]) -> Any:
    """An instance of a class that the caller named, of what was written of one."""
    kind, value = kind_of(cls), fields["value"]
    if kind in OF_FIELDS:
        if not isinstance(value, dict):
            raise misfit(cls, f"it is a {type(value).__name__}")
        return _model(cls, kind, fields)
    try:
        if kind == "protocol":
            return cls.__persist_restore__(value)
        if kind == "enum":
            member = fields.get("member")
            return cls[member] if isinstance(member, str) and member in cls.__members__ else cls(value)
        if kind == "namedtuple":
            if not isinstance(value, (list, tuple)):
                raise misfit(cls, f"it is a {type(value).__name__}")
            return cls._make(value)
    except PersistError:
        raise
    except Exception as error:
        raise_unfit(cls, error)
    raise PersistTypeError(
        f"Persist does not know how to restore a {name_of(cls)}",
        "invalid-argument",
        hint="register the class with persist.register(…), or restore without into to get the data",
    )


def _model(cls: Any, kind: str, fields: dict[str, Any]) -> Any:
    names = _field_names(cls)
    value, extra = dict(fields["value"]), _part(cls, fields, "extra")
    allows_more = kind == "pydantic" and cls.model_config.get("extra") == "allow"
    for name in [name for name in value if name not in names]:
        if not allows_more:
            raise misfit(cls, f"it has {name!r}, and the class has no such field")
        extra[name] = value.pop(name)
    if extra and kind != "pydantic":
        raise misfit(cls, f"it has {next(iter(extra))!r}, and the class allows no extra fields")
    more = _part(cls, fields, "attributes")
    wrong = next((name for name in more if not _may_be_set(cls, name)), None)
    if wrong is not None:
        raise misfit(cls, f"its attribute {wrong!r} is not valid: it would hide what belongs to the class")
    if kind == "attrs" and _CACHED_HASH in more:
        more[_CACHED_HASH] = None
    attributes = {**value, **more}
    for name in names:
        if name not in attributes:
            _set_default(cls, kind, name, attributes)
    # As the class orders them, whatever was written.
    attributes = {name: attributes[name] for name in [*names, *attributes] if name in attributes}
    try:
        new = object.__new__(cls)
    except TypeError as error:
        raise_unfit(cls, error)
    _set_attributes(new, cls, attributes)
    if kind == "pydantic":
        given = fields.get("set")
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            given = [*value, *extra]
        # Some were allowed in one call alone.
        _set_pydantic(new, "__pydantic_extra__", extra if allows_more or extra else None)
        _set_pydantic(new, "__pydantic_fields_set__", set(given))
        _set_pydantic(new, "__pydantic_private__", _private(cls, _part(cls, fields, "private"), fields.get("unset")))
    return new


def _part(cls: type, fields: dict[str, Any], name: str) -> dict[str, Any]:
    part = fields.get(name, {})
    if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
        raise misfit(cls, f"its part {name!r} is invalid")
    return dict(part)


def _set_default(cls: Any, kind: str, name: str, attributes: dict[str, Any]) -> None:
    """Gives a field that the state lacks its default: the class got it later."""
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
        raise misfit(cls, f"{name!r} is missing, and its default is made of the other fields")
    try:
        return default.factory()
    except Exception as error:
        raise_unfit(cls, error)


def _default(cls: type, field: Any) -> Any:
    try:
        return field.get_default(call_default_factory=True)
    except Exception as error:  # One that is made of the other fields.
        raise_unfit(cls, error)


def _set_attributes(new: Any, cls: type, attributes: dict[str, Any]) -> None:
    """Sets attributes where they are kept: no property and no ``__setattr__`` runs."""
    slots = _slots(cls)
    for name, item in attributes.items():
        if name in slots:
            slots[name].__set__(new, item)
        elif hasattr(new, "__dict__"):
            new.__dict__[name] = item
        else:
            raise misfit(cls, f"it has {name!r}, and the class has no place for it")


def _set_pydantic(model: Any, name: str, item: Any) -> None:
    """Sets what pydantic keeps beside the fields; a root model keeps less."""
    slot = inspect.getattr_static(type(model), name, None)
    if isinstance(slot, types.MemberDescriptorType):
        slot.__set__(model, item)
    elif slot is not None:
        object.__setattr__(model, name, item)


def _private(cls: Any, private: dict[str, Any], unset: Any) -> dict[str, Any] | None:
    """The private attributes: those that the class got later have their defaults, and
    those that were not set are not.
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


def from_data(cls: Any, value: Any) -> Any:
    """An instance of a class of plain data: here its ``__init__`` or its
    validators run, since nothing says that they did.
    """
    kind = kind_of(cls)
    if kind == "namedtuple":
        return _named_tuple(cls, value)
    if kind not in OF_FIELDS:
        return made(cls, {"value": value})
    if not isinstance(value, dict) and not _is_root_model(cls):
        raise misfit(cls, f"it is a {type(value).__name__}")
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
    _set_attributes(new, cls, {name: item for name, item in value.items() if not fields[name]})
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
    _set_attributes(new, cls, {name: item for name, item in value.items() if not fields[name].init})
    return new


def _named_tuple(cls: Any, value: Any) -> Any:
    """A named tuple of its values, or of a dict with its fields."""
    if isinstance(value, dict):
        unknown = next((name for name in value if name not in cls._fields), None)
        if unknown is not None:
            raise misfit(cls, f"it has {unknown!r}, and the class has no such field")
    elif not isinstance(value, (list, tuple)):
        raise misfit(cls, f"it is a {type(value).__name__}")
    try:
        return cls(**value) if isinstance(value, dict) else cls(*value)
    except Exception as error:
        raise_unfit(cls, error)


_UNCHANGING = ("fractions", "pathlib", "pydantic", "uuid")
"""Where classes are from whose instances are never changed, but could be."""


def put_into(new: Any, into: Any) -> Any:
    """Gives an instance everything that another of its class holds, and nothing
    of what it held before.
    """
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
                f"the state is a {type(new).__qualname__}, and can't be put into a {cls.__qualname__}",
                "invalid-argument",
                hint=f"pass the class: into={type(new).__qualname__}",
            )
        for slot in _slots(cls).values():
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
            for name in _BESIDE_FIELDS:
                _set_pydantic(into, name, getattr(new, name))
    else:
        raise PersistTypeError(
            f"a {cls.__qualname__} can't be changed",
            "invalid-argument",
            hint=f"pass the class instead: into={cls.__qualname__}",
        )
    return into


def _is_frozen(cls: Any) -> bool:
    """Whether instances of a class are not to be changed: they may be keys."""
    if is_pydantic(cls):
        return bool(cls.model_config.get("frozen"))
    if is_attrs(cls):
        return getattr(cls.__setattr__, "__name__", "") == "_frozen_setattrs"
    return bool(getattr(getattr(cls, "__dataclass_params__", None), "frozen", False))


def misfit(cls: type, problem: str) -> PersistTypeError:
    """The error for a state that is not one of a class."""
    return PersistTypeError(
        f"the state does not fit {name_of(cls)}: {problem}",
        "invalid-argument",
        hint="restore with plain=True to see what it holds",
    )


def raise_unfit(cls: type, error: Exception) -> NoReturn:
    """Raises for a state that a class does not take, as it says itself."""
    raise_foreign(error, f"{name_of(cls)} refused the state", "restore with plain=True to see what it holds")
