"""Values that JSON does not have, and classes: what is written for them, and
the way back. The plain ones are encoded and decoded in ``_persist``.

A snapshot never names code to run: the name of a class that is in one is looked
up among the classes that the caller registered or passed, and nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from persist.errors import PersistConfigurationError, PersistError, PersistIntegrityError, PersistTypeError

T = TypeVar("T")

_BUILT_IN = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float)


class _Registered:
    __slots__ = ("cls", "name", "restore", "save")

    def __init__(
        self, cls: type, name: str, save: Callable[[Any], Any] | None, restore: Callable[[Any], Any] | None
    ) -> None:
        self.cls = cls
        self.name = name
        self.save = save
        self.restore = restore


_classes: dict[type, _Registered] = {}
_names: dict[str, _Registered] = {}


@overload
def register(cls: type[T], *, name: str | None = ...) -> type[T]: ...
@overload
def register(
    cls: type[T], *, name: str | None = ..., save: Callable[[T], Any], restore: Callable[[Any], T]
) -> type[T]: ...
@overload
def register(*, name: str) -> Callable[[type[T]], type[T]]: ...
def register(
    cls: Any = None,
    *,
    name: str | None = None,
    save: Callable[[Any], Any] | None = None,
    restore: Callable[[Any], Any] | None = None,
) -> Any:
    """Lets values of a class be saved, and come back as that class.

    Args:
        cls: The class. Instances of subclasses are not meant.
        name: What is written into snapshots; module and name of the class
            unless given. Keep it when the class moves.
        save: Makes a value that can be saved of an instance.
        restore: Makes an instance of such a value. It may come from a snapshot
            that somebody else wrote: check it.

    Without ``save`` and ``restore`` it has to be a dataclass, a pydantic model,
    an enum, a named tuple, or a class with ``__persist_state__()`` and the
    class method ``__persist_restore__(state)``.

    Returns:
        The class, so that this is also a decorator.

    Raises:
        PersistTypeError: The class is none of these.
        PersistConfigurationError: The name is another class's.
    """
    if cls is None:
        options: dict[str, Any] = {"name": name, "save": save, "restore": restore}
        return lambda cls: register(cls, **options)
    if name is not None and (not isinstance(name, str) or not name):
        raise PersistTypeError(f"{name!r} is no name", "invalid-argument", hint="pass a str that is not empty as name")
    if not isinstance(cls, type) or cls in _BUILT_IN or cls in (bool, type(None), object):
        raise PersistTypeError(f"{cls!r} can't be registered", "invalid-argument", hint="register a class of your own")
    if (save is None) != (restore is None):
        raise PersistTypeError(
            "save and restore belong together", "invalid-argument", hint="pass both of them, or none"
        )
    if save is None and _kind_of(cls) is None:
        raise PersistTypeError(
            f"nothing says how a {_name_of(cls)} is saved",
            "invalid-argument",
            hint="pass save and restore, or give the class __persist_state__() and __persist_restore__(state)",
        )
    entry = _Registered(cls, name or _name_of(cls), save, restore)
    known = _names.get(entry.name)
    # A module that is loaded anew brings its classes anew.
    if known is not None and known.cls is not cls and _name_of(known.cls) != _name_of(cls):
        raise PersistConfigurationError(
            f"the name {entry.name!r} is taken by {_name_of(known.cls)}", "invalid-argument", hint="choose another name"
        )
    _names[entry.name] = _classes[cls] = entry
    return cls


def _name_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _kind_of(cls: type) -> str | None:
    """How instances of a class are saved; none if nothing says so."""
    if hasattr(cls, "__persist_state__") and hasattr(cls, "__persist_restore__"):
        return "protocol"
    if _is_pydantic(cls):
        return "pydantic"
    enum = sys.modules.get("enum")
    if enum is not None and issubclass(cls, enum.Enum):
        return "enum"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "namedtuple"
    if hasattr(cls, "__dataclass_fields__") and not issubclass(cls, _BUILT_IN):
        return "dataclass"
    return None


def can_be_saved(cls: type) -> bool:
    """Whether instances of a class can be saved without an adapter."""
    return cls in _classes or cls in _BUILT_IN or _kind_of(cls) is not None


def is_registered(cls: type) -> bool:
    """Whether a class was registered."""
    return cls in _classes


def _is_pydantic(cls: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    model = getattr(pydantic, "BaseModel", None)
    return isinstance(model, type) and issubclass(cls, model)


def _parts(cls: type) -> dict[str, type]:
    """The classes that the annotations of a class lead to, by name."""
    import typing

    found: dict[str, type] = {}
    waiting: list[Any] = [cls]
    while waiting:
        candidate = waiting.pop()
        waiting.extend(typing.get_args(candidate))
        if (
            not isinstance(candidate, type)
            or _kind_of(candidate) is None
            or found.get(_name_of(candidate)) is candidate
        ):
            continue
        found[_name_of(candidate)] = candidate
        try:
            waiting.extend(typing.get_type_hints(candidate).values())
        except Exception:  # Names that are not there at run time: these classes are not known then.
            waiting.extend(getattr(candidate, "__annotations__", {}).values())
    return found


def _field_names(cls: Any) -> list[str]:
    import dataclasses

    return [field.name for field in dataclasses.fields(cls)]


class Reducer:
    """Says what to write for the values of one state that are not plain."""

    def __init__(self) -> None:
        # Enums and named tuples of classes that are saved, whose annotations
        # tell what they are.
        self.known: set[type] = set()
        # Those of frameworks that were written.
        self.framework_classes: set[type] = set()

    def __call__(self, value: Any) -> tuple[str, dict[str, Any]]:
        cls = type(value)
        entry = _classes.get(cls)
        if entry is not None and entry.save is not None:
            return "object", {"type": entry.name, "value": entry.save(value)}
        simple = _simple(value, cls)
        if simple is not None:
            return simple
        if entry is None:
            from persist import adapters

            adapter = adapters.for_part(value)
            if adapter is not None:
                self.framework_classes.add(cls)
                return "part", {"adapter": adapter.name, **adapter.save_part(value)}
        kind = _kind_of(cls)
        name = _name_of(cls) if entry is None else entry.name
        if kind == "protocol":
            return "object", {"type": name, "value": value.__persist_state__()}
        if kind in ("enum", "namedtuple"):
            if entry is None and cls not in self.known:
                raise _refused(value, cls)
            if kind == "enum":
                return "object", {"type": name, "member": value.name, "value": value.value}
            return "object", {"type": name, "value": list(value)}
        if kind == "pydantic":
            self._learn(cls)
            return "object", {"type": name, **_of_model(value, cls)}
        if kind == "dataclass":
            self._learn(cls)
            return "object", {"type": name, "value": _of_dataclass(value, cls)}
        raise _refused(value, cls)

    def _learn(self, cls: type) -> None:
        if cls not in self.known:
            self.known.update(_parts(cls).values())


def _of_dataclass(value: Any, cls: type) -> dict[str, Any]:
    import dataclasses

    pseudo_fields: dict[str, Any] = cls.__dataclass_fields__  # type: ignore[attr-defined]
    for field in pseudo_fields.values():
        is_init_only = getattr(field._field_type, "name", "") == "_FIELD_INITVAR"
        if is_init_only and field.default is dataclasses.MISSING:
            raise PersistTypeError(
                f"the dataclass {_name_of(cls)} can't be made anew: its argument {field.name} is not kept",
                "invalid-argument",
                hint="give the class __persist_state__() and __persist_restore__(state)",
            )
    return {name: getattr(value, name) for name in _field_names(cls)}


def _of_model(value: Any, cls: Any) -> dict[str, Any]:
    fields = {name: value.__dict__[name] for name, field in cls.model_fields.items() if not field.exclude}
    fields.update(value.__pydantic_extra__ or {})
    given = value.__pydantic_fields_set__
    if set(fields) == given:
        return {"value": fields}
    return {"value": fields, "set": sorted(given)}


def _refused(value: Any, cls: type) -> PersistTypeError:
    name = _name_of(cls)
    short = cls.__qualname__
    base = next((base.__name__ for base in _BUILT_IN if issubclass(cls, base)), None)
    kind = _kind_of(cls)
    if kind in ("enum", "namedtuple"):
        hint = f"register its class: persist.register({short})"
    elif base is not None:
        hint = f"save a plain {base}, or register the class with persist.register({short}, save=…, restore=…)"
    else:
        hint = (
            f"save the data in it, register its class with persist.register({short}, save=…, restore=…), "
            "or give the class __persist_state__() and the class method __persist_restore__(state)"
        )
    return PersistTypeError(f"a value of type {name} can't be saved", "invalid-argument", hint=hint)


def _simple(value: Any, cls: type) -> tuple[str, dict[str, Any]] | None:
    """The values of the standard library. A class that was never imported has
    no instance.
    """
    datetime = sys.modules.get("datetime")
    if datetime is not None:
        if cls is datetime.datetime:
            return "datetime", {"value": value.replace(tzinfo=None, fold=0).isoformat(), **_zone(value)}
        if cls is datetime.date:
            return "date", {"value": value.isoformat()}
        if cls is datetime.time:
            return "time", {"value": value.replace(tzinfo=None, fold=0).isoformat(), **_zone(value)}
        if cls is datetime.timedelta:
            return "timedelta", {"value": [value.days, value.seconds, value.microseconds]}
    decimal = sys.modules.get("decimal")
    if decimal is not None and cls is decimal.Decimal:
        return "decimal", {"value": str(value)}
    uuid = sys.modules.get("uuid")
    if uuid is not None and cls is uuid.UUID:
        return "uuid", {"value": str(value)}
    return None


def _zone(value: Any) -> dict[str, Any]:
    """The time zone of a datetime or time, where it has one that can be kept."""
    import datetime

    fields: dict[str, Any] = {"fold": 1} if value.fold else {}
    zone = value.tzinfo
    if zone is None:
        return fields
    if type(zone) is datetime.timezone:
        offset = zone.utcoffset(None)
        fields["offset"] = [offset.days, offset.seconds, offset.microseconds]
        name = zone.tzname(None)
        if name != datetime.timezone(offset).tzname(None):
            fields["name"] = name
        return fields
    zoneinfo = sys.modules.get("zoneinfo")
    if zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        return {**fields, "zone": zone.key}
    raise PersistTypeError(
        f"a time zone of type {_name_of(type(zone))} can't be saved",
        "invalid-argument",
        hint="use datetime.timezone or zoneinfo.ZoneInfo(key)",
    )


class Rebuilder:
    """Makes values of what was written for them.

    Classes come from :func:`register` and from the one that the caller passes.
    """

    def __init__(self, into: Any = None, options: Mapping[str, Any] | None = None, plain: bool = False) -> None:
        cls = into if isinstance(into, type) or into is None else type(into)
        self.parts: dict[str, type] = {} if cls is None or cls in _BUILT_IN else _parts(cls)
        self.options = options or {}
        self.plain = plain

    def __call__(self, kind: str, fields: dict[str, Any]) -> Any:
        if kind == "object":
            return self._object(fields)
        if kind == "part":
            return self._part(fields)
        try:
            return _KINDS[kind](fields)
        except PersistError:
            raise
        except KeyError as error:
            if kind not in _KINDS:
                problem = f"it has a value of the kind {kind!r}, which this version does not know"
                raise _not_a_value(problem, "restore it with the version that saved it, or a newer one") from None
            raise _not_a_value(f"a {kind} in it lacks {error}") from None
        except Exception as error:
            raise _not_a_value(f"a {kind} in it is not valid: {error}") from error

    def _object(self, fields: dict[str, Any]) -> Any:
        name = fields.get("type")
        if not isinstance(name, str) or "value" not in fields:
            raise _not_a_value("an object in it is not valid")
        if self.plain:
            return fields["value"]
        entry = _names.get(name)
        if entry is not None:
            return entry.restore(fields["value"]) if entry.restore is not None else build(entry.cls, fields)
        cls = self.parts.get(name)
        return fields["value"] if cls is None else build(cls, fields)

    def _part(self, fields: dict[str, Any]) -> Any:
        """A value of a framework."""
        from persist import adapters

        name = fields.get("adapter")
        if not isinstance(name, str) or "value" not in fields:
            raise _not_a_value("a value of a framework in it is not valid")
        if self.plain:
            return fields["value"]
        adapter = adapters.by_name(name)
        if not isinstance(adapter, adapters.PartAdapter):
            raise _not_a_value(f"the adapter {name!r} makes no values")
        try:
            return adapter.restore_part(fields, self.options)
        except PersistError:
            raise
        except Exception as error:
            raise adapters.explained(error, adapter, {"version": adapter.version()}) from error


def _not_a_value(problem: str, hint: str = "get its bytes with Store.load_bytes(key)") -> PersistIntegrityError:
    message = f"Format error: the state is no value that can be restored: {problem}"
    return PersistIntegrityError(message, "invalid-format", hint=hint)


def _decoded(fields: dict[str, Any]) -> bytes:
    import binascii

    if sys.version_info >= (3, 11):
        return binascii.a2b_base64(fields["value"], strict_mode=True)
    return binascii.a2b_base64(fields["value"])


def _float(fields: dict[str, Any]) -> float:
    import struct

    number: float = struct.unpack(">d", bytes.fromhex(fields["value"]))[0]
    return number


def _zoned(value: Any, fields: dict[str, Any]) -> Any:
    import datetime

    zone: Any = None
    if "offset" in fields:
        days, seconds, microseconds = fields["offset"]
        offset = datetime.timedelta(days, seconds, microseconds)
        zone = datetime.timezone(offset, fields["name"]) if "name" in fields else datetime.timezone(offset)
    elif "zone" in fields:
        import zoneinfo

        try:
            zone = zoneinfo.ZoneInfo(fields["zone"])
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            problem = f"the time zone {fields['zone']!r} is not known here"
            raise _not_a_value(problem, "install the package tzdata") from error
    return value.replace(tzinfo=zone, fold=fields.get("fold", 0))


def _datetime(fields: dict[str, Any]) -> Any:
    import datetime

    return _zoned(datetime.datetime.fromisoformat(fields["value"]), fields)


def _date(fields: dict[str, Any]) -> Any:
    import datetime

    return datetime.date.fromisoformat(fields["value"])


def _time(fields: dict[str, Any]) -> Any:
    import datetime

    return _zoned(datetime.time.fromisoformat(fields["value"]), fields)


def _timedelta(fields: dict[str, Any]) -> Any:
    import datetime

    days, seconds, microseconds = fields["value"]
    return datetime.timedelta(days, seconds, microseconds)


def _decimal(fields: dict[str, Any]) -> Any:
    import decimal

    return decimal.Decimal(fields["value"])


def _uuid(fields: dict[str, Any]) -> Any:
    import uuid

    return uuid.UUID(fields["value"])


_KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dict": lambda fields: dict(fields["value"]),
    "set": lambda fields: set(fields["value"]),
    "frozenset": lambda fields: frozenset(fields["value"]),
    "str": lambda fields: _decoded(fields).decode("utf-8", "surrogatepass"),
    "bytes": _decoded,
    "bytearray": lambda fields: bytearray(_decoded(fields)),
    "int": lambda fields: int(fields["value"], 16),
    "float": _float,
    "datetime": _datetime,
    "date": _date,
    "time": _time,
    "timedelta": _timedelta,
    "decimal": _decimal,
    "uuid": _uuid,
}


def build(cls: Any, fields: dict[str, Any]) -> Any:
    """An instance of a class that the caller named, of what was written."""
    value = fields["value"]
    kind = _kind_of(cls)
    if kind == "protocol":
        return cls.__persist_restore__(value)
    if kind == "enum":
        member = fields.get("member")
        if isinstance(member, str) and member in cls.__members__:
            return cls[member]
        return cls(value)
    if kind == "namedtuple":
        return cls._make(value)
    if kind == "pydantic":
        return _to_model(cls, fields)
    if kind == "dataclass":
        return _to_dataclass(cls, value)
    raise PersistTypeError(
        f"nothing says how a {_name_of(cls)} is restored",
        "invalid-argument",
        hint="register it, or restore without into",
    )


def _to_dataclass(cls: Any, value: Any) -> Any:
    import dataclasses

    fields = {field.name: field for field in dataclasses.fields(cls)}
    if not isinstance(value, dict):
        raise _misfit(cls, f"it is a {type(value).__name__}")
    unknown = [name for name in value if name not in fields]
    if unknown:
        raise _misfit(cls, f"it has {', '.join(map(repr, unknown))}, and the class has no such field")
    missing = [
        name
        for name, field in fields.items()
        if name not in value
        and field.init
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise _misfit(cls, f"it lacks {', '.join(map(repr, missing))}")
    new = cls(**{name: item for name, item in value.items() if fields[name].init})
    # What __post_init__ made of the fields is not what was saved.
    for name, item in value.items():
        object.__setattr__(new, name, item)
    return new


def _to_model(cls: Any, fields: dict[str, Any]) -> Any:
    import pydantic

    value = fields["value"]
    if not isinstance(value, dict):
        raise _misfit(cls, f"it is a {type(value).__name__}")
    if issubclass(cls, pydantic.RootModel):
        return cls.model_validate(value.get("root"))
    try:
        new = cls.model_validate(value, by_name=True, by_alias=False)
    except TypeError:  # pydantic before 2.11
        names = cls.model_fields
        aliased = {_alias(names[name], name) if name in names else name: item for name, item in value.items()}
        new = cls.model_validate(aliased)
    given = fields.get("set")
    if isinstance(given, list):
        object.__setattr__(new, "__pydantic_fields_set__", set(given))
    return new


def _alias(field: Any, name: str) -> str:
    alias = field.validation_alias or field.alias
    choices = getattr(alias, "choices", None)
    alias = choices[0] if choices else alias
    return alias if isinstance(alias, str) else name


def _misfit(cls: type, problem: str) -> PersistTypeError:
    return PersistTypeError(
        f"the state does not fit {_name_of(cls)}: {problem}",
        "invalid-argument",
        hint="restore it without into to see what it holds",
    )


def put_into(value: Any, into: Any) -> Any:
    """Gives a restored value the class, or puts it into the instance, that the
    caller passed.
    """
    if isinstance(into, type):
        return _as(value, into)
    cls = type(into)
    new = _as(value, cls)
    if isinstance(into, (dict, set)):
        into.clear()
        into.update(new)
    elif isinstance(into, (list, bytearray)):
        into[:] = new
    elif _kind_of(cls) == "dataclass":
        for name in _field_names(cls):
            object.__setattr__(into, name, getattr(new, name))
    elif _kind_of(cls) == "pydantic":
        for name in ("__dict__", "__pydantic_extra__", "__pydantic_fields_set__"):
            object.__setattr__(into, name, getattr(new, name))
    elif hasattr(into, "__dict__") and not isinstance(into, _BUILT_IN):
        into.__dict__.clear()
        into.__dict__.update(new.__dict__)
    else:
        raise PersistTypeError(
            f"a {cls.__qualname__} can't be changed",
            "invalid-argument",
            hint=f"pass the class: into={cls.__qualname__}",
        )
    return into


def _as(value: Any, cls: type) -> Any:
    if isinstance(value, cls):
        return value
    entry = _classes.get(cls)
    if entry is not None and entry.restore is not None:
        return entry.restore(value)
    if _kind_of(cls) is None or _kind_of(type(value)) not in (None, "namedtuple"):
        raise PersistTypeError(
            f"the state is a {type(value).__qualname__}, not a {cls.__qualname__}",
            "invalid-argument",
            hint="restore it without into to see what it holds",
        )
    return build(cls, {"value": value})
