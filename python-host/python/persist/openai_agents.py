"""For the OpenAI Agents SDK: a session that is kept in files or a bucket."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from agents.memory import SessionSettings
from agents.memory.session_settings import coerce_session_settings, resolve_session_limit

from persist import _persist
from persist._keys import store_at
from persist._live.copies import check, missing
from persist._live.items import NAME, Held, Items, label_of, text_of
from persist._live.sessions import Sessions
from persist._store import Store
from persist._store_base import StoreBase
from persist._threads import in_thread

__all__ = ["PersistSession", "copy"]

AGENT = "openai-agents"
"""The agent of the sessions, unless another is given."""

_MAIN = "main"
"""The branch that every session has."""

_BRANCHES = "branches"
"""The kind of the parts of a session."""

_ALL = 2**31 - 1
"""A limit above all others, in place of the one in the settings of a session."""

_CHANGED = "the session was changed all the same"


async def copy(source: Any, target: PersistSession) -> int:
    """Copies the items of a session of any class, such as a ``SQLiteSession``, and reads them back. Copying again
    finishes a copy that was interrupted. Of a session with branches, the current one is copied.

    Returns:
        How many items were added.

    Raises:
        PersistConflictError: The target has other items.
        PersistIntegrityError: What was read back is something else.
    """
    into = target._items(target._branch)
    texts = [text_of(item) for item in await source.get_items(limit=_ALL)]
    there = (await in_thread(target._read)).items
    left = missing(there, texts, into.timeline.location)
    if left:
        await in_thread(target._change, lambda held: held.adding(left), changed=_CHANGED)
    check(await in_thread(into.stored), texts, into.timeline.location)
    return len(left)


class PersistSession:
    """A session that is kept in files or a bucket. Each time that items are added, only these are
    stored, as a step of a timeline.

    Args:
        location: A folder or ``s3://bucket/prefix``, or a :class:`persist.Store`.
        session_id: The ID of the session.
        agent_id: The agent whose session this is. Agents that use the same session IDs need different
            ones.
        session_settings: ``SessionSettings``, or a dict of these, as for ``SQLiteSession``.

    Several objects, threads and processes may use the same session at once: no item is lost. It can have
    branches, as an ``AdvancedSQLiteSession`` has.

    Example::

        session = PersistSession("s3://bucket/agents", "case-1")
        await Runner.run(agent, "Hello", session=session)
    """

    def __init__(
        self,
        location: str | os.PathLike[str] | Store,
        session_id: str,
        *,
        agent_id: str = AGENT,
        session_settings: Any = None,
    ) -> None:
        self.session_id = session_id
        self.session_settings: Any = coerce_session_settings(session_settings or SessionSettings())
        self._store, self._agent_id = store_at(location)._twin(StoreBase), agent_id
        self._sessions = Sessions(self._store, agent_id, _BRANCHES, self._opened, label_of)
        self._branch = _MAIN

    # What every session can do.

    async def get_items(self, limit: int | None = None, branch_id: str | None = None) -> list[Any]:
        """Returns all items, or the last ``limit`` of them, the oldest first. Without a limit, that of the
        settings applies. ``branch_id`` names another branch than the current one.
        """
        most = resolve_session_limit(limit, self.session_settings)
        held = await in_thread(self._read if branch_id is None else self._items(branch_id).read)
        # A negative limit is none, as for SQLite.
        items: list[Any] = await in_thread(lambda _: held.read(None if most is None or most < 0 else most))
        return items

    async def add_items(self, items: Sequence[Any]) -> None:
        """Adds items at the end."""
        if items:
            texts = [*map(text_of, items)]
            await in_thread(self._change, lambda held: held.adding(texts), changed=_CHANGED)

    async def pop_item(self) -> Any:
        """Removes and returns the last item, or returns ``None`` if there is none. Earlier steps still have
        it, until they are pruned.
        """
        popped: list[str] = []

        def pop(held: Held) -> Held:
            popped[:] = held.items[-1:]
            return held.holding(held.items[:-1], len(held.items) - 1) if popped else held

        await in_thread(self._change, pop, changed=_CHANGED)
        return json.loads(popped[0]) if popped else None

    async def clear_session(self) -> None:
        """Deletes all items of all branches, with all steps."""
        await in_thread(self._clear, changed=_CHANGED)

    async def replace_items(self, items: Sequence[Any]) -> None:
        """Replaces all items at once."""
        texts = [*map(text_of, items)]
        await in_thread(self._change, lambda held: held.holding(texts), changed=_CHANGED)

    def close(self) -> None:
        """Records which steps are the newest, so that their loss would be noticed."""
        self._sessions.close()

    # Branches.

    async def create_branch_from_turn(self, turn_number: int, branch_name: str | None = None) -> str:
        """Begins a branch with the items before a turn, and switches to it.

        Args:
            turn_number: The number of the turn, from 1. A turn begins with an item of the user.
            branch_name: A name that no branch of the session has had. By default, one is made.

        Returns:
            The name of the branch.

        Raises:
            ValueError: There is no such turn, or the name is blank or was used before.
        """
        if branch_name is not None and not branch_name.strip():
            raise ValueError("Branch name cannot be empty")
        name: str = await in_thread(self._fork, turn_number, branch_name, changed=_CHANGED)
        return name

    async def create_branch_from_content(self, search_term: str, branch_name: str | None = None) -> str:
        """Like :meth:`create_branch_from_turn`, from the first turn whose text contains a search term. The case of
        letters of ASCII does not matter.
        """
        items = (await in_thread(self._read)).read()
        wanted = re.compile(re.escape(search_term), re.IGNORECASE | re.ASCII)
        asked = enumerate(filter(_is_of_user, items), 1)
        found = (turn for turn, item in asked if any(wanted.search(text) for text in _texts(item)))
        if (turn := next(found, None)) is None:
            raise ValueError(f"No user turns found containing '{search_term}'")
        return await self.create_branch_from_turn(turn, branch_name)

    async def switch_to_branch(self, branch_id: str) -> None:
        """Goes on with another branch.

        Raises:
            ValueError: There is no such branch, or it has no items.
        """
        if not (await in_thread(self._items(branch_id).read)).items:
            raise ValueError(f"Branch '{branch_id}' does not exist")
        self._branch = branch_id

    async def delete_branch(self, branch_id: str, force: bool = False) -> None:
        """Deletes a branch. Its name can't be used again.

        Args:
            branch_id: The branch.
            force: Delete it even if it is the current branch, and switch to ``main``.

        Raises:
            ValueError: There is no such branch, it is ``main``, or it is the current one and ``force`` is
                not set.
        """
        if not branch_id.strip():
            raise ValueError("Branch ID cannot be empty")
        if branch_id == _MAIN:
            raise ValueError("Cannot delete the 'main' branch")
        if branch_id == self._branch and not force:
            raise ValueError(f"Cannot delete current branch '{branch_id}'. Use force=True or switch branches first")
        if not (await in_thread(self._items(branch_id).read)).items:
            raise ValueError(f"Branch '{branch_id}' does not exist")
        if branch_id == self._branch:
            await self.switch_to_branch(_MAIN)
        # Not as a whole, so that others who use it can tell this from a session that was cleared.
        await in_thread(self._items(branch_id).empty, changed=_CHANGED)

    async def list_branches(self) -> list[dict[str, Any]]:
        """Returns the branches that have items, the oldest first, each with ``branch_id``,
        ``message_count``, ``user_turns``, ``is_current`` and ``created_at``.
        """
        found: list[dict[str, Any]] = await in_thread(self._branches)
        return found

    # What runs in threads.

    def _opened(self, folder: str, session: str, branch: str | None) -> Items:
        return Items(self._store, folder, self._agent_id, session, {} if branch is None else {NAME: branch})

    def _items(self, branch: str) -> Items:
        return self._sessions.get(self.session_id, None if branch == _MAIN else branch)

    def _read(self, token: _persist.CancelToken) -> Held:
        held = self._items(self._branch).read(token)
        if not held.exists and self._branch != _MAIN:
            # Somebody else has cleared the session.
            self._branch = _MAIN
            return self._items(_MAIN).read(token)
        return held

    def _change(self, edit: Callable[[Held], Held], token: _persist.CancelToken) -> None:
        branch = self._branch

        def in_branch(held: Held) -> Held:
            if not held.exists and branch != _MAIN:
                raise _ClearedError
            return edit(held)

        try:
            self._items(branch).change(in_branch, token)
        except _ClearedError:
            self._branch = _MAIN
            self._items(_MAIN).change(edit, token)

    def _clear(self, token: _persist.CancelToken) -> None:
        self._branch = _MAIN
        for name in self._names():
            self._items(name).delete(token)
        self._items(_MAIN).delete(token)

    def _names(self) -> list[str]:
        """Returns the names of all branches but ``main``."""
        return [branch for branch in self._sessions.parts(self.session_id) if branch is not None]

    def _fork(self, turn: int, name: str | None, token: _persist.CancelToken) -> str:
        held = self._read(token)
        begins = [at for at, item in enumerate(held.read()) if _is_of_user(item)]
        if not 0 < turn <= len(begins):
            raise ValueError(f"Turn {turn} does not contain a user message in branch '{self._branch}'")
        items = held.items[: begins[turn - 1]]

        def begin(new: Held) -> Held:
            if new.number:
                raise _TakenError
            return new.adding(items)

        for number in range(1, 1000):
            branch = name or f"branch_from_turn_{turn}" + (f"_{number}" if number > 1 else "")
            try:
                if branch == _MAIN:
                    raise _TakenError
                self._items(branch).change(begin, token)
            except _TakenError:
                if name is not None:
                    raise ValueError(f"Branch ID '{branch}' has already been used. Choose a new branch ID.") from None
                continue
            self._branch = branch
            return branch
        raise ValueError(f"Turn {turn} has too many branches: pass a branch_name")

    def _branches(self, token: _persist.CancelToken) -> list[dict[str, Any]]:
        current, found = self._branch, []
        for name in (_MAIN, *self._names()):
            items = self._items(name)
            if texts := items.read(token).items:
                turns = sum(map(_is_of_user, map(json.loads, texts)))
                found.append((items.begun(token), name, len(texts), turns))
        return [
            {
                "branch_id": name,
                "message_count": count,
                "user_turns": turns,
                "is_current": name == current,
                "created_at": begun.strftime("%Y-%m-%d %H:%M:%S"),
            }
            for begun, name, count, turns in sorted(found)
        ]


class _ClearedError(Exception):
    """The branch is gone."""


class _TakenError(Exception):
    """The name of a branch was used before."""


def _texts(item: Any) -> list[str]:
    """Returns the texts of an item of the user."""
    content = item.get("content", "")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [str(part.get("text", "")) for part in parts if isinstance(part, dict)]


def _is_of_user(item: Any) -> bool:
    return isinstance(item, dict) and item.get("role") == "user"
