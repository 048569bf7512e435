"""Lists snapshots, in the order of their keys or as the history of a session."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any

from persist import _persist
from persist._metadata import SnapshotMetadata
from persist.errors import PersistConfigurationError, PersistTypeError, PersistWarning


def listed(
    place: _persist.Place,
    prefix: str,
    errors: str,
    wanted: dict[str, Any] | None = None,
    limit: int | None = None,
    token: _persist.CancelToken | None = None,
) -> list[SnapshotMetadata]:
    """Returns the whole listing; see :func:`listing`."""
    return list(listing(place, prefix, errors, wanted, limit, token))


def history(
    place: _persist.Place,
    prefix: str,
    errors: str,
    wanted: dict[str, Any],
    token: _persist.CancelToken | None = None,
) -> list[SnapshotMetadata]:
    """Returns the wanted snapshots, the earliest first."""
    found = list(listing(place, prefix, errors, wanted, token=token))
    if len({(metadata.agent_id, metadata.session_id) for metadata in found}) > 1:
        # Indexes of different sessions can't be compared.
        return sorted(found, key=lambda metadata: metadata.timestamp)
    return sorted(found, key=lambda metadata: (metadata.snapshot_index, metadata.timestamp))


def listing(
    place: _persist.Place,
    prefix: str,
    errors: str = "warn",
    wanted: dict[str, Any] | None = None,
    limit: int | None = None,
    token: _persist.CancelToken | None = None,
) -> Iterator[SnapshotMetadata]:
    """Yields the wanted snapshots whose keys begin with a prefix. Other files are left out."""
    check_errors(errors)
    check_limit(limit, "snapshots")
    return itertools.islice(_entries(place, prefix, errors, filtered(wanted or {}), token), limit)


def check_errors(errors: Any) -> None:
    """Refuses a way to treat what can't be read other than ``warn``, ``raise`` and ``ignore``."""
    if errors not in ("warn", "raise", "ignore"):
        raise PersistConfigurationError(
            f"{errors!r} is not a valid value for errors", "invalid-argument", hint="use 'warn', 'raise' or 'ignore'"
        )


def check_limit(limit: Any, things: str) -> None:
    """Refuses a limit that is not a number."""
    if limit is not None and (type(limit) is not int or not 0 <= limit < 1 << 63):
        raise PersistTypeError(
            f"limit must be a number of {things}, not {limit!r}",
            "invalid-argument",
            hint="pass an int, or None for all",
        )


def filtered(wanted: dict[str, Any]) -> dict[str, Any]:
    """Returns a filter with its times in the form that is stored."""
    return {name: moment(name, value) if name in ("since", "until") else value for name, value in wanted.items()}


def moment(name: str, value: Any) -> str | None:
    """Returns a time in the form that is stored. It is given as a datetime, a date (its start
    in UTC), how long ago, or a string for one of these.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        try:
            value = datetime.now(timezone.utc) - value
        except OverflowError:
            raise PersistTypeError(
                f"{name} is before the year 1 or after the year 9999",
                "invalid-argument",
                hint="pass a shorter duration",
            ) from None
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise PersistTypeError(
                f"{name} is a datetime without a time zone",
                "invalid-argument",
                hint="pass one with tzinfo, such as datetime.now(timezone.utc)",
            )
        value = value.isoformat()
    elif isinstance(value, date):
        value = value.isoformat()
    if not isinstance(value, str):
        kind = type(value).__qualname__
        raise PersistTypeError(
            f"{name} must be a datetime, date, timedelta or str, not {kind}",
            "invalid-argument",
            hint='pass a datetime, or how long ago: "7d"',
        )
    return _persist.moment(name, value)


def _entries(
    place: _persist.Place, prefix: str, errors: str, wanted: dict[str, Any], token: _persist.CancelToken | None
) -> Iterator[SnapshotMetadata]:
    for key, text, error in place.list(prefix, wanted, token):
        if error is None:
            yield SnapshotMetadata._from_json(text, place.location(key))
        elif error.code == "not-a-snapshot" or errors == "ignore":
            continue
        elif errors == "raise":
            raise error
        else:
            import warnings

            warnings.warn(f"left out of the list: {place.location(key)}: {error}", PersistWarning, stacklevel=4)
