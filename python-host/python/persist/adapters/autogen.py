"""AutoGen: agents and teams, through their own ``save_state`` and ``load_state``, and what
these leave out.
"""

from __future__ import annotations

import dis
from collections.abc import Iterable
from typing import Any

from autogen_agentchat.agents import AssistantAgent, BaseChatAgent
from autogen_agentchat.base import ChatAgent, Team, TerminationCondition
from autogen_agentchat.messages import StopMessage
from autogen_core import AgentId, ComponentBase, Image, SingleThreadedAgentRuntime
from autogen_core.memory import ListMemory, Memory, MemoryContent, MemoryMimeType
from autogen_core.model_context import ChatCompletionContext, ChatCompletionContextState
from autogen_core.models import ChatCompletionClient
from pydantic import BaseModel

from persist import _persist
from persist._adapter import Adapter
from persist._words import a
from persist.adapters._compare import same
from persist.adapters._own_attributes import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import PersistConfigurationError, PersistIntegrityError, PersistTypeError

_BESIDE = "persist_beside"
"""The field of a state with what AutoGen leaves out, by the paths of agents and teams."""
_COVERED = {"CodeExecutorAgent", "MessageFilterAgent", "UserProxyAgent"}
"""AutoGen's agents that report no state, although they have one. It is saved here."""
_TRIGGERED = "_triggered_activation_groups"
"""The attribute of a graph's manager with the edges that made a node ready."""
_STOPS = "_stop_messages"
"""The attribute with the parts that have stopped, of a condition that needs all of its parts."""
_CLOCK = "_start_time"
"""The start of a timeout, by a clock that differs between processes. The timeout starts again."""


class AutoGenAdapter(Adapter):
    """Saves and restores agents and teams."""

    name = "autogen"
    package = "autogen-agentchat"
    module = "autogen_agentchat"

    def accepts(self, agent: Any) -> bool:
        """Returns whether a value is an agent or a team."""
        return isinstance(agent, (ChatAgent, Team))

    async def save(self, agent: Any) -> Any:
        """Returns what ``save_state`` returns, and what AutoGen leaves out."""
        for one in _all(agent).values():
            _refuse_forgetful(one)
            await _refuse_changed(one)
        return await _saved(agent)

    async def restore(self, state: Any, into: Any = None) -> Any:
        """Restores the state into an agent or a team, and returns it."""
        if into is None:
            raise PersistConfigurationError(
                "an AutoGen agent or team can only be restored into an existing one",
                "invalid-argument",
                hint="create the agent or team as before, and pass it: into=team",
            )
        before = await _saved(into)
        try:
            await _load(into, state)
        except BaseException:
            # Some agents of a team may already have the new state.
            await _load(into, before)
            raise
        return into


async def _saved(agent: Any) -> dict[str, Any]:
    """Returns what is saved of an agent or a team."""
    state = dict(await agent.save_state())
    beside = {path: kept for path, one in _all(agent).items() if (kept := await _kept(one))}
    return {**state, _BESIDE: beside} if beside else state


async def _load(agent: Any, saved: dict[str, Any]) -> None:
    """Gives an agent or a team what was saved."""
    beside = saved.get(_BESIDE, {})
    known = _all(agent)
    missing = next((path for path in beside if path not in known), None)
    if missing is not None:
        raise PersistConfigurationError(
            f"the snapshot holds the state of {missing[1:]}, but the agent or team to restore into has no such agent",
            "invalid-argument",
            hint="create the agent or team as before, with the same names and tools",
        )
    for path, kept in beside.items():
        for owner, own in _own(known[path], kept):
            check_own_attributes(owner, _autogens(owner), own)
        _check_counted(known[path], kept.get("conditions", {}))
    for one in known.values():
        for part in await _parts(one):
            # A selector would add the loaded messages to its own.
            context = getattr(part, "_model_context", None)
            if context is not None:
                await context.clear()
                for message in context._initial_messages or ():
                    await context.add_message(message)
    await agent.load_state({name: item for name, item in saved.items() if name != _BESIDE})
    for path, one in known.items():
        await _put_counted(one, beside.get(path, {}).get("conditions", {}))
    for path, kept in beside.items():
        await _put(known[path], kept)


