"""Strands Agents: agents, by their own ``take_snapshot`` and ``load_snapshot``."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

from strands import Agent
from strands.agent.conversation_manager import ConversationManager
from strands.types._snapshot import SNAPSHOT_PRESETS, Snapshot
from strands.types.exceptions import SnapshotException

from persist._adapter import Adapter
from persist.adapters._own import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import PersistConfigurationError, PersistIntegrityError, PersistTypeError

_TOTALS = ("cycle_count", "cycle_durations", "accumulated_usage", "accumulated_metrics")
"""What an agent's metrics add up; the traces beside them belong to the process."""

_NAMES = {*SNAPSHOT_PRESETS["session"], "model_state", "stash"}
"""What a snapshot may hold of an agent; the system prompt belongs to the code."""

_LOADED = ("messages", "state", "_interrupt_state", "_model_state")
"""The attributes in which an agent has other objects when it has loaded a snapshot."""


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
        return _state(agent, {name: _run(stash.take_snapshot) for name, stash in _stashes(agent, [])})

    async def asave(self, agent: Any) -> Any:
        """The same, while other tasks go on where contents were put away."""
        return _state(agent, {name: await stash.take_snapshot() for name, stash in list(_stashes(agent, []))})

    def restore(self, state: Any, into: Any = None) -> Any:
        """The agent, with the state."""
        with _loaded(state, into) as put_away:
            for stash, entries in put_away:
                _run(stash.load_snapshot, entries)
        return into

    async def arestore(self, state: Any, into: Any = None) -> Any:
        """The same, while other tasks go on where contents are put away."""
        with _loaded(state, into) as put_away:
            for stash, entries in put_away:
                await stash.load_snapshot(entries)
        return into


@contextlib.contextmanager
def _loaded(state: Any, into: Any) -> Iterator[list[tuple[Any, Any]]]:
    """Gives an agent a state, and has the contents put away that are yielded. If
    anything fails, the agent holds the objects that it held before.
    """
    if into is None or isinstance(into, type):
        raise PersistConfigurationError(
            "a Strands agent can only be restored into an existing agent",
            "invalid-argument",
            hint="make the agent as before, and pass it: into=agent",
        )
    found = list(_checked(state, into))
    before = [_objects(agent) for agent, _, _ in found]
    try:
        for agent, snapshot, _ in found:
            # Strands would copy the messages, which are nobody else's.
            data = {name: item for name, item in snapshot.data.items() if name != "messages"}
            agent.load_snapshot(dataclasses.replace(snapshot, data=data))
            agent.messages = snapshot.data.get("messages", agent.messages)
        yield [
            (_stash(agent), snapshot.data["stash"]["entries"])
            for agent, snapshot, _ in found
            if "stash" in snapshot.data
        ]
    except BaseException:
        for objects in before:
            for owner, attributes in objects:
                vars(owner).update(attributes)
        raise
    for agent, _, kept in found:
        vars(agent.event_loop_metrics).update(kept.get("metrics", {}))
        set_own_attributes(agent, Agent, kept.get("own", {}))
        if "manager" in kept:
            set_own_attributes(agent.conversation_manager, ConversationManager, kept["manager"])


def _objects(agent: Any) -> list[tuple[Any, dict[str, Any]]]:
    """What an agent has where a snapshot is loaded, each with its attributes."""
    objects = [
        (agent, {name: getattr(agent, name) for name in _LOADED}),
        (agent.conversation_manager, dict(vars(agent.conversation_manager))),
    ]
    background = getattr(agent, "_background_tasks", None)
    return objects if background is None else [*objects, (background, dict(vars(background)))]


