"""What :class:`Store` and :class:`AsyncStore` share: a location and its settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from persist import _persist
from persist._metadata import SnapshotMetadata
from persist.errors import PersistConfigurationError, PersistTypeError
from persist.storage import Storage

S = TypeVar("S", bound="StoreBase")

Key = str | SnapshotMetadata
"""The key of a snapshot, or its metadata from the store."""


class StoreBase:
    """A location for many snapshots, and the settings to reach it."""

    def __init__(
        self,
        location: str | os.PathLike[str] | Storage,
        *,
        s3_region: str | None = None,
        s3_endpoint: str | None = None,
        s3_options: Mapping[str, Any] | None = None,
        fsync: bool = True,
    ) -> None:
        self._location = location
        if s3_options is not None and not isinstance(s3_options, Mapping):
            raise PersistTypeError(
                "s3_options must be a mapping", "invalid-argument", hint='pass a dict: {"max_attempts": 5}'
            )
        options = None if s3_options is None else {name: _text(value) for name, value in s3_options.items()}
        given = {"s3_region": s3_region, "s3_endpoint": s3_endpoint, "s3_options": options, "fsync": fsync}
        self._settings = {name: value for name, value in given.items() if value is not None}
        # A wrong argument should fail here and not at the first use.
        self._place("")

    @property
    def location(self) -> str:
        """The location: a path or ``s3://bucket/prefix``."""
        place, prefix = self._place("")
        return place.location(prefix) if isinstance(self._location, (str, os.PathLike)) else repr(self._location)

    def _place(self, key: Key) -> tuple[_persist.Place, str]:
        """Returns the place of the store, and a key in that place. The place is made at
        each use, so that a change of the environment takes effect.
        """
        if isinstance(key, SnapshotMetadata):
            key = key.key
        if not isinstance(key, str):
            name = type(key).__qualname__
            raise PersistTypeError(
                f"the key must be a str, not {name}",
                "invalid-argument",
                hint="pass a str as key, or the metadata of a snapshot of this store",
            )
        try:
            key.encode()
        except UnicodeEncodeError:
            raise PersistConfigurationError(
                "the key contains lone surrogates, which are not valid Unicode", "invalid-key", hint="remove them"
            ) from None
        if isinstance(self._location, (str, os.PathLike)):
            place, prefix = _persist.open_folder(self._location, self._settings)
            return place, prefix + key
        if not isinstance(self._location, Storage):
            name = type(self._location).__qualname__
            raise PersistTypeError(
                f"the location must be a str, an os.PathLike or a persist.Storage, not {name}",
                "invalid-argument",
                hint="a persist.Storage has the methods open_write, open_read, stat, delete and list",
            )
        return _persist.open_object(self._location), key

    def _own(self, metadata: SnapshotMetadata, key: Key, full_key: str) -> SnapshotMetadata:
        """Returns the metadata with the key that this store uses."""
        key = key if isinstance(key, str) else key.key
        return metadata._with_key(metadata.key[len(full_key) - len(key) :])

    @staticmethod
    def _below(prefix: str, full_prefix: str, folders: list[str]) -> list[str]:
        """Returns folders as the keys that this store uses."""
        return [folder[len(full_prefix) - len(prefix) :] for folder in folders]

    def _twin(self, cls: type[S]) -> S:
        """Returns a store of another class for the same location."""
        twin = cls.__new__(cls)
        twin.__setstate__(self.__getstate__())
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {"location": self._location, "settings": self._settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._location, self._settings = state["location"], state["settings"]

    def __bool__(self) -> bool:
        """A store is true even if it is empty."""
        return True

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.location))

    def __repr__(self) -> str:
        plain = {name: value for name, value in self._settings.items() if (name, value) != ("fsync", True)}
        location = os.fspath(self._location) if isinstance(self._location, os.PathLike) else self._location
        return f"{type(self).__name__}({', '.join([repr(location), *(f'{n}={v!r}' for n, v in plain.items())])})"

    def _repr_html_(self) -> str:
        import html

        rows = {"location": self.location, **self._settings}
        cells = (
            f"<tr><th style='text-align:left'>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in rows.items()
        )
        return f"<table><caption>persist.{type(self).__name__}</caption>{''.join(cells)}</table>"


def _text(value: Any) -> Any:
    """Returns an option as the text that an environment variable would have."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ",".join(f"{name}={item}" for name, item in value.items())
    return str(value) if isinstance(value, (int, float)) else value