def _all(agent: Any) -> dict[str, Any]:
    """Returns an agent or a team and all agents and teams in it, by the paths of their names."""
    found: dict[str, Any] = {}
    waiting = [("", agent)]
    for path, one in waiting:
        if not isinstance(one, (ChatAgent, Team)) or any(one is known for known in found.values()):
            continue
        found[path] = one
        waiting += [(f"{path}/{inner.name}", inner) for inner in getattr(one, "_participants", ())]
        waiting += [(f"{path}/{name[1:]}", getattr(one, name, None)) for name in ("_team", "_wrapped_agent")]
        tools = (tool for bench in getattr(one, "_workbench", ()) for tool in getattr(bench, "_tools", ()))
        waiting += [(f"{path}/{tool.name}", getattr(tool, "_task_runner", None)) for tool in tools]
    return found


async def _kept(one: Any) -> dict[str, Any]:
    """Returns what an agent or a team holds that its ``save_state`` leaves out."""
    kept: dict[str, Any] = {}
    for name, owner in _owners(one).items():
        codes = _of_code(owner)
        kept[name] = {key: item for key, item in own_attributes(owner, _autogens(owner)).items() if key not in codes}
    for name, part in _left_out(one).items():
        if isinstance(part, ListMemory):
            kept[name] = [_memory(content) for content in part.content]
            continue
        state = dict(await part.save_state())
        is_empty = state.keys() <= {"type"} or ("tools" in state and not any(state["tools"].values()))
        if not is_empty:
            kept[name] = state
    for part in await _parts(one):
        if hasattr(part, _TRIGGERED):
            kept["triggered"] = {node: sorted(groups) for node, groups in getattr(part, _TRIGGERED).items()}
    counted = {path: found for path, condition in _conditions(one).items() if (found := _counted(condition))}
    return {**kept, "conditions": counted} if counted else kept


async def _put(one: Any, kept: dict[str, Any]) -> None:
    """Gives an agent or a team what :func:`_kept` returned."""
    for name, part in _left_out(one).items():
        if name in kept and isinstance(part, ListMemory):
            part.content = [_remembered(data) for data in kept[name]]
        elif name in kept:
            await part.load_state(kept[name])
    for part in await _parts(one):
        if hasattr(part, _TRIGGERED) and "triggered" in kept:
            setattr(part, _TRIGGERED, {node: set(groups) for node, groups in kept["triggered"].items()})
    for owner, own in _own(one, kept):
        set_own_attributes(owner, _autogens(owner), {**own, **_of_code(owner)})


def _conditions(one: Any) -> dict[str, Any]:
    """Returns the termination condition of a team and the conditions in it, by path."""
    found: dict[str, Any] = {}
    waiting = [("until", getattr(one, "_termination_condition", None))]
    for path, condition in waiting:
        if condition is not None and not any(condition is known for known in found.values()):
            found[path] = condition
            parts = (part for item in vars(condition).values() for part in _made_of(item))
            waiting += [(f"{path}/{number}", part) for number, part in enumerate(parts)]
    return found


def _made_of(item: Any) -> list[Any]:
    """Returns the conditions in an attribute of a condition."""
    items = list(item) if type(item) in (list, tuple) else [item]
    return items if all(isinstance(one, TerminationCondition) for one in items) else []


def _counts(condition: Any) -> set[str]:
    """Returns the attributes in which an AutoGen condition counts: those that it resets."""
    reset = getattr(_autogens(condition), "reset", None)
    code = getattr(reset, "__code__", None)
    steps = () if code is None else dis.get_instructions(code)
    return {step.argval for step in steps if step.opname == "STORE_ATTR"} - {_CLOCK}


def _counted(condition: Any) -> dict[str, Any]:
    """Returns what a condition has counted in a run that has not ended."""
    found: dict[str, Any] = {}
    if counts := {name: item for name in sorted(_counts(condition)) if (item := getattr(condition, name, None))}:
        found["counts"] = counts
    if stops := getattr(condition, _STOPS, None):
        found["stops"] = [message.dump() for message in stops]
    if not _is_autogens(type(condition)):
        own = own_attributes(condition, _autogens(condition))
        if data := {name: item for name, item in own.items() if name not in _code_in(condition)}:
            found["own"] = data
    return {"class": type(condition).__qualname__, **found} if found else found


