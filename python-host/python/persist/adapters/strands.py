"""Strands Agents: agents, by their own ``take_snapshot`` and ``load_snapshot``."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from strands import Agent
from strands.types._snapshot import Snapshot

from persist._adapter import Adapter
from persist.adapters._own import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import PersistConfigurationError, PersistIntegrityError, PersistTypeError

_TOTALS = ("cycle_count", "cycle_durations", "accumulated_usage", "accumulated_metrics")
"""What an agent's metrics add up; the traces beside them belong to the process."""


class StrandsAdapter(Adapter):
    """Agents."""

    name = "strands"
    package = "strands-agents"
    module = "strands"

    def accepts(self, agent: Any) -> bool:
        """Whether it is an agent."""
        return isinstance(agent, Agent)

    def save(self, agent: Any) -> Any:
        """Messages, state, interrupts, totals of usage, what its model and its
        managers of the conversation and the context keep, the attributes of a
        subclass, and the same of the agents among its tools that keep their
        conversation; not the system prompt, which belongs to the code.
        """
        return _state(agent, [])

    def restore(self, state: Any, into: Any = None) -> Any:
        """The agent, with the state."""
        if into is None or isinstance(into, type):
            raise PersistConfigurationError(
                "a Strands agent can only be restored into an existing agent",
                "invalid-argument",
                hint="make the agent as before, and pass it: into=agent",
            )
        found = list(_checked(state, into))
        before = [(agent, _snapshot(agent)) for agent, _, _ in found]
        try:
            for agent, snapshot, _ in found:
                if "stash" in snapshot.data:
                    _run(agent.context_manager.stash.load_snapshot, snapshot.data["stash"]["entries"])
                agent.load_snapshot(snapshot)
        except Exception:
            for agent, snapshot in before:
                agent.load_snapshot(snapshot)
            raise
        for agent, _, kept in found:
            vars(agent.event_loop_metrics).update(kept.get("metrics", {}))
            set_own_attributes(agent, Agent, kept.get("own", {}))
        return into


def _state(agent: Any, above: list[Any]) -> dict[str, Any]:
    """An agent's state; ``above`` has the agents whose tool it is."""
    if agent in above:
        raise PersistTypeError(
            "an agent that keeps its conversation is a tool of itself",
            "invalid-argument",
            hint="save it apart, and leave preserve_context out where it is a tool",
        )
    state: dict[str, Any] = _snapshot(agent).to_dict()
    interrupts = state["data"]["interrupt_state"]
    # Strands itself makes dicts of all dataclasses in these.
    for key in interrupts["interrupts"]:
        interrupts["interrupts"][key] = copy.deepcopy(vars(agent._interrupt_state.interrupts[key]))
    if "pending_tool_execution" in interrupts:
        interrupts["pending_tool_execution"] = copy.deepcopy(vars(agent._interrupt_state.pending_tool_execution))
    if stashed := _stashed(agent):
        state["data"]["stash"] = {"location": "inline", "entries": stashed}
    state["metrics"] = {name: copy.deepcopy(getattr(agent.event_loop_metrics, name)) for name in _TOTALS}
    if own := own_attributes(agent, Agent):
        state["own"] = own
    if kept := {name: _state(below, [*above, agent]) for name, below in _below(agent).items()}:
        state["agents"] = kept
    return state


def _checked(state: Any, into: Any) -> Iterator[tuple[Any, Snapshot, Any]]:
    """The agents that a state is for, each with its part."""
    snapshot = Snapshot.from_dict(state)
    data = snapshot.data
    wrong = [name for name, item in data.items() if not isinstance(item, list if name == "messages" else dict)]
    if wrong:
        raise PersistIntegrityError(f"Format error: {wrong[0]} of the agent is not valid", "invalid-format")
    check_own_attributes(into, Agent, state.get("own", {}))
    for name, total in state.get("metrics", {}).items():
        if name not in _TOTALS or type(total) is not type(getattr(into.event_loop_metrics, name)):
            raise PersistIntegrityError(f"Format error: {name} of the agent is not valid", "invalid-format")
    if "stash" in data and _stash(into) is None:
        raise PersistConfigurationError(
            "the saved agent's context manager had offloaded contents, and this agent has no context manager",
            "invalid-argument",
            hint="make the agent as before, with its context_manager",
        )
    yield into, snapshot, state
    below = _below(into)
    for name, kept in state.get("agents", {}).items():
        if name not in below:
            raise PersistConfigurationError(
                f"the saved agent had a tool {name!r} that is an agent with a conversation, and this agent does not",
                "invalid-argument",
                hint="make the agent as before, with its tools",
            )
        yield from _checked(kept, below[name])


def _snapshot(agent: Any) -> Snapshot:
    return agent.take_snapshot(preset="session", include=["model_state"])


def _below(agent: Any) -> dict[str, Any]:
    """The agents among an agent's tools that keep their conversation between calls."""
    tools = agent.tool_registry.registry.items()
    agents = {name: tool.agent for name, tool in tools if getattr(tool, "_preserve_context", False)}
    return {name: below for name, below in agents.items() if isinstance(below, Agent)}


def _stash(agent: Any) -> Any:
    """Where an agent's context manager puts contents away, and has only references
    in the messages.
    """
    return getattr(getattr(agent, "context_manager", None), "stash", None)


def _stashed(agent: Any) -> Any:
    """What is there, unless another process finds it by itself."""
    stash = _stash(agent)
    if stash is None:
        return None
    is_found = agent._session_manager is not None or stash._storage is stash._base_storage
    return None if is_found and agent.context_manager.stash_is_durable else _run(stash.take_snapshot)


def _run(function: Any, *arguments: Any) -> Any:
    """Runs an asynchronous function of Strands, whether or not a loop runs here."""
    from strands._async import run_async

    return run_async(lambda: function(*arguments))


ADAPTERS = (StrandsAdapter(),)
