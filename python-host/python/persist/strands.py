"""For Strands Agents: a session manager, and a storage for the one of Strands."""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from strands.multiagent.base import MultiAgentBase
from strands.session.repository_session_manager import RepositorySessionManager
from strands.session.session_repository import SessionRepository
from strands.storage import Storage
from strands.types.exceptions import SessionException, StorageError
from strands.types.session import Session, SessionAgent, SessionMessage

from persist._keys import key_of, name_of, prefix_of, store_at
from persist._live.copies import check, missing, other
from persist._live.items import NAME, Held, Items, label_of, text_of
from persist._live.sessions import Sessions
from persist._store import Store
from persist._store_base import StoreBase
from persist.errors import PersistError, PersistNotFoundError

__all__ = ["PersistSessionManager", "StoredBytes", "copy"]

AGENT = "strands"
"""The agent of the sessions, unless another is given."""

_AGENTS, _GROUPS = "agents", "multi-agents"
"""The kinds of the parts of a session."""


def copy(source: SessionRepository, target: PersistSessionManager, agent_ids: Iterable[str]) -> int:
    """Copies agents of the target's session, with their messages, from a repository such as a
    ``FileSessionManager``, and reads them back. Copying again finishes a copy that was interrupted. The interface
    of repositories has no list of agents.

    Returns:
        How many messages were added.

    Raises:
        PersistConflictError: The target has other messages.
        PersistIntegrityError: What was read back is something else.
    """
    session, copied = target.session_id, 0
    for name in agent_ids:
        agent = source.read_agent(session, name)
        if agent is None:
            continue
        messages = source.list_messages(session, name)
        items = target._agents.get(session, name)
        there = [] if target.read_agent(session, name) is None else target.list_messages(session, name)
        texts = missing(_texts(there), _texts(messages), items.timeline.location)
        ending = text_of(agent.to_dict())

        def add(
            held: Held, texts: Sequence[str] = texts, ending: str = ending, place: str = items.timeline.location
        ) -> Held:
            before = held.items[:-1]
            if not texts and held.items:
                # The messages are the same. Whoever has gone on with the target has changed the agent.
                if held.items[-1] != ending:
                    raise other(place)
                return held
            return held.holding([*before, *texts, ending], len(before))

        items.change(add)
        check(items.stored(), [*_texts(messages), ending], items.timeline.location)
        copied += len(texts)
    return copied


