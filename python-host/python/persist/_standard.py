"""Values of the standard library that JSON does not have: what is written for
them, and the way back. Those of the built-in classes are written by ``_persist``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from persist._hashes import Hashes
from persist._models import name_of
from persist.errors import PersistError, PersistTypeError, not_a_value


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


def made(kind: str, fields: dict[str, Any], hashes: Hashes) -> Any:
    """The value of a kind, of its fields; ``hashes`` bounds what sets and dicts may
    take.

    Raises:
        PersistIntegrityError: The kind is not known, or the fields are not its.
    """
    make = _KINDS.get(kind) or hashes.kinds.get(kind)
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
