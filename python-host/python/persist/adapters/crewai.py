"""CrewAI: the state of a flow; and what keeps the states of flows."""

from __future__ import annotations

from typing import Any

from crewai.flow.flow import Flow
from crewai.flow.persistence import FlowPersistence
from pydantic import BaseModel, PrivateAttr

import persist
from persist.adapters import Adapter
from persist.adapters._compare import same
from persist.adapters._keys import both_stores, key_of
from persist.errors import PersistConfigurationError, PersistNotFoundError, PersistTypeError


class CrewAIAdapter(Adapter):
    """Flows."""

    name = "crewai"
    package = "crewai"
    module = "crewai"

    def accepts(self, agent: Any) -> bool:
        """Whether it is a flow."""
        return isinstance(agent, Flow)

    def save(self, agent: Any) -> Any:
        """Its state; which methods have run is not part of it."""
        return _state(agent.state)

    def restore(self, state: Any, into: Any = None) -> Any:
        """The flow, with the state."""
        if into is None or isinstance(into, type):
            raise PersistConfigurationError(
                "the state of a flow of CrewAI is restored into one",
                "invalid-argument",
                hint="make the flow as before, and pass it: into=flow",
            )
        here = into.state
        if isinstance(here, BaseModel):
            fresh = type(here).model_validate(state)
            for name in type(here).model_fields:
                setattr(here, name, getattr(fresh, name))
        else:
            new = dict(state)
            here.clear()
            here.update(new)
        return into


ADAPTERS = (CrewAIAdapter(),)


def _state(state: Any) -> dict[str, Any]:
    if not isinstance(state, BaseModel):
        # As it is: what can't be saved is refused, and where it is is said.
        return dict(state)
    fields = state.model_dump()
    again = type(state).model_validate(fields).model_dump()
    if again != fields or not same(type(state).model_validate(fields), state):
        raise PersistTypeError(
            f"a {type(state).__qualname__} does not come back as it is from its own model_dump",
            "invalid-argument",
            hint="keep its fields to values of exactly the classes that their types name",
        )
    return again


class StoredFlows(FlowPersistence):
    """Keeps the states of flows in a store: each flow's latest, under its id.

    Args:
        store: A :class:`persist.Store`, or a location.
    """

    persistence_type: str = "persist"
    location: str = ""
    _store: persist.Store = PrivateAttr()

    def __init__(self, store: persist.Store | str = "", **fields: Any) -> None:
        plain, _ = both_stores(store or fields.pop("location"))
        super().__init__(location=plain.location, **fields)
        self._store = plain

    def init_db(self) -> None:
        """Does nothing: a store is made with its first snapshot."""

    def save_state(self, flow_uuid: str, method_name: str, state_data: dict[str, Any] | BaseModel) -> None:
        """Keeps a state, instead of the one before."""
        self._store.snapshot(_state(state_data), self._key(flow_uuid), session_id=flow_uuid, description=method_name)

    def load_state(self, flow_uuid: str) -> dict[str, Any] | None:
        """The latest state; ``None`` if there is none."""
        try:
            found: dict[str, Any] = self._store.restore(self._key(flow_uuid))
        except PersistNotFoundError:
            return None
        return found

    def save_pending_feedback(self, flow_uuid: str, context: Any, state_data: dict[str, Any] | BaseModel) -> None:
        """Keeps a state, and what a flow that waits for a person needs to go on."""
        self.save_state(flow_uuid, context.method_name, state_data)
        waiting = {"state": _state(state_data), "context": context.to_dict()}
        self._store.snapshot(waiting, self._key(flow_uuid, "waiting"), session_id=flow_uuid)

    def load_pending_feedback(self, flow_uuid: str) -> tuple[dict[str, Any], Any] | None:
        """The state of a flow that waits, and what it needs; ``None`` if it does not."""
        from crewai.flow.async_feedback.types import PendingFeedbackContext

        try:
            waiting = self._store.restore(self._key(flow_uuid, "waiting"))
        except PersistNotFoundError:
            return None
        return waiting["state"], PendingFeedbackContext.from_dict(waiting["context"])

    def clear_pending_feedback(self, flow_uuid: str) -> None:
        """Forgets that a flow waits."""
        try:
            self._store.delete(self._key(flow_uuid, "waiting"))
        except PersistNotFoundError:
            return

    @staticmethod
    def _key(flow_uuid: str, kind: str = "state") -> str:
        return f"{kind}/{key_of(flow_uuid)}"
