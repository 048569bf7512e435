"""For Google ADK: a session service that keeps its sessions in files or a bucket."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from google.adk.errors._stale_session_error import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events.event import Event
from google.adk.sessions import BaseSessionService, Session, State
from google.adk.sessions.base_session_service import GetSessionConfig, ListSessionsResponse
from pydantic_core import to_jsonable_python

from persist import _persist
from persist._keys import store_at
from persist._live.copies import check, other
from persist._live.items import NAME, Held, Items, label_of, text_of
from persist._live.sessions import Sessions
from persist._store import Store
from persist._store_base import StoreBase
from persist._threads import in_thread

__all__ = ["PersistSessionService", "copy"]

AGENT = "google-adk"
"""The agent of the apps, unless another is given."""

_SESSIONS, _USERS = "sessions", "users"
"""The kinds of the parts of an app."""

_PENDING = "pending"
"""What a new session or an event has yet to change in the states of the app and the user."""

_MADE = 256
"""How many changes of a state are known by their IDs."""

_CHANGED = "the session was changed all the same"

Token = _persist.CancelToken | None
Values = dict[str, Any]


async def copy(
    source: BaseSessionService, target: PersistSessionService, *, app_name: str, user_id: str | None = None
) -> int:
    """Copies the sessions of an app, or of one of its users, from a service such as a ``SqliteSessionService``,
    with the states of the app and the users, and reads them back. Copying again adds what is new in the source.

    Returns:
        How many events were added.

    Raises:
        PersistConflictError: The target has other events.
        PersistIntegrityError: What was read back is something else.
    """
    copied = 0
    for listed in (await source.list_sessions(app_name=app_name, user_id=user_id)).sessions:
        names = {"app_name": app_name, "user_id": listed.user_id, "session_id": listed.id}
        session = await source.get_session(**names)
        if session is not None:
            copied += await in_thread(target._put_session, session, changed=_CHANGED)
    return copied


class PersistSessionService(BaseSessionService):
    """A session service that keeps its sessions in files or a bucket. Each event is a step of the timeline of
    its session, which stores only what is new. The state of an app and of each of its users is a timeline, too.

    Args:
        location: A folder or ``s3://bucket/prefix``, or a :class:`persist.Store`.
        agent_id: The agent that the apps belong to.

    Several objects, threads and processes may use the same sessions at once. An event for a session that has
    changed since it was read is refused with a ``StaleSessionError``, as by ADK's own services.

    Example::

        runner = Runner(app_name="app", agent=agent, session_service=PersistSessionService("s3://bucket/agents"))
    """

    def __init__(self, location: str | os.PathLike[str] | Store, *, agent_id: str = AGENT) -> None:
        store = store_at(location)._twin(StoreBase)

        def opened(folder: str, app: str, part: str | None) -> Items:
            return Items(store, folder, agent_id, app, {} if part is None else {NAME: part})

        self._sessions = Sessions(store, agent_id, _SESSIONS, opened, label_of)
        self._users = Sessions(store, agent_id, _USERS, opened, label_of)

    async def create_session(
        self, *, app_name: str, user_id: str, state: Values | None = None, session_id: str | None = None
    ) -> Session:
        """Creates a session. Without an ID, it gets a new one.

        Raises:
            AlreadyExistsError: There is one with this ID.
        """
        created: Session = await in_thread(self._create, app_name, user_id, state, session_id, changed=_CHANGED)
        return created

    async def get_session(
        self, *, app_name: str, user_id: str, session_id: str, config: GetSessionConfig | None = None
    ) -> Session | None:
        """Returns a session, or ``None`` if there is none."""
        found: Session | None = await in_thread(self._get, app_name, user_id, session_id, config)
        return found

    async def list_sessions(self, *, app_name: str, user_id: str | None = None) -> ListSessionsResponse:
        """Returns the sessions of a user, or of all users, without their events; the one that was changed last
        comes last.
        """
        found: ListSessionsResponse = await in_thread(self._list, app_name, user_id)
        return found

    async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        """Deletes a session, with all its steps. A missing one is ignored."""
        await in_thread(self._delete, app_name, user_id, session_id, changed=_CHANGED)

    async def get_user_state(self, *, app_name: str, user_id: str) -> Values:
        """Returns the state of a user, with keys that lack the prefix ``user:``."""
        found: Values = await in_thread(lambda token: _state(self._users.get(app_name, user_id), token))
        return found

    async def append_event(self, session: Session, event: Event) -> Event:
        """Appends an event to a session, and changes the states that it names.

        Raises:
            SessionNotFoundError: There is no such session.
            StaleSessionError: It has changed since it was read.
        """
        if event.partial:
            return event
        self._apply_temp_state(session, event)
        event = self._trim_temp_delta_state(event)
        await in_thread(self._append, session, event, changed=_CHANGED)
        return self._commit_event_to_session(session, event)

    def close(self) -> None:
        """Records which steps are the newest, so that their loss would be noticed."""
        self._sessions.close()
        self._users.close()

    # What runs in threads. A state of a session has its events, and at its end what is known of it.

    def _of(self, app: str, user: str, session: str, token: Token) -> Items:
        """Returns the items of a session. ADK takes spaces around an ID for a mistake."""
        plain = session.strip()
        if session != plain:
            items = self._sessions.get(app, _name(user, session))
            if items.read(token).items:
                return items
        return self._sessions.get(app, _name(user, plain))

    def _create(self, app: str, user: str, state: Values | None, session: str | None, token: Token) -> Session:
        session = (session or "").strip() or str(uuid.uuid4())
        items, now, parts = self._of(app, user, session, token), time.time(), _parts(state or {})

        def create(held: Held) -> Held:
            if held.items:
                raise AlreadyExistsError(f"Session with id {session} already exists.")
            new = Session(app_name=app, user_id=user, id=session, last_update_time=now)
            known = _record(new, now, parts[2])
            _note(known, parts)
            return held.adding([text_of(known)])

        held = self._settle(items, items.change(create, token), app, token)
        return self._session(app, _known(held), [], token)

    def _get(self, app: str, user: str, session: str, config: GetSessionConfig | None, token: Token) -> Session | None:
        items = self._of(app, user, session, token)
        held = self._settle(items, items.read(token), app, token)
        if not held.items:
            return None
        texts = [*zip([float(event["timestamp"]) for event in held.read()[:-1]], held.items, strict=False)]
        # As ADK shows them: by their times, and of the same time in their order.
        texts.sort(key=lambda event: event[0])
        if config is not None:
            if config.after_timestamp:
                texts = [event for event in texts if event[0] >= config.after_timestamp]
            if config.num_recent_events is not None:
                texts = texts[max(0, len(texts) - config.num_recent_events) :]
        events = [Event.model_validate_json(text) for _, text in texts]
        return self._session(app, _known(held), events, token)

    def _list(self, app: str, user: str | None, token: Token) -> ListSessionsResponse:
        names = [name for name in self._sessions.parts(app) if name is not None]
        if user is not None:
            names = [name for name in names if _user_of(name) == user]
        found = [self._sessions.get(app, name) for name in names]
        held = [self._settle(items, items.read(token), app, token) for items in found]
        known = [_known(each) for each in held if each.items]
        known.sort(key=lambda each: (each["update_time"], each["user_id"], each["id"]))
        return ListSessionsResponse(sessions=[self._session(app, each, [], token) for each in known])

    def _delete(self, app: str, user: str, session: str, token: Token) -> None:
        items = self._of(app, user, session, token)
        self._settle(items, items.read(token), app, token)
        items.delete(token)

    def _append(self, session: Session, event: Event, token: Token) -> None:
        items = self._of(session.app_name, session.user_id, session.id, token)
        parts = _parts(event.actions.state_delta if event.actions else {})
        text = _event(event)

        def add(held: Held) -> Held:
            if not held.items:
                raise SessionNotFoundError(f"Session {session.id} not found.")
            known = _known(held)
            if known["update_time"] > session.last_update_time:
                raise StaleSessionError(
                    "The last_update_time provided in the session object is earlier than the update_time in storage."
                    " Please check if it is a stale session."
                )
            known["update_time"] = event.timestamp
            known["state"].update(parts[2])
            _note(known, parts)
            *events, _ = held.items
            return held.holding([*events, text, text_of(known)], len(events))

        # Together, so that events that are appended to one session at the same time follow one another.
        with items.lock:
            held = items.change(add, token)
            session.last_update_time = event.timestamp
        self._settle(items, held, session.app_name, token)

    def _settle(self, items: Items, held: Held, app: str, token: Token) -> Held:
        """Changes the states of the app and the user if that has yet to be done. A session
        or an event is stored with these changes first, so that it is refused, or interrupted, as a whole. Returns what
        the session has then.
        """
        known = _known(held) if held.items else {}
        if not (pending := known.get(_PENDING)):
            return held
        for changes in pending:
            self._put(app, known["user_id"], (changes["app"], changes["user"], {}), token, changes["id"])

        def settle(held: Held) -> Held:
            now = _known(held) if held.items else {}
            if now.pop(_PENDING, None) != pending:
                return held
            return held.holding([*held.items[:-1], text_of(now)], len(held.items) - 1)

        return items.change(settle, token)

    def _put_session(self, session: Session, token: Token) -> int:
        """Stores a session of another service as it is. Returns how many events were added."""
        items = self._sessions.get(session.app_name, _name(session.user_id, session.id))
        parts, texts = _parts(session.state), [*map(_event, session.events)]
        wanted, location = Counter(texts), items.timeline.location

        def left(held: Held) -> list[str]:
            there = Counter(map(_again, held.items[:-1]))
            if there - wanted:
                raise other(location)
            return [*(wanted - there).elements()]

        def put(held: Held) -> Held:
            more, events = left(held), held.items[:-1]
            created = _known(held)["create_time"] if held.items else session.last_update_time
            return held.holding([*events, *more, text_of(_record(session, created, parts[2]))], len(events))

        before = items.read(token)
        added = len(left(before))
        if before.items and not added:
            if not session.events and text_of(_known(before)["state"]) != text_of(parts[2]):
                raise other(location)
            return 0
        # Not again by a later copy, since other sessions may have changed them.
        self._put(session.app_name, session.user_id, parts, token, uuid.uuid4().hex)
        items.change(put, token)
        *events, known = items.stored(token)
        check(Counter(map(_again, events)), wanted, location)
        check(text_of(json.loads(known)["state"]), text_of(parts[2]), location)
        shared = (self._sessions.get(session.app_name), self._users.get(session.app_name, session.user_id))
        for of, delta in zip(shared, parts[:2], strict=True):
            found = json.loads(of.stored(token)[0]) if delta else {}
            check(text_of({key: found.get(key) for key in delta}), text_of(delta), of.timeline.location)
        return added

    def _put(self, app: str, user: str, parts: tuple[Values, Values, Values], token: Token, change: str) -> None:
        """Changes the states of an app and of a user, unless this change was made already."""
        for items, delta in ((self._sessions.get(app), parts[0]), (self._users.get(app, user), parts[1])):
            if delta:
                items.change(_updating(delta, change), token)

    def _session(self, app: str, known: Values, events: list[Event], token: Token) -> Session:
        state = dict(known["state"])
        for prefix, items in (
            (State.APP_PREFIX, self._sessions.get(app)),
            (State.USER_PREFIX, self._users.get(app, known["user_id"])),
        ):
            state |= {f"{prefix}{key}": value for key, value in _state(items, token).items()}
        return Session(
            app_name=app,
            user_id=known["user_id"],
            id=known["id"],
            state=state,
            events=events,
            last_update_time=known["update_time"],
        )


def _name(user: str, session: str) -> str:
    """Returns the name of a session in its app."""
    return f"{quote(user, safe=' @:+')}/{quote(session, safe=' @:+')}"


def _user_of(name: str) -> str:
    return unquote(name.partition("/")[0])


def _event(event: Event) -> str:
    return text_of(event.model_dump(mode="json", exclude_none=True))


def _record(session: Session, created: float, state: Values) -> Values:
    """Returns what is stored of a session after its events."""
    return {
        "id": session.id,
        "user_id": session.user_id,
        "create_time": created,
        "update_time": session.last_update_time,
        "state": state,
    }


def _again(event: str) -> str:
    """Returns an event as it would be written now."""
    return text_of(json.loads(event))


def _known(held: Held) -> Values:
    """Returns what is known of a session."""
    known: Values = json.loads(held.items[-1])
    return known


def _state(items: Items, token: Token) -> Values:
    """Returns the state of an app or a user."""
    found = items.read(token).items
    state: Values = json.loads(found[0]) if found else {}
    return state


def _updating(delta: Values, change: str) -> Callable[[Held], Held]:
    """Returns what makes a change, and notes its ID: whoever makes it again later changes nothing."""

    def update(held: Held) -> Held:
        state, made = map(json.loads, held.items) if held.items else ({}, [])
        if change in made:
            return held
        return held.holding([text_of({**state, **delta}), text_of([*made, change][-_MADE:])])

    return update


def _note(known: Values, parts: tuple[Values, Values, Values]) -> None:
    """Notes what has yet to change in the states of the app and the user."""
    if parts[0] or parts[1]:
        known.setdefault(_PENDING, []).append({"id": uuid.uuid4().hex, "app": parts[0], "user": parts[1]})


def _parts(state: Values) -> tuple[Values, Values, Values]:
    """Returns what a state changes in that of the app, of the user and of the session, as JSON. A value that
    JSON lacks is stored as text, as by ADK's own services.
    """
    app: Values = {}
    user: Values = {}
    session: Values = {}
    for key, value in to_jsonable_python(state, fallback=str).items():
        if key.startswith(State.APP_PREFIX):
            app[key.removeprefix(State.APP_PREFIX)] = value
        elif key.startswith(State.USER_PREFIX):
            user[key.removeprefix(State.USER_PREFIX)] = value
        elif not key.startswith(State.TEMP_PREFIX):
            session[key] = value
    return app, user, session
