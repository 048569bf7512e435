"""Values of the standard library that JSON does not have: what is written for
them, and the way back. Those of the built-in classes are written by ``_persist``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from persist._models import BUILT_IN, name_of
from persist.errors import PersistError, PersistIntegrityError, PersistTypeError

MAX_SAME_HASH = 256
"""How many values of a set or keys of a dict may have one hash. Python compares
each with every other, so that many would take time with the square of their
number.
"""

MAX_COMPARED_BITS = 4096
"""The longest integer that may have the hash of a decimal number: Python compares
the two by writing the integer in base 10, in time with the square of its length.
"""


def saved(value: Any, cls: type) -> tuple[str, dict[str, Any]] | None:
    """The kind of a value and its fields; none for what is not of the standard
    library. A class that was never imported has no instance.
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
    # That of pydantic is a fixed offset, too.
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


def made(kind: str, fields: dict[str, Any]) -> Any:
    """The value of a kind, of its fields.

    Raises:
        PersistIntegrityError: The kind is not known, or the fields are not its.
    """
    make = _KINDS.get(kind)
    if make is None:
        problem = f"it holds a value of the kind {kind!r}, which this version does not know"
        raise not_a_value(problem, "restore it with the version that saved it, or a newer one")
    try:
        return make(fields)
    except PersistError:
        raise
    except KeyError as error:
        raise not_a_value(f"it holds a {kind} without {error}") from None
    except Exception as error:
        raise not_a_value(f"it holds an invalid {kind}: {error}") from error


def not_a_value(problem: str, hint: str = "get its bytes with Store.load_bytes(key)") -> PersistIntegrityError:
    """The error for bytes that are no value."""
    message = f"Format error: the state is not a valid value: {problem}"
    return PersistIntegrityError(message, "invalid-format", hint=hint)


def check_hashes(items: Iterable[Any], kind: str) -> None:
    """Refuses to save a set or dict that :func:`made` would not make, since a class
    gives its instances one hash. Numbers of one hash are nobody's but an attacker's,
    who would not ask.

    Raises:
        PersistTypeError: Too many of its values or keys have one hash.
    """
    problem = _slow((item for item in items if type(item) not in BUILT_IN), kind)
    if problem is not None:
        raise PersistTypeError(
            f"{problem}, and restoring them would take too long",
            "invalid-argument",
            hint="save a list, or give the class a better __hash__",
        )


def _few_of_a_hash(items: Iterable[Any], kind: str) -> None:
    """Refuses what was made to be slow."""
    problem = _slow(items, kind)
    if problem is not None:
        raise not_a_value(problem)


def _slow(items: Iterable[Any], kind: str) -> str | None:
    """Why a set or dict of these takes long to make; none if it does not."""
    counts: dict[int, int] = {}
    long: set[int] = set()
    others: set[int] = set()
    for item in items:
        number = hash(item)
        counts[number] = counts.get(number, 0) + 1
        if counts[number] > MAX_SAME_HASH:
            return f"more than {MAX_SAME_HASH} values of a {kind} have the same hash"
        if type(item) is int:
            if item.bit_length() > MAX_COMPARED_BITS:
                long.add(number)
        elif type(item) is not str:
            others.add(number)
    if not long.isdisjoint(others):
        return f"a long integer in a {kind} has the hash of another value"
    return None


def _dict(fields: dict[str, Any]) -> Any:
    entries = fields["value"]
    _few_of_a_hash((key for key, _ in entries), "dict")
    return dict(entries)


def _set(fields: dict[str, Any]) -> Any:
    _few_of_a_hash(fields["value"], "set")
    return set(fields["value"])


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


_KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dict": _dict,
    "set": _set,
    "frozenset": lambda fields: frozenset(_set(fields)),
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
