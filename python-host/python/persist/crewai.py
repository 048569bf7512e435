"""For CrewAI: a ``FlowPersistence``, which keeps the states of flows."""

from __future__ import annotations

from typing import Any

from crewai.flow.persistence import FlowPersistence
from pydantic import BaseModel, PrivateAttr

from persist._keys import key_of, store_at
from persist._store import Store
from persist.adapters.crewai import state_of
from persist.errors import PersistNotFoundError

__all__ = ["StoredFlows"]


class StoredFlows(FlowPersistence):
    """Keeps the latest state of each flow in a store, under the flow's ID.

    Args:
        store: A :class:`persist.Store`, or a location.
    """

    persistence_type: str = "persist"
    location: str = ""
    _store: Store = PrivateAttr()

    def __init__(self, store: Store | str = "", **fields: Any) -> None:
        plain = store_at(store or fields.pop("location"))
        super().__init__(location=plain.location, **fields)
        self._store = plain

    def init_db(self) -> None:
        """Does nothing: the first snapshot creates the store."""

    def save_state(self, flow_uuid: str, method_name: str, state_data: dict[str, Any] | BaseModel) -> None:
        """Saves the state of a flow and replaces the previous one."""
        self._store.snapshot(state_of(state_data), self._key(flow_uuid), session_id=flow_uuid, description=method_name)

    def load_state(self, flow_uuid: str) -> dict[str, Any] | None:
        """Returns the latest state of a flow, or ``None`` if there is none."""
        try:
            found: dict[str, Any] = self._store.restore(self._key(flow_uuid))
        except PersistNotFoundError:
            return None
        return found

    def save_pending_feedback(self, flow_uuid: str, context: Any, state_data: dict[str, Any] | BaseModel) -> None:
        """Saves the state of a flow that waits for a person, and what it needs to continue."""
        self.save_state(flow_uuid, context.method_name, state_data)
        waiting = {"state": state_of(state_data), "context": context.to_dict()}
        self._store.snapshot(waiting, self._key(flow_uuid, "waiting"), session_id=flow_uuid)

    def load_pending_feedback(self, flow_uuid: str) -> tuple[dict[str, Any], Any] | None:
        """Returns the state of a flow that waits for a person, and what it needs to continue,
        or ``None`` if it does not wait.
        """
        from crewai.flow.async_feedback.types import PendingFeedbackContext

        try:
            waiting = self._store.restore(self._key(flow_uuid, "waiting"))
        except PersistNotFoundError:
            return None
        return waiting["state"], PendingFeedbackContext.from_dict(waiting["context"])

    def clear_pending_feedback(self, flow_uuid: str) -> None:
        """Deletes what was saved for a flow that waited for a person."""
        try:
            self._store.delete(self._key(flow_uuid, "waiting"))
        except PersistNotFoundError:
            return

    @staticmethod
    def _key(flow_uuid: str, kind: str = "state") -> str:
        return f"{kind}/{key_of(flow_uuid)}"