class PersistSessionManager(RepositorySessionManager, SessionRepository):
    """A session manager that keeps sessions in files or a bucket. Each message is a step of the timeline of its
    agent, which stores only what is new.

    Args:
        location: A folder or ``s3://bucket/prefix``, or a :class:`persist.Store`.
        session_id: The ID of the session.
        agent_id: The agent whose sessions these are: another one for each program that uses the same session
            IDs for something else.

    Several objects, threads and processes may use the same session at once: no message is lost. If another one
    has taken the ID of a message, it gets the next one.

    Example::

        agent = Agent(session_manager=PersistSessionManager("s3://bucket/agents", "case-1"))
    """

    def __init__(self, location: str | os.PathLike[str] | Store, session_id: str, *, agent_id: str = AGENT) -> None:
        store = store_at(location)._twin(StoreBase)

        def opened(folder: str, session: str, part: str | None) -> Items:
            return Items(store, folder, agent_id, session, {} if part is None else {NAME: part})

        self._agents = Sessions(store, agent_id, _AGENTS, opened, label_of)
        self._groups = Sessions(store, agent_id, _GROUPS, opened, label_of)
        try:
            super().__init__(session_id, self)
        except SessionException:
            if self.read_session(session_id) is None:
                raise
            # Another object has just created it.
            super().__init__(session_id, self)

    def close(self) -> None:
        """Records which steps are the newest, so that their loss would be noticed."""
        self._agents.close()
        self._groups.close()

    # Sessions.

    def create_session(self, session: Session, **kwargs: Any) -> Session:
        """Creates a session.

        Raises:
            SessionException: There is one with this ID.
        """

        def create(held: Held) -> Held:
            if held.items:
                raise SessionException(f"Session {session.session_id} already exists")
            return held.adding([text_of(session.to_dict())])

        self._agents.get(session.session_id).change(create)
        return session

    def read_session(self, session_id: str, **kwargs: Any) -> Session | None:
        """Returns a session, or ``None`` if there is none."""
        items = self._agents.get(session_id).read().items
        return Session.from_dict(json.loads(items[0])) if items else None

    def delete_session(self, session_id: str, **kwargs: Any) -> None:
        """Deletes a session with all its agents.

        Raises:
            SessionException: There is none with this ID.
        """
        both = [(sessions, part) for sessions in (self._groups, self._agents) for part in sessions.parts(session_id)]
        if not both:
            raise SessionException(f"Session {session_id} does not exist")
        for sessions, part in both:
            if part is not None:
                sessions.get(session_id, part).delete()
        # Last, so that it can be repeated.
        self._agents.get(session_id).delete()

    # Agents. A state has the messages, and at its end what is known of the agent.

    def create_agent(self, session_id: str, session_agent: SessionAgent, **kwargs: Any) -> None:
        """Creates an agent in a session, or replaces what is known of it."""
        self._set_agent(session_id, session_agent, lambda known: known)

    def read_agent(self, session_id: str, agent_id: str, **kwargs: Any) -> SessionAgent | None:
        """Returns an agent, or ``None`` if there is none."""
        items = self._agents.get(session_id, agent_id).read().items
        return SessionAgent.from_dict(json.loads(items[-1])) if items else None

    def update_agent(self, session_id: str, session_agent: SessionAgent, **kwargs: Any) -> None:
        """Replaces what is known of an agent.

        Raises:
            SessionException: There is no such agent.
        """

        def keep(known: dict[str, Any] | None) -> dict[str, Any]:
            if known is None:
                raise SessionException(f"Agent {session_agent.agent_id} in session {session_id} does not exist")
            session_agent.created_at = known["created_at"]
            return known

        self._set_agent(session_id, session_agent, keep)

    def _set_agent(
        self, session_id: str, agent: SessionAgent, check: Callable[[dict[str, Any] | None], object]
    ) -> None:
        def put(held: Held) -> Held:
            check(json.loads(held.items[-1]) if held.items else None)
            messages = held.items[:-1]
            return held.holding([*messages, text_of(agent.to_dict())], len(messages))

        self._agents.get(session_id, agent.agent_id).change(put)

    # Messages.

    def create_message(self, session_id: str, agent_id: str, session_message: SessionMessage, **kwargs: Any) -> None:
        """Adds a message to an agent. If its ID is taken, it gets the next one.

        Raises:
            SessionException: There is no such agent.
        """

        def add(held: Held) -> Held:
            if not held.items:
                raise SessionException(f"Agent {agent_id} in session {session_id} does not exist")
            *messages, agent = held.items
            if messages:
                session_message.message_id = max(session_message.message_id, _message(messages[-1]).message_id + 1)
            return held.holding([*messages, text_of(session_message.to_dict()), agent], len(messages))

        self._agents.get(session_id, agent_id).change(add)

    def read_message(self, session_id: str, agent_id: str, message_id: int, **kwargs: Any) -> SessionMessage | None:
        """Returns a message, or ``None`` if there is none with this ID."""
        messages = self._agents.get(session_id, agent_id).read().items[:-1]
        at = _find(messages, message_id)
        return None if at is None else _message(messages[at])

    def update_message(self, session_id: str, agent_id: str, session_message: SessionMessage, **kwargs: Any) -> None:
        """Replaces a message. Earlier steps still have it, until they are pruned.

        Raises:
            SessionException: There is no message with its ID.
        """

        def put(held: Held) -> Held:
            at = _find(held.items[:-1], session_message.message_id)
            if at is None:
                raise SessionException(f"Message {session_message.message_id} does not exist")
            session_message.created_at = _message(held.items[at]).created_at
            return held.holding([*held.items[:at], text_of(session_message.to_dict()), *held.items[at + 1 :]], at)

        self._agents.get(session_id, agent_id).change(put)

    def list_messages(
        self, session_id: str, agent_id: str, limit: int | None = None, offset: int = 0, **kwargs: Any
    ) -> builtins.list[SessionMessage]:
        """Returns the messages of an agent, the oldest first: at most ``limit``, after the first ``offset``.

        Raises:
            SessionException: There is no such agent.
        """
        items = self._agents.get(session_id, agent_id).read().items
        if not items:
            raise SessionException(f"Agent {agent_id} in session {session_id} does not exist")
        end = None if limit is None else offset + limit
        return [*map(_message, items[:-1][offset:end])]

    # Groups of agents.

    def create_multi_agent(self, session_id: str, multi_agent: MultiAgentBase, **kwargs: Any) -> None:
        """Stores the state of a group of agents."""
        state = text_of(multi_agent.serialize_state())
        self._groups.get(session_id, multi_agent.id).change(lambda held: held.holding([state]))

    def read_multi_agent(self, session_id: str, multi_agent_id: str, **kwargs: Any) -> dict[str, Any] | None:
        """Returns the state of a group of agents, or ``None`` if there is none."""
        items = self._groups.get(session_id, multi_agent_id).read().items
        found: dict[str, Any] | None = json.loads(items[0]) if items else None
        return found

    def update_multi_agent(self, session_id: str, multi_agent: MultiAgentBase, **kwargs: Any) -> None:
        """Replaces the state of a group of agents.

        Raises:
            SessionException: There is no such group.
        """
        state = text_of(multi_agent.serialize_state())

        def put(held: Held) -> Held:
            if not held.items:
                raise SessionException(f"MultiAgent state {multi_agent.id} in session {session_id} does not exist")
            return held.holding([state])

        self._groups.get(session_id, multi_agent.id).change(put)


