"""Saves values, agents and bytes as snapshots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from persist import _agents, _persist, _restoring, _secrets
from persist._adapter import Adapter
from persist._into import put_into
from persist._metadata import SnapshotMetadata
from persist._progress import Progress, Told, shown
from persist._threads import in_thread
from persist._values import JSON, VALUE_ENCODING
from persist.errors import PersistConflictError, PersistStorageError, PersistTypeError

BYTES = "application/octet-stream"
"""The media type of a state that is bytes."""

_CHECKED = ("into", "allowed_objects", "secrets", "max_size")
"""Arguments of ``restore`` that ``check`` accepts."""


def _extra(info: _agents.Info | None) -> str:
    """Returns the metadata that this package adds to the fields that every snapshot has."""
    fields: dict[str, Any] = {"value_encoding": VALUE_ENCODING}
    if info is not None:
        fields["adapter"] = info
    return json.dumps(fields)


class Encoded:
    """A state at one moment, ready to be saved."""

    __slots__ = ("content_type", "extra", "state")

    def __init__(self, state: bytes, content_type: str, extra: str | None) -> None:
        self.state, self.content_type, self.extra = state, content_type, extra


def _take(options: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """Takes the arguments for adapters out of the options, and ``check``: the arguments of the
    restore to check, or ``None``.
    """
    given = {name: options.pop(name) for name in _agents.ADAPTER_OPTIONS if name in options}
    check = options.pop("check", False)
    if isinstance(check, bool):
        return given, {} if check else None
    wrong = [name for name in check if name not in _CHECKED] if isinstance(check, Mapping) else [check]
    if wrong:
        raise PersistTypeError(
            f"check must be a bool or a dict of arguments of restore, not {check!r}",
            "invalid-argument",
            hint=f"the dict may have the keys {', '.join(_CHECKED)}",
        )
    return given, check


async def encoded(agent: Any, options: dict[str, Any], is_async: bool = True) -> Encoded:
    """Encodes an agent as it is now. It takes the arguments that it uses out of the options."""
    redact = _secrets.patterns(options.pop("redact", None))
    given, check = _take(options)
    if type(agent) is bytes:
        _check_bytes(agent, check)
        return Encoded(agent, BYTES, None)
    adapter = _agents.adapter_of(agent)
    copied = None if adapter is None or not is_async else _copied(adapter, agent, given)
    if adapter is None or copied is None:
        return await _encoded(adapter, agent, given, check, redact, is_async)

    def work(_: _persist.CancelToken) -> Any:
        return _agents.run(_encoded(adapter, copied, given, check, redact, False, is_private=True), False, "asnapshot")

    # Now, before other tasks run and may change the agent.
    extra = _extra(_agents.described(adapter, agent))
    done: Encoded = await in_thread(work)
    return Encoded(done.state, done.content_type, extra)


def _copied(adapter: Adapter, agent: Any, given: dict[str, Any]) -> Any:
    """Returns a copy of an agent that can be saved in a thread, or ``None`` if the agent can't
    be copied, for example because it holds a lock.
    """
    try:
        return _agents.copied(adapter, agent, given)
    except Exception:  # If something is wrong, saving the agent itself says what and where.
        return None


async def _encoded(
    adapter: Adapter | None,
    agent: Any,
    given: dict[str, Any],
    check: Mapping[str, Any] | None,
    redact: tuple[_secrets.Pattern, ...],
    is_async: bool,
    is_private: bool = False,
) -> Encoded:
    value, info = await _agents.to_state(adapter, agent, given, is_async)
    value, reducer = _secrets.redacted(value, redact), _agents.reducer(adapter, agent, redact)
    state = _persist.encode(value, reducer, is_private)
    if check is not None:
        options = dict(check)
        _check_size(len(state), options.pop("max_size", _restoring.MAX_SIZE))
        if adapter is None and is_async:
            # No adapter is involved, so nothing needs the event loop's thread.
            work = _agents.check(adapter, agent, state, info, options, is_async=False)
            await in_thread(lambda _: _agents.run(work, False, "asnapshot"))
        else:
            await _agents.check(adapter, agent, state, info, options, is_async)
    return Encoded(state, JSON, _extra(info))


def _check_bytes(state: bytes, check: Mapping[str, Any] | None) -> None:
    """Proves that bytes can be restored with these arguments."""
    if check is not None:
        _check_size(len(state), check.get("max_size", _restoring.MAX_SIZE))
        into = check.get("into")
        if into is not None:
            put_into(state, into if isinstance(into, type) else type(into))


def _check_size(size: int, max_size: Any) -> None:
    if size > _restoring.checked_size(max_size):
        raise PersistTypeError(
            f"the state is {size} bytes long, but restore accepts at most {max_size}",
            "invalid-argument",
            hint=f'pass check={{"max_size": {size}}}, and restore with the same max_size',
        )


def snapshot(
    place: _persist.Place,
    key: str,
    agent: Any,
    options: dict[str, Any],
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> SnapshotMetadata:
    """Saves an agent, or an encoded one."""
    with shown(progress, "saving") as told:
        return _snapshot(place, key, agent, options, told, token)


def _snapshot(
    place: _persist.Place,
    key: str,
    agent: Any,
    options: dict[str, Any],
    progress: Told | None,
    token: _persist.CancelToken | None,
) -> SnapshotMetadata:
    if type(agent) is bytes:
        _secrets.patterns(options.pop("redact", None))
        _check_bytes(agent, _take(options)[1])
        return save_bytes(place, key, agent, {**options, "content_type": BYTES}, progress, token)
    if options.get("check", False) is not False:
        adapter = _agents.adapter_of(agent)
        waits = _agents.waits(adapter, "save") or _agents.waits(adapter, "restore")
        agent = _agents.run(encoded(agent, options, is_async=False), waits, "asnapshot")
    if isinstance(agent, Encoded):
        options = {**options, "content_type": agent.content_type, "extra": agent.extra}
        return save_bytes(place, key, agent.state, options, progress, token)
    redact = _secrets.patterns(options.pop("redact", None))
    given, _ = _take(options)
    adapter = _agents.adapter_of(agent)
    work = _agents.to_state(adapter, agent, given, is_async=False)
    value, info = _agents.run(work, _agents.waits(adapter, "save"), "asnapshot")
    options = {**options, "content_type": JSON, "extra": _extra(info)}
    value, reducer = _secrets.redacted(value, redact), _agents.reducer(adapter, agent, redact)
    text = place.save(key, value, reducer, options, progress, token)
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
    with shown(progress, "saving") as told:
        return SnapshotMetadata._from_json(place.save_bytes(key, state, options, told, token), place.location(key))


ATTEMPTS = 20
"""How often the next index is computed again when others save in the same session."""


def save(
    place: _persist.Place,
    prefix: str,
    agent: Any,
    options: dict[str, Any],
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> tuple[SnapshotMetadata, str]:
    """Saves an agent under a key made of its session and the next index. Returns the metadata
    and the key.
    """
    agent_id, session_id = options.get("agent_id"), options.get("session_id")
    session = _persist.session_folder(
        "default_agent" if agent_id is None else agent_id, "default_session" if session_id is None else session_id
    )
    folder, given = prefix + session, options.get("snapshot_index")
    kind = agent.content_type if isinstance(agent, Encoded) else BYTES if type(agent) is bytes else JSON
    condition: dict[str, Any] = {"if_exists": "fail"}
    attempts = 0
    while True:
        attempts += 1
        index = given
        if index is None:
            index = _persist.next_index([key[len(folder) :] for key in place.keys(folder, token)])
        key = folder + _persist.file_name(index, options.get("codec"), kind)
        if not condition and place.exists(key, token):
            raise PersistConflictError("Already exists: an object has this key", "already-exists", place.location(key))
        try:
            saved = snapshot(place, key, agent, {**options, **condition, "snapshot_index": index}, progress, token)
            return saved, key
        except PersistConflictError as error:
            # Somebody else took the index first.
            if given is not None or error.code != "already-exists" or attempts == ATTEMPTS:
                raise
        except PersistStorageError as error:
            # The storage does not support conditions. Programs that save in the same session
            # at the same time have to coordinate themselves.
            if error.code != "unsupported" or not condition:
                raise
            condition = {}
