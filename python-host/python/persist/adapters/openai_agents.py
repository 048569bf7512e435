"""The OpenAI Agents SDK: sessions, and runs that wait for an approval."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator
from typing import Any

from agents import Agent, SQLiteSession
from agents.exceptions import UserError
from agents.memory import Session, SessionSettings
from agents.run_state import RunState

from persist._adapter import Adapter
from persist.adapters._compare import same
from persist.adapters._own import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import (
    PersistConfigurationError,
    PersistConflictError,
    PersistError,
    PersistIntegrityError,
    PersistTypeError,
)
from persist.openai_agents import StoredSession

_RUN = "run"
_SESSION = "session"

_ALL = 2**31 - 1
"""More items than any session has: without a number, some give the last few."""

_METHODS = ("get_items", "add_items", "pop_item", "clear_session")
"""What the class of a session has. The protocol itself would ask the instance, and clients
of databases have an attribute of any name."""

_SEEN = (
    "_compaction_candidate_items",
    "_session_items",
    "_response_id",
    "_deferred_response_id",
    "_last_unstored_response_id",
)
"""What a session that compacts remembers of the items in the one that it wraps."""

_USAGE = ("requests", "input_tokens", "output_tokens", "total_tokens")
_DETAILS = ("input_tokens_details", "output_tokens_details")
"""What an ``AdvancedSQLiteSession`` keeps of the usage of a turn."""


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
        store, ciphers = _stored(agent)
        branches = getattr(store, "list_branches", None)
        if branches is not None and len(await branches()) > 1:
            raise PersistTypeError(
                f"the session {agent.session_id!r} has several branches, and only the current one would be saved",
                "invalid-argument",
                hint="save the items of each branch: await session.get_items(branch_id=…)",
            )
        state = {"kind": _SESSION, "session_id": agent.session_id, "items": await store.get_items(_ALL)}
        if ciphers:
            state["encrypted"] = True
        if usage := await _usage_of(store):
            state["usage"] = usage
        if (limit := getattr(getattr(agent, "session_settings", None), "limit", None)) is not None:
            state["limit"] = limit
        if type(agent) not in _ALONE:
            state["class"] = type(agent).__qualname__
        if (base := _base_of(agent)) is not None:
            state["own"] = own_attributes(agent, base)
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
            return await _run_from(into, state["run"])
        if isinstance(into, Agent):
            raise PersistConfigurationError(
                "the snapshot holds a session, not a run", "invalid-argument", hint="pass a session as into, or none"
            )
        name, items, is_encrypted = state["session_id"], state["items"], state.get("encrypted") is True
        if not isinstance(name, str):
            raise _damaged("the id of the session is")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise _damaged(f"the items of the session {name!r} are")
        usage = _checked_usage(state.get("usage", []))
        made = None if into is None or isinstance(into, type) else into
        store, ciphers = (made, []) if made is None else _stored(made)
        if is_encrypted and not (ciphers and made is not None and made.session_id == name and _opens(ciphers, items)):
            raise PersistConfigurationError(
                f"the items of the session {name!r} are encrypted",
                "invalid-argument",
                hint="pass an EncryptedSession with the same id and the same key: into=session",
            )
        own, base = state.get("own"), None if made is None else _base_of(made)
        if made is None:
            if (cls := state.get("class")) is not None:
                raise PersistConfigurationError(
                    f"the session is a {cls}, which can't be made anew: only your code knows how it is made",
                    "invalid-argument",
                    hint="make the session as before, and pass it: into=session",
                )
            limit = state.get("limit")
            settings = None if limit is None else SessionSettings(limit=limit)
            made = store = SQLiteSession(name, session_settings=settings)
        if base is not None and own is not None:
            check_own_attributes(made, base, own)
        if usage and not _keeps_usage(store):
            raise PersistConfigurationError(
                f"the session {name!r} has the usage of its turns, which a {type(store).__qualname__} can't keep",
                "invalid-argument",
                hint="pass an AdvancedSQLiteSession: into=session",
            )
        await _replace(store if is_encrypted else made, items, usage)
        if is_encrypted:
            _forget(made)
        if base is not None and own is not None:
            set_own_attributes(made, base, own)
        return made


_ALONE = (SQLiteSession, StoredSession)
"""Sessions that come back, without ``into``, as one that holds the same."""


def _damaged(what: str) -> PersistIntegrityError:
    return PersistIntegrityError(
        f"Format error: {what} not valid", "invalid-format", hint="restore with plain=True to see what it holds"
    )


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
    except (UserError, RuntimeError) as error:
        raise PersistTypeError(
            f"the SDK can't write this run: {error}", "invalid-argument", hint="change the run as the SDK says"
        ) from error
    if (odd := _not_json(run, "state['run']")) is not None:
        raise PersistTypeError(
            f"the SDK only restores runs of JSON types, and {odd}",
            "invalid-argument",
            hint="write it as text or a number, or keep it outside of the run",
        )
    again = await _run_from(state._starting_agent or state._current_agent, run)
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
    known = dict(_given(again))
    for place, value in _given(state):
        if place not in known or not same(_as_data(known[place]), _as_data(value)):
            raise PersistTypeError(
                f"the SDK would change {place}, which is a {type(value).__qualname__}",
                "invalid-argument",
                hint="give text, numbers, lists and dicts with names there, or models and dataclasses of them",
            )
    return run


async def _run_from(agent: Any, run: Any) -> Any:
    """A run as the SDK reads it, whose errors may be of any class, and say nothing."""
    if not isinstance(run, dict):
        raise _damaged("the run is")
    try:
        return await RunState.from_json(agent, run, strict_context=True)
    except PersistError:
        raise
    except Exception as error:
        known = run.get("current_agent")
        name = known.get("name") if isinstance(known, dict) else None
        raise PersistTypeError(
            f"the SDK can't read this run: {type(error).__name__}: {error}",
            "invalid-argument",
            hint=f"pass the agent that the run began with, which has or hands over to the agent {name!r}: into=agent",
        ) from error


def _given(state: Any) -> Iterator[tuple[str, Any]]:
    """What tools and guardrails gave in a run, which is the user's, by its place: the SDK
    makes text of what is not JSON, and says nothing.
    """
    generated = state._merge_generated_items_with_processed() if hasattr(state, _MERGE) else state._generated_items
    for name, items in (("generated_items", generated), ("session_items", getattr(state, "_session_items", ()))):
        for at, item in enumerate(items):
            if hasattr(item, "output"):
                yield f"state['run'][{name!r}][{at}]['output']", item.output
    for name in ("input", "output", "tool_input", "tool_output"):
        for at, result in enumerate(getattr(state, f"_{name}_guardrail_results", ())):
            place = f"state['run']['{name}_guardrail_results'][{at}]"
            yield f"{place}['output']['outputInfo']", result.output.output_info
            if name == "output":
                yield f"{place}['agentOutput']", result.agent_output


_MERGE = "_merge_generated_items_with_processed"


def _as_data(value: Any, is_within: bool = False) -> Any:
    """What a tool gave, with models and dataclasses as their data, as the SDK has them."""
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return _as_data(value.model_dump(), True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _as_data(dataclasses.asdict(value), True)
    if type(value) is list or (is_within and type(value) is tuple):
        return [_as_data(item, is_within) for item in value]
    if type(value) is dict:
        return {key: _as_data(item, is_within) for key, item in value.items()}
    return value


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


def _stored(session: Any) -> tuple[Any, list[Any]]:
    """The session that keeps the items as they are stored, and the ciphers that encrypt
    these, the outermost first; the session itself and none if nothing is encrypted.

    A session may be encrypted behind others, which would give its items in plain text.
    """
    if (encrypt := _encrypted_session()) is None:
        return session, []
    layers = _layers(session)
    encrypted = [at for at, layer in enumerate(layers) if isinstance(layer, encrypt)]
    if not encrypted:
        return session, []
    return layers[encrypted[-1] + 1], [getattr(layers[at], "cipher", None) for at in encrypted]


def _layers(session: Any) -> list[Any]:
    """A session, the one that it wraps, the one that this wraps, and so on."""
    layers = [session]
    while len(held := _held(layers)) == 1:
        layers += held
    if any(_encrypts([*layers, one]) for one in held):
        raise PersistTypeError(
            f"the session {session.session_id!r} has several sessions in it, one of which is encrypted",
            "invalid-argument",
            hint="save or restore the EncryptedSession itself",
        )
    return layers


def _held(layers: list[Any]) -> list[Any]:
    """The sessions that the last of these has in its attributes."""
    last, held = layers[-1], list[Any]()
    for item in (getattr(last, "underlying_session", None), *getattr(last, "__dict__", {}).values()):
        is_session = all(hasattr(type(item), name) for name in _METHODS)
        if is_session and not any(item is known for known in (*layers, *held)):
            held.append(item)
    return held


def _encrypts(layers: list[Any]) -> bool:
    """Whether the last of these is an ``EncryptedSession``, or has one in it."""
    is_one = isinstance(layers[-1], _encrypted_session())
    return is_one or any(_encrypts([*layers, one]) for one in _held(layers))


def _opens(ciphers: list[Any], items: list[Any]) -> bool:
    """Whether a session with these ciphers can read any of the items. One that can't would
    have none, and those that it had before were gone.
    """
    for item in items:
        # Whatever a cipher says of what it can't read, and what is no item.
        with contextlib.suppress(Exception):
            for cipher in reversed(ciphers):
                item = json.loads(cipher.decrypt(item["payload"].encode()))
            return True
    return not items


def _forget(session: Any) -> None:
    """Has sessions look again at what those that they wrap hold, which was put there
    behind their back.
    """
    for layer in _layers(session):
        known = getattr(layer, "__dict__", {})
        known.update((name, None) for name in _SEEN if name in known)


def _encrypted_session() -> Any:
    """The class of sessions that encrypt, where it is imported."""
    return getattr(sys.modules.get("agents.extensions.memory.encrypt_session"), "EncryptedSession", None)


async def _replace(session: Any, items: list[Any], usage: list[Any]) -> None:
    """Has a session hold these items alone: at no moment, also if the process dies,
    does it hold others than the old ones or the new ones.
    """
    # Not of the instance: an encrypted session has the attributes of the one that it wraps.
    replace = getattr(type(session), "replace_items", None)
    if isinstance(session, StoredSession):
        await session.replace_items(items)
    elif type(session) is SQLiteSession and hasattr(session, "_write_connection") and hasattr(session, "_insert_items"):
        await asyncio.to_thread(_replace_in_database, session, items)
    elif replace is not None and inspect.iscoroutinefunction(replace):
        await session.replace_items(items)
    elif await _stored(session)[0].get_items(1):
        raise PersistConflictError(
            f"the session {session.session_id!r} has items already, and a {type(session).__qualname__} can't replace "
            "all of them at once",
            "already-exists",
            hint="restore into a session with another id, or clear it first: await session.clear_session()",
        )
    elif items:
        try:
            await session.add_items(items)
            if usage:
                await asyncio.to_thread(_write_usage, session, usage)
        except BaseException:
            # It was empty, and may have some of them. What failed first is what is raised.
            with contextlib.suppress(Exception):
                await session.clear_session()
            raise


def _replace_in_database(session: Any, items: list[Any]) -> None:
    """In one transaction, which the session's own methods do not have."""
    with session._write_connection() as connection:
        connection.execute(f"DELETE FROM {session.messages_table} WHERE session_id = ?", (session.session_id,))
        if items:
            session._insert_items(connection, items)
        connection.commit()


