"""Keeps keys and tokens out of snapshots, which anybody may be able to read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from typing import Any

from persist import _persist
from persist._words import a
from persist.errors import PersistTypeError

REDACTED = "[redacted]"
"""Replaces a value that is left out."""

_NAMES = frozenset(
    {
        "accesstoken",
        "apikey",
        "apisecret",
        "authorization",
        "authtoken",
        "bearertoken",
        "clientsecret",
        "privatekey",
        "proxyauthorization",
        "refreshtoken",
        "secretkey",
        "xapikey",
    }
)
"""Names of fields and headers, in lower case, without hyphens and underscores."""

Pattern = re.Pattern[str]


def patterns(redact: Any) -> tuple[Pattern, ...]:
    """Returns the patterns for the argument ``redact``: names of fields and keys, in which
    ``*`` matches anything and case is ignored; or compiled expressions that match whole
    names.
    """
    if redact is None:
        return ()
    if isinstance(redact, (str, re.Pattern)):
        redact = [redact]
    if not isinstance(redact, Iterable):
        raise _wrong(redact)
    found = []
    for item in redact:
        if isinstance(item, str):
            found.append(re.compile(translate(item), re.IGNORECASE))
        elif isinstance(item, re.Pattern) and isinstance(item.pattern, str):
            found.append(item)
        else:
            raise _wrong(item)
    return tuple(found)


def _wrong(item: Any) -> PersistTypeError:
    return PersistTypeError(
        f"redact can't contain {item!r}",
        "invalid-argument",
        hint='pass names of fields, in which * matches anything: ["api_key", "*_token"]',
    )


def redacted(value: Any, wanted: tuple[Pattern, ...]) -> Any:
    """Returns a value in which everything under matching names is replaced, in dicts, lists
    and tuples. The reducer does the same for the fields of instances.
    """
    return _Redaction(wanted).of(value) if wanted else value


class _Redaction:
    def __init__(self, wanted: tuple[Pattern, ...]) -> None:
        self._wanted = wanted
        self._within: set[int] = set()

    def of(self, value: Any) -> Any:
        kind = type(value)
        if kind is _persist.Items:
            return _persist.Items(self.of(part) for part in value.parts())
        if kind not in (dict, list, tuple) or id(value) in self._within:
            # A value that contains itself is refused when it is written.
            return value
        self._within.add(id(value))
        try:
            if kind is dict:
                return {name: REDACTED if self._is_meant(name) else self.of(item) for name, item in value.items()}
            items = [self.of(item) for item in value]
            return items if kind is list else tuple(items)
        except RecursionError:
            # A value that is nested too deeply is refused when it is written.
            return value
        finally:
            self._within.discard(id(value))

    def _is_meant(self, name: Any) -> bool:
        return isinstance(name, str) and any(pattern.fullmatch(name) for pattern in self._wanted)


def check(cls_name: str, fields: Mapping[str, Any]) -> None:
    """Refuses an instance that holds a secret."""
    for name, item in fields.items():
        held = f"{name!r}" if _is_secret(name, item) else _header(name, item)
        if held is not None:
            raise PersistTypeError(
                f"{a(cls_name)} holds a secret in {held}, which would be stored in plain text",
                "invalid-argument",
                hint="leave it out with redact=[…], which takes names; or register the class with "
                "persist.register(…, save=…, restore=…) and save it without the secret",
            )


def _header(name: str, item: Any) -> str | None:
    """Returns the place of a request header with a secret, such as ``Authorization``."""
    if not isinstance(item, Mapping):
        return None
    found = (key for key, value in item.items() if isinstance(key, str) and _is_secret(key, value))
    key = next(found, None)
    return None if key is None else f"{name}[{key!r}]"


def _is_secret(name: str, value: Any) -> bool:
    kind = type(value)
    if kind.__name__ in ("SecretStr", "SecretBytes") and kind.__module__.partition(".")[0] == "pydantic":
        return bool(value.get_secret_value())
    plain = name.replace("_", "").replace("-", "").lower()
    return plain in _NAMES and isinstance(value, (str, bytes)) and value not in ("", b"", REDACTED)
