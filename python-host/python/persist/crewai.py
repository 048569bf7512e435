"""For CrewAI: a ``FlowPersistence``, which keeps the states of flows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any

from crewai.flow.async_feedback.types import PendingFeedbackContext
from crewai.flow.persistence import FlowPersistence
from pydantic import BaseModel, PrivateAttr

from persist._keys import store_at
from persist._live.copies import check, other
from persist._live.items import Held, Items, text_of
from persist._live.sessions import Sessions
from persist._store import Store
from persist._store_base import StoreBase

__all__ = ["PersistFlows", "copy"]

AGENT = "crewai"
"""The agent of the flows, unless another is given."""


def copy(source: FlowPersistence, target: PersistFlows, flow_uuids: Iterable[str]) -> int:
    """Copies the latest states of flows from a store of any class, such as a ``SQLiteFlowPersistence``, and what
    waits for a person, and reads them back. The interface of these stores has no list of flows.

    Returns:
        How many flows were copied. One that the source lacks, or the target has already, does not count.

    Raises:
        PersistConflictError: The target has another state of a flow.
        PersistIntegrityError: What was read back is something else.
    """
    copied = 0
    for flow in flow_uuids:
        items, wanted = target._sessions.get(flow), _latest(source, flow)
        there = items.read().items
        if not wanted or [*there] == wanted:
            continue
        if there:
            raise other(items.timeline.location)
        items.change(lambda held, wanted=wanted: held.holding(wanted), description="copy")  # type: ignore[misc]
        check(items.stored(), wanted, items.timeline.location)
        copied += 1
    return copied


def _latest(store: FlowPersistence, flow: str) -> list[str]:
    """Returns the state of a flow, and what waits for a person, as they are stored here."""
    state, waiting = store.load_state(flow), store.load_pending_feedback(flow)
    if state is None:
        return []
    texts = [text_of(_plain(state), _plain)]
    return texts if waiting is None else [*texts, _waiting(*waiting)]


def _waiting(state: Any, context: PendingFeedbackContext) -> str:
    return text_of({"state": state, "context": context.to_dict()}, _plain)


class PersistFlows(FlowPersistence):
    """Keeps the states of flows in files or a bucket. Each method that ends is a step of the flow's timeline,
    which stores only what has changed.

    Args:
        location: A folder or ``s3://bucket/prefix``, or a :class:`persist.Store`.
        agent_id: The agent whose flows these are.

    A step has the state of the flow and, while the flow waits for a person, what it needs to continue: both are
    stored at once. The description of a step is the name of the method.

    Example::

        flow = CaseFlow(persistence=PersistFlows("s3://bucket/agents"))
    """

    persistence_type: str = "PersistFlows"
    location: str = ""
    agent_id: str = AGENT
    _sessions: Sessions[Items] = PrivateAttr()

    def __init__(self, location: str | os.PathLike[str] | Store = "", **fields: Any) -> None:
        if not (location := location or fields.pop("location", "")):
            raise TypeError("PersistFlows needs a location, such as a folder or 's3://bucket/agents'")
        store = store_at(location)
        super().__init__(location=store.location, **fields)
        base, agent = store._twin(StoreBase), self.agent_id

        def opened(folder: str, session: str, _: str | None) -> Items:
            return Items(base, folder, agent, session)

        # A flow has no parts.
        self._sessions = Sessions(base, agent, "", opened, lambda _, name: name)

    def init_db(self) -> None:
        """Does nothing: the first step creates the timeline."""

    def save_state(self, flow_uuid: str, method_name: str, state_data: dict[str, Any] | BaseModel) -> None:
        """Appends the state of a flow, after one of its methods has ended."""
        state = text_of(_state(state_data), _plain)
        self._change(flow_uuid, method_name, lambda held: [state, *held.items[1:]])

    def load_state(self, flow_uuid: str) -> dict[str, Any] | None:
        """Returns the latest state of a flow, or ``None`` if there is none."""
        items = self._sessions.get(flow_uuid).read().items
        found: dict[str, Any] | None = json.loads(items[0]) if items else None
        return found

    def save_pending_feedback(
        self, flow_uuid: str, context: PendingFeedbackContext, state_data: dict[str, Any] | BaseModel
    ) -> None:
        """Appends the state of a flow that waits for a person, with what it needs to continue."""
        state = _state(state_data)
        texts = [text_of(state, _plain), _waiting(state, context)]
        self._change(flow_uuid, context.method_name, lambda _: texts)

    def load_pending_feedback(self, flow_uuid: str) -> tuple[dict[str, Any], PendingFeedbackContext] | None:
        """Returns the state of a flow that waits for a person, and what it needs to continue,
        or ``None`` if it does not wait.
        """
        items = self._sessions.get(flow_uuid).read().items
        if len(items) < 2:
            return None
        waiting = json.loads(items[1])
        return waiting["state"], PendingFeedbackContext.from_dict(waiting["context"])

    def clear_pending_feedback(self, flow_uuid: str) -> None:
        """Appends a step without what a flow needed to continue."""

        def clear(held: Held) -> Held:
            return held.holding(held.items[:1], 1) if len(held.items) > 1 else held

        self._sessions.get(flow_uuid).change(clear)

    def close(self) -> None:
        """Records which steps are the newest, so that their loss would be noticed."""
        self._sessions.close()

    def _change(self, flow_uuid: str, method: str, items_of: Callable[[Held], Sequence[str]]) -> None:
        self._sessions.get(flow_uuid).change(lambda held: held.holding(items_of(held)), description=method)


def _state(value: Any) -> Any:
    """Returns a state as JSON may have it, like CrewAI's own store."""
    if not isinstance(value, dict | BaseModel):
        raise ValueError(f"state_data must be either a Pydantic BaseModel or dict, got {type(value)}")
    return _plain(value)


def _plain(value: Any) -> Any:
    """Returns what CrewAI's own store keeps of a value that JSON does not have."""
    if isinstance(value, BaseModel):
        try:
            return value.model_dump(mode="json")
        except Exception:  # A field of another class.
            return value.model_dump()
    if isinstance(value, dict):
        return value
    if isinstance(value, set | tuple):
        return [*value]
    return value.isoformat() if isinstance(value, date) else str(value)
