"""The OpenAI Agents SDK: sessions, and runs that wait for an approval."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any

from agents import Agent, SQLiteSession
from agents.exceptions import UserError
from agents.memory import Session, SessionSettings
from agents.run_state import RunState

from persist._adapter import Adapter
from persist.adapters._compare import same
from persist.adapters._own import check_own_attributes, own_attributes, set_own_attributes
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
            return {"kind": _RUN, "run": await _run_of(agent)}
        store, is_encrypted = _stored(agent)
        branches = getattr(store, "list_branches", None)
        if branches is not None and len(await branches()) > 1:
            raise PersistTypeError(
                f"the session {agent.session_id!r} has several branches, and only the current one would be saved",
                "invalid-argument",
                hint="save the items of each branch: await session.get_items(branch_id=…)",
            )
        state = {"kind": _SESSION, "session_id": agent.session_id, "items": await store.get_items(_ALL)}
        if is_encrypted:
            state["encrypted"] = True
        if (limit := getattr(getattr(agent, "session_settings", None), "limit", None)) is not None:
            state["limit"] = limit
        if (base := _base_of(agent)) is not None:
            state["class"], state["own"] = type(agent).__qualname__, own_attributes(agent, base)
        return state

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
                "the snapshot holds a session, not a run", "invalid-argument", hint="pass a session as into, or none"
            )
        own, base = state.get("own"), None if into is None or isinstance(into, type) else _base_of(into)
        if into is None or isinstance(into, type):
            if own is not None:
                raise PersistConfigurationError(
                    f"the session is a {state.get('class')}, which is your own class",
                    "invalid-argument",
                    hint="make the session as before, and pass it: into=session",
                )
            limit = state.get("limit")
            settings = None if limit is None else SessionSettings(limit=limit)
            into = SQLiteSession(state["session_id"], session_settings=settings)
        if base is not None and own is not None:
            check_own_attributes(into, base, own)
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
        if base is not None and own is not None:
            set_own_attributes(into, base, own)
        return into


def _base_of(session: Any) -> type | None:
    """The class of the SDK that a session of a user's own class is derived from; none
    for one of the SDK's classes, and for one that has nothing of them.
    """
    above = type(session).__mro__
    if above[0].__module__.partition(".")[0] in ("agents", "persist"):
        return None
    bases = (cls for cls in above if cls.__module__.partition(".")[0] == "agents" and cls is not Session)
    return next(bases, None)


async def _run_of(state: Any) -> Any:
    """A run as the SDK writes it. Refused is what the SDK would not take back, and
    what it would leave out: it says so when it is too late, or not at all.
    """
    context = getattr(state._context, "context", None)
    if context is not None and type(context) is not dict:
        raise PersistTypeError(
            f"the context of a run must be a dict, not a {type(context).__qualname__}",
            "invalid-argument",
            hint="pass a dict to Runner.run as the context",
        )
    try:
        run = state.to_json(strict_context=True)
    except UserError as error:
        raise PersistTypeError(
            f"the SDK can't write this run: {error}", "invalid-argument", hint="change the run as the SDK says"
        ) from error
    if (odd := _not_json(run, "state['run']")) is not None:
        raise PersistTypeError(
            f"the SDK only restores runs of JSON types, and {odd}",
            "invalid-argument",
            hint="write it as text or a number, or keep it outside of the run",
        )
    again = await RunState.from_json(state._starting_agent or state._current_agent, run, strict_context=True)
    if len(again._context._approvals) != len(state._context._approvals):
        raise PersistTypeError(
            "approvals or rejections would be lost: two agents of the run have the same name",
            "invalid-argument",
            hint="give each agent its own name",
        )
    if not same(again.to_json(strict_context=True), run):
        raise PersistTypeError(
            "the SDK's own form of a run would change this one",
            "invalid-argument",
            hint="save the run's session instead",
        )
    return run


def _not_json(value: Any, path: str) -> str | None:
    """What is none of JSON's types, and where; ``None`` if all is."""
    if type(value) is dict:
        if (key := next((key for key in value if type(key) is not str), None)) is not None:
            return f"{path} has the key {key!r}"
        parts = ((f"{path}[{key!r}]", item) for key, item in value.items())
    elif type(value) is list:
        parts = ((f"{path}[{at}]", item) for at, item in enumerate(value))
    else:
        is_json = value is None or type(value) in (str, int, float, bool)
        return None if is_json else f"{path} is a {type(value).__qualname__}"
    return next((odd for place, item in parts if (odd := _not_json(item, place)) is not None), None)


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
