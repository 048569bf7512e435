"""LangGraph threads in a checkpointer: which checkpoints a thread needs to continue, and
how they are put into another checkpointer.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.pregel import Pregel
from langgraph.pregel._algo import task_path_str

from persist._langgraph.asking import Questions, thread_of
from persist.errors import (
    PersistConflictError,
    PersistIntegrityError,
    PersistNotFoundError,
    PersistTypeError,
)

_NOT_KEPT = "__error__"
"""The channel of a task's error. It is not saved: the task runs again, as after a restart."""

_QUESTION = "__interrupt__"
"""The channel of a task's question to a person."""


def at_namespace(thread: str, namespace: str) -> Any:
    """Returns the config for a namespace of a thread."""
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace}}


def of_thread(thread: str) -> Any:
    """Returns the config for all namespaces of a thread."""
    return {"configurable": {"thread_id": thread}}


def namespace_of(found: Any) -> str:
    """Returns the namespace of a checkpoint."""
    return str(found.config["configurable"].get("checkpoint_ns") or "")


_QUERY = "SELECT DISTINCT checkpoint_ns FROM checkpoints WHERE thread_id = ?"


def names_at_hand(saver: Any, thread: str) -> list[str] | None:
    """Returns the namespaces of a thread, if they can be read from one of LangGraph's own
    checkpointers directly. For any other, all checkpoints of the thread have to be read.
    """
    modules = {base.__module__ for base in type(saver).__mro__}
    if isinstance(saver, InMemorySaver):
        # A subclass may keep its checkpoints elsewhere.
        return list(saver.storage.get(thread, ())) or None
    if "langgraph.checkpoint.sqlite" in modules and hasattr(saver, "cursor"):
        with saver.cursor(transaction=False) as cursor:
            return [name for (name,) in cursor.execute(_QUERY, (thread,)).fetchall()]
    return None


async def anames_at_hand(saver: Any, thread: str) -> list[str] | None:
    """Like :func:`names_at_hand`, for asyncio."""
    modules = {base.__module__ for base in type(saver).__mro__}
    if "langgraph.checkpoint.sqlite.aio" in modules and hasattr(saver, "conn") and hasattr(saver, "lock"):
        async with saver.lock, saver.conn.cursor() as cursor:
            await cursor.execute(_QUERY, (thread,))
            return [name for (name,) in await cursor.fetchall()]
    return names_at_hand(saver, thread) if isinstance(saver, InMemorySaver) else None


def copy_of(saver: Any, thread: str) -> Any:
    """Returns a copy of an in-memory checkpointer with one thread, or ``None`` for any other
    checkpointer. The checkpoints themselves are bytes, which never change.
    """
    # A subclass may keep its checkpoints elsewhere.
    if type(saver) is not InMemorySaver:
        return None
    twin = InMemorySaver(serde=saver.serde)
    for namespace, checkpoints in saver.storage.get(thread, {}).items():
        twin.storage[thread][namespace] = dict(checkpoints)
    twin.writes.update((key, dict(writes)) for key, writes in saver.writes.items() if key[0] == thread)
    twin.blobs.update((key, blob) for key, blob in saver.blobs.items() if key[0] == thread)
    return twin


NAMES, BEFORE, FOUND, STATE = "names", "before", "get_tuple", "get_state"
"""The questions of :meth:`Wanted.taken`: the namespaces of a thread, the latest checkpoint
before another, a checkpoint, and the graph's view of a checkpoint.
"""


