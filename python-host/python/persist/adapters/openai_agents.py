"""The OpenAI Agents SDK: sessions, and runs that wait for an approval."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from agents import Agent, SQLiteSession
from agents.memory import Session, SessionSettings
from agents.run_state import RunState

from persist._adapter import Adapter
from persist._words import a
from persist.adapters._openai_runs import run_from, run_of
from persist.adapters._openai_sessions import ALL, checked_usage, forget, keeps_usage, opens, replace, stored, usage_of
from persist.adapters._own_attributes import check_own_attributes, own_attributes, set_own_attributes
from persist.adapters._watching import replaced
from persist.errors import PersistConfigurationError, PersistTypeError, invalid
from persist.openai_agents import PersistSession

_RUN, _SESSION = "run", "session"


class OpenAIAgentsAdapter(Adapter):
    """Saves and restores sessions and run states."""

    name = "openai-agents"
    package = "openai-agents"
    module = "agents"

    def accepts(self, agent: Any) -> bool:
        """Returns whether a value is a session or the state of a run."""
        return isinstance(agent, RunState) or (isinstance(agent, Session) and not isinstance(agent, type))

    def takes(self, into: Any) -> bool:
        """Returns whether a value is a session, or an agent for the state of a run."""
        return self.accepts(into) or isinstance(into, Agent)

    async def save(self, agent: Any) -> Any:
        """Returns the items of a session, or a run as the SDK writes it."""
        if isinstance(agent, RunState):
            return {"kind": _RUN, "run": await run_of(agent)}
        store, ciphers = stored(agent)
        branches = getattr(store, "list_branches", None)
        if branches is not None and len(await branches()) > 1:
            raise PersistTypeError(
                f"the session {agent.session_id!r} has several branches, and only the current one would be saved",
                "invalid-argument",
                hint="save the items of each branch: await session.get_items(branch_id=…)",
            )
        state = {"kind": _SESSION, "session_id": agent.session_id, "items": await store.get_items(ALL)}
        if ciphers:
            state["encrypted"] = True
        if usage := await usage_of(store):
            state["usage"] = usage
        if (limit := getattr(getattr(agent, "session_settings", None), "limit", None)) is not None:
            state["limit"] = limit
        if type(agent) not in _ALONE:
            state["class"] = type(agent).__qualname__
        if (base := _base_of(agent)) is not None:
            state["own"] = own_attributes(agent, base)
        return state

    def watch(self, agent: Any, watcher: Any) -> Callable[[], object] | None:
        """Hears of the items that are added to a session."""
        if isinstance(agent, RunState) or not hasattr(agent, "__dict__"):
            return None

        def add_items(original: Any) -> Any:
            @functools.wraps(original)
            async def wrapper(*arguments: Any, **options: Any) -> Any:
                added = await original(*arguments, **options)
                await watcher.astep()
                return added

            return wrapper

        return replaced(agent, "add_items", add_items)

    async def restore(self, state: Any, into: Any = None) -> Any:
        """Returns a session, or the state of a run, for which ``into`` is the agent."""
        if state["kind"] == _RUN:
            if not isinstance(into, Agent):
                raise PersistConfigurationError(
                    "the state of a run can only be restored with its agent",
                    "invalid-argument",
                    hint="pass the agent: into=agent",
                )
            return await run_from(into, state["run"])
        if isinstance(into, Agent):
            raise PersistConfigurationError(
                "the snapshot holds a session, not a run",
                "invalid-argument",
                hint="pass a session as into=, or leave into= out",
            )
        name, items, is_encrypted = state["session_id"], state["items"], state.get("encrypted") is True
        if not isinstance(name, str):
            raise invalid("the ID of the session is")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise invalid(f"the items of the session {name!r} are")
        usage = checked_usage(state.get("usage", []))
        made = None if into is None or isinstance(into, type) else into
        store, ciphers = (made, []) if made is None else stored(made)
        if is_encrypted and not (ciphers and made is not None and made.session_id == name and opens(ciphers, items)):
            raise PersistConfigurationError(
                f"the items of the session {name!r} are encrypted",
                "invalid-argument",
                hint="pass an EncryptedSession with the same ID and the same key: into=session",
            )
        own, base = state.get("own"), None if made is None else _base_of(made)
        if made is None:
            if (cls := state.get("class")) is not None:
                raise PersistConfigurationError(
                    f"the session is {a(cls)}, which only your code can create",
                    "invalid-argument",
                    hint="create the session as before, and pass it: into=session",
                )
            limit = state.get("limit")
            settings = None if limit is None else SessionSettings(limit=limit)
            made = store = SQLiteSession(name, session_settings=settings)
        if base is not None and own is not None:
            check_own_attributes(made, base, own)
        if usage and not keeps_usage(store):
            raise PersistConfigurationError(
                f"the session {name!r} has usage per turn, which {a(type(store).__qualname__)} can't keep",
                "invalid-argument",
                hint="pass an AdvancedSQLiteSession: into=session",
            )
        await replace(store if is_encrypted else made, items, usage)
        if is_encrypted:
            forget(made)
        if base is not None and own is not None:
            set_own_attributes(made, base, own)
        return made


_ALONE = (SQLiteSession, PersistSession)
"""The sessions that can be restored without ``into``, as a session with the same items."""


def _base_of(session: Any) -> type | None:
    """Returns the class of the SDK that the program's own session class is derived from, or
    ``None`` for the SDK's own classes and for classes that are not derived from them.
    """
    above = type(session).__mro__
    if above[0].__module__.partition(".")[0] in ("agents", "persist"):
        return None
    bases = (cls for cls in above if cls.__module__.partition(".")[0] == "agents" and cls is not Session)
    return next(bases, None)


ADAPTERS = (OpenAIAgentsAdapter(),)
