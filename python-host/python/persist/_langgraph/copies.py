"""Copies threads of LangGraph from one checkpointer to another, of any kind."""

from __future__ import annotations

import copy as copying
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_id,
)

from persist._langgraph.arguments import several
from persist._langgraph.asking import Asking, Questions
from persist._langgraph.saver import PersistSaver
from persist._progress import Progress, shown
from persist.errors import PersistConflictError, PersistIntegrityError

Listed = tuple[RunnableConfig, "RunnableConfig | None"]
"""A checkpoint and its parent."""


class _Copying:
    """A copy in progress. A question is a checkpointer, the name of a method and its arguments. The
    answer to a listing is only the configs, since all checkpoints of a thread can take much memory.
    """

    def __init__(
        self,
        source: BaseCheckpointSaver[Any],
        target: BaseCheckpointSaver[Any],
        told: Callable[[int, int | None], object],
    ) -> None:
        self._source, self._target, self._told = _without_ttl(source), _without_ttl(target), told
        self._done = 0

    def threads(self, thread_ids: Iterable[str] | None) -> Questions:
        """Copies threads, and returns the number of checkpoints that were copied."""
        if thread_ids is None:
            found: list[Listed] = yield self._source, "list", (None,)
            thread_ids = dict.fromkeys(config["configurable"]["thread_id"] for config, _ in found)
        copied = 0
        for thread in thread_ids:
            copied += yield from self._thread(thread)
        return copied

    def _thread(self, thread: str) -> Questions:
        whole: RunnableConfig = {"configurable": {"thread_id": thread}}
        listed: list[Listed] = yield self._source, "list", (whole,)
        hidden = yield from self._hidden(listed)
        theirs = [*hidden, *(config for config, _ in reversed(listed))]
        ours: list[Listed] = yield self._target, "list", (whole,)
        there = {_key(config) for config, _ in ours}
        if other := there - {*map(_key, theirs)}:
            raise PersistConflictError(
                f"the thread {thread!r} of the target has different checkpoints, such as {min(other)[1]}",
                "already-exists",
                hint="copy to an empty checkpointer, or delete the thread there first",
            )
        copied = 0
        # The oldest first, so that what is there at any time is a thread.
        for config in theirs:
            found: CheckpointTuple | None = yield self._source, "get_tuple", (config,)
            if found is None:  # It was pruned meanwhile.
                continue
            name, checkpoint_id = _key(config)
            stored: CheckpointTuple | None
            if (name, checkpoint_id) in there:
                there.remove((name, checkpoint_id))
                stored = yield self._target, "get_tuple", (config,)
                if stored is not None:
                    # The copy may have been interrupted, or the thread has gone on.
                    yield from self._missing_writes(found, stored)
            elif any(other == name for other, _ in there):
                raise PersistConflictError(
                    f"the thread {thread!r} of the target lacks checkpoint {checkpoint_id}, and has later ones",
                    "already-exists",
                    hint="it was pruned there: copy to an empty checkpointer, or delete the thread there first",
                )
            else:
                yield from self._checkpoint(found)
                copied += 1
            stored = yield self._target, "get_tuple", (config,)
            self._compare(found, stored)
            self._done += 1
            self._told(self._done, None)
        return copied

    def _checkpoint(self, found: CheckpointTuple) -> Questions:
        config = found.config["configurable"]
        name = config.get("checkpoint_ns", "")
        parent: dict[str, Any] = {"thread_id": config["thread_id"], "checkpoint_ns": name}
        if found.parent_config is not None:
            parent["checkpoint_id"] = get_checkpoint_id(found.parent_config)
        versions = found.checkpoint["channel_versions"]
        put: tuple[Any, ...] = ({"configurable": parent}, found.checkpoint, found.metadata, versions)
        stored = yield self._target, "put", put
        yield from self._writes(stored, found.pending_writes)
        return 1

    def _writes(self, stored: RunnableConfig, pending: list[PendingWrite] | None) -> Questions:
        for place, (task_id, writes) in enumerate(_by_task(pending or []).items()):
            # The path only gives the order of the tasks.
            yield self._target, "put_writes", (stored, writes, task_id, f"{place:06}")
        return None

    def _missing_writes(self, found: CheckpointTuple, stored: CheckpointTuple) -> Questions:
        """Stores the writes of a checkpoint if the copy has only some. Those that are there stay."""
        if len(stored.pending_writes or []) < len(found.pending_writes or []):
            yield from self._writes(stored.config, found.pending_writes)
        return None

    def _hidden(self, listed: Sequence[Listed]) -> Questions:
        """Returns the checkpoints that are not listed, and from which channels of listed ones may be
        rebuilt, the oldest first.
        """
        known, hidden = {_key(config) for config, _ in listed}, list[RunnableConfig]()
        for _, parent in listed:
            while parent is not None and _key(parent) not in known:
                known.add(_key(parent))
                found: CheckpointTuple | None = yield self._source, "get_tuple", (parent,)
                if found is None:
                    break
                hidden.append(parent)
                parent = found.parent_config
        return hidden[::-1]

    def _compare(self, theirs: CheckpointTuple, ours: CheckpointTuple | None) -> None:
        if ours is not None and self._is_same(_content(theirs), _content(ours)):
            return
        thread, checkpoint_id = theirs.config["configurable"]["thread_id"], theirs.checkpoint["id"]
        raise PersistIntegrityError(
            f"the copy of checkpoint {checkpoint_id} of the thread {thread!r} differs from the original",
            "integrity",
            hint="if the graph was running, copy again; otherwise compare the checkpoints",
        )

    def _is_same(self, one: Any, other: Any) -> bool:
        serialize = self._target.serde.dumps_typed
        if serialize(one) == serialize(other):
            return True
        try:
            # Sets have no order.
            return bool(one == other)
        except ValueError:  # Arrays can't be compared like this.
            return False


