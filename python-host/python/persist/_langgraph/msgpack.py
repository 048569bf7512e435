"""Values of LangGraph's serializer as JSON, and back.

The serializer writes msgpack, and an extension of it for each object: its module, its class and
its fields. Here, these become plain JSON, in which a message is an object with its fields. So
every tool can read and compare them, and no class is ever loaded. What JSON does not have is an
object with the key ``$``:

- ``{"content": "Hi", "$": [5, "langchain_core.messages.human", "HumanMessage", …]}``: an
  extension whose payload is a module, a class, a dict of fields, and whatever follows.
- ``{"$": "extension", "code": 3, "value": …}``: another one whose payload is msgpack; or, with
  ``base64`` instead of ``value``, any other.
- ``{"$": "map", "items": [[key, value], …]}``: a dict with keys that are not text, or one of
  which is ``$``.
- ``{"$": "bytes", "base64": …}``, ``{"$": "float", "value": "nan"}``.
- ``{"$": "typed", "type": …, "base64": …}``: what a serializer wrote in another form, such as an
  encrypted one.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import ormsgpack

from persist.errors import PersistIntegrityError

_MARK = "$"

_MARK_IN_MSGPACK = b"\xa1$"
"""What each text ``$`` is in msgpack. Other bytes may look the same."""

_WITH_MSGPACK = range(8)
"""The codes of the serializer's extensions, whose payload is msgpack."""

_MESSAGE = {"type", "content"}
"""The fields of a message."""

_ANY_KEYS = ormsgpack.OPT_NON_STR_KEYS

_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
"""The lengths of extensions that the first byte tells."""

_LONGER = {0xC7: 1, 0xC8: 2, 0xC9: 4}
"""In how many bytes the others have their length."""

_MAX_TEXTS = 16 << 20
"""The size of the extensions whose texts are kept."""

_texts: dict[bytes, str] = {}
_sizes = [0]

Typed = tuple[str, bytes]
"""What a serializer makes of a value: the name of a form, and bytes."""


class _UnusualError(Exception):
    """The value has something that JSON does not have."""


class Form:
    """A value as a serializer has made it."""

    __slots__ = ("typed",)

    def __init__(self, typed: Typed) -> None:
        self.typed = typed


class _Extension:
    """An extension that was read, and is not yet in the form of JSON."""

    __slots__ = ("code", "payload")

    def __init__(self, code: int, payload: Any) -> None:
        self.code, self.payload = code, payload


