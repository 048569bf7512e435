"""Google ADK: sessions with their events and state."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from google.adk.sessions import BaseSessionService, InMemorySessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from pydantic import ValidationError

from persist import _agents, _persist
from persist._adapter import Adapter
from persist._copies import AS_PYDANTIC, Copies, copied, in_parts
from persist._threads import in_thread
from persist._words import a
from persist.adapters._compare import same
from persist.adapters._watching import replaced
from persist.errors import (
    PersistConfigurationError,
    PersistConflictError,
    PersistConnectionError,
    PersistError,
    PersistStorageError,
    PersistTimeoutError,
    PersistTypeError,
)

_copier = getattr(sys.modules.get("google.adk.utils._model_copy"), "deep_copy_model", None)
if _copier is not None:
    AS_PYDANTIC.append(_copier)


class _Copied:
    """A copy of a session: the session without its events, and the events."""

    def __init__(self, session: Session) -> None:
        self.session = copied(session.model_copy(update={"events": []}))
        self.events = Copies(session.events)


class GoogleADKAdapter(Adapter):
    """Saves and restores sessions."""

    name = "google-adk"
    package = "google-adk"
    module = "google.adk"

    def accepts(self, agent: Any) -> bool:
        """Returns whether a value is a session."""
        return isinstance(agent, Session)

    def takes(self, into: Any) -> bool:
        """Returns whether a value is a session service."""
        return isinstance(into, BaseSessionService) or into is Session

    def copied(self, agent: Any) -> Any:
        """Returns a copy of the session."""
        return _Copied(agent) if type(agent) is Session else copied(agent)

    def save(self, agent: Any) -> Any:
        """Returns the fields of the session, with bytes, times and sets as they are."""
        if type(agent) is Session:
            whole, parts = agent.model_copy(update={"events": []}), in_parts(agent.events)
        elif isinstance(agent, _Copied):
            whole, parts = agent.session, agent.events.parts()
        else:
            return _fields(agent)
        return {**_fields(whole), "events": _agents.items(self, _events(whole, parts))}

    def hook(self, agent: Any, watcher: Any) -> Any:
        """Returns a plugin for a runner, which hears of each event that is appended to the
        session. The session of the runner is saved from then on, because a service may return
        copies of it.
        """
        return _plugin(agent, watcher)

    async def restore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """Returns the session. If ``into`` is a service, the service keeps the session under its
        own names, and must not have a session with its ID. Of the app's and the user's state,
        which other sessions share, only what the config names by key or prefix is restored:
        ``{"state": ["app:limit", "user:"]}``.
        """
        session = await in_thread(lambda _: _made(state))
        if into is None or isinstance(into, type):
            return session
        names = {"app_name": session.app_name, "user_id": session.user_id, "session_id": session.id}
        if await into.get_session(**names) is not None:
            raise PersistConflictError(
                f"the service already has a session {session.id!r}",
                "already-exists",
                hint="delete that session first, or restore without into= to get the session alone",
            )
        wanted = _shared(config)
        kept, shared, events = await in_thread(lambda _: _without_replay(session, wanted))
        owner, left = {"app_name": session.app_name, "user_id": session.user_id}, [session.id]
        started = await into.create_session(**names, state=kept)
        try:
            await _append(into, started, events)
            again = await _kept_by(into, names)
            own, _ = _by_owner(again.state, ())
            found = again.model_copy(update={"state": own})
            if (place := await in_thread(lambda _: _changed(found, kept, events))) is not None:
                raise PersistTypeError(
                    f"{a(type(into).__qualname__)} would change {place}",
                    "invalid-argument",
                    hint="restore into another service, or without into= to get the session alone",
                )
            if shared:
                # The shared state is set last, because it can't be undone. A session that is
                # deleted at once sets it.
                setting = await into.create_session(**owner, state=shared)
                left.append(setting.id)
                await into.delete_session(**owner, session_id=setting.id)
                left.remove(setting.id)
                again = await _kept_by(into, names)
        except BaseException as error:
            undeleted = [name for name in left if not await _is_deleted(into, owner, name)]
            if undeleted and isinstance(error, Exception):
                raise _half(error, into, undeleted) from error
            raise
        return again


def _plugin(session: Session, watcher: Any) -> Any:
    from google.adk.plugins.base_plugin import BasePlugin

    wanted = (session.app_name, session.user_id, session.id)

    def append_event(original: Any) -> Any:
        @functools.wraps(original)
        async def wrapper(*arguments: Any, **options: Any) -> Any:
            appended = await original(*arguments, **options)
            live = options["session"] if "session" in options else arguments[0]
            if (live.app_name, live.user_id, live.id) == wanted:
                await watcher.astep(live)
            return appended

        return wrapper

    class AutosavePlugin(BasePlugin):
        """Has each event saved after it was appended; plugins hear of it before."""

        def __init__(self) -> None:
            super().__init__(name="persist_autosave")
            self.undo: Callable[[], object] | None = None

        async def before_run_callback(self, *, invocation_context: Any) -> None:
            if self.undo is None:
                self.undo = replaced(invocation_context.session_service, "append_event", append_event)

        async def after_run_callback(self, *, invocation_context: Any) -> None:
            if self.undo is not None:
                self.undo()
                self.undo = None

    return AutosavePlugin()


def _fields(session: Any, start: int = 0) -> dict[str, Any]:
    """Returns a session's fields, from which Google ADK creates the same session. ``start``
    is the number of its first event.
    """
    # Nearly all fields of an event are None. One that has another default is written.
    for exclude_none in (True, False):
        fields: dict[str, Any] = _plain(session.model_dump(exclude_none=exclude_none))
        made = Session.model_validate(fields)
        # As the framework writes what it has made: a whole number may have become a float.
        again: dict[str, Any] = _plain(made.model_dump(exclude_none=exclude_none))
        is_same = not _persist.differing([made], [session]) or same(made, session)
        if again == fields and is_same:
            return again
    place = _changed(made, session.state, session.events, start) or "this one"
    raise PersistTypeError(
        f"Google ADK's own model of a session would change {place}",
        "invalid-argument",
        hint="use only JSON types in session.state and in what tools return",
    )


def _events(session: Session, parts: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """Yields the fields of a session's events, a few at a time."""
    start = 0
    for events in parts:
        yield _fields(session.model_copy(update={"state": {}, "events": events}), start)["events"]
        start += len(events)


