"""Strands Agents: agents, through their own ``take_snapshot`` and ``load_snapshot``."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from strands import Agent
from strands.agent.conversation_manager import ConversationManager
from strands.hooks import AfterInvocationEvent, MessageAddedEvent
from strands.types._snapshot import SNAPSHOT_PRESETS, Snapshot
from strands.types.exceptions import SnapshotException

from persist._adapter import Adapter
from persist.adapters._own_attributes import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import PersistConfigurationError, PersistIntegrityError, PersistTypeError

_TOTALS = ("cycle_count", "cycle_durations", "accumulated_usage", "accumulated_metrics")
"""The totals in an agent's metrics. The traces in the metrics belong to the process."""

_NAMES = {*SNAPSHOT_PRESETS["session"], "model_state", "stash"}
"""The parts that a snapshot of an agent may have. The system prompt belongs to the code."""

_LOADED = ("messages", "state", "_interrupt_state", "_model_state")
"""The attributes of an agent that loading a snapshot replaces by other objects."""

_EVENTS = (MessageAddedEvent, AfterInvocationEvent)
"""The events after which there is something new to save."""


class StrandsAdapter(Adapter):
    """Saves and restores agents."""

    name = "strands"
    package = "strands-agents"
    module = "strands"

    def accepts(self, agent: Any) -> bool:
        """Returns whether a value is an agent."""
        return isinstance(agent, Agent)

    def save(self, agent: Any) -> Any:
        """Returns the messages, the state, the interrupts, the totals of usage, what the model
        and the managers of conversation and context keep, the attributes of a subclass, and
        the same for the agents among the tools that keep their conversation. The system prompt
        belongs to the code and is not saved.
        """
        return _state(agent, {name: _run(stash.take_snapshot) for name, stash in _stashes(agent, [])})

    async def asave(self, agent: Any) -> Any:
        """Like :meth:`save`. Other tasks run while offloaded contents are read."""
        return _state(agent, {name: await stash.take_snapshot() for name, stash in list(_stashes(agent, []))})

    def watch(self, agent: Any, watcher: Any) -> Callable[[], object]:
        """Hears of each new message, and of the end of each invocation."""

        async def stepped(event: Any) -> None:
            await watcher.astep()

        for event in _EVENTS:
            agent.hooks.add_callback(event, stepped)

        def undo() -> None:
            # The registry has no method that removes a callback.
            for event in _EVENTS:
                entries = agent.hooks._registered_callbacks.get(event, [])
                entries[:] = [entry for entry in entries if entry.callback is not stepped]

        return undo

    def restore(self, state: Any, into: Any = None) -> Any:
        """Restores the state into an agent, and returns the agent."""
        with _loaded(state, into) as put_away:
            for stash, entries in put_away:
                _run(stash.load_snapshot, entries)
        return into

    async def arestore(self, state: Any, into: Any = None) -> Any:
        """Like :meth:`restore`. Other tasks run while offloaded contents are stored."""
        with _loaded(state, into) as put_away:
            for stash, entries in put_away:
                await stash.load_snapshot(entries)
        return into


@contextlib.contextmanager
def _loaded(state: Any, into: Any) -> Iterator[list[tuple[Any, Any]]]:
    """Gives an agent a state, and yields the offloaded contents for the caller to store. If
    anything fails, the agent has the same objects as before.
    """
    if into is None or isinstance(into, type):
        raise PersistConfigurationError(
            "a Strands agent can only be restored into an existing agent",
            "invalid-argument",
            hint="create the agent as before, and pass it: into=agent",
        )
    found = list(_checked(state, into))
    before = [_objects(agent) for agent, _, _ in found]
    try:
        for agent, snapshot, _ in found:
            # Strands would copy the messages, which nobody else uses.
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
    """Returns the objects that loading a snapshot changes, with their attributes."""
    objects = [
        (agent, {name: getattr(agent, name) for name in _LOADED}),
        (agent.conversation_manager, dict(vars(agent.conversation_manager))),
    ]
    background = getattr(agent, "_background_tasks", None)
    return objects if background is None else [*objects, (background, dict(vars(background)))]


def _state(agent: Any, put_away: dict[int, Any]) -> dict[str, Any]:
    """Returns the state of an agent. ``put_away`` has the offloaded contents by ``id()`` of the
    agents.
    """
    state: dict[str, Any] = _snapshot(agent).to_dict()
    # The metadata has the time. With another one here, an unchanged agent would be a new state.
    state["created_at"] = ""
    # Not copied: the messages are written at once, while all other tasks wait.
    state["data"] = {"messages": agent.messages, **state["data"]}
    interrupts = state["data"]["interrupt_state"]
    # Strands itself turns all dataclasses in these into dicts.
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
    """Yields the agents that a state is for, each with its part of the state."""
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
            "the saved agent's context manager had offloaded contents, but this agent has no context manager",
            "invalid-argument",
            hint="create the agent as before, with its context_manager",
        )
    yield into, snapshot, state
    below = _below(into)
    for name, kept in state.get("agents", {}).items():
        if name not in below:
            raise PersistConfigurationError(
                f"the saved agent had a tool {name!r} that is an agent with a conversation, but this agent has none",
                "invalid-argument",
                hint="create the agent as before, with its tools",
            )
        yield from _checked(kept, below[name])


def _is_valid(name: str, item: Any, into: Any) -> bool:
    """Returns whether an item is a valid part of a snapshot of an agent."""
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
    """Returns whether a conversation manager may have attributes that Strands does not save. A
    class with its own ``get_state`` decides for itself what is saved.
    """
    cls = type(manager)
    return not cls.__module__.startswith("strands.") and cls.get_state.__module__.startswith("strands.")


def _snapshot(agent: Any) -> Snapshot:
    return agent.take_snapshot(preset="session", include=["model_state"], exclude=["messages"])


def _below(agent: Any) -> dict[str, Any]:
    """Returns the agents among an agent's tools that keep their conversation between calls."""
    tools = agent.tool_registry.registry.items()
    agents = {name: tool.agent for name, tool in tools if getattr(tool, "_preserve_context", False)}
    return {name: below for name, below in agents.items() if isinstance(below, Agent)}


def _stash(agent: Any) -> Any:
    """Returns the stash to which an agent's context manager offloads contents. The messages have
    only references to them.
    """
    return getattr(getattr(agent, "context_manager", None), "stash", None)


def _stashes(agent: Any, above: list[Any]) -> Iterator[tuple[int, Any]]:
    """Yields the stashes of an agent and of the agents below it, with the ``id()`` of each agent,
    unless another process can read the stash itself. ``above`` has the agents whose tool the
    agent is.
    """
    if agent in above:
        raise PersistTypeError(
            "an agent that keeps its conversation is a tool of itself",
            "invalid-argument",
            hint="save it separately, and use it as a tool without preserve_context",
        )
    stash = _stash(agent)
    if stash is not None:
        is_found = agent._session_manager is not None or stash._storage is stash._base_storage
        if not (is_found and agent.context_manager.stash_is_durable):
            yield id(agent), stash
    for below in _below(agent).values():
        yield from _stashes(below, [*above, agent])


def _run(function: Any, *arguments: Any) -> Any:
    """Runs an asynchronous function of Strands, even if an event loop is running."""
    from strands._async import run_async

    return run_async(lambda: function(*arguments))


ADAPTERS = (StrandsAdapter(),)
