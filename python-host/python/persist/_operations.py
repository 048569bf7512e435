"""What is done at one place: the functions of the package and both kinds of
store are made of these.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from typing import Any

from persist import _agents, _persist, _secrets
from persist._adapter import Adapter, PartAdapter
from persist._metadata import SnapshotMetadata
from persist._progress import Progress, Told, shown
from persist._values import Rebuilder, put_into
from persist.errors import (
    PersistConflictError,
    PersistError,
    PersistIntegrityError,
    PersistNotFoundError,
    PersistOutcomeUnknownError,
    PersistStorageError,
    PersistTypeError,
    PersistWarning,
)

BYTES = "application/octet-stream"
JSON = "application/json"

VALUE_ENCODING = 1
"""The version of how values are written as JSON."""

MAX_SIZE = 1 << 30
"""The largest state, in bytes, that is restored unless another size is given."""

_ADAPTER_OPTIONS = ("config",)

_CHECKED = ("into", "allowed_objects", "secrets", "max_size")
"""Arguments of a restore that can be checked before saving."""


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


def _take(options: dict[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """Takes those of the arguments that are for adapters; and those of the restore
    that is to be checked, none if none is.
    """
    given = {name: options.pop(name) for name in _ADAPTER_OPTIONS if name in options}
    check = options.pop("check", False)
    if isinstance(check, bool):
        return given, {} if check else None
    wrong = [name for name in check if name not in _CHECKED] if isinstance(check, Mapping) else [check]
    if wrong:
        raise PersistTypeError(
            f"check must be a bool or a dict of arguments of restore, not {check!r}",
            "invalid-argument",
            hint=f"such a dict may have {', '.join(_CHECKED)}",
        )
    return given, check


async def encoded(agent: Any, options: dict[str, Any], is_async: bool = True) -> Encoded:
    """An agent as it is now. Takes its arguments out of the options."""
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

    # Before the others run, who may change it.
    extra = _extra(_agents.described(adapter, agent))
    done: Encoded = await in_thread(work)
    return Encoded(done.state, done.content_type, extra)


def _copied(adapter: Adapter, agent: Any, given: dict[str, Any]) -> Any:
    """A copy of an agent that can be saved in a thread; none where there is no way to
    copy it, as where it holds a lock.
    """
    try:
        return _agents.copied(adapter, agent, given)
    except Exception:  # Saving it says what is wrong, and where, if anything is.
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
        _check_size(len(state), options.pop("max_size", MAX_SIZE))
        if adapter is None and is_async:
            # Nothing in it has to run where the loop does.
            work = _agents.check(adapter, agent, state, info, options, is_async=False)
            await in_thread(lambda _: _agents.run(work, False, "asnapshot"))
        else:
            await _agents.check(adapter, agent, state, info, options, is_async)
    return Encoded(state, JSON, _extra(info))


def _check_bytes(state: bytes, check: Mapping[str, Any] | None) -> None:
    """Proves that bytes come back."""
    if check is not None:
        _check_size(len(state), check.get("max_size", MAX_SIZE))
        into = check.get("into")
        if into is not None:
            put_into(state, into if isinstance(into, type) else type(into))


def _check_size(size: int, max_size: Any) -> None:
    if size > _checked_size(max_size):
        raise PersistTypeError(
            f"the state has {size} bytes, and restore takes {max_size}",
            "invalid-argument",
            hint=f'check={{"max_size": {size}}}, and restore with the same max_size',
        )


def _checked_size(max_size: Any) -> int:
    if type(max_size) is not int or not 0 <= max_size < 1 << 63:
        raise PersistTypeError(
            f"max_size must be a number of bytes, not {max_size!r}",
            "invalid-argument",
            hint="pass an int, such as 1 << 30",
        )
    return max_size


def snapshot(
    place: _persist.Place,
    key: str,
    agent: Any,
    options: dict[str, Any],
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> SnapshotMetadata:
    """Saves an agent, or what was encoded of one."""
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
"""How often the next index is counted anew where others save in the same session."""


def save(
    place: _persist.Place,
    prefix: str,
    agent: Any,
    options: dict[str, Any],
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> tuple[SnapshotMetadata, str]:
    """Saves an agent under a name that its session and the next index give it. Gives the
    metadata and the key.
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
            raise PersistConflictError(
                "Already exists: there is something already", "already-exists", place.location(key)
            )
        try:
            saved = snapshot(place, key, agent, {**options, **condition, "snapshot_index": index}, progress, token)
            return saved, key
        except PersistConflictError as error:
            # Others were faster.
            if given is not None or error.code != "already-exists" or attempts == ATTEMPTS:
                raise
        except PersistStorageError as error:
            # A storage that keeps no conditions: who saves there at the same time in one
            # session has to know of the other.
            if error.code != "unsupported" or not condition:
                raise
            condition = {}


