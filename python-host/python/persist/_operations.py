"""What is done at one place: the functions of the package and both kinds of
store are made of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from persist import _persist
from persist._metadata import SnapshotMetadata
from persist.errors import PersistIntegrityError, PersistTypeError, PersistWarning

BYTES = "application/octet-stream"
JSON = "application/json"

VALUE_ENCODING = 1
"""The number of the way in which values are written as JSON."""

_EXTRA = json.dumps({"value_encoding": VALUE_ENCODING})

Progress = Callable[[int, "int | None"], object]
"""Called with the bytes of state done, and of how many if that is known."""


class Encoded:
    """A value as it was at one moment, ready to be saved."""

    __slots__ = ("content_type", "extra", "state")

    def __init__(self, value: Any) -> None:
        if type(value) is bytes:
            self.state, self.content_type, self.extra = value, BYTES, None
        else:
            self.state, self.content_type, self.extra = _persist.encode(value), JSON, _EXTRA


def snapshot(
    place: _persist.Place,
    key: str,
    value: Any,
    options: dict[str, Any],
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> SnapshotMetadata:
    """Saves a value."""
    if progress is not None and not callable(progress):
        raise PersistTypeError("progress is not callable", "invalid-argument", hint="pass a function of (done, total)")
    if type(value) is bytes:
        return save_bytes(place, key, value, {**options, "content_type": BYTES}, progress, token)
    if isinstance(value, Encoded):
        options = {**options, "content_type": value.content_type, "extra": value.extra}
        return save_bytes(place, key, value.state, options, progress, token)
    text = place.save(key, value, {**options, "content_type": JSON, "extra": _EXTRA}, progress, token)
    return SnapshotMetadata._from_json(text, place.location(key))


def save_bytes(
    place: _persist.Place,
    key: str,
    state: bytes,
    options: dict[str, Any],
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> SnapshotMetadata:
    """Saves bytes as they are."""
    return SnapshotMetadata._from_json(place.save_bytes(key, state, options, progress, token), place.location(key))


def restore(
    place: _persist.Place,
    key: str,
    into: Any = None,
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> Any:
    """Restores a value."""
    state, text = place.load(key, progress, token)
    return value_of(state, text, into)


def value_of(state: bytes, text: str, into: Any = None) -> Any:
    """The value that was saved as this state, with this metadata."""
    metadata = json.loads(text)
    content_type = metadata["content_type"]
    value: Any = state
    if content_type == JSON or content_type.endswith("+json"):
        encoding = metadata.get("value_encoding")
        if encoding is None:
            value = _persist.decode(state)
        elif encoding == VALUE_ENCODING:
            from persist._values import Rebuilder

            value = _persist.decode(state, Rebuilder(into))
        else:
            raise PersistIntegrityError(
                f"Format error: the values are encoded in way {encoding}, and this version knows {VALUE_ENCODING}",
                "unsupported-format",
                hint="restore it with the version that saved it, or a newer one",
            )
    if into is None:
        return value
    from persist._values import put_into

    return put_into(value, into)


def metadata(place: _persist.Place, key: str, token: _persist.CancelToken | None = None) -> SnapshotMetadata:
    """What a snapshot says of itself."""
    return SnapshotMetadata._from_json(place.metadata(key, token), place.location(key))


def verify(
    place: _persist.Place,
    key: str,
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> bool:
    """Checks every byte."""
    place.verify(key, progress, token)
    return True


def listing(
    place: _persist.Place, prefix: str, errors: str = "warn", token: _persist.CancelToken | None = None
) -> Iterator[SnapshotMetadata]:
    """The snapshots whose keys begin with a prefix; other files are left out."""
    if errors not in ("warn", "raise", "ignore"):
        from persist.errors import PersistConfigurationError

        raise PersistConfigurationError(
            f"errors is not {errors!r}", "invalid-argument", hint="it is 'warn', 'raise' or 'ignore'"
        )
    return _entries(place, prefix, errors, token)


def _entries(
    place: _persist.Place, prefix: str, errors: str, token: _persist.CancelToken | None
) -> Iterator[SnapshotMetadata]:
    for key, text, error in place.list(prefix, token):
        if error is None:
            yield SnapshotMetadata._from_json(text, place.location(key))
        elif error.code == "not-a-snapshot" or errors == "ignore":
            continue
        elif errors == "raise":
            raise error
        else:
            import warnings

            warnings.warn(f"left out of the list: {place.location(key)}: {error}", PersistWarning, stacklevel=3)


def listed(
    place: _persist.Place, prefix: str, errors: str, token: _persist.CancelToken | None = None
) -> list[SnapshotMetadata]:
    """The whole listing."""
    return list(listing(place, prefix, errors, token))


async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """Runs blocking work in a thread, with a token as its last argument; when
    the task is cancelled, so is the work, and what it left is cleared away
    before the task ends.
    """
    import asyncio
    import contextvars

    token = _persist.CancelToken()
    context = contextvars.copy_context()
    running = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(work, *arguments, token))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        token.cancel()
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                continue
        if not running.cancelled():
            running.exception()  # Seen: it was cancelled.
        raise
