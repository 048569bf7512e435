"""What is done at one place: the functions of the package and both kinds of
store are made of these.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

from persist import _agents, _persist
from persist._metadata import SnapshotMetadata
from persist.errors import PersistError, PersistIntegrityError, PersistTypeError, PersistWarning

BYTES = "application/octet-stream"
JSON = "application/json"

VALUE_ENCODING = 1
"""The number of the way in which values are written as JSON."""

Progress = Callable[[int, "int | None"], object]
"""Called with the bytes of state done, and of how many if that is known."""

_ADAPTER_OPTIONS = ("config",)


def _extra(info: _agents.Info | None) -> str:
    """What the metadata says beyond what it always does."""
    fields: dict[str, Any] = {"value_encoding": VALUE_ENCODING}
    if info is not None:
        fields["adapter"] = info
    return json.dumps(fields)


class Encoded:
    """A state as it was at one moment, ready to be saved."""

    __slots__ = ("content_type", "extra", "state")

    def __init__(self, state: bytes, content_type: str, extra: str | None) -> None:
        self.state, self.content_type, self.extra = state, content_type, extra


def check_progress(progress: Any) -> None:
    """Refuses what can't be called, before anything is done."""
    if progress is not None and not callable(progress):
        raise PersistTypeError("progress is not callable", "invalid-argument", hint="pass a function of (done, total)")


