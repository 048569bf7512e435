"""Writes and restores values of the standard library that JSON lacks. ``_persist`` writes
those of built-in classes.

Each other library has a module of its own, which :func:`saved` and :func:`made` call.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable
from typing import Any

from persist import _arrays, _frames, _urls
from persist._classes import name_of
from persist._hashes import Hashes
from persist._words import a
from persist.errors import PersistError, PersistTypeError, not_a_value

FACTORIES: dict[str, Any] = {
    factory.__name__: factory
    for factory in (
        *(bool, bytearray, bytes, complex, dict, float, frozenset, int, list, set, str, tuple),
        *(collections.Counter, collections.OrderedDict, collections.deque),
    )
}
"""The factories that a defaultdict may have, by name."""

MAX_FRACTION_BITS = 16384
"""The largest length of the parts of a fraction. Reducing it takes quadratic time."""

MARK = "$persist"
"""The first name in an object that is not plain JSON."""

_PATHS = ("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")

_LIBRARIES: dict[str, Callable[[Any, type], tuple[str, dict[str, Any]] | None]] = {
    "numpy": _arrays.saved,
    "pandas": _frames.saved,
    "pydantic": _urls.saved,
    "pydantic_core": _urls.saved,
}


def saved(value: Any, cls: type) -> tuple[str, dict[str, Any]] | None:
    """Returns the kind of a value and its fields, or ``None`` if it is neither from the
    standard library nor from another supported library. Modules are only looked up: a
    class that was never imported has no instances.
    """
    of_library = _LIBRARIES.get(cls.__module__.partition(".")[0])
    if of_library is not None:
        return of_library(value, cls)
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
    if cls is complex:
        return "complex", {"value": [value.real, value.imag]}
    fractions = sys.modules.get("fractions")
    if fractions is not None and cls is fractions.Fraction:
        return "fraction", {"value": _parts(value)}
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and cls.__name__ in _PATHS and cls is getattr(pathlib, cls.__name__):
        return "path", {"type": cls.__name__, "value": _text(value, cls)}
    return _collection(value, cls)


def _collection(value: Any, cls: type) -> tuple[str, dict[str, Any]] | None:
    if cls is collections.deque:
        fields = {} if value.maxlen is None else {"maxlen": value.maxlen}
        return "deque", {**fields, "value": list(value)}
    if cls is collections.defaultdict:
        factory = value.default_factory
        if factory is not None and FACTORIES.get(getattr(factory, "__name__", "")) is not factory:
            raise PersistTypeError(
                f"a defaultdict can't be saved: its factory {_named(factory)} is part of the program's code",
                "invalid-argument",
                hint="save a plain dict: dict(…); or use one of these factories: None, " + ", ".join(FACTORIES),
            )
        return "defaultdict", {"factory": None if factory is None else factory.__name__, "value": dict(value)}
    if cls in (collections.OrderedDict, collections.Counter):
        if vars(value):
            raise PersistTypeError(
                f"{a(cls.__name__)} can't be saved: its attribute {next(iter(vars(value)))} would be lost",
                "invalid-argument",
                hint="delete the attribute, or save it separately",
            )
        return cls.__name__.lower(), {"value": dict(value)}
    return None


def _named(factory: Any) -> str:
    name = getattr(factory, "__qualname__", None)
    return name if isinstance(name, str) else name_of(type(factory))


def _parts(value: Any) -> list[int]:
    parts = [value.numerator, value.denominator]
    if any(part.bit_length() > MAX_FRACTION_BITS for part in parts):
        raise PersistTypeError(
            f"a Fraction can't be saved: its parts have more than {MAX_FRACTION_BITS} bits",
            "invalid-argument",
            hint="save its parts: (value.numerator, value.denominator)",
        )
    return parts


def _text(path: Any, cls: type) -> str:
    """Returns the text of a path. Before Python 3.12, the text of some Windows paths means
    another path: ``./c:x`` becomes ``c:x``.
    """
    text = str(path)
    again: Any = cls(text)
    if again.parts != path.parts:
        raise PersistTypeError(
            f"{a(cls.__name__)} can't be saved: its text {text!r} would be parsed as a different path",
            "invalid-argument",
            hint="save its parts: path.parts",
        )
    return text


def _zone(value: Any) -> dict[str, Any]:
    """Returns the time zone of a datetime or time, if it has one."""
    import datetime

    fields: dict[str, Any] = {"fold": 1} if value.fold else {}
    zone = value.tzinfo
    if zone is None:
        return fields
    # The time zone of pydantic is a fixed offset too.
    if type(zone) is datetime.timezone or name_of(type(zone)) == "pydantic_core._pydantic_core.TzInfo":
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
        f"a time zone of type {name_of(type(zone))} can't be saved",
        "invalid-argument",
        hint="use datetime.timezone or zoneinfo.ZoneInfo(key)",
    )


def made(kind: str, fields: dict[str, Any], hashes: Hashes) -> Any:
    """Returns the value of a kind that was written as these fields. ``hashes`` bounds the
    time for sets and dicts.

    Raises:
        PersistIntegrityError: The kind is not known, or the fields are not valid.
    """
    make = _KINDS.get(kind) or hashes.kinds.get(kind)
    if make is None:
        problem = f"it holds a value of kind {kind!r}, which this version does not know"
        raise not_a_value(problem, "restore it with the version that saved it, or a newer one")
    try:
        return make(fields)
    except PersistError:
        raise
    except KeyError as error:
        raise not_a_value(f"it holds {a(kind)} without {error}") from None
    except Exception as error:
        raise not_a_value(f"it holds an invalid {kind}: {error}") from error


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
            problem = f"the time zone {fields['zone']!r} is not known on this system"
            raise not_a_value(problem, "install the package tzdata") from error
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


def _complex(fields: dict[str, Any]) -> complex:
    real, imaginary = fields["value"]
    if type(real) is not float or type(imaginary) is not float:
        raise ValueError("its parts are not floats")
    return complex(real, imaginary)


def _fraction(fields: dict[str, Any]) -> Any:
    import fractions

    numerator, denominator = fields["value"]
    if any(type(part) is not int or part.bit_length() > MAX_FRACTION_BITS for part in (numerator, denominator)):
        raise ValueError("its parts are not valid")
    return fractions.Fraction(numerator, denominator)


def _path(fields: dict[str, Any]) -> Any:
    import os
    import pathlib

    name, text = fields["type"], fields["value"]
    if name not in _PATHS or type(text) is not str:
        raise ValueError("its type or text is not valid")
    if name == ("PosixPath" if os.name == "nt" else "WindowsPath"):
        raise PersistTypeError(
            f"the state holds a {name}, which this system does not have",
            "invalid-argument",
            hint=f"restore with plain=True to get it as a Pure{name}",
        )
    return getattr(pathlib, name)(text)


def _deque(fields: dict[str, Any]) -> Any:
    items, length = fields["value"], fields.get("maxlen")
    if type(items) is not list or (length is not None and (type(length) is not int or len(items) > length)):
        raise ValueError("its values or its maxlen are not valid")
    return collections.deque(items, length)


def _mapping(cls: type) -> Callable[[dict[str, Any]], Any]:
    return lambda fields: _filled(cls(), fields)


def _defaultdict(fields: dict[str, Any]) -> Any:
    name = fields["factory"]
    if name is not None and (type(name) is not str or name not in FACTORIES):
        raise ValueError("its factory is not known")
    return _filled(collections.defaultdict(None if name is None else FACTORIES[name]), fields)


def _filled(new: Any, fields: dict[str, Any]) -> Any:
    entries = fields["value"]
    if type(entries) is not dict:
        raise ValueError("its value is not a dict")
    # Counter.update would add to the counts.
    for key, item in entries.items():
        new[key] = item
    return new


def plain(kind: str, fields: dict[str, Any]) -> Any:
    """Returns what was written for a value as plain data, if the value itself may not be
    available: it may need a library or another system, or instances that are plain data
    now and can't be keys. Returns ``None`` if the value itself can be restored.
    """
    value = fields.get("value")
    if kind in ("ndarray", "dataframe", "series", "index"):
        return {name: item for name, item in fields.items() if name != MARK}
    if kind in ("numpy", "url"):
        return value
    if kind == "path" and fields.get("type") in ("PosixPath", "WindowsPath"):
        return made(kind, {**fields, "type": f"Pure{fields['type']}"}, Hashes())
    if kind in ("ordereddict", "counter", "defaultdict") and type(value) is list:
        return value
    return None


_KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
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
    "complex": _complex,
    "fraction": _fraction,
    "path": _path,
    "deque": _deque,
    "defaultdict": _defaultdict,
    "ordereddict": _mapping(collections.OrderedDict),
    "counter": _mapping(collections.Counter),
    "ndarray": _arrays.array,
    "numpy": _arrays.scalar,
    "dataframe": _frames.frame,
    "series": _frames.series,
    "index": _frames.index_of,
    "url": _urls.made,
}
