"""The URL types of pydantic, which are written as their text."""

from __future__ import annotations

import sys
from typing import Any

from persist._libraries import loaded
from persist._words import a
from persist.errors import PersistConfigurationError, PersistTypeError

_CORE = ("Url", "MultiHostUrl")

_NETWORKS = (
    "AnyUrl",
    "AnyHttpUrl",
    "HttpUrl",
    "AnyWebsocketUrl",
    "WebsocketUrl",
    "FileUrl",
    "FtpUrl",
    "PostgresDsn",
    "CockroachDsn",
    "AmqpDsn",
    "RedisDsn",
    "MongoDsn",
    "KafkaDsn",
    "NatsDsn",
    "MySQLDsn",
    "MariaDBDsn",
    "ClickHouseDsn",
    "SnowflakeDsn",
)


def _class(name: str) -> type | None:
    found = getattr(sys.modules.get("pydantic_core" if name in _CORE else "pydantic"), name, None)
    # Before pydantic 2.10, these are annotations of other classes.
    return found if isinstance(found, type) else None


def saved(value: Any, cls: type) -> tuple[str, dict[str, Any]] | None:
    """Returns the kind of a URL and its fields, or ``None`` for other values."""
    name = cls.__name__
    if name not in _CORE + _NETWORKS or _class(name) is not cls:
        return None
    text = str(value)
    try:
        again: Any = cls(text)
        comes_back = again == value and str(again) == text
    except ValueError:
        comes_back = False
    if not comes_back:
        raise PersistTypeError(
            f"this pydantic {name} can't be saved: its text would be parsed as a different URL",
            "invalid-argument",
            hint="save its text: str(…)",
        )
    return "url", {"type": name, "value": text}


def made(fields: dict[str, Any]) -> Any:
    """Returns the URL that was written as these fields."""
    name, text = fields["type"], fields["value"]
    if name not in _CORE + _NETWORKS or type(text) is not str:
        raise ValueError("its type or text is not valid")
    loaded("pydantic", "a pydantic URL")
    cls: Any = _class(name)
    if cls is None:
        raise PersistConfigurationError(
            f"the snapshot holds {a(name)}, which this version of pydantic does not have",
            "invalid-argument",
            hint="pip install --upgrade pydantic; or restore with plain=True to get the data",
        )
    return cls(text)