def _without_ttl(saver: BaseCheckpointSaver[Any]) -> BaseCheckpointSaver[Any]:
    """Returns a checkpointer for which no thread has expired: it may be copied while it is in use."""
    if not isinstance(saver, PersistSaver) or saver.ttl is None:
        return saver
    lasting = copying.copy(saver)
    lasting.ttl = None
    return lasting


def _content(found: CheckpointTuple) -> Any:
    parent = None if found.parent_config is None else get_checkpoint_id(found.parent_config)
    writes = [list(write) for write in found.pending_writes or []]
    # Special writes, such as an interrupt and the answer to it, have no order among each other.
    special = sorted((write for write in writes if write[1] in WRITES_IDX_MAP), key=lambda write: write[:2])
    return [
        parent,
        found.checkpoint,
        dict(found.metadata),
        [write for write in writes if write[1] not in WRITES_IDX_MAP],
        special,
    ]


def _key(config: RunnableConfig) -> tuple[str, str]:
    given = config["configurable"]
    return given.get("checkpoint_ns", ""), given["checkpoint_id"]


def _listed(found: CheckpointTuple) -> Listed:
    return found.config, found.parent_config


def _by_task(writes: list[PendingWrite]) -> dict[str, list[tuple[str, Any]]]:
    tasks: dict[str, list[tuple[str, Any]]] = {}
    for task_id, channel, value in writes:
        tasks.setdefault(task_id, []).append((channel, value))
    return tasks


def copy(
    source: BaseCheckpointSaver[Any],
    target: BaseCheckpointSaver[Any],
    thread_ids: Sequence[str] | None = None,
    *,
    progress: Progress | None = None,
) -> int:
    """Copies threads from one checkpointer to another, of any kind: to move to this one, or away
    from it. Each checkpoint is read back and compared. A copy that was interrupted is continued
    by the next one.

    Args:
        source: The checkpointer to copy from.
        target: The one to copy to.
        thread_ids: The threads; by default all.
        progress: A function that is called with the number of checkpoints so far, or ``True`` for a
            display.

    Returns:
        The number of checkpoints that were copied.

    Raises:
        PersistConflictError: A thread of the target has different checkpoints.
        PersistIntegrityError: A copy is not the same as the checkpoint.
    """
    with shown(progress, "copying", "checkpoints") as told:
        asking = Asking(_Copying(source, target, told or _ignore).threads(several(thread_ids)))
        while asking.question is not None:
            saver, method, arguments = asking.question
            answer = getattr(saver, method)(*arguments)
            asking.answer([_listed(each) for each in answer] if method == "list" else answer)
        return int(asking.outcome)


async def acopy(
    source: BaseCheckpointSaver[Any],
    target: BaseCheckpointSaver[Any],
    thread_ids: Sequence[str] | None = None,
    *,
    progress: Progress | None = None,
) -> int:
    """Like :func:`copy`, for checkpointers that only work with asyncio."""
    with shown(progress, "copying", "checkpoints") as told:
        asking = Asking(_Copying(source, target, told or _ignore).threads(several(thread_ids)))
        while asking.question is not None:
            saver, method, arguments = asking.question
            answer = getattr(saver, f"a{method}")(*arguments)
            asking.answer(
                [(each.config, each.parent_config) async for each in answer] if method == "list" else await answer
            )
        return int(asking.outcome)


def _ignore(done: int, total: int | None) -> None: ...
