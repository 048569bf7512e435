"""For Pydantic AI: a history of messages that is kept in files or a bucket."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter

from persist import _persist
from persist._live.history import CHANGED, History
from persist._live.items import text_of
from persist._store import Store
from persist._threads import in_thread

__all__ = ["PersistMessageHistory"]

AGENT = "pydantic-ai"
"""The agent of the histories, unless another is given."""


class PersistMessageHistory(History):
    """The messages of one session, in files or a bucket. Each time that messages are added, only these are
    stored, as a step of a timeline.

    Args:
        location: A folder or ``s3://bucket/prefix``, or a :class:`persist.Store`.
        session_id: The ID of the session.
        agent_id: The agent whose session this is. Agents that use the same session IDs need different
            ones.

    Several objects, threads and processes may use the same session at once: no message is lost.

    Example::

        history = PersistMessageHistory("s3://bucket/agents", "case-1")
        result = agent.run_sync("Hello", message_history=history.load())
        history.add(result.new_messages())
    """

    def __init__(self, location: str | os.PathLike[str] | Store, session_id: str, *, agent_id: str = AGENT) -> None:
        super().__init__(location, session_id, agent_id)

    def load(self) -> list[ModelMessage]:
        """Returns all messages, the oldest first."""
        return self._load()

    async def aload(self) -> list[ModelMessage]:
        """Like :meth:`load`, for asyncio."""
        found: list[ModelMessage] = await in_thread(self._load)
        return found

    def add(self, messages: Sequence[ModelMessage]) -> None:
        """Adds messages at the end, such as a result's ``new_messages()``."""
        self._add(_texts(messages))

    async def aadd(self, messages: Sequence[ModelMessage]) -> None:
        """Like :meth:`add`, for asyncio."""
        await in_thread(self._add, _texts(messages), changed=CHANGED)

    def replace(self, messages: Sequence[ModelMessage]) -> None:
        """Replaces all messages, for example by a summary. Earlier steps still have them, until they are pruned."""
        self._replace(_texts(messages))

    async def areplace(self, messages: Sequence[ModelMessage]) -> None:
        """Like :meth:`replace`, for asyncio."""
        await in_thread(self._replace, _texts(messages), changed=CHANGED)

    def _load(self, token: _persist.CancelToken | None = None) -> list[ModelMessage]:
        state = f"[{','.join(self._items.read(token).items)}]"
        found: list[ModelMessage] = ModelMessagesTypeAdapter.validate_json(state)
        return found

    def _replace(self, texts: Sequence[str], token: _persist.CancelToken | None = None) -> None:
        self._items.change(lambda held: held.holding(texts), token)


def _texts(messages: Sequence[ModelMessage]) -> list[str]:
    plain: list[Any] = json.loads(ModelMessagesTypeAdapter.dump_json([*messages]))
    return [*map(text_of, plain)]
