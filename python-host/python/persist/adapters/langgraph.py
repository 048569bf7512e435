"""LangGraph: the thread of a compiled graph, by its checkpointer.

What is saved are the checkpoints that the thread needs to go on, with metadata and
the writes that are pending, so that the graph goes on in the middle of a step;
``update_state`` would run a finished node again.
"""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.pregel import Pregel
from langgraph.pregel._algo import task_path_str
from langgraph.types import Interrupt, Overwrite, Send, TimeoutPolicy

from persist._adapter import Adapter, PartAdapter
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

    def classes(self, agent: Any) -> Iterable[Any]:
        """The types of its state's fields, and of those of the graphs in it."""
        for graph in [agent, *(inner for _, inner in agent.get_subgraphs(recurse=True))]:
            yield from getattr(getattr(graph, "builder", None), "schemas", ())
            for channel in graph.channels.values():
                yield from (getattr(channel, name, None) for name in ("ValueType", "UpdateType"))

    def save(self, agent: Any, *, config: Mapping[str, Any] | None = None) -> Any:
        """The thread that the config names."""
        saver, wanted = _saver(agent, is_async=False), _Wanted(agent, config)
        while (namespace := wanted.next()) is not None:
            found = saver.get_tuple(wanted.at(namespace))
            wanted.take(namespace, found, None if found is None else _state(agent.get_state, found.config))
        if wanted.is_hidden:
            wanted.take_hidden(saver.list(wanted.thread_config), lambda at: _state(agent.get_state, at))
        return wanted.state()

    async def asave(self, agent: Any, *, config: Mapping[str, Any] | None = None) -> Any:
        """As :meth:`save`."""
        saver, wanted = _saver(agent, is_async=True), _Wanted(agent, config)
        try:
            while (namespace := wanted.next()) is not None:
                found = await saver.aget_tuple(wanted.at(namespace))
                wanted.take(namespace, found, None if found is None else await _astate(agent, found.config))
        except NotImplementedError:
            # One that is for code that does not wait.
            return self.save(agent, config=config)
        if wanted.is_hidden:
            others = [found async for found in saver.alist(wanted.thread_config)]
            states = {id(found.config): await _astate(agent, found.config) for found in wanted.hidden(others)}
            wanted.take_hidden(others, lambda at: states.get(id(at)))
        return wanted.state()

    def restore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """The graph, whose checkpointer has the thread: a new one to it."""
        saver = _saver(_target(into), is_async=False)
        thread, puts = _puts(state, config)
        for put in puts:
            put.refuse_other(saver.get_tuple(_at(thread, put.namespace)), is_root=put is puts[-1])
        has_paths = "task_path" in inspect.signature(saver.put_writes).parameters
        for put in puts:
            for arguments in put.writes(has_paths):
                saver.put_writes(*arguments)
        for put in puts:
            saver.put(*put.checkpoint)
        return into

    async def arestore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """As :meth:`restore`."""
        saver = _saver(_target(into), is_async=True)
        thread, puts = _puts(state, config)
        try:
            for put in puts:
                put.refuse_other(await saver.aget_tuple(_at(thread, put.namespace)), is_root=put is puts[-1])
        except NotImplementedError:
            return self.restore(state, into, config=config)
        has_paths = "task_path" in inspect.signature(saver.aput_writes).parameters
        for put in puts:
            for arguments in put.writes(has_paths):
                await saver.aput_writes(*arguments)
        for put in puts:
            await saver.aput(*put.checkpoint)
        return into


def _target(into: Any) -> Any:
    if into is None or isinstance(into, type):
        raise PersistConfigurationError(
            "the thread of a graph can only be restored into a graph",
            "invalid-argument",
            hint="pass the graph: into=graph",
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
            "the config names no thread of the graph",
            "invalid-argument",
            hint='pass the config that it runs with: config={"configurable": {"thread_id": "1"}}',
        )
    return str(thread)


def _at(thread: str, namespace: str) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace}}


def _state(get_state: Any, config: Any) -> Any:
    """What the graph says of a checkpoint: values and tasks. None where it does not
    know the namespace, since a node calls that graph by itself.
    """
    try:
        return get_state(config)
    except ValueError:
        return None


async def _astate(graph: Any, config: Any) -> Any:
    try:
        return await graph.aget_state(config)
    except ValueError:
        return None


