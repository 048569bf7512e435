"""Restores values, agents and bytes from snapshots."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from persist import _agents, _persist
from persist._adapter import Adapter, PartAdapter
from persist._into import put_into
from persist._metadata import SnapshotMetadata
from persist._progress import Progress, Told, shown
from persist._threads import in_thread
from persist._values import JSON, VALUE_ENCODING, Rebuilder
from persist.errors import PersistError, PersistIntegrityError, PersistTypeError

MAX_SIZE = 1 << 30
"""The default of ``max_size``: the largest state to restore, in bytes."""


Read = Callable[[int | None, Told | None, _persist.CancelToken | None], tuple[bytes, str]]
"""Reads a state of at most so many bytes. Returns it with the metadata as JSON."""

Locate = Callable[[str], str]
"""Returns the location of a snapshot from its metadata as JSON."""


def load(
    place: _persist.Place,
    key: str,
    into: Any = None,
    progress: Progress | None = None,
    options: dict[str, Any] | None = None,
) -> tuple[Any, SnapshotMetadata]:
    """Restores a value or an agent. Returns it with the metadata of the snapshot."""
    return load_from(*_at(place, key), into, progress, options)


async def aload(
    place: _persist.Place,
    key: str,
    into: Any = None,
    progress: Progress | None = None,
    options: dict[str, Any] | None = None,
) -> tuple[Any, SnapshotMetadata]:
    """Like :func:`load`, without blocking other tasks."""
    return await aload_from(*_at(place, key), into, progress, options)


def _at(place: _persist.Place, key: str) -> tuple[Read, Locate]:
    return lambda max_size, told, token: place.load(key, max_size, told, token), lambda _: place.location(key)


def load_from(
    read: Read, locate: Locate, into: Any, progress: Progress | None, options: dict[str, Any] | None
) -> tuple[Any, SnapshotMetadata]:
    """Restores what a function reads. Returns it with its metadata."""
    (value, adapter, info, given), metadata = _loaded(read, locate, into, progress, options)
    if adapter is None:
        return _put(value, into, metadata.location), metadata
    work = _agents.from_state(adapter, info, value, into, given, is_async=False)
    return _agents.run(work, _agents.waits(adapter, "restore"), "arestore"), metadata


async def aload_from(
    read: Read, locate: Locate, into: Any, progress: Progress | None, options: dict[str, Any] | None
) -> tuple[Any, SnapshotMetadata]:
    """Like :func:`load_from`, without blocking other tasks."""
    (value, adapter, info, given), metadata = await in_thread(_loaded, read, locate, into, progress, options)
    if adapter is None:
        return _put(value, into, metadata.location), metadata
    return await _agents.from_state(adapter, info, value, into, given, is_async=True), metadata


def _put(value: Any, into: Any, location: str) -> Any:
    try:
        return value if into is None else put_into(value, into)
    except PersistError as error:
        error._at(location)
        raise


def _loaded(
    read: Read,
    locate: Locate,
    into: Any,
    progress: Progress | None,
    options: dict[str, Any] | None,
    token: _persist.CancelToken | None = None,
) -> tuple[tuple[Any, Any, Any, dict[str, Any]], SnapshotMetadata]:
    """Returns the result of :func:`_value_of` for a snapshot, and its metadata. Errors have the
    location.
    """
    options = dict(options or {})
    max_size = options.pop("max_size", MAX_SIZE)
    checked_size(max_size)
    with shown(progress, "restoring") as told:
        state, text = read(max_size, told, token)
    try:
        return _value_of(state, text, into, options), SnapshotMetadata._from_json(text, locate(text))
    except PersistError as error:
        error._at(locate(text))
        raise


def _value_of(
    state: bytes, text: str, into: Any, options: dict[str, Any]
) -> tuple[Any, Adapter | None, Any, dict[str, Any]]:
    """Returns the value of a state, the adapter to restore it with, the adapter's entry in
    the metadata, and the adapter's arguments.
    """
    metadata = json.loads(text)
    content_type = metadata["content_type"]
    given = {name: value for name, value in options.items() if value is not None}
    plain = given.pop("plain", False)
    if not isinstance(plain, bool):
        raise PersistTypeError("plain must be a bool", "invalid-argument", hint="pass True or False as plain")
    if plain and into is not None:
        raise PersistTypeError(
            "plain=True returns plain data, but into asks for an instance",
            "invalid-argument",
            hint="pass one of the two",
        )
    kind = content_type.partition(";")[0].strip().lower()
    if kind != JSON and not kind.endswith("+json"):
        return state, None, None, given
    encoding = metadata.get("value_encoding")
    if encoding is None:
        return _persist.decode(state), None, None, given
    if encoding != VALUE_ENCODING:
        raise PersistIntegrityError(
            f"Format error: the state has value_encoding {encoding}, and this version only supports {VALUE_ENCODING}",
            "unsupported-format",
            hint="restore it with the version that saved it, or a newer one",
        )
    info = metadata.get("adapter")
    # Before the state is decoded, so that a missing framework is reported at once.
    adapter = _agents.adapter_for_state(info, into, plain)
    if adapter is None and not plain:
        _agents.refuse_options({name: item for name, item in given.items() if name in _agents.ADAPTER_OPTIONS}, "value")
    is_own = adapter is None or isinstance(adapter, PartAdapter)
    rebuilder = Rebuilder(into if is_own else None, given, plain, _agents.named(adapter, into))
    return rebuilder.finish(_persist.decode(state, rebuilder)), adapter, info, given


def load_bytes(
    place: _persist.Place, key: str, progress: Progress | None = None, token: _persist.CancelToken | None = None
) -> bytes:
    """Returns the state as the bytes that were saved."""
    with shown(progress, "restoring") as told:
        return place.load(key, None, told, token)[0]


def checked_size(max_size: Any) -> int:
    if type(max_size) is not int or not 0 <= max_size < 1 << 63:
        raise PersistTypeError(
            f"max_size must be a number of bytes, not {max_size!r}",
            "invalid-argument",
            hint="pass an int, such as 1 << 30",
        )
    return max_size