def _code_in(condition: Any) -> dict[str, Any]:
    """Returns the attributes of the program's own condition that belong to the code, including
    functions and inner conditions.
    """
    own, known = own_attributes(condition, _autogens(condition)), _of_code(condition)
    return {name: item for name, item in own.items() if name in known or callable(item) or _made_of(item)}


def _check_counted(one: Any, counted: Any) -> None:
    """Refuses counts of conditions that a team does not have, or that are not valid."""
    if not isinstance(counted, dict) or not all(isinstance(found, dict) for found in counted.values()):
        raise PersistIntegrityError("Format error: the termination conditions are not valid", "invalid-format")
    conditions = _conditions(one)
    for path, found in counted.items():
        if (condition := conditions.get(path)) is None or type(condition).__qualname__ != found.get("class"):
            raise PersistConfigurationError(
                f"the saved team had counts in {a(str(found.get('class')))}, "
                "but this team has a different termination condition",
                "invalid-argument",
                hint="create the team as before, with its termination condition",
            )
        counts = found.get("counts", {})
        is_counted = isinstance(counts, dict) and all(type(item) in (int, bool) for item in counts.values())
        if not is_counted or not counts.keys() <= _counts(condition):
            raise PersistIntegrityError("Format error: what a condition has counted is not valid", "invalid-format")
        if "own" in found:
            check_own_attributes(condition, _autogens(condition), found["own"])


async def _put_counted(one: Any, counted: dict[str, Any]) -> None:
    """Gives the conditions of a team what :func:`_counted` returned. Those that had counted
    nothing are reset.
    """
    for path, condition in _conditions(one).items():
        found, base = counted.get(path, {}), _autogens(condition)
        if hasattr(condition, _STOPS):
            setattr(condition, _STOPS, [StopMessage.model_validate(data) for data in found.get("stops", ())])
        elif _counts(condition):
            await base.reset(condition)
        for name, item in found.get("counts", {}).items():
            setattr(condition, name, item)
        if "own" in found:
            set_own_attributes(condition, base, {**found["own"], **_code_in(condition)})


def _left_out(one: Any) -> dict[str, Any]:
    """Returns the parts of an agent with a state that AutoGen does not save with the agent."""
    found: dict[str, Any] = {}
    base = _autogens(one)
    if isinstance(one, ChatAgent) and not isinstance(one, AssistantAgent) and base is not BaseChatAgent:
        found = {
            name: getattr(one, f"_{name}") for name in ("model_context", "wrapped_agent") if hasattr(one, f"_{name}")
        }
    if isinstance(one, AssistantAgent):
        found.update((f"workbench {number}", bench) for number, bench in enumerate(one._workbench))
        memories = enumerate(one._memory or ())
        found.update((f"memory {number}", memory) for number, memory in memories if isinstance(memory, ListMemory))
    return found


def _owners(one: Any) -> dict[str, Any]:
    """Returns the agent or team, its model context and its memories, if they are of the
    program's own classes and do not define what their state is.
    """
    owners = {"own": one, "own of context": getattr(one, "_model_context", None)}
    owners.update(
        (f"own of memory {number}", memory) for number, memory in enumerate(getattr(one, "_memory", None) or ())
    )
    return {
        name: owner
        for name, owner in owners.items()
        if isinstance(owner, ComponentBase)
        and not _is_autogens(type(owner))
        and _is_autogens(getattr(owner, "save_state", Memory))
    }


def _of_code(owner: Any) -> dict[str, Any]:
    """Returns the attributes of the program's own class that belong to the code: models, and
    objects that AutoGen's own attributes hold too.
    """
    own = own_attributes(owner, _autogens(owner))
    has: list[Any] = [*_all(owner).values()]
    for name, item in vars(owner).items():
        if name not in own:
            has += item if isinstance(item, list) else [item]
    return {
        name: item
        for name, item in own.items()
        if isinstance(item, ChatCompletionClient)
        or (isinstance(item, ComponentBase) and any(item is one for one in has))
    }


