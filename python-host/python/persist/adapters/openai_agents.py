"""The OpenAI Agents SDK: sessions, and runs that wait for an approval."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any

from agents import Agent, SQLiteSession
from agents.memory import Session
from agents.run_state import RunState

from persist._adapter import Adapter
from persist.errors import PersistConfigurationError, PersistConflictError, PersistIntegrityError, PersistTypeError
from persist.openai_agents import StoredSession

_RUN = "run"
_SESSION = "session"

_ALL = 2**31 - 1
"""More items than any session has: without a number, some give the last few."""


class OpenAIAgentsAdapter(Adapter):
    """Sessions and run states."""

    name = "openai-agents"
    package = "openai-agents"
    module = "agents"

    def accepts(self, agent: Any) -> bool:
        """Whether it is a session or the state of a run."""
        return isinstance(agent, RunState) or (isinstance(agent, Session) and not isinstance(agent, type))

    def takes(self, into: Any) -> bool:
        """Whether it is a session; or for the state of a run, its agent."""
        return self.accepts(into) or isinstance(into, Agent)

    async def save(self, agent: Any) -> Any:
        """The items of a session, or a run as the SDK writes it."""
        if isinstance(agent, RunState):
            # Refuses a context that would not come back.
            return {"kind": _RUN, "run": agent.to_json(strict_context=True)}
        store, is_encrypted = _stored(agent)
        branches = getattr(store, "list_branches", None)
        if branches is not None and len(await branches()) > 1:
            raise PersistTypeError(
                f"the session {agent.session_id!r} has several branches, and only the current one would be saved",
                "invalid-argument",
                hint="save the items of each branch: await session.get_items(branch_id=…)",
            )
        state = {"kind": _SESSION, "session_id": agent.session_id, "items": await store.get_items(_ALL)}
        return {**state, "encrypted": True} if is_encrypted else state

    async def restore(self, state: Any, into: Any = None) -> Any:
        """A session; or the state of a run, for which ``into`` is its agent."""
        if state["kind"] == _RUN:
            if not isinstance(into, Agent):
                raise PersistConfigurationError(
                    "the state of a run needs its agent",
                    "invalid-argument",
                    hint="pass the agent: into=agent",
                )
            return await RunState.from_json(into, state["run"], strict_context=True)
        if isinstance(into, Agent):
            raise PersistConfigurationError(
                "the state is a session's", "invalid-argument", hint="pass a session as into, or none"
            )
        if into is None or isinstance(into, type):
            into = SQLiteSession(state["session_id"])
        items, is_encrypted = state["items"], state.get("encrypted") is True
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise PersistIntegrityError(
                f"Format error: the items of the session {state['session_id']!r} are not valid",
                "invalid-format",
                hint="restore with plain=True to see what it holds",
            )
        store, decrypts = _stored(into) if is_encrypted else (into, False)
        if is_encrypted and not (decrypts and into.session_id == state["session_id"]):
            raise PersistConfigurationError(
                f"the items of the session {state['session_id']!r} are encrypted",
                "invalid-argument",
                hint="pass an EncryptedSession with the same id and the same key: into=session",
            )
        await _replace(store, items)
        return into


def _stored(session: Any) -> tuple[Any, bool]:
    """The session that keeps the items as they are stored, and whether these are
    encrypted.
    """
    is_encrypted = False
    while (encrypt := _encrypted_session()) is not None and isinstance(session, encrypt):
        session, is_encrypted = session.underlying_session, True
    return session, is_encrypted


def _encrypted_session() -> Any:
    """The class of sessions that encrypt, where it is imported."""
    return getattr(sys.modules.get("agents.extensions.memory.encrypt_session"), "EncryptedSession", None)


async def _replace(session: Any, items: list[Any]) -> None:
    """Has a session hold these items alone: at no moment, also if the process dies,
    does it hold others than the old ones or the new ones.
    """
    replace = getattr(session, "replace_items", None)
    if isinstance(session, StoredSession):
        await session.replace_items(items)
    elif type(session) is SQLiteSession and hasattr(session, "_write_connection") and hasattr(session, "_insert_items"):
        await asyncio.to_thread(_replace_in_database, session, items)
    elif replace is not None and inspect.iscoroutinefunction(replace):
        await replace(items)
    elif await session.get_items(1):
        raise PersistConflictError(
            f"the session {session.session_id!r} has items already, and a {type(session).__qualname__} can't replace "
            "all of them at once",
            "already-exists",
            hint="restore into a session with another id, or clear it first: await session.clear_session()",
        )
    elif items:
        await session.add_items(items)


def _replace_in_database(session: Any, items: list[Any]) -> None:
    """In one transaction, which the session's own methods do not have."""
    with session._write_connection() as connection:
        connection.execute(f"DELETE FROM {session.messages_table} WHERE session_id = ?", (session.session_id,))
        if items:
            session._insert_items(connection, items)
        connection.commit()


ADAPTERS = (OpenAIAgentsAdapter(),)
