"""Strands Agents: agents, by their own ``take_snapshot`` and ``load_snapshot``."""

from __future__ import annotations

from typing import Any

from strands import Agent
from strands.types._snapshot import Snapshot

from persist._adapter import Adapter
from persist.adapters._own import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import PersistConfigurationError, PersistIntegrityError


class StrandsAdapter(Adapter):
    """Agents."""

    name = "strands"
    package = "strands-agents"
    module = "strands"

    def accepts(self, agent: Any) -> bool:
        """Whether it is an agent."""
        return isinstance(agent, Agent)

    def save(self, agent: Any) -> Any:
        """Messages, state, interrupts, what its model and its manager of the
        conversation keep, and the attributes of a subclass; not the system
        prompt, which belongs to the code.
        """
        state: dict[str, Any] = agent.take_snapshot(preset="session", include=["model_state"]).to_dict()
        own = own_attributes(agent, Agent)
        return {**state, "own": own} if own else state

    def restore(self, state: Any, into: Any = None) -> Any:
        """The agent, with the state."""
        if into is None or isinstance(into, type):
            raise PersistConfigurationError(
                "a Strands agent is restored into an existing one, and none was passed",
                "invalid-argument",
                hint="make the agent as before, and pass it: into=agent",
            )
        own = state.get("own", {})
        snapshot = Snapshot.from_dict({name: item for name, item in state.items() if name != "own"})
        data = snapshot.data
        wrong = [name for name, item in data.items() if not isinstance(item, list if name == "messages" else dict)]
        if wrong:
            raise PersistIntegrityError(f"Format error: {wrong[0]} of the agent is not valid", "invalid-format")
        check_own_attributes(into, Agent, own)
        before = into.take_snapshot(preset="session", include=["model_state"])
        try:
            into.load_snapshot(snapshot)
        except Exception:
            into.load_snapshot(before)
            raise
        set_own_attributes(into, Agent, own)
        return into


ADAPTERS = (StrandsAdapter(),)