def _own(one: Any, kept: dict[str, Any]) -> Iterable[tuple[Any, Any]]:
    """Returns the objects whose attributes were kept, with the attributes."""
    return [(owner, kept[name]) for name, owner in _owners(one).items() if name in kept]


def _is_autogens(what: Any) -> bool:
    """Returns whether a class or a function belongs to AutoGen."""
    return what.__module__.partition(".")[0] in ("autogen_agentchat", "autogen_core", "autogen_ext")


def _autogens(one: Any) -> Any:
    """Returns the AutoGen class of an instance."""
    return next(filter(_is_autogens, type(one).__mro__), object)


async def _parts(one: Any) -> list[Any]:
    """Returns the objects that hold the messages of a team that ran: one for each participant,
    and the manager.
    """
    runtime = getattr(one, "_runtime", None)
    if not isinstance(runtime, SingleThreadedAgentRuntime) or not getattr(one, "_initialized", False):
        return []
    topics = (*one._participant_topic_types, one._group_chat_manager_topic_type)
    return [await runtime.try_get_underlying_agent_instance(AgentId(topic, one._team_id)) for topic in topics]


def _refuse_forgetful(agent: Any) -> None:
    """Refuses an agent that reports no state because its class does not define ``save_state``."""
    base = _autogens(agent)
    is_covered = base.__name__ in _COVERED and base.__module__.startswith("autogen_agentchat.")
    if getattr(type(agent), "save_state", None) is BaseChatAgent.save_state and not is_covered:
        raise PersistTypeError(
            f"{type(agent).__qualname__} has no save_state of its own, so AutoGen would save none of its state",
            "invalid-argument",
            hint="add save_state() and load_state(state) to the class",
        )


async def _refuse_changed(one: Any) -> None:
    """Refuses messages that AutoGen would change when it loads them."""
    pairs: list[tuple[Any, Any]] = []
    for part in await _parts(one):
        for message in (*getattr(part, "_message_thread", ()), *getattr(part, "_message_buffer", ())):
            pairs.append((message, one._message_factory.create(message.dump())))
    context = getattr(one, "_model_context", None)
    if isinstance(context, ChatCompletionContext) and _is_autogens(type(context).save_state):
        again = ChatCompletionContextState.model_validate(await context.save_state()).messages
        pairs += zip(context._messages, again, strict=True)
    for message, loaded in pairs:
        if _persist.differing([loaded], [message]) and not same(_fields(loaded), _fields(message)):
            raise PersistTypeError(
                f"AutoGen would change {a(type(message).__qualname__)} of {one.name} when loading it",
                "invalid-argument",
                hint="use only the fields that the classes of the message and its content declare",
            )


def _fields(value: Any) -> Any:
    """Returns the classes and fields of a message, with the pixels of images, for comparison."""
    if isinstance(value, Image):
        return [Image, value.image.size, value.image.tobytes()]
    if isinstance(value, BaseModel):
        return [type(value), {name: _fields(item) for name, item in value}]
    if isinstance(value, list):
        return [_fields(item) for item in value]
    # AutoGen turns it into text with the same meaning.
    return value.value if isinstance(value, MemoryMimeType) else value


def _memory(content: MemoryContent) -> dict[str, Any]:
    """Returns the content of a memory as data."""
    kind = content.mime_type
    is_picture = isinstance(content.content, Image)
    return {
        "content": content.content.to_base64() if is_picture else content.content,
        "is_picture": is_picture,
        "mime_type": kind.value if isinstance(kind, MemoryMimeType) else kind,
        "is_known": isinstance(kind, MemoryMimeType),
        "metadata": content.metadata,
    }


def _remembered(data: dict[str, Any]) -> MemoryContent:
    """Returns the content of a memory from data."""
    content, kind = data["content"], data["mime_type"]
    return MemoryContent(
        content=Image.from_base64(content) if data["is_picture"] else content,
        mime_type=MemoryMimeType(kind) if data["is_known"] else kind,
        metadata=data["metadata"],
    )


ADAPTERS = (AutoGenAdapter(),)