def history(
    place: _persist.Place,
    prefix: str,
    errors: str,
    wanted: dict[str, Any],
    token: _persist.CancelToken | None = None,
) -> list[SnapshotMetadata]:
    """The snapshots that are wanted, the earliest first."""
    found = list(listing(place, prefix, errors, wanted, token=token))
    if len({(metadata.agent_id, metadata.session_id) for metadata in found}) > 1:
        # Indexes of several sessions say nothing of each other.
        return sorted(found, key=lambda metadata: metadata.timestamp)
    return sorted(found, key=lambda metadata: (metadata.snapshot_index, metadata.timestamp))


def load(
    place: _persist.Place,
    key: str,
    into: Any = None,
    progress: Progress | None = None,
    options: dict[str, Any] | None = None,
) -> tuple[Any, SnapshotMetadata]:
    """Restores an agent, and says what the snapshot says of itself."""
    (value, adapter, info, given), metadata = _loaded(place, key, into, progress, options)
    if adapter is None:
        return _put(value, into, place.location(key)), metadata
    work = _agents.from_state(adapter, info, value, into, given, is_async=False)
    return _agents.run(work, _agents.waits(adapter, "restore"), "arestore"), metadata


async def aload(
    place: _persist.Place,
    key: str,
    into: Any = None,
    progress: Progress | None = None,
    options: dict[str, Any] | None = None,
) -> tuple[Any, SnapshotMetadata]:
    """As :func:`load`, without blocking other tasks."""
    (value, adapter, info, given), metadata = await in_thread(_loaded, place, key, into, progress, options)
    if adapter is None:
        return _put(value, into, place.location(key)), metadata
    return await _agents.from_state(adapter, info, value, into, given, is_async=True), metadata


def _put(value: Any, into: Any, location: str) -> Any:
    try:
        return value if into is None else put_into(value, into)
    except PersistError as error:
        error._at(location)
        raise


def _loaded(
    place: _persist.Place,
    key: str,
    into: Any,
    progress: Progress | None,
    options: dict[str, Any] | None,
    token: _persist.CancelToken | None = None,
) -> tuple[tuple[Any, Any, Any, dict[str, Any]], SnapshotMetadata]:
    """What :func:`_value_of` makes of a snapshot, and its metadata; errors say of which."""
    options = dict(options or {})
    max_size = options.pop("max_size", MAX_SIZE)
    _checked_size(max_size)
    with shown(progress, "restoring") as told:
        state, text = place.load(key, max_size, told, token)
    try:
        return _value_of(state, text, into, options), SnapshotMetadata._from_json(text, place.location(key))
    except PersistError as error:
        error._at(place.location(key))
        raise