def _made(state: Any) -> Session:
    """Returns the session that Google ADK makes from its fields."""
    events = state.get("events") if type(state) is dict else None
    if type(events) is list:
        try:
            session = Session.model_validate({**state, "events": []})
            for some in in_parts(events):
                session.events.extend(Session.model_validate({**state, "state": {}, "events": some}).events)
        except ValidationError:
            pass  # The validation of the whole below names the wrong event.
        else:
            return session
    return Session.model_validate(state)


async def _append(service: Any, session: Session, events: list[Any]) -> None:
    """Adds events to a session that a service has just created."""
    ids = {event.id for event in events if not event.partial}
    if type(service) is InMemorySessionService and len(ids) == len(events):
        # append_event compares each event with all earlier ones.
        stored = service.sessions[session.app_name][session.user_id][session.id]
        stored.events.extend(events)
        stored.last_update_time = events[-1].timestamp if events else stored.last_update_time
        return
    for event in events:
        await service.append_event(session, event)
        # An in-memory service never yields to the event loop.
        await asyncio.sleep(0)


async def _kept_by(service: Any, names: Mapping[str, str]) -> Any:
    """Returns the session that a service has under these names. An in-memory service would copy
    the whole session while other tasks wait, so its events are copied in a thread here: nobody
    else uses them yet.
    """
    if type(service) is not InMemorySessionService:
        return await service.get_session(**names)
    session = await service.get_session(**names, config=GetSessionConfig(num_recent_events=0))
    events = list(service.sessions[names["app_name"]][names["user_id"]][session.id].events)
    session.events = await in_thread(lambda _: [event for some in in_parts(events) for event in copied(some)])
    return session