def _state(agent: Any, put_away: dict[int, Any]) -> dict[str, Any]:
    """An agent's state, with what was put away, by the agents' ids."""
    state: dict[str, Any] = _snapshot(agent).to_dict()
    # As they are, and not copied: they are written at once, while all other tasks wait.
    state["data"] = {"messages": agent.messages, **state["data"]}
    interrupts = state["data"]["interrupt_state"]
    # Strands itself makes dicts of all dataclasses in these.
    for key in interrupts["interrupts"]:
        interrupts["interrupts"][key] = copy.deepcopy(vars(agent._interrupt_state.interrupts[key]))
    if "pending_tool_execution" in interrupts:
        interrupts["pending_tool_execution"] = copy.deepcopy(vars(agent._interrupt_state.pending_tool_execution))
    if stashed := put_away.get(id(agent)):
        state["data"]["stash"] = {"location": "inline", "entries": stashed}
    state["metrics"] = {name: copy.deepcopy(getattr(agent.event_loop_metrics, name)) for name in _TOTALS}
    if own := own_attributes(agent, Agent):
        state["own"] = own
    if _is_own_manager(agent.conversation_manager):
        state["manager"] = own_attributes(agent.conversation_manager, ConversationManager)
    if kept := {name: _state(below, put_away) for name, below in _below(agent).items()}:
        state["agents"] = kept
    return state


def _checked(state: Any, into: Any) -> Iterator[tuple[Any, Snapshot, Any]]:
    """The agents that a state is for, each with its part."""
    try:
        snapshot = Snapshot.from_dict(state)
    except SnapshotException as error:
        raise PersistIntegrityError(f"Format error: {error}", "invalid-format") from error
    data = snapshot.data
    wrong = next((name for name, item in data.items() if not _is_valid(name, item, into)), None)
    if wrong is not None:
        raise _invalid(wrong)
    check_own_attributes(into, Agent, state.get("own", {}))
    for name, total in state.get("metrics", {}).items():
        if name not in _TOTALS or type(total) is not type(getattr(into.event_loop_metrics, name)):
            raise _invalid(name)
    if "manager" in state:
        check_own_attributes(into.conversation_manager, ConversationManager, state["manager"])
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


def _is_valid(name: str, item: Any, into: Any) -> bool:
    """Whether something is a part of a snapshot of an agent."""
    if name not in _NAMES:
        return False
    if name == "messages":
        return isinstance(item, list) and all(
            isinstance(message, dict)
            and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), list)
            for message in item
        )
    if not isinstance(item, dict):
        return False
    if name == "stash":
        return isinstance(item.get("entries"), dict) and all(isinstance(key, str) for key in item["entries"])
    if name == "conversation_manager_state":
        counts = [key for key, here in into.conversation_manager.get_state().items() if type(here) is int]
        return all(type(item[key]) is int for key in counts if key in item)
    return True


def _invalid(name: str) -> PersistIntegrityError:
    return PersistIntegrityError(
        f"Format error: {name} of the agent is not valid",
        "invalid-format",
        hint="restore with plain=True to see what it holds",
    )


def _is_own_manager(manager: Any) -> bool:
    """Whether a manager of the conversation may have attributes that Strands does not
    know; one with a ``get_state`` of its own says itself what is kept.
    """
    cls = type(manager)
    return not cls.__module__.startswith("strands.") and cls.get_state.__module__.startswith("strands.")


def _snapshot(agent: Any) -> Snapshot:
    return agent.take_snapshot(preset="session", include=["model_state"], exclude=["messages"])


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


def _stashes(agent: Any, above: list[Any]) -> Iterator[tuple[int, Any]]:
    """What is put away of an agent and those below, by the agents' ids, unless another
    process finds it by itself; ``above`` has the agents whose tool it is.
    """
    if agent in above:
        raise PersistTypeError(
            "an agent that keeps its conversation is a tool of itself",
            "invalid-argument",
            hint="save it apart, and leave preserve_context out where it is a tool",
        )
    stash = _stash(agent)
    if stash is not None:
        is_found = agent._session_manager is not None or stash._storage is stash._base_storage
        if not (is_found and agent.context_manager.stash_is_durable):
            yield id(agent), stash
    for below in _below(agent).values():
        yield from _stashes(below, [*above, agent])


def _run(function: Any, *arguments: Any) -> Any:
    """Runs an asynchronous function of Strands, whether or not a loop runs here."""
    from strands._async import run_async

    return run_async(lambda: function(*arguments))


ADAPTERS = (StrandsAdapter(),)