class Wanted:
    """The checkpoints that a thread needs to continue: the one that a config names, those of
    graphs that keep a state of their own, and those of graphs with pending tasks. Those of
    graphs that have ended are not needed.

    LangGraph finds graphs that are nodes, or that a node's function names. A tool or an
    object may call other graphs, which are known only by their namespaces.
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

    def taken(self) -> Questions:
        """Yields the questions, and returns the state."""
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
        # At an earlier checkpoint, the step after it runs again, so pending work is not needed.
        self._is_past = latest is not None and latest.checkpoint["id"] != found.checkpoint["id"]
        yield from self._keep(self._root, found)
        names = yield NAMES, self._thread
        below = {name for name in names if name != self._root and self._is_below(name)}
        # Outer graphs come first.
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

    def _keep(self, name: str, found: Any) -> Questions:
        graph = self._graph if name == "" else self._inner.get(_without_tasks(name))
        # A node may call a known graph and an unknown one.
        is_known = name == "" or (
            isinstance(graph, Pregel) and set(found.checkpoint["channel_versions"]) <= set(graph.channels)
        )
        state = (yield STATE, found.config) if is_known else None
        self._kept[name] = (found, state)
        self._ids.add(found.checkpoint["id"])

    def _needed(self, name: str) -> Questions:
        """Returns the latest checkpoint of a namespace, if the thread needs it to continue."""
        where = at_namespace(self._thread, name)
        *outer, last = name.split("|")
        if ":" not in self._relative(name):
            # The graph keeps a state of its own.
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
            # A function that a task calls is not a node.
            if not state.tasks or last.partition(":")[0] in graph.nodes:
                return None
        elif not self._is_of_now(found):
            return None
        found = yield FOUND, where
        return found if found is not None and self._is_of_now(found) else None

    def _is_of_now(self, found: Any) -> bool:
        """Returns whether a graph was started in the pending steps: its checkpoint names the
        checkpoints of the graphs around it.
        """
        parents = (found.metadata.get("parents") or {}).items()
        return all(parent in self._ids for name, parent in parents if name == self._root or self._is_below(name))

    def _state(self) -> dict[str, Any]:
        """Returns the state to save."""
        checkpoints = []
        for namespace, (found, state) in self._kept.items():
            channels = dict(found.checkpoint["channel_values"])
            values = getattr(state, "values", None)
            # Channels of which the checkpoint holds only the changes.
            for name in found.checkpoint["channel_versions"]:
                if name not in channels and isinstance(values, dict) and name in values:
                    channels[name] = _DeltaSnapshot(values[name])
            paths = {task.id: task_path_str(task.path) for task in getattr(state, "tasks", ())}
            writes = [list(write) for write in found.pending_writes or [] if write[1] != _NOT_KEPT]
            if self._is_past:
                # The other writes came later, as the answer to a question that is still open here.
                writes = [write for write in writes if write[1] == _QUESTION and namespace == self._root]
            if state is None:
                _refuse_changes(namespace, found, writes)
            checkpoints.append(
                {
                    "namespace": namespace,
                    "checkpoint": {**found.checkpoint, "channel_values": channels},
                    "metadata": dict(found.metadata),
                    "writes": writes,
                    # Channels apply the writes of a step in the order of these paths.
                    "task_paths": {task: paths[task] for task, *_ in writes if task in paths},
                }
            )
        return {"thread_id": self._thread, "checkpoints": checkpoints}


def _without_tasks(name: str) -> str:
    """Returns LangGraph's name for the graph of a namespace: without the tasks that called it
    and the numbers of their calls.
    """
    return "|".join(part.partition(":")[0] for part in name.split("|") if not part.isdigit())


def _refuse_changes(namespace: str, found: Any, writes: list[list[Any]]) -> None:
    """Refuses a graph that LangGraph does not find, if its checkpoint holds only changes:
    the graph itself would have to apply them.
    """
    channels = found.checkpoint["channel_values"]
    changing = {name for name, value in channels.items() if isinstance(value, _DeltaSnapshot)}
    counted = set(found.metadata.get("counters_since_delta_snapshot") or ())
    lost = sorted((counted - channels.keys()) | ((counted | changing) & {write[1] for write in writes}))
    if lost:
        raise PersistTypeError(
            f"the graph that {_without_tasks(namespace)!r} calls keeps only the changes to its channel {lost[0]!r}, "
            "and LangGraph can't find this graph, which is needed to apply them",
            "invalid-argument",
            hint="make the graph a node, or call it in the node's function through a variable; or give the channel "
            "a reducer instead of DeltaChannel",
        )


class _Put:
    """A checkpoint to put into a checkpointer."""

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
        """Refuses a checkpointer that has another checkpoint in the namespace. A failed restore
        may have left this one.
        """
        if known is not None and (is_root or known.checkpoint["id"] != self.checkpoint[1]["id"]):
            raise PersistConflictError(
                f"the graph's checkpointer already has the thread {self._thread!r}, whose later checkpoint would win",
                "already-exists",
                hint='restore into another thread: config={"configurable": {"thread_id": …}}; '
                "or delete that thread first",
            )

    def writes(self, has_paths: bool) -> Iterator[tuple[Any, ...]]:
        """Yields the arguments to put the pending writes into the checkpointer."""
        for task, writes in self._writes.items():
            yield (self._where, writes, task, *([self._paths.get(task, "")] if has_paths else []))


def puts_of(state: Any, config: Any) -> tuple[str, list[_Put]]:
    """Returns the checkpoints to put, after checking all of them. The root comes last: until
    it is put, the thread does not exist and can be restored again.
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