async def _is_deleted(service: Any, owner: Mapping[str, str], name: str) -> bool:
    """Deletes a session. Returns whether that worked, because the earlier error matters more."""
    try:
        await service.delete_session(**owner, session_id=name)
    except Exception:
        return False
    return True


def _half(error: Exception, service: Any, left: list[str]) -> PersistError:
    """Returns the error for a failed restore whose sessions can't be deleted, so that it can't
    simply be tried again.
    """
    names = " and ".join(map(repr, left))
    message = f"{a(type(service).__qualname__)} failed: {type(error).__name__}: {error}; and it still has {names}"
    hint = f"delete {names}, which the restore left in the service; then restore again"
    if isinstance(error, PersistError):
        return type(error)(f"{error}; and the service still has {names}", error.code, hint=hint)
    for built_in, cls, code in _FAILURES:
        if isinstance(error, built_in):
            return cls(message, code, hint=hint)
    return PersistStorageError(message, "refused", hint=hint)


_FAILURES: tuple[tuple[type[Exception], type[PersistError], str], ...] = (
    (ConnectionError, PersistConnectionError, "unavailable"),
    (TimeoutError, PersistTimeoutError, "timeout"),
)


def _shared(config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Returns the keys and prefixes of the shared state to restore."""
    wanted = () if config is None else config.get("state", ())
    if isinstance(wanted, str) or not all(isinstance(key, str) for key in wanted):
        raise PersistConfigurationError(
            "the state to restore must be a list of keys or prefixes",
            "invalid-argument",
            hint='pass config={"state": ["app:", "user:name"]}',
        )
    return tuple(wanted)


def _without_replay(session: Session, wanted: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """Returns the session's own state, the wanted part of the shared state, and events that
    change neither, because a service replays the changes of each event. The session's own keys
    keep their changes if the last change gives the current value.
    """
    kept, shared = _by_owner(session.state, wanted)
    changed: dict[str, Any] = {}
    for event in session.events:
        if event.actions and event.actions.state_delta:
            changed.update(event.actions.state_delta)
    harmless = {key for key, item in changed.items() if key in kept and same(kept[key], item)}
    events = []
    for event in session.events:
        delta = event.actions.state_delta if event.actions else None
        if delta and not delta.keys() <= harmless:
            event = event.model_copy(deep=True)
            event.actions.state_delta = {key: item for key, item in delta.items() if key in harmless}
        events.append(event)
    return kept, shared, events


def _by_owner(state: Mapping[str, Any], wanted: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the session's own state, and the wanted part of the shared state."""
    kept, shared = {}, {}
    for key, item in state.items():
        if not key.startswith(("app:", "user:", "temp:")):
            kept[key] = item
        elif wanted and key.startswith(wanted) and not key.startswith("temp:"):
            shared[key] = item
    return kept, shared


def _changed(again: Session, state: Mapping[str, Any], events: Iterable[Any], start: int = 0) -> str | None:
    """Describes the first difference between a session's state and events and what was made of
    them. Services sort events by time, and may give them IDs of their own.
    """
    for key in {**state, **again.state}:
        if not (key in state and key in again.state and same(again.state[key], state[key])):
            return f"session.state[{key!r}]"
    made = sorted(again.events, key=lambda event: event.timestamp)
    given = sorted(enumerate(events), key=lambda numbered: numbered[1].timestamp)
    if len(made) != len(given):
        return "the number of events"
    own = {"id": "", "timestamp": 0.0}
    for new, (at, event) in zip(made, given, strict=True):
        if not _persist.differing([new], [event]):
            continue
        if not same(new.model_copy(update=own), event.model_copy(update=own)):
            return f"session.events[{start + at}]"
    return None


def _plain(value: Any) -> Any:
    return value if _persist.is_plain(value) else _made_plain(value)


def _made_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_made_plain(key): _made_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_made_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


ADAPTERS = (GoogleADKAdapter(),)