async def _usage_of(session: Any) -> list[Any]:
    """The usage of each turn, where a session keeps it."""
    read = getattr(type(session), "get_turn_usage", None)
    return [] if read is None else list(await read(session))


def _keeps_usage(session: Any) -> bool:
    return hasattr(type(session), "get_turn_usage") and hasattr(session, "_write_connection")


def _checked_usage(usage: Any) -> list[Any]:
    """The usage of turns, if it is one."""
    numbers = ("user_turn_number", *_USAGE)
    if not isinstance(usage, list) or not all(
        isinstance(turn, dict)
        and all(type(turn.get(name)) is int for name in numbers)
        and all(isinstance(turn.get(name), (dict, type(None))) for name in _DETAILS)
        for turn in usage
    ):
        raise _damaged("the usage of the session's turns is")
    return usage


def _write_usage(session: Any, usage: list[Any]) -> None:
    """The way back from :func:`_usage_of`, for which a session has no method."""
    names = ("session_id", "branch_id", "user_turn_number", *_USAGE, *_DETAILS)
    rows = []
    for turn in usage:
        details = [None if turn[name] is None else json.dumps(turn[name]) for name in _DETAILS]
        numbers = [turn[name] for name in ("user_turn_number", *_USAGE)]
        rows.append((session.session_id, session._current_branch_id, *numbers, *details))
    with session._write_connection() as connection:
        marks = ", ".join("?" * len(names))
        connection.executemany(f"INSERT OR REPLACE INTO turn_usage ({', '.join(names)}) VALUES ({marks})", rows)
        connection.commit()


ADAPTERS = (OpenAIAgentsAdapter(),)
