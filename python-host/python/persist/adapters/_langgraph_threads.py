"""Threads of LangGraph in a checkpointer: which checkpoints one needs to go on, and how
they are put into another.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.pregel import Pregel
from langgraph.pregel._algo import task_path_str

from persist.errors import (
    PersistConfigurationError,
    PersistConflictError,
    PersistIntegrityError,
    PersistNotFoundError,
    PersistTypeError,
)

_NOT_KEPT = "__error__"
"""The channel of what a task raised: it is tried again, as after a restart."""

_QUESTION = "__interrupt__"
"""The channel of what a task asks a person."""


def thread_of(config: Any) -> str:
    configurable = config.get("configurable") if isinstance(config, Mapping) else None
    thread = configurable.get("thread_id") if isinstance(configurable, Mapping) else None
    if thread is None:
        raise PersistConfigurationError(
            "the config names no thread of the graph",
            "invalid-argument",
            hint='pass the config that it runs with: config={"configurable": {"thread_id": "1"}}',
        )
    return str(thread)


def at_namespace(thread: str, namespace: str) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace}}


def of_thread(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


def namespace_of(found: Any) -> str:
    return str(found.config["configurable"].get("checkpoint_ns") or "")


_QUERY = "SELECT DISTINCT checkpoint_ns FROM checkpoints WHERE thread_id = ?"


def names_at_hand(saver: Any, thread: str) -> list[str] | None:
    """The namespaces of a thread where LangGraph's own checkpointers can tell them at
    once; of any other, all checkpoints of the thread have to be read for them.
    """
    modules = {base.__module__ for base in type(saver).__mro__}
    if isinstance(saver, InMemorySaver):
        # A subclass may keep them elsewhere.
        return list(saver.storage.get(thread, ())) or None
    if "langgraph.checkpoint.sqlite" in modules and hasattr(saver, "cursor"):
        with saver.cursor(transaction=False) as cursor:
            return [name for (name,) in cursor.execute(_QUERY, (thread,)).fetchall()]
    return None


async def anames_at_hand(saver: Any, thread: str) -> list[str] | None:
    modules = {base.__module__ for base in type(saver).__mro__}
    if "langgraph.checkpoint.sqlite.aio" in modules and hasattr(saver, "conn") and hasattr(saver, "lock"):
        async with saver.lock, saver.conn.cursor() as cursor:
            await cursor.execute(_QUERY, (thread,))
            return [name for (name,) in await cursor.fetchall()]
    return names_at_hand(saver, thread) if isinstance(saver, InMemorySaver) else None


def copy_of(saver: Any, thread: str) -> Any:
    """A checkpointer that has what one in memory has of a thread; none of any other. What
    it keeps are bytes, which never change.
    """
    # A subclass may keep them elsewhere.
    if type(saver) is not InMemorySaver:
        return None
    twin = InMemorySaver(serde=saver.serde)
    for namespace, checkpoints in saver.storage.get(thread, {}).items():
        twin.storage[thread][namespace] = dict(checkpoints)
    twin.writes.update((key, dict(writes)) for key, writes in saver.writes.items() if key[0] == thread)
    twin.blobs.update((key, blob) for key, blob in saver.blobs.items() if key[0] == thread)
    return twin


NAMES, BEFORE, FOUND, STATE = "names", "before", "get_tuple", "get_state"
"""What :meth:`Wanted.taken` asks for: the namespaces of a thread; the latest checkpoint
before another; a checkpoint; what the graph says of one."""

_Questions = Generator[tuple[Any, ...], Any, Any]


class Asking:
    """Questions, each of which may depend on the answers to those before; the same for
    code that waits for an answer and for code that does not.
    """

    def __init__(self, questions: _Questions) -> None:
        self._questions = questions
        self.question: tuple[Any, ...] | None = None
        """The next one; none where all were answered."""
        self.outcome: Any = None
        """What the answers come to."""
        self.answer(None)

    def answer(self, answer: Any) -> None:
        """Takes the answer to the question; at first there is none to answer."""
        try:
            self.question = self._questions.send(answer)
        except StopIteration as end:
            self.question, self.outcome = None, end.value


class Wanted:
    """The checkpoints that a thread needs to go on: the one that a config names,
    those of graphs that keep a state of their own, and those of the graphs whose
    tasks are pending. What graphs left that have ended is not needed.

    LangGraph finds graphs that are nodes, or that a node's function names. A tool or
    an object may call others: those are known by the namespaces that they left.
    """

    def __init__(self, graph: Any, config: Any) -> None:
        self._thread = thread_of(config)
        given = config["configurable"]
        self._root: str = given.get("checkpoint_ns") or ""
        self._named = given.get("checkpoint_id")
        self._graph = graph
        self._inner = dict(graph.get_subgraphs(recurse=True))
        self._kept: dict[str, tuple[Any, Any]] = {}
        self._ids: set[str] = set()
        self._is_past = False

    def taken(self) -> _Questions:
        """Asks for what is needed, and comes to the state."""
        where = at_namespace(self._thread, self._root)
        found = latest = yield FOUND, where
        if self._named is not None:
            where["configurable"]["checkpoint_id"] = self._named
            found = yield FOUND, where
        if found is None:
            raise PersistNotFoundError(
                f"the graph has no checkpoint of the thread {self._thread!r}",
                "not-found",
                hint="run it first, with this config",
            )
        # Of a step that was left behind nothing is gone on with: it is done again.
        self._is_past = latest is not None and latest.checkpoint["id"] != found.checkpoint["id"]
        yield from self._keep(self._root, found)
        names = yield NAMES, self._thread
        below = {name for name in names if name != self._root and self._is_below(name)}
        # Outer ones first.
        for name in sorted(below, key=lambda name: (name.count("|"), name)):
            if self._is_past:
                found = None
                if ":" not in self._relative(name):
                    before = {"configurable": {"checkpoint_id": self._named}}
                    found = yield BEFORE, at_namespace(self._thread, name), before
            else:
                found = yield from self._needed(name)
            if found is not None:
                yield from self._keep(name, found)
        return self._state()

    def _is_below(self, name: str) -> bool:
        return self._root == "" or name.startswith(self._root + "|")

    def _relative(self, name: str) -> str:
        return name.removeprefix(f"{self._root}|" if self._root else "")

    def _keep(self, name: str, found: Any) -> _Questions:
        graph = self._graph if name == "" else self._inner.get(_without_tasks(name))
        # A node may call one graph that is known, and another that is not.
        is_known = name == "" or (
            isinstance(graph, Pregel) and set(found.checkpoint["channel_versions"]) <= set(graph.channels)
        )
        state = (yield STATE, found.config) if is_known else None
        self._kept[name] = (found, state)
        self._ids.add(found.checkpoint["id"])

    def _needed(self, name: str) -> _Questions:
        """The latest checkpoint of a namespace, if the thread goes on with it."""
        where = at_namespace(self._thread, name)
        *outer, last = name.split("|")
        if ":" not in self._relative(name):
            # Of a graph that keeps a state of its own.
            return (yield FOUND, where)
        while ":" not in last:
            *outer, last = outer
        outer_name = "|".join(outer)
        if outer_name not in self._kept:
            return None
        found, state = self._kept[outer_name]
        if state is not None:
            if any(last == f"{task.name}:{task.id}" for task in state.tasks):
                return (yield FOUND, where)
            graph = self._graph if outer_name == "" else self._inner[_without_tasks(outer_name)]
            # A function that a task calls is no node.
            if not state.tasks or last.partition(":")[0] in graph.nodes:
                return None
        elif not self._is_of_now(found):
            return None
        found = yield FOUND, where
        return found if found is not None and self._is_of_now(found) else None

    def _is_of_now(self, found: Any) -> bool:
        """Whether a graph was begun in the steps that are pending: its checkpoint
        names those of the graphs around it.
        """
        parents = (found.metadata.get("parents") or {}).items()
        return all(parent in self._ids for name, parent in parents if name == self._root or self._is_below(name))

    def _state(self) -> dict[str, Any]:
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
            if self._is_past:
                # They came later, as the answer to a question that is open there.
                writes = [write for write in writes if write[1] == _QUESTION and namespace == self._root]
            if state is None:
                _refuse_changes(namespace, found, writes)
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
        return {"thread_id": self._thread, "checkpoints": checkpoints}


def _without_tasks(name: str) -> str:
    """What LangGraph calls the graph of a namespace: without the tasks that called it,
    and the numbers of their calls.
    """
    return "|".join(part.partition(":")[0] for part in name.split("|") if not part.isdigit())


def _refuse_changes(namespace: str, found: Any, writes: list[list[Any]]) -> None:
    """Refuses a graph that LangGraph does not find, if its checkpoint holds changes
    alone: the graph itself has to apply them.
    """
    channels = found.checkpoint["channel_values"]
    changing = {name for name, value in channels.items() if isinstance(value, _DeltaSnapshot)}
    counted = set(found.metadata.get("counters_since_delta_snapshot") or ())
    lost = sorted((counted - channels.keys()) | ((counted | changing) & {write[1] for write in writes}))
    if lost:
        raise PersistTypeError(
            f"the graph that {_without_tasks(namespace)!r} calls keeps the changes of its channel {lost[0]!r} alone, "
            "and LangGraph does not find the graph, which has to apply them",
            "invalid-argument",
            hint="make it a node, or call it in the node's function by a variable; or give the channel a reducer "
            "in place of DeltaChannel",
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
        self._thread = thread
        self.namespace: str = namespace
        self.checkpoint = (at_namespace(thread, namespace), checkpoint, metadata, checkpoint["channel_versions"])
        self._where = at_namespace(thread, namespace)
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


def puts_of(state: Any, config: Any) -> tuple[str, list[_Put]]:
    """What is to be put, all of it looked at before any of it is. The root comes
    last: until it is there, the thread is not, and can be restored again.
    """
    thread = None if config is None else thread_of(config)
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
