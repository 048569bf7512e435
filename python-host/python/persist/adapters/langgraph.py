"""LangGraph: the thread of a compiled graph, by its checkpointer.

What is saved is each namespace's latest checkpoint with its metadata and the
writes that are pending, so that the graph goes on in the middle of a step;
``update_state`` would run a finished node again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from langgraph.pregel import Pregel
from langgraph.types import Interrupt, Overwrite, Send, TimeoutPolicy

from persist.adapters import Adapter, PartAdapter
from persist.errors import (
    PersistConfigurationError,
    PersistConflictError,
    PersistIntegrityError,
    PersistNotFoundError,
    PersistTypeError,
)

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
        saver, wanted = _saver(agent, is_async=False), _Wanted(config)
        root = saver.get_tuple(wanted.config)
        kept = wanted.choose(root, list(saver.list(wanted.thread_config)))
        return wanted.state(kept, [_values(agent.get_state, found.config) for found in kept.values()])

    async def asave(self, agent: Any, *, config: Mapping[str, Any] | None = None) -> Any:
        """As :meth:`save`."""
        saver, wanted = _saver(agent, is_async=True), _Wanted(config)
        try:
            root = await saver.aget_tuple(wanted.config)
        except NotImplementedError:
            # One that is for code that does not wait.
            return self.save(agent, config=config)
        kept = wanted.choose(root, [found async for found in saver.alist(wanted.thread_config)])
        values = []
        for found in kept.values():
            try:
                values.append((await agent.aget_state(found.config)).values)
            except ValueError:
                values.append({})
        return wanted.state(kept, values)

    def restore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """The graph, whose checkpointer has the thread: a new one to it."""
        saver = _saver(_target(into), is_async=False)
        thread, puts = _puts(state, config)
        _refuse_known(saver.get_tuple(_at(thread)), thread)
        for put in puts:
            where = saver.put(*put.checkpoint)
            for task, writes in put.writes.items():
                saver.put_writes(where, writes, task)
        return into

    async def arestore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """As :meth:`restore`."""
        saver = _saver(_target(into), is_async=True)
        thread, puts = _puts(state, config)
        try:
            known = await saver.aget_tuple(_at(thread))
        except NotImplementedError:
            return self.restore(state, into, config=config)
        _refuse_known(known, thread)
        for put in puts:
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


def _saver(graph: Any, is_async: bool) -> Any:
    saver = graph.checkpointer
    if saver is None or isinstance(saver, bool):
        raise PersistConfigurationError(
            "the graph has no checkpointer, so that it keeps no state",
            "invalid-argument",
            hint="give it one: builder.compile(checkpointer=…), or create_agent(…, checkpointer=…)",
        )
    loop = getattr(saver, "loop", None)
    if not is_async and isinstance(loop, asyncio.AbstractEventLoop) and (_is_current(loop) or not loop.is_running()):
        # It would wait for the loop, which waits for it; or for one that is over.
        raise PersistConfigurationError(
            f"the graph's {type(saver).__name__} works in its own event loop",
            "invalid-argument",
            hint="there, await persist.asnapshot(…) and persist.arestore(…)",
        )
    return saver


def _is_current(loop: Any) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _thread_of(config: Any) -> str:
    configurable = config.get("configurable") if isinstance(config, Mapping) else None
    thread = configurable.get("thread_id") if isinstance(configurable, Mapping) else None
    if thread is None:
        raise PersistConfigurationError(
            "a graph has many threads, and none is named",
            "invalid-argument",
            hint='pass the config that it runs with: config={"configurable": {"thread_id": "1"}}',
        )
    return str(thread)


def _at(thread: str, **more: Any) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", **more}}


def _values(get_state: Any, config: Any) -> Any:
    """The values at a checkpoint, without what is pending there; none where the
    graph does not know the namespace, since a node calls that graph by itself.
    """
    try:
        return get_state(config).values
    except ValueError:
        return {}


class _Wanted:
    """The checkpoints that a config names."""

    def __init__(self, config: Any) -> None:
        self.thread = _thread_of(config)
        given = config["configurable"]
        self.root = given.get("checkpoint_ns") or ""
        self.named = given.get("checkpoint_id")
        named = {} if self.named is None else {"checkpoint_id": self.named}
        self.config = {"configurable": {"thread_id": self.thread, "checkpoint_ns": self.root, **named}}
        self.thread_config: Any = {"configurable": {"thread_id": self.thread}}

    def choose(self, root: Any, others: list[Any]) -> dict[str, Any]:
        """The latest of each namespace; none that is later than the one that was
        named.
        """
        if root is None:
            raise PersistNotFoundError(
                f"the graph has no checkpoint of the thread {self.thread!r}",
                "not-found",
                hint="run it first, with this config",
            )
        found = {self.root: root}
        for other in others:
            namespace = other.config["configurable"].get("checkpoint_ns", "")
            is_below = self.root == "" or namespace == self.root or namespace.startswith(self.root + "|")
            if namespace in found or not is_below:
                continue
            parent = (other.metadata.get("parents") or {}).get(self.root)
            # Ids are in the order of time.
            if self.named is not None and (parent is None or parent > self.named):
                continue
            found[namespace] = other
        return found

    def state(self, kept: dict[str, Any], values: list[Any]) -> dict[str, Any]:
        """What is saved of them."""
        checkpoints = []
        for (namespace, found), known in zip(kept.items(), values, strict=True):
            channels = dict(found.checkpoint["channel_values"])
            # Channels of which a checkpoint holds the changes alone.
            for name in found.checkpoint["channel_versions"]:
                if name not in channels and isinstance(known, dict) and name in known:
                    channels[name] = known[name]
            checkpoints.append(
                {
                    "namespace": namespace,
                    "checkpoint": {**found.checkpoint, "channel_values": channels},
                    "metadata": dict(found.metadata),
                    "writes": [list(write) for write in found.pending_writes or [] if write[1] != _NOT_KEPT],
                }
            )
        return {"thread_id": self.thread, "checkpoints": checkpoints}


def _refuse_known(known: Any, thread: str) -> None:
    if known is not None:
        raise PersistConflictError(
            f"the graph's checkpointer has the thread {thread!r} already, and a later checkpoint would win",
            "already-exists",
            hint='restore it as another: config={"configurable": {"thread_id": …}}; or delete that thread first',
        )


class _Put:
    """One checkpoint on its way into a checkpointer."""

    def __init__(self, thread: str, kept: dict[str, Any]) -> None:
        checkpoint, metadata, namespace = kept["checkpoint"], kept["metadata"], kept["namespace"]
        for value, cls in (
            (namespace, str),
            (metadata, dict),
            (checkpoint["id"], str),
            (checkpoint["channel_values"], dict),
            (checkpoint["channel_versions"], dict),
            (checkpoint["versions_seen"], dict),
        ):
            if not isinstance(value, cls):
                raise TypeError
        uuid.UUID(checkpoint["id"])
        where = {"configurable": {"thread_id": thread, "checkpoint_ns": namespace}}
        self.checkpoint = (where, checkpoint, metadata, checkpoint["channel_versions"])
        self.writes: dict[str, list[tuple[str, Any]]] = {}
        for task, channel, value in kept["writes"]:
            if not isinstance(task, str) or not isinstance(channel, str):
                raise TypeError
            self.writes.setdefault(task, []).append((channel, value))


def _puts(state: Any, config: Any) -> tuple[str, list[_Put]]:
    """What is to be put, all of it looked at before any of it is."""
    thread = None if config is None else _thread_of(config)
    try:
        thread = state["thread_id"] if thread is None else thread
        if not isinstance(thread, str):
            raise TypeError
        return thread, [_Put(thread, kept) for kept in state["checkpoints"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PersistIntegrityError(
            "Format error: the state is no thread of a graph", "invalid-format", hint="restore it with plain=True"
        ) from error


class LangGraphPartsAdapter(PartAdapter):
    """What graphs write down beside values: tasks to be sent, interrupts."""

    name = "langgraph-parts"
    package = "langgraph"
    module = "langgraph"
    classes: ClassVar[dict[str, tuple[Any, tuple[str, ...]]]] = {
        "Send": (Send, ("node", "arg", "timeout")),
        "TimeoutPolicy": (TimeoutPolicy, ("run_timeout", "idle_timeout", "refresh_on")),
        "Interrupt": (Interrupt, ("value", "id", "response_schema")),
        "Overwrite": (Overwrite, ("value",)),
    }

    def accepts(self, agent: Any) -> bool:
        """Whether it is one of these."""
        return any(type(agent) is cls for cls, _ in self.classes.values())

    def save_part(self, value: Any) -> dict[str, Any]:
        """The class by its short name, and what it holds."""
        cls, names = self.classes[type(value).__name__]
        fields = {name: found for name in names if (found := getattr(value, name, None)) is not None}
        if isinstance(fields.get("response_schema"), type):
            raise PersistTypeError(
                "an interrupt's response_schema is a class, and classes are not saved",
                "invalid-argument",
                hint="give it a JSON schema",
            )
        return {"class": cls.__name__, "value": fields}

    def restore_part(self, fields: dict[str, Any], options: Mapping[str, Any]) -> Any:
        """The object."""
        cls, names = self.classes[fields["class"]]
        given = fields["value"]
        if not isinstance(given, dict) or any(name not in names for name in given):
            raise PersistIntegrityError("Format error: a value of LangGraph in it is not valid", "invalid-format")
        if cls is Interrupt:
            return Interrupt(given.get("value"), **{name: item for name, item in given.items() if name != "value"})
        if cls is Send:
            return Send(given["node"], given.get("arg"), timeout=given.get("timeout"))
        return cls(**given) if cls is TimeoutPolicy else cls(given.get("value"))


ADAPTERS = (LangGraphAdapter(), LangGraphPartsAdapter())
