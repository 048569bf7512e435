"""LangGraph: the thread of a compiled graph, by its checkpointer.

What is saved is each namespace's latest checkpoint with its metadata and the
writes that are pending, so that the graph goes on in the middle of a step;
``update_state`` would run a finished node again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from langgraph.pregel import Pregel
from langgraph.types import Interrupt, Overwrite, Send

from persist.adapters import Adapter, PartAdapter
from persist.errors import PersistConfigurationError, PersistIntegrityError, PersistNotFoundError

_NOT_KEPT = "__error__"
"""The channel of what a task raised: it is tried again, as after a restart."""


class LangGraphAdapter(Adapter):
    """Threads of graphs."""

    name = "langgraph"
    package = "langgraph"
    module = "langgraph"

    def accepts(self, agent: Any) -> bool:
        """Whether it is a compiled graph."""
        return isinstance(agent, Pregel)

    def save(self, agent: Any, *, config: Mapping[str, Any] | None = None) -> Any:
        """The thread that the config names."""
        saver, wanted = _saver(agent), _config(config)
        latest = saver.get_tuple(wanted)
        others = saver.list({"configurable": {"thread_id": wanted["configurable"]["thread_id"]}})
        values = agent.get_state(wanted).values if latest is not None else {}
        return _state(agent, wanted, latest, others, values)

    async def asave(self, agent: Any, *, config: Mapping[str, Any] | None = None) -> Any:
        """As :meth:`save`."""
        saver, wanted = _saver(agent), _config(config)
        latest = await saver.aget_tuple(wanted)
        thread = {"configurable": {"thread_id": wanted["configurable"]["thread_id"]}}
        others = [found async for found in saver.alist(thread)]
        values = (await agent.aget_state(wanted)).values if latest is not None else {}
        return _state(agent, wanted, latest, others, values)

    def restore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """The graph, whose checkpointer has the thread."""
        saver = _saver(_target(into))
        for put in _puts(state, config):
            where = saver.put(*put.checkpoint)
            for task, writes in put.writes.items():
                saver.put_writes(where, writes, task)
        return into

    async def arestore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """As :meth:`restore`."""
        saver = _saver(_target(into))
        for put in _puts(state, config):
            where = await saver.aput(*put.checkpoint)
            for task, writes in put.writes.items():
                await saver.aput_writes(where, writes, task)
        return into


def _target(into: Any) -> Any:
    if into is None or isinstance(into, type):
        raise PersistConfigurationError(
            "the thread of a graph is restored into a graph", "invalid-argument", hint="pass the graph: into=graph"
        )
    return into


def _saver(graph: Any) -> Any:
    saver = graph.checkpointer
    if saver is None or isinstance(saver, bool):
        raise PersistConfigurationError(
            "the graph has no checkpointer, so that it keeps no state",
            "invalid-argument",
            hint="give it one: builder.compile(checkpointer=…), or create_agent(…, checkpointer=…)",
        )
    return saver


def _config(config: Mapping[str, Any] | None) -> dict[str, Any]:
    thread = (config or {}).get("configurable", {}).get("thread_id")
    if thread is None:
        raise PersistConfigurationError(
            "a graph has many threads, and none is named",
            "invalid-argument",
            hint='pass the config that it runs with: config={"configurable": {"thread_id": "1"}}',
        )
    known = {name: value for name, value in (config or {})["configurable"].items() if name.startswith("checkpoint_")}
    return {"configurable": {"checkpoint_ns": "", **known, "thread_id": str(thread)}}


def _state(graph: Any, wanted: dict[str, Any], latest: Any, others: Iterable[Any], values: Any) -> dict[str, Any]:
    """What is kept of a thread: the latest of each namespace, or what belongs
    to the checkpoint that was named.
    """
    thread = wanted["configurable"]["thread_id"]
    if latest is None:
        raise PersistNotFoundError(
            f"the graph has no checkpoint of the thread {thread!r}", "not-found", hint="run it first, with this config"
        )
    root = wanted["configurable"]["checkpoint_ns"]
    named = wanted["configurable"].get("checkpoint_id")
    found = {root: latest}
    for other in others:
        namespace = other.config["configurable"].get("checkpoint_ns", "")
        if namespace in found or not namespace.startswith(root):
            continue
        if named is not None and (other.metadata.get("parents") or {}).get(root) != named:
            continue
        found[namespace] = other
    checkpoints = [_checkpoint(namespace, kept) for namespace, kept in found.items()]
    # Channels of which a checkpoint holds the changes alone.
    kept = checkpoints[0]["checkpoint"]["channel_values"]
    for name in latest.checkpoint["channel_versions"]:
        if name not in kept and isinstance(values, dict) and name in values and name in graph.channels:
            kept[name] = values[name]
    return {"thread_id": thread, "checkpoints": checkpoints}


def _checkpoint(namespace: str, kept: Any) -> dict[str, Any]:
    checkpoint = {**kept.checkpoint, "channel_values": dict(kept.checkpoint["channel_values"])}
    writes = [list(write) for write in kept.pending_writes or [] if write[1] != _NOT_KEPT]
    return {
        "namespace": namespace,
        "checkpoint": checkpoint,
        "metadata": dict(kept.metadata),
        "writes": writes,
    }


class _Put:
    """One checkpoint on its way into a checkpointer."""

    def __init__(self, thread: str, kept: dict[str, Any]) -> None:
        checkpoint = kept["checkpoint"]
        where = {"configurable": {"thread_id": thread, "checkpoint_ns": kept["namespace"]}}
        self.checkpoint = (where, checkpoint, kept["metadata"], checkpoint["channel_versions"])
        self.writes: dict[str, list[tuple[str, Any]]] = {}
        for task, channel, value in kept["writes"]:
            self.writes.setdefault(task, []).append((channel, value))


def _puts(state: Any, config: Mapping[str, Any] | None) -> list[_Put]:
    """What is to be put, all of it looked at before any of it is."""
    try:
        thread = state["thread_id"] if config is None else _config(config)["configurable"]["thread_id"]
        return [_Put(thread, kept) for kept in state["checkpoints"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PersistIntegrityError(
            "Format error: the state is no thread of a graph", "invalid-format", hint="restore it with plain=True"
        ) from error


class LangGraphPartsAdapter(PartAdapter):
    """What graphs write down beside values: tasks to be sent, interrupts."""

    name = "langgraph-parts"
    package = "langgraph"
    module = "langgraph"
    classes: ClassVar[dict[str, Any]] = {"Send": Send, "Interrupt": Interrupt, "Overwrite": Overwrite}

    def accepts(self, agent: Any) -> bool:
        """Whether it is one of these."""
        return type(agent) in self.classes.values()

    def save_part(self, value: Any) -> dict[str, Any]:
        """The class by its short name, and what it holds."""
        names = {"Send": ("node", "arg"), "Interrupt": ("value", "id"), "Overwrite": ("value",)}
        cls = type(value).__name__
        return {"class": cls, "value": {name: getattr(value, name) for name in names[cls]}}

    def restore_part(self, fields: dict[str, Any], options: Mapping[str, Any]) -> Any:
        """The object."""
        return self.classes[fields["class"]](**fields["value"])


ADAPTERS = (LangGraphAdapter(), LangGraphPartsAdapter())
