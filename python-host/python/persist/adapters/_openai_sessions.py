"""Sessions of the OpenAI Agents SDK: where their items are stored, whether encrypted, and
how they are replaced at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import sys
from typing import Any

from agents import SQLiteSession

from persist.errors import PersistConflictError, PersistTypeError, invalid
from persist.openai_agents import StoredSession

ALL = 2**31 - 1
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


def stored(session: Any) -> tuple[Any, list[Any]]:
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


def opens(ciphers: list[Any], items: list[Any]) -> bool:
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


def forget(session: Any) -> None:
    """Has sessions look again at what those that they wrap hold, which was put there
    behind their back.
    """
    for layer in _layers(session):
        known = getattr(layer, "__dict__", {})
        known.update((name, None) for name in _SEEN if name in known)


def _encrypted_session() -> Any:
    """The class of sessions that encrypt, where it is imported."""
    return getattr(sys.modules.get("agents.extensions.memory.encrypt_session"), "EncryptedSession", None)


async def replace(session: Any, items: list[Any], usage: list[Any]) -> None:
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
    elif await stored(session)[0].get_items(1):
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


async def usage_of(session: Any) -> list[Any]:
    """The usage of each turn, where a session keeps it."""
    read = getattr(type(session), "get_turn_usage", None)
    return [] if read is None else list(await read(session))


def keeps_usage(session: Any) -> bool:
    return hasattr(type(session), "get_turn_usage") and hasattr(session, "_write_connection")


def checked_usage(usage: Any) -> list[Any]:
    """The usage of turns, if it is one."""
    numbers = ("user_turn_number", *_USAGE)
    if not isinstance(usage, list) or not all(
        isinstance(turn, dict)
        and all(type(turn.get(name)) is int for name in numbers)
        and all(isinstance(turn.get(name), (dict, type(None))) for name in _DETAILS)
        for turn in usage
    ):
        raise invalid("the usage of the session's turns is")
    return usage


def _write_usage(session: Any, usage: list[Any]) -> None:
    """The way back from :func:`usage_of`, for which a session has no method."""
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