def _value_of(
    state: bytes, text: str, into: Any, options: dict[str, Any]
) -> tuple[Any, Adapter | None, Any, dict[str, Any]]:
    """The value of a state with this metadata; the adapter that it is for and
    what the metadata says of it; and the adapter's arguments.
    """
    metadata = json.loads(text)
    content_type = metadata["content_type"]
    given = {name: value for name, value in options.items() if value is not None}
    plain = given.pop("plain", False)
    if not isinstance(plain, bool):
        raise PersistTypeError("plain must be a bool", "invalid-argument", hint="pass True or False as plain")
    if plain and into is not None:
        raise PersistTypeError(
            "plain=True gives plain data, and into asks for an instance", "invalid-argument", hint="pass one of the two"
        )
    kind = content_type.partition(";")[0].strip().lower()
    if kind != JSON and not kind.endswith("+json"):
        return state, None, None, given
    encoding = metadata.get("value_encoding")
    if encoding is None:
        return _persist.decode(state), None, None, given
    if encoding != VALUE_ENCODING:
        raise PersistIntegrityError(
            f"Format error: the state has value_encoding {encoding}, and this version only knows {VALUE_ENCODING}",
            "unsupported-format",
            hint="restore it with the version that saved it, or a newer one",
        )
    info = metadata.get("adapter")
    # Before the state is looked at: what is missing is said at once.
    adapter = _agents.adapter_for_state(info, into, plain)
    if adapter is None and not plain:
        _agents.refuse_options({name: item for name, item in given.items() if name in _ADAPTER_OPTIONS}, "value")
    is_own = adapter is None or isinstance(adapter, PartAdapter)
    rebuilder = Rebuilder(into if is_own else None, given, plain, _agents.named(adapter, into))
    return rebuilder.finish(_persist.decode(state, rebuilder)), adapter, info, given


def load_bytes(
    place: _persist.Place, key: str, progress: Progress | None = None, token: _persist.CancelToken | None = None
) -> bytes:
    """The state as the bytes that were saved."""
    with shown(progress, "restoring") as told:
        return place.load(key, None, told, token)[0]


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
    with shown(progress, "verifying") as told:
        place.verify(key, told, token)
    return True


def listing(
    place: _persist.Place,
    prefix: str,
    errors: str = "warn",
    wanted: dict[str, Any] | None = None,
    limit: int | None = None,
    token: _persist.CancelToken | None = None,
) -> Iterator[SnapshotMetadata]:
    """The snapshots whose keys begin with a prefix, and that are wanted; other files are
    left out.
    """
    if errors not in ("warn", "raise", "ignore"):
        from persist.errors import PersistConfigurationError

        raise PersistConfigurationError(
            f"{errors!r} is not a valid value for errors", "invalid-argument", hint="use 'warn', 'raise' or 'ignore'"
        )
    if limit is not None and (type(limit) is not int or not 0 <= limit < 1 << 63):
        raise PersistTypeError(
            f"limit must be a number of snapshots, not {limit!r}",
            "invalid-argument",
            hint="pass an int, or None for all",
        )
    wanted = {
        name: _moment(name, value) if name in ("since", "until") else value for name, value in (wanted or {}).items()
    }
    return itertools.islice(_entries(place, prefix, errors, wanted, token), limit)