def _texts(messages: Sequence[SessionMessage]) -> builtins.list[str]:
    return [text_of(message.to_dict()) for message in messages]


def _message(text: str) -> SessionMessage:
    return SessionMessage.from_dict(json.loads(text))


def _find(messages: Sequence[str], message_id: int) -> int | None:
    """Returns the place of a message. IDs ascend, and mostly have no gaps."""
    if not isinstance(message_id, int):
        raise ValueError(f"message_id=<{message_id}> | message id must be an integer")
    for at in range(min(message_id, len(messages) - 1), -1, -1):
        found = _message(messages[at]).message_id
        if found <= message_id:
            return at if found == message_id else None
    return None


class StoredBytes(Storage):
    """A storage for Strands in which each key is a snapshot.

    Args:
        store: A :class:`persist.Store`, or a location.
    """

    def __init__(self, store: Store | str) -> None:
        self._store = store_at(store).to_async()

    async def write(self, key: str, data: bytes) -> None:
        """Stores bytes under a key, and replaces what was there before."""
        try:
            await self._store.save_bytes(data, key_of(key))
        except PersistError as error:
            raise StorageError(f"{key}: {error}") from error

    async def read(self, key: str) -> bytes | None:
        """Returns the bytes under a key, or ``None`` if there are none."""
        try:
            return await self._store.load_bytes(key_of(key))
        except PersistNotFoundError:
            return None
        except PersistError as error:
            raise StorageError(f"{key}: {error}") from error

    async def delete(self, key: str) -> None:
        """Deletes a key. A missing key is ignored."""
        try:
            await self._store.delete(key_of(key))
        except PersistNotFoundError:
            return
        except PersistError as error:
            raise StorageError(f"{key}: {error}") from error

    async def list(self, query: str = "") -> builtins.list[str]:
        """Returns the keys that begin with a prefix, in order."""
        try:
            return sorted([name_of(found.key) for found in await self._store.list(prefix_of(query))])
        except PersistError as error:
            raise StorageError(f"{query}: {error}") from error