class _Wanted:
    """The checkpoints that a thread needs to go on: the one that a config names,
    those of graphs that keep a state of their own, and those of the graphs whose
    tasks are pending. What graphs left that have ended is not needed.
    """

    def __init__(self, graph: Any, config: Any) -> None:
        self.thread = _thread_of(config)
        given = config["configurable"]
        self.root = given.get("checkpoint_ns") or ""
        self.named = given.get("checkpoint_id")
        self.thread_config: Any = {"configurable": {"thread_id": self.thread}}
        self.is_hidden = False
        """Whether there may be more that is not known by name."""
        self._graph = graph
        self._waiting = [self.root]
        self._asked: set[str] = set()
        self._kept: dict[str, tuple[Any, Any]] = {}

    def next(self) -> str | None:
        """The next namespace to be looked at."""
        while self._waiting:
            namespace = self._waiting.pop(0)
            if namespace not in self._asked:
                self._asked.add(namespace)
                return namespace
        return None

    def at(self, namespace: str) -> Any:
        """Where its latest checkpoint is, or the one that was named."""
        where = _at(self.thread, namespace)
        if self.named is not None and namespace == self.root:
            where["configurable"]["checkpoint_id"] = self.named
        return where

    def take(self, namespace: str, found: Any, state: Any) -> None:
        """Takes what was found, and what the graph says of it."""
        if found is None:
            if namespace == self.root:
                raise PersistNotFoundError(
                    f"the graph has no checkpoint of the thread {self.thread!r}",
                    "not-found",
                    hint="run it first, with this config",
                )
            return
        self._kept[namespace] = (found, state)
        if self.named is not None:
            # What is latest now may be later than what was named.
            self.is_hidden = True
            return
        if namespace == self.root:
            for path, inner in self._graph.get_subgraphs(recurse=True):
                if inner.checkpointer is True:
                    self._waiting.append(f"{self.root}|{path}" if self.root else path)
        if state is None:
            self.is_hidden = True
            return
        for task in state.tasks:
            inner = f"{task.name}:{task.id}"
            self._waiting.append(f"{namespace}|{inner}" if namespace else inner)

    def hidden(self, others: Iterable[Any]) -> list[Any]:
        """The latest of each other namespace; none that is later than the one that
        was named.
        """
        root, _ = self._kept[self.root]
        tasks = {f"{task.name}:{task.id}" for _, state in self._kept.values() for task in getattr(state, "tasks", ())}
        found: dict[str, Any] = {}
        for other in others:
            namespace = other.config["configurable"].get("checkpoint_ns", "")
            is_below = self.root == "" or namespace.startswith(self.root + "|")
            if namespace in found or namespace in self._kept or not is_below:
                continue
            parent = (other.metadata.get("parents") or {}).get(self.root)
            # Ids are in the order of time.
            if self.named is not None and (parent is None or parent > root.checkpoint["id"]):
                continue
            # Of a task that has ended nothing is needed.
            first = namespace.removeprefix(f"{self.root}|" if self.root else "").partition("|")[0]
            if ":" in first and first not in tasks:
                continue
            found[namespace] = other
        return list(found.values())

    def take_hidden(self, others: Iterable[Any], state_at: Any) -> None:
        """Takes those."""
        for found in self.hidden(others):
            self._kept[found.config["configurable"].get("checkpoint_ns", "")] = (found, state_at(found.config))

    def state(self) -> dict[str, Any]:
        """What is saved of them."""
        checkpoints = []
        for namespace, (found, state) in self._kept.items():
            channels = dict(found.checkpoint["channel_values"])
            values = getattr(state, "values", None)
            # Channels of which a checkpoint holds the changes alone.
            for name in found.checkpoint["channel_versions"]:
                if name not in channels and isinstance(values, dict) and name in values:
                    channels[name] = _DeltaSnapshot(values[name])
            paths = {task.id: task_path_str(task.path) for task in getattr(state, "tasks", ())}
            writes = [list(write) for write in found.pending_writes or [] if write[1] != _NOT_KEPT]
            checkpoints.append(
                {
                    "namespace": namespace,
                    "checkpoint": {**found.checkpoint, "channel_values": channels},
                    "metadata": dict(found.metadata),
                    "writes": writes,
                    # In whose order a channel takes the writes of a step.
                    "task_paths": {task: paths[task] for task, *_ in writes if task in paths},
                }
            )
        return {"thread_id": self.thread, "checkpoints": checkpoints}


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
        self._thread = thread
        self.namespace: str = namespace
        self.checkpoint = (_at(thread, namespace), checkpoint, metadata, checkpoint["channel_versions"])
        self._where = _at(thread, namespace)
        self._where["configurable"]["checkpoint_id"] = checkpoint["id"]
        self._paths: dict[str, str] = kept.get("task_paths", {})
        if not isinstance(self._paths, dict) or not all(isinstance(path, str) for path in self._paths.values()):
            raise TypeError
        self._writes: dict[str, list[tuple[str, Any]]] = {}
        for task, channel, value in kept["writes"]:
            if not isinstance(task, str) or not isinstance(channel, str):
                raise TypeError
            self._writes.setdefault(task, []).append((channel, value))

    def refuse_other(self, known: Any, is_root: bool) -> None:
        """Refuses a checkpointer that has a checkpoint there, unless it is this one,
        which a restore that failed left.
        """
        if known is not None and (is_root or known.checkpoint["id"] != self.checkpoint[1]["id"]):
            raise PersistConflictError(
                f"the graph's checkpointer already has the thread {self._thread!r}, whose later checkpoint would win",
                "already-exists",
                hint='restore it as another: config={"configurable": {"thread_id": …}}; or delete that thread first',
            )

    def writes(self, has_paths: bool) -> Iterator[tuple[Any, ...]]:
        """The arguments with which the checkpointer takes its pending writes."""
        for task, writes in self._writes.items():
            yield (self._where, writes, task, *([self._paths.get(task, "")] if has_paths else []))