def _moment(name: str, value: Any) -> str | None:
    """A time as it is stored: of a datetime, a date (its beginning in UTC), how long ago,
    or a text that means one of these.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        try:
            value = datetime.now(timezone.utc) - value
        except OverflowError:
            raise PersistTypeError(
                f"{name} is before the year 1 or after the year 9999", "invalid-argument", hint="pass a shorter time"
            ) from None
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise PersistTypeError(
                f"{name} is a datetime without a time zone",
                "invalid-argument",
                hint="pass one with tzinfo, as datetime.now(timezone.utc)",
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


def listed(
    place: _persist.Place,
    prefix: str,
    errors: str,
    wanted: dict[str, Any] | None = None,
    limit: int | None = None,
    token: _persist.CancelToken | None = None,
) -> list[SnapshotMetadata]:
    """The whole listing."""
    return list(listing(place, prefix, errors, wanted, limit, token))


def keys(place: _persist.Place, prefix: str, token: _persist.CancelToken | None = None) -> list[str]:
    """All keys that begin with a prefix."""
    return place.keys(prefix, token)


def salvage(
    place: _persist.Place, key: str, max_size: int, token: _persist.CancelToken | None = None
) -> tuple[bytes, dict[str, Any]]:
    """What can be had of a damaged snapshot, and the report."""
    state, report = place.salvage(key, _checked_size(max_size), token)
    return state, json.loads(report)


def copy(
    place: _persist.Place,
    key: str,
    target: _persist.Place,
    target_key: str,
    options: dict[str, Any],
    progress: Progress | None = None,
    token: _persist.CancelToken | None = None,
) -> SnapshotMetadata:
    """Copies a snapshot, and verifies it on the way."""
    with shown(progress, "copying") as told:
        text, _ = place.copy(key, (target, target_key), options, told, token)
    return SnapshotMetadata._from_json(text, target.location(target_key))


def delete(
    place: _persist.Place,
    key: str,
    if_match: str | None = None,
    missing_ok: bool = False,
    token: _persist.CancelToken | None = None,
) -> None:
    """Deletes a snapshot."""
    try:
        place.delete(key, if_match, token)
    except PersistNotFoundError:
        if not missing_ok:
            raise


def delete_all(place: _persist.Place, prefix: str, force: bool, token: _persist.CancelToken | None = None) -> int:
    """Deletes all snapshots whose keys begin with a prefix, or all objects. Gives how
    many were deleted.
    """
    failed: PersistError | None = None
    if force:
        found = place.keys(prefix, token)
    else:
        found = []
        for key, _, error in place.list(prefix, {}, token):
            if error is None:
                found.append(key)
            elif error.code != "not-a-snapshot":
                # What can't be read stays, and is said when the others are deleted.
                failed = failed or error
    failures = place.delete_many(found, token)
    above = prefix.rstrip("/").rpartition("/")[0]
    place.remove_empty_folders(above and above + "/", found)
    failed = failed or (failures[0][1] if failures else None)
    if failed is not None:
        raise type(failed)(
            f"{failed.message}; {len(found) - len(failures)} other snapshots were deleted",
            failed.code,
            failed.location,
            failed.retryable,
            failed.hint,
            failed.facts,
        )
    return len(found)


STORED = "the snapshot was stored all the same"
DELETED = "the snapshot was deleted all the same"


async def in_thread(work: Callable[..., Any], *arguments: Any, changed: str | None = None) -> Any:
    """Runs blocking work in a thread, with a token as its last argument; see
    :func:`to_the_end`.
    """
    token = _persist.CancelToken()
    return await to_the_end(token, lambda: work(*arguments, token), changed)


async def to_the_end(token: _persist.CancelToken, work: Callable[[], Any], changed: str | None = None) -> Any:
    """Runs blocking work in a thread. When the task is cancelled before that thread
    is free, the work is not begun. Later, what has the token is cancelled, and what
    it left is cleared away before the task ends; where it had come too far, the
    exception says so: ``changed`` is what it did then. Cancelled again, the task
    ends at once, and what the work comes to is not known.
    """
    import asyncio
    import contextvars

    context = contextvars.copy_context()
    turn = _Turn()
    running = asyncio.get_running_loop().run_in_executor(None, lambda: turn.take() and context.run(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError as cancelled:
        token.cancel()
        if turn.give_up():
            running.cancel()
            raise
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as again:
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
            if changed is not None:
                raise again from _not_waited_for()
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


def _not_waited_for() -> PersistOutcomeUnknownError:
    return PersistOutcomeUnknownError(
        "the task was cancelled again before the outcome was known",
        "outcome-unknown",
        hint="check what is stored before you repeat it",
    )


class _Turn:
    """Who comes first: the thread that begins work, or who gives it up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether the work may begin."""
        return self._lock.acquire(blocking=False)

    def give_up(self) -> bool:
        """Whether it has not begun, and will not."""
        return self._lock.acquire(blocking=False)