def dumps(value: Any) -> str:
    """Returns JSON without white space."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default)


def to_json(typed: Typed) -> str:
    """Returns a value that was serialized as JSON."""
    form, data = typed
    if form == "null":
        return "null"
    if form == "bytes":
        return dumps(_bytes(data))
    if form != "msgpack":
        return dumps({_MARK: "typed", "type": form, "base64": _base64(data)})
    if (objects := _objects(data)) is not None:
        # Most of them were there at the step before.
        return f"[{','.join(map(_object_text, objects))}]"
    return _text(data)


def _objects(data: bytes) -> list[bytes] | None:
    """Returns the elements of an array of objects; ``None`` if it is something else."""
    if data[:1] == b"\xdc":
        count, at = int.from_bytes(data[1:3], "big"), 3
    elif data[:1] == b"\xdd":
        count, at = int.from_bytes(data[1:5], "big"), 5
    elif data and 0x91 <= data[0] <= 0x9F:
        count, at = data[0] & 0x0F, 1
    else:
        return None
    objects = []
    for _ in range(count):
        kind = data[at] if at < len(data) else 0
        if (size := _EXTENSIONS.get(kind)) is not None:
            end = at + 2 + size
        elif (width := _LONGER.get(kind)) is not None:
            end = at + 2 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")
        else:
            return None
        objects.append(data[at:end])
        at = end
    return objects if at == len(data) else None


def _object_text(data: bytes) -> str:
    """Returns an object as JSON text, which is kept."""
    text = _texts.get(data)
    if text is None:
        text = _text(data)
        if _sizes[0] > _MAX_TEXTS:
            _texts.clear()
            _sizes[0] = 0
        _texts[data] = text
        _sizes[0] += len(data) + len(text)
    return text


def _text(data: bytes) -> str:
    """Returns any msgpack as JSON text."""
    if _MARK_IN_MSGPACK not in data:
        try:
            # By far the most values: no step of this is written in Python.
            return dumps(ormsgpack.unpackb(data, ext_hook=_plain_extension))
        except (_UnusualError, ValueError, TypeError):
            pass
    return dumps(_shown(ormsgpack.unpackb(data, ext_hook=_read_extension, option=_ANY_KEYS)))


def loads(text: bytes, place: str | None = None) -> Any:
    """Reads JSON. What JSON does not have is as :func:`to_typed` takes it. ``place`` is where the text
    is, for the error.
    """
    try:
        return json.loads(text, object_hook=_hook)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise PersistIntegrityError(
            f"Format error: the checkpoint is not in the form that this version knows: {error}",
            "invalid-format",
            place,
            hint="update the package, or restore another checkpoint",
        ) from error


def to_typed(value: Any) -> Typed:
    """Returns a value from :func:`loads` in the form that a serializer reads."""
    if value is None:
        return "null", b""
    if isinstance(value, Form):
        return value.typed
    if isinstance(value, bytes):
        return "bytes", value
    return "msgpack", ormsgpack.packb(value, option=_ANY_KEYS)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(data: bytes) -> dict[str, str]:
    return {_MARK: "bytes", "base64": _base64(data)}


def _default(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value))
    raise TypeError(f"{type(value).__qualname__} is not a msgpack type")


def _plain_extension(code: int, data: bytes) -> dict[str, Any]:
    """Returns an extension without unusual values as JSON."""
    if code not in _WITH_MSGPACK:
        raise _UnusualError
    return _object(code, ormsgpack.unpackb(data, ext_hook=_plain_extension))


def _object(code: int, payload: Any) -> dict[str, Any]:
    if type(payload) is list and len(payload) in (3, 4) and type(payload[2]) is dict and _MARK not in payload[2]:
        module, name, fields, *rest = payload
        if type(module) is str and type(name) is str:
            # What people look for comes first.
            first = {key: fields[key] for key in ("type", "content")} if fields.keys() >= _MESSAGE else {}
            return {**first, **fields, _MARK: [code, module, name, *rest]}
    return {_MARK: "extension", "code": code, "value": payload}


def _read_extension(code: int, data: bytes) -> _Extension:
    if code not in _WITH_MSGPACK:
        return _Extension(code, data)
    return _Extension(code, ormsgpack.unpackb(data, ext_hook=_read_extension, option=_ANY_KEYS))


def _shown(value: Any) -> Any:
    """Returns any value of msgpack as JSON."""
    if isinstance(value, dict):
        if all(type(key) is str for key in value) and _MARK not in value:
            return {key: _shown(item) for key, item in value.items()}
        return {_MARK: "map", "items": [[_shown(key), _shown(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {_MARK: "float", "value": repr(value)}
    if isinstance(value, _Extension):
        if value.code not in _WITH_MSGPACK:
            return {_MARK: "extension", "code": value.code, "base64": _base64(value.payload)}
        return _object(value.code, _shown(value.payload))
    return value


def _as_key(value: Any) -> Any:
    """Returns a key of a map: JSON has lists in place of tuples."""
    return tuple(map(_as_key, value)) if type(value) is list else value


def _hook(found: dict[str, Any]) -> Any:
    """Returns what an object of JSON stands for."""
    mark = found.get(_MARK)
    if mark is None:
        return found
    if type(mark) is list:
        code, module, name, *rest = mark
        fields = {key: value for key, value in found.items() if key != _MARK}
        return ormsgpack.Ext(code, ormsgpack.packb([module, name, fields, *rest], option=_ANY_KEYS))
    if mark == "extension":
        if "base64" in found:
            return ormsgpack.Ext(found["code"], base64.b64decode(found["base64"]))
        return ormsgpack.Ext(found["code"], ormsgpack.packb(found["value"], option=_ANY_KEYS))
    if mark == "map":
        return {_as_key(key): item for key, item in found["items"]}
    if mark == "bytes":
        return base64.b64decode(found["base64"])
    if mark == "float":
        return float(found["value"])
    if mark == "typed":
        return Form((found["type"], base64.b64decode(found["base64"])))
    raise ValueError(f"{mark!r} is not known")
