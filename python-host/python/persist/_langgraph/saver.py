"""For LangGraph: a checkpointer that keeps every step of every thread in files or a bucket."""

from __future__ import annotations

import asyncio
import builtins
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    SerializerProtocol,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from persist._keys import store_at
from persist._langgraph.arguments import config_of, names_of, several, time_of
from persist._langgraph.asking import thread_of
from persist._langgraph.channels import channel_values, dumped, loaded
from persist._langgraph.checkpoints import Made, Write, Writes, place_of
from persist._langgraph.entries import Entry
from persist._langgraph.history import delta_history, pending
from persist._langgraph.namespace import Found, Namespace
from persist._langgraph.removing import keep_latest, last_used, remove, unused
from persist._langgraph.threads import Threads
from persist._langgraph.twins import AsyncTwins
from persist._store import Store
from persist._store_base import StoreBase
from persist.errors import PersistConfigurationError, PersistConflictError, PersistTypeError

if TYPE_CHECKING:
    # Not in all versions.
    from langgraph.checkpoint.base import DeltaChannelHistory

AGENT = "langgraph"
"""The agent of which threads are sessions, unless another is given."""


class PersistSaver(AsyncTwins):
    """A checkpointer that keeps the threads of LangGraph in a folder or a bucket, without a
    database. Each thread is a timeline, so all its checkpoints take little more space than the
    last one, and ``persist log``, ``diff`` and ``restore`` read it.

    Any number of threads, tasks and processes may use one thread at the same time: nothing is
    lost, and the latest checkpoint is the one that was stored last.

    Args:
        location: A folder, ``s3://bucket/prefix``, or a :class:`persist.Store`.
        agent_id: The agent whose sessions the threads are. Two graphs whose threads have the same IDs
            need different agents.
        serde: The serializer. By default LangGraph's own, which creates only objects of known
            classes: pass ``JsonPlusSerializer(allowed_msgpack_modules=[(module, class)])`` for more.
        ttl: How long after its last checkpoint a thread is kept. An older one counts as missing;
            :meth:`prune_threads` deletes it.

    Use it in a ``with`` block, or call :meth:`close` at the end, so that the loss of the newest
    checkpoint would be noticed.

    Example::

        graph = builder.compile(checkpointer=PersistSaver("s3://bucket/agents"))
        graph.invoke(inputs, {"configurable": {"thread_id": "case-1"}})
    """

    def __init__(
        self,
        location: str | os.PathLike[str] | Store,
        *,
        agent_id: str = AGENT,
        serde: SerializerProtocol | None = None,
        ttl: timedelta | None = None,
    ) -> None:
        super().__init__(serde=serde or _strict())
        if ttl is not None and (not isinstance(ttl, timedelta) or ttl <= timedelta(0)):
            raise PersistTypeError(
                f"ttl must be a timedelta of more than 0, not {ttl!r}",
                "invalid-argument",
                hint="pass timedelta(days=30)",
            )
        store = store_at(location)
        # A copy of this object shares them.
        self._threads = Threads(store._twin(StoreBase), agent_id)
        self.ttl = ttl

    # Reading.

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Returns the checkpoint that a config names, or the latest of its thread."""
        thread, name = names_of(config)
        space = self._threads.namespace(thread, name)
        checkpoint_id = get_checkpoint_id(config)
        found = space.get(checkpoint_id) if checkpoint_id else space.latest()
        if found is None:
            return None
        if self.ttl is not None and self._expired(thread, space.newest() if checkpoint_id else found) is not None:
            return None
        return self._tuple(thread, name, found, self._value(found.document.metadata))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yields the checkpoints of a thread, or of all threads, from the latest to the first of each
        namespace.

        Args:
            config: The thread, and if it has them, the namespace and the checkpoint.
            filter: Metadata that the checkpoints must have.
            before: Only checkpoints that were stored before this one.
            limit: The maximum number of checkpoints.
        """
        given = (config or {}).get("configurable", {})
        name, wanted = given.get("checkpoint_ns"), given.get("checkpoint_id")
        found = (
            self._tuple(thread, each.document.namespace, each, metadata)
            for thread in (self.threads() if config is None else [thread_of(config)])
            for space in self._listed(thread, name)
            for each, metadata in self._found(thread, space, wanted, before)
            if all(metadata.get(key) == value for key, value in (filter or {}).items())
        )
        return itertools.islice(found, None if limit is None else max(limit, 0))

    def _listed(self, thread: str, name: str | None) -> Iterator[Namespace]:
        """Yields a namespace of a thread, or all."""
        spaces = self._threads.namespaces(thread) if name is None else [(name, self._threads.namespace(thread, name))]
        return (space for _, space in spaces if self.ttl is None or self._expired(thread, space.newest()) is None)

    def _found(
        self, thread: str, space: Namespace, wanted: str | None, before: RunnableConfig | None
    ) -> Iterator[tuple[Found, Mapping[str, Any]]]:
        """Yields the checkpoints of a namespace with their metadata, the newest first: the wanted one, or
        all, and only those that were stored before another.
        """
        limit_id = get_checkpoint_id(before) if before else None
        limit = None if limit_id is None else space.number_of(limit_id)

        def is_wanted(entry: Entry) -> bool:
            is_early = limit is None or entry.number < limit
            return is_early and not entry.is_ancestor and wanted in (None, entry.id)

        is_before = None if limit_id is None or limit is not None else self._before(thread, before, limit_id)
        for found in space.all(is_wanted):
            metadata = self._value(found.document.metadata)
            if is_before is None or is_before(found.document.id, metadata):
                yield found, metadata

    def _before(self, thread: str, before: Any, limit_id: str) -> Callable[[str, Mapping[str, Any]], bool]:
        """Returns what tells whether a checkpoint was stored before one of another namespace. Its metadata
        names the checkpoint of that namespace during which it was made; otherwise, the IDs have an order.
        """
        name = before["configurable"].get("checkpoint_ns", "")
        numbers = {entry.id: entry.number for entry in self._threads.namespace(thread, name).entries()}
        limit = numbers.get(limit_id)

        def is_before(checkpoint_id: str, metadata: Mapping[str, Any]) -> bool:
            parent = numbers.get((metadata.get("parents") or {}).get(name, ""))
            return checkpoint_id < limit_id if parent is None or limit is None else parent < limit

        return is_before

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Returns what the ancestors of a checkpoint wrote to channels, up to the nearest that
        stored a value.
        """
        space = self._threads.namespace(*names_of(config))
        return delta_history(space, get_checkpoint_id(config), channels, self._value)

    def _tuple(self, thread: str, name: str, found: Found, metadata: Any) -> CheckpointTuple:
        read = found.document
        checkpoint = self._value(read.checkpoint)
        values = {channel: self._value(value) for channel, value in read.channels()}
        return CheckpointTuple(
            config=config_of(thread, name, read.id),
            checkpoint={**checkpoint, "channel_values": values},
            metadata=metadata,
            parent_config=None if read.parent is None else config_of(thread, name, read.parent),
            pending_writes=[pending(write, self._value) for write in found.writes],
        )

    def _value(self, value: Any) -> Any:
        return loaded(self.serde, value)

    # Storing.

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Stores a checkpoint. When this returns, it is durable, and any process can load it.

        Returns:
            The config that names the checkpoint.
        """
        thread, name = names_of(config)
        space, parent = self._threads.namespace(thread, name), get_checkpoint_id(config)
        if self.ttl is not None and parent is None and not name:
            expired = self._expired(thread, space.newest())
            # What has expired does not come back with the thread. Writes may have come before this, and
            # somebody else may just have begun again.
            if expired is not None and self._threads.delete(thread, after=expired):
                space = self._threads.namespace(thread, name)
        rest: dict[str, Any] = {**checkpoint}
        del rest["channel_values"]
        plain = dumped(self.serde, rest)
        described = dumped(self.serde, get_checkpoint_metadata(config, metadata))
        with space.lock:
            values = channel_values(space, self.serde, parent, checkpoint, new_versions)
            follows = metadata.get("source") == "loop"
            space.append(Made(checkpoint["id"], parent, name, described, plain, time_of(checkpoint), values, follows))
        return config_of(thread, name, checkpoint["id"])

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Stores what a task wrote after a checkpoint, before the next one is stored."""
        thread, name = names_of(config)
        checkpoint_id = get_checkpoint_id(config)
        if not checkpoint_id:
            raise PersistConfigurationError(
                "the config names no checkpoint that the writes belong to",
                "invalid-argument",
                hint="pass the config that put() returned",
            )
        made = [
            (place_of(channel, place), channel, dumped(self.serde, value).text)
            for place, (channel, value) in enumerate(writes)
        ]

        def new(known: Writes, turn: int) -> builtins.list[Write]:
            return [
                Write(task_id, at, channel, value, task_path, turn)
                for at, channel, value in made
                if not known.has(task_id, at)
            ]

        self._threads.namespace(thread, name).put_writes(checkpoint_id, new)

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Returns the version after this one: a number, and a random part."""
        return str(InMemorySaver.get_next_version(self, current, channel))

    # Removing and copying.

    def delete_thread(self, thread_id: str) -> None:
        """Deletes all checkpoints and writes of a thread."""
        self._threads.delete(str(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Deletes the checkpoints that these runs have stored, with their writes."""
        wanted = {*several(run_ids)}
        for thread in self.threads() if wanted else ():
            for _, space in self._threads.namespaces(thread):
                gone = {
                    entry.number
                    for entry in space.entries()
                    if self._value(space.document(entry.number).metadata).get("run_id") in wanted
                }
                if gone:
                    remove(space, gone)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Removes checkpoints of threads.

        Args:
            thread_ids: The threads.
            strategy: ``keep_latest`` keeps the latest of each namespace, and hides what it is rebuilt
                from; ``delete`` keeps nothing.
        """
        if strategy not in ("keep_latest", "delete"):
            raise PersistConfigurationError(
                f"there is no strategy {strategy!r}", "invalid-argument", hint="use 'keep_latest' or 'delete'"
            )
        for thread in several(thread_ids):
            if strategy == "delete":
                self.delete_thread(thread)
                continue
            for _, space in self._threads.namespaces(str(thread)):
                keep_latest(space, self.serde)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copies all checkpoints and writes of a thread to one that has none. If that is an earlier copy,
        what has been added since is copied, so this also completes an interrupted copy.

        Raises:
            PersistConflictError: The other thread has different checkpoints, or had some that were deleted.
        """
        source, target = str(source_thread_id), str(target_thread_id)
        spaces = dict(self._threads.namespaces(source))
        for name, other in self._threads.namespaces(target):
            if name not in spaces and other.newest() is not None:
                raise PersistConflictError(
                    f"the thread {target!r} has different checkpoints",
                    "already-exists",
                    other.timeline.location,
                    hint="copy to a new thread ID",
                )
        for name, space in spaces.items():
            space.copy(self._threads.namespace(target, name))

    def prune_threads(
        self, *, keep_last: int | None = None, older_than: timedelta | None = None, dry_run: bool = False
    ) -> builtins.list[str]:
        """Deletes whole threads: those that are not among the ``keep_last`` most recently used, and those whose
        last checkpoint is older than ``older_than``. Without either, those that the ``ttl`` has made obsolete.

        Returns:
            The IDs of the threads that were deleted, or would be.
        """
        if keep_last is None and older_than is None:
            older_than = self.ttl
        if keep_last is None and older_than is None:
            raise PersistConfigurationError(
                "there is no rule for which threads to delete", "invalid-argument", hint="pass keep_last or older_than"
            )
        if keep_last is not None and (isinstance(keep_last, bool) or not isinstance(keep_last, int) or keep_last < 0):
            raise PersistConfigurationError(
                f"keep_last must be a number of threads, not {keep_last!r}", "invalid-argument", hint="pass 1000"
            )
        gone = unused(self._threads, keep_last, older_than)
        # A thread that somebody uses meanwhile stays.
        return [thread for thread, newest in gone.items() if dry_run or self._threads.delete(thread, after=newest)]

    def threads(self) -> builtins.list[str]:
        """Returns the IDs of all threads, in order."""
        return self._threads.ids()

    # The rest.

    def close(self) -> None:
        """Records the newest checkpoints, and deletes writes that are superfluous. The saver can still
        be used.
        """
        self._threads.close()

    def __enter__(self) -> PersistSaver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> PersistSaver:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"PersistSaver({self._threads.store.location!r}, agent_id={self._threads.agent_id!r})"

    def _is_old(self, newest: Entry | Found | None) -> bool:
        """Returns whether a thread with this newest checkpoint has expired."""
        return self.ttl is not None and newest is not None and datetime.now(timezone.utc) - newest.taken > self.ttl

    def _expired(self, thread: str, newest: Entry | Found | None) -> Mapping[str, Entry] | None:
        """Returns the newest steps of a thread, if it has expired. One of its namespaces has this checkpoint."""
        if self.ttl is None or not self._is_old(newest):
            return None
        # Another of its namespaces may be in use.
        found = self._threads.newest(thread)
        return found if datetime.now(timezone.utc) - last_used(found) > self.ttl else None


def _strict() -> SerializerProtocol:
    try:
        return JsonPlusSerializer(allowed_msgpack_modules=None)
    except TypeError:
        raise PersistConfigurationError(
            "this version of langgraph-checkpoint creates objects of any class",
            "invalid-argument",
            hint="pip install 'langgraph-checkpoint>=4.0.3,<5', or pass a serde",
        ) from None