def _take(options: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Takes those of the arguments that are for adapters; and whether to check."""
    given = {name: options.pop(name) for name in _ADAPTER_OPTIONS if name in options}
    check = options.pop("check", False)
    if not isinstance(check, bool):
        raise PersistTypeError("check is a bool", "invalid-argument", hint="pass True or False as check")
    return given, check


async def encoded(agent: Any, options: dict[str, Any], is_async: bool = True) -> Encoded:
    """An agent as it is now. Takes its arguments out of the options."""
    given, check = _take(options)
    if type(agent) is bytes:
        return Encoded(agent, BYTES, None)
    adapter = _agents.adapter_of(agent)
    value, info = await _agents.to_state(adapter, agent, given, is_async)
    if not check:
        return Encoded(_persist.encode(value), JSON, _extra(info))
    from persist._values import Reducer

    reducer = Reducer()
    state = _persist.encode(value, reducer)
    await _agents.check(adapter, state, reducer, type(agent) if adapter is None else None, info, is_async)
    return Encoded(state, JSON, _extra(info))


def snapshot(
    place: _persist.Place,
    key: str,
    agent: Any,
    options: dict[str, Any],
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> SnapshotMetadata:
    """Saves an agent, or what was encoded of one."""
    check_progress(progress)
    if type(agent) is bytes:
        _take(options)
        return save_bytes(place, key, agent, {**options, "content_type": BYTES}, progress, token)
    if options.get("check"):
        adapter = _agents.adapter_of(agent)
        waits = _agents.waits(adapter, "save") or _agents.waits(adapter, "restore")
        agent = _agents.run(encoded(agent, options, is_async=False), waits, "asnapshot")
    if isinstance(agent, Encoded):
        options = {**options, "content_type": agent.content_type, "extra": agent.extra}
        return save_bytes(place, key, agent.state, options, progress, token)
    given, _ = _take(options)
    adapter = _agents.adapter_of(agent)
    work = _agents.to_state(adapter, agent, given, is_async=False)
    value, info = _agents.run(work, _agents.waits(adapter, "save"), "asnapshot")
    text = place.save(key, value, {**options, "content_type": JSON, "extra": _extra(info)}, progress, token)
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
    check_progress(progress)
    return SnapshotMetadata._from_json(place.save_bytes(key, state, options, progress, token), place.location(key))


def restore(
    place: _persist.Place,
    key: str,
    into: Any = None,
    progress: Progress | None = None,
    options: dict[str, Any] | None = None,
) -> Any:
    """Restores an agent."""
    value, adapter, info, given = _loaded(place, key, into, progress, options)
    if adapter is None:
        return _put(value, into)
    work = _agents.from_state(adapter, info, value, into, given, is_async=False)
    return _agents.run(work, _agents.waits(adapter, "restore"), "arestore")


async def arestore(
    place: _persist.Place,
    key: str,
    into: Any = None,
    progress: Progress | None = None,
    options: dict[str, Any] | None = None,
) -> Any:
    """As :func:`restore`, without blocking other tasks."""
    value, adapter, info, given = await in_thread(_loaded, place, key, into, progress, options)
    if adapter is None:
        return _put(value, into)
    return await _agents.from_state(adapter, info, value, into, given, is_async=True)


def _loaded(
    place: _persist.Place,
    key: str,
    into: Any,
    progress: Progress | None,
    options: dict[str, Any] | None,
    token: _persist.CancelToken | None = None,
) -> tuple[Any, Any, Any, dict[str, Any]]:
    """What :func:`_value_of` makes of a snapshot; its errors say of which."""
    check_progress(progress)
    state, text = place.load(key, progress, token)
    try:
        return _value_of(state, text, into, options or {})
    except PersistError as error:
        error.location = error.location or place.location(key)
        raise


def _put(value: Any, into: Any) -> Any:
    if into is None:
        return value
    from persist._values import put_into

    return put_into(value, into)


def _value_of(state: bytes, text: str, into: Any, options: dict[str, Any]) -> tuple[Any, Any, Any, dict[str, Any]]:
    """The value of a state with this metadata; the adapter that it is for and
    what the metadata says of it; and the adapter's arguments.
    """
    metadata = json.loads(text)
    content_type = metadata["content_type"]
    given = {name: value for name, value in options.items() if value is not None}
    plain = given.pop("plain", False)
    if not isinstance(plain, bool):
        raise PersistTypeError("plain is a bool", "invalid-argument", hint="pass True or False as plain")
    kind = content_type.partition(";")[0].strip().lower()
    if kind != JSON and not kind.endswith("+json"):
        return state, None, None, given
    encoding = metadata.get("value_encoding")
    if encoding is None:
        return _persist.decode(state), None, None, given
    if encoding != VALUE_ENCODING:
        raise PersistIntegrityError(
            f"Format error: the values are encoded in way {encoding}, and this version knows {VALUE_ENCODING}",
            "unsupported-format",
            hint="restore it with the version that saved it, or a newer one",
        )
    from persist._values import Rebuilder

    info = metadata.get("adapter")
    # Before the state is looked at: what is missing is said at once.
    adapter = _agents.from_state_adapter(info, into, plain)
    value = _persist.decode(state, Rebuilder(into if adapter is None else None, given, plain))
    return value, adapter, info, given


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
    check_progress(progress)
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

            warnings.warn(f"left out of the list: {place.location(key)}: {error}", PersistWarning, stacklevel=4)


def listed(
    place: _persist.Place, prefix: str, errors: str, token: _persist.CancelToken | None = None
) -> list[SnapshotMetadata]:
    """The whole listing."""
    return list(listing(place, prefix, errors, token))


STORED = "the snapshot was stored all the same"
DELETED = "the snapshot was deleted all the same"


async def in_thread(work: Callable[..., Any], *arguments: Any, changed: str | None = None) -> Any:
    """Runs blocking work in a thread, with a token as its last argument; see
    :func:`to_the_end`.
    """
    token = _persist.CancelToken()
    return await to_the_end(token, lambda: work(*arguments, token), changed)


async def to_the_end(token: _persist.CancelToken, work: Callable[[], Any], changed: str | None = None) -> Any:
    """Runs blocking work in a thread; when the task is cancelled, so is what has
    the token, and what it left is cleared away before the task ends. Where it
    had come too far, the exception says so: ``changed`` is what it did then.
    """
    import asyncio
    import contextvars

    context = contextvars.copy_context()
    running = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError as cancelled:
        token.cancel()
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                continue
        if running.cancelled():
            raise
        error = running.exception()
        if error is None:
            if changed is not None and sys.version_info >= (3, 11):
                cancelled.add_note(changed)
            raise
        if isinstance(error, PersistError) and error.code == "cancelled" and error.hint is None:
            raise
        # There is more to say than that it was cancelled.
        raise cancelled from error
