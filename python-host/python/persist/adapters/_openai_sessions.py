"""Sessions of the OpenAI Agents SDK: where their items are stored, whether they are
encrypted, and how they are replaced at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import sys
from typing import Any

from agents import SQLiteSession

from persist._words import a
from persist.errors import PersistConflictError, PersistTypeError, invalid
from persist.openai_agents import PersistSession

ALL = 2**31 - 1
"""More items than any session has. Without a limit, some sessions return only the last few."""

_METHODS = ("get_items", "add_items", "pop_item", "clear_session")
"""The methods of the class of a session. ``isinstance`` with the protocol would look at the
instance, and some database clients have attributes of any name.
"""

_SEEN = (
    "_compaction_candidate_items",
    "_session_items",
    "_response_id",
    "_deferred_response_id",
    "_last_unstored_response_id",
)
"""What a compacting session caches about the items of the session that it wraps."""

_USAGE = ("requests", "input_tokens", "output_tokens", "total_tokens")

_DETAILS = ("input_tokens_details", "output_tokens_details")
"""What an ``AdvancedSQLiteSession`` keeps about the usage of a turn."""


def stored(session: Any) -> tuple[Any, list[Any]]:
    """Returns the session that holds the items as they are stored, and the ciphers that encrypt
    them, the outermost first. If nothing is encrypted, these are the session itself and no
    ciphers.

    An encrypted session may be wrapped by others, which return its items in plain text.
    """
    if (encrypt := _encrypted_session()) is None:
        return session, []
    layers = _layers(session)
    encrypted = [at for at, layer in enumerate(layers) if isinstance(layer, encrypt)]
    if not encrypted:
        return session, []
    return layers[encrypted[-1] + 1], [getattr(layers[at], "cipher", None) for at in encrypted]


def _layers(session: Any) -> list[Any]:
    """Returns a session, the session that it wraps, the session that this one wraps, and so on."""
    layers = [session]
    while len(held := _held(layers)) == 1:
        layers += held
    if any(_encrypts([*layers, one]) for one in held):
        raise PersistTypeError(
            f"the session {session.session_id!r} wraps several sessions, one of which is encrypted",
            "invalid-argument",
            hint="save or restore the EncryptedSession itself",
        )
    return layers


def _held(layers: list[Any]) -> list[Any]:
    """Returns the sessions in the attributes of the last of these sessions."""
    last, held = layers[-1], list[Any]()
    for item in (getattr(last, "underlying_session", None), *getattr(last, "__dict__", {}).values()):
        is_session = all(hasattr(type(item), name) for name in _METHODS)
        if is_session and not any(item is known for known in (*layers, *held)):
            held.append(item)
    return held


def _encrypts(layers: list[Any]) -> bool:
    """Returns whether the last of these sessions is an ``EncryptedSession``, or wraps one."""
    is_one = isinstance(layers[-1], _encrypted_session())
    return is_one or any(_encrypts([*layers, one]) for one in _held(layers))


def opens(ciphers: list[Any], items: list[Any]) -> bool:
    """Returns whether a session with these ciphers can read any of the items. If it can't, a
    restore would leave it without items, and its old items would be lost.
    """
    for item in items:
        # A cipher may raise any error, and an item may have any form.
        with contextlib.suppress(Exception):
            for cipher in reversed(ciphers):
                item = json.loads(cipher.decrypt(item["payload"].encode()))
            return True
    return not items


def forget(session: Any) -> None:
    """Clears what sessions cache about the sessions that they wrap, whose items were replaced."""
    for layer in _layers(session):
        known = getattr(layer, "__dict__", {})
        known.update((name, None) for name in _SEEN if name in known)


def _encrypted_session() -> Any:
    """Returns the class of encrypted sessions, if it is imported."""
    return getattr(sys.modules.get("agents.extensions.memory.encrypt_session"), "EncryptedSession", None)


async def replace(session: Any, items: list[Any], usage: list[Any]) -> None:
    """Replaces the items of a session. At any time, even if the process dies, the session has
    either the old or the new items.
    """
    # Looked up on the class: an encrypted session forwards attributes to the one that it wraps.
    replace = getattr(type(session), "replace_items", None)
    if isinstance(session, PersistSession):
        await session.replace_items(items)
    elif type(session) is SQLiteSession and hasattr(session, "_write_connection") and hasattr(session, "_insert_items"):
        await asyncio.to_thread(_replace_in_database, session, items)
    elif replace is not None and inspect.iscoroutinefunction(replace):
        await session.replace_items(items)
    elif await stored(session)[0].get_items(1):
        raise PersistConflictError(
            f"the session {session.session_id!r} already has items, and {a(type(session).__qualname__)} can't replace "
            "all of them at once",
            "already-exists",
            hint="restore into a session with another ID, or clear it first: await session.clear_session()",
        )
    elif items:
        try:
            await session.add_items(items)
            if usage:
                await asyncio.to_thread(_write_usage, session, usage)
        except BaseException:
            # The session was empty, and may have some of the items now. The first error is raised.
            with contextlib.suppress(Exception):
                await session.clear_session()
            raise


def _replace_in_database(session: Any, items: list[Any]) -> None:
    """Replaces the items in one transaction. No method of the session does that."""
    with session._write_connection() as connection:
        connection.execute(f"DELETE FROM {session.messages_table} WHERE session_id = ?", (session.session_id,))
        if items:
            session._insert_items(connection, items)
        connection.commit()


async def usage_of(session: Any) -> list[Any]:
    """Returns the usage of each turn, if the session keeps it."""
    read = getattr(type(session), "get_turn_usage", None)
    return [] if read is None else list(await read(session))


def keeps_usage(session: Any) -> bool:
    """Returns whether a session keeps the usage of its turns."""
    return hasattr(type(session), "get_turn_usage") and hasattr(session, "_write_connection")


def checked_usage(usage: Any) -> list[Any]:
    """Returns the usage of turns, or refuses it if it is not valid."""
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
    """Writes the usage of turns, the inverse of :func:`usage_of`. Sessions have no method for it."""
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