def _puts(state: Any, config: Any) -> tuple[str, list[_Put]]:
    """What is to be put, all of it looked at before any of it is. The root comes
    last: until it is there, the thread is not, and can be restored again.
    """
    thread = None if config is None else _thread_of(config)
    try:
        thread = state["thread_id"] if thread is None else thread
        if not isinstance(thread, str):
            raise TypeError
        root, *others = [_Put(thread, kept) for kept in state["checkpoints"]]
        below = f"{root.namespace}|" if root.namespace else ""
        if len({put.namespace for put in (root, *others)}) <= len(others) or not all(
            put.namespace.startswith(below) for put in others
        ):
            raise ValueError
        return thread, [*others, root]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PersistIntegrityError(
            "Format error: the state is not a thread of a graph", "invalid-format", hint="restore it with plain=True"
        ) from error


class LangGraphPartsAdapter(PartAdapter):
    """What graphs write down beside values: tasks to be sent, interrupts."""

    name = "langgraph-parts"
    package = "langgraph"
    module = "langgraph"
    known: ClassVar[dict[str, tuple[Any, tuple[str, ...]]]] = {
        "Send": (Send, ("node", "arg", "timeout")),
        "TimeoutPolicy": (TimeoutPolicy, ("run_timeout", "idle_timeout", "refresh_on")),
        "Interrupt": (Interrupt, ("value", "id", "response_schema")),
        "Overwrite": (Overwrite, ("value",)),
        "DeltaSnapshot": (_DeltaSnapshot, ("value",)),
    }

    def accepts(self, agent: Any) -> bool:
        """Whether it is one of these."""
        return any(type(agent) is cls for cls, _ in self.known.values())

    def save_part(self, value: Any) -> dict[str, Any]:
        """The class by its short name, and what it holds."""
        name = type(value).__name__.lstrip("_")
        _cls, names = self.known[name]
        fields = {at: found for at in names if (found := getattr(value, at, None)) is not None}
        if isinstance(fields.get("response_schema"), type):
            raise PersistTypeError(
                "an interrupt's response_schema is a class, and classes are not saved",
                "invalid-argument",
                hint="give it a JSON schema",
            )
        return {"class": name, "value": fields}

    def restore_part(self, fields: dict[str, Any], options: Mapping[str, Any]) -> Any:
        """The object."""
        cls, names = self.known[fields["class"]]
        given = fields["value"]
        if not isinstance(given, dict) or any(name not in names for name in given):
            raise PersistIntegrityError("Format error: the state holds an invalid value of LangGraph", "invalid-format")
        if cls is Interrupt:
            return Interrupt(given.get("value"), **{name: item for name, item in given.items() if name != "value"})
        if cls is Send:
            return Send(given["node"], given.get("arg"), timeout=given.get("timeout"))
        return cls(**given) if cls is TimeoutPolicy else cls(given.get("value"))


ADAPTERS = (LangGraphAdapter(), LangGraphPartsAdapter())
