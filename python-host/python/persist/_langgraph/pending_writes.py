"""The pending writes of the checkpoints of one namespace of a LangGraph thread.

Each call that stores writes makes a snapshot, ``w/CHECKPOINT,TURN-TIME-RANDOM.json.zst``. The step after
the checkpoint repeats (folds) those that its writer knows, and these are then superfluous. A
writer deletes only what it has folded itself, or what it has read and found in the next step.

Mostly, that step is stored just after the last writes. So these wait for a moment, and if the step
comes, it stores them, and they need no snapshot.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from urllib.parse import quote

from persist import _persist
from persist._langgraph.checkpoints import (
    CHECKPOINT,
    CONTENT_TYPE,
    Write,
    Writes,
    as_text,
    writes_document,
)
from persist._langgraph.waiting import Waiting
from persist._langgraph.write_objects import Objects, Reading, checkpoint_of, name_of
from persist._store_base import StoreBase
from persist.errors import PersistNotFoundError

FOLDER = "w/"
"""The folder of the writes, below that of the timeline."""

_TOGETHER = 16
"""How many superfluous writes wait to be deleted together."""

_MOMENT = 0.005
"""How long writes wait for the step that may store them, in seconds: longer than LangGraph takes from a
task's end to the next checkpoint, and less than any task takes.
"""

_FIRST: frozenset[str] = frozenset()
"""Names the first writes of a checkpoint among what is waited for."""

_SWEPT = 10_000
"""How many writes that no step has are remembered."""

_KNOWN = 64
"""Of how many checkpoints the writes are kept in memory."""


class _Known:
    """What this process knows of the writes of one checkpoint."""

    def __init__(self, first_turn: int) -> None:
        self.first_turn = first_turn
        self.storing: Objects = {}
        self.stored: Objects = {}
        self.waiting: str | None = None
        """The one among ``storing`` that waits for the next step."""
        self.joining: set[str] = set()
        """Those among ``storing`` that the next step is about to store."""
        self.has_next = False
        """Whether the next step has come, so that it is no use to wait for it."""
        self.folded: list[Write] = []
        """Those that the next step has."""

    def all(self) -> Writes:
        """Returns all writes."""
        objects = [*self.stored.values(), *self.storing.values()]
        return Writes([*self.folded, *(write for writes in objects for write in writes)])


class PendingWrites:
    """Stores, reads and deletes the writes beside a timeline. Its methods may be called by several
    threads at once.
    """

    def __init__(self, store: StoreBase, folder: str, agent_id: str, session_id: str) -> None:
        self._store, self._folder = store, folder
        self._ids = {"agent_id": agent_id, "session_id": session_id}
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._changed = threading.Condition()
        self._waiting = Waiting()
        self._superfluous: list[str] = []
        self._deleting: set[str] = set()
        self._swept: set[str] = set()
        """Writes that came after the next step, which therefore does not have them."""

    def _place(self, name: str = "") -> tuple[_persist.Place, str]:
        return self._store._place(self._folder + FOLDER + name)

    # Storing.

    def put(self, checkpoint_id: str, is_old: bool, made: Callable[[Writes, int], Sequence[Write]]) -> None:
        """Stores writes of a checkpoint. ``made`` gets those that are known, and the turn; ``is_old``
        says that the next step is there, and may have folded others.
        """
        with self._changed:
            # It may have been forgotten meanwhile.
            known = self._of(checkpoint_id, is_old or checkpoint_id not in self._known)
            before = known.all()
            writes = made(before, max(before.next_turn, known.first_turn))
            if not writes:
                return
            place, key = self._place(name_of(checkpoint_id, writes))
            known.storing[key] = [*writes]
        try:
            if not is_old and self._joins(known, key, frozenset(write.channel for write in writes)):
                return
            self._save(place, key, checkpoint_id, writes)
        except BaseException:
            with self._changed:
                known.storing.pop(key, None)
                self._changed.notify_all()
            raise
        with self._changed:
            known.stored[key] = known.storing.pop(key)
            self._changed.notify_all()

    def _joins(self, known: _Known, key: str, channels: frozenset[str]) -> bool:
        """Waits for the step that may store these writes. Returns whether it has."""
        with self._changed:
            if known.has_next or not self._waiting.is_worth(channels):
                return False
            # If a task ends after another, the step has not been about to come.
            known.waiting = key
            self._changed.notify_all()
            self._changed.wait_for(lambda: known.waiting != key, _MOMENT)
            if known.waiting == key:
                known.waiting = None
                self._waiting.note(channels, came=False)
                return False
            self._changed.wait_for(lambda: key not in known.joining)
            is_joined = key not in known.storing
            if is_joined:
                self._waiting.note(channels, came=True)
            return is_joined

    def knows(self, checkpoint_id: str) -> bool:
        """Returns whether all writes of a checkpoint are known that were stored until it was read."""
        return checkpoint_id in self._known

    def begin(self, checkpoint_id: str, is_sure: bool = True) -> None:
        """Notes that a new checkpoint is about to be stored. If that is not sure, its writes count as later
        than those of others.
        """
        with self._changed:
            self._of(checkpoint_id, not is_sure)

    def put_again(self, checkpoint_id: str, writes: Sequence[Write]) -> None:
        """Stores writes that were read, because the step that has them is to be removed."""
        if writes:
            texts = [as_text(write) for write in writes]
            place, key = self._place(name_of(checkpoint_id, texts))
            self._save(place, key, checkpoint_id, texts)

    def _save(self, place: _persist.Place, key: str, checkpoint_id: str, writes: Sequence[Write]) -> None:
        arguments = {
            **self._ids,
            "snapshot_index": 0,
            "content_type": CONTENT_TYPE,
            "labels": {CHECKPOINT: checkpoint_id},
        }
        place.save_bytes(key, writes_document(checkpoint_id, writes), arguments)

    def _of(self, checkpoint_id: str, is_old: bool = False) -> _Known:
        """Returns what is known of a checkpoint. The oldest others are forgotten."""
        known = self._known.get(checkpoint_id)
        if known is None:
            # Later than whatever the next step may have folded.
            known = self._known[checkpoint_id] = _Known(time.time_ns() // 1_000_000 if is_old else 0)
        self._known.move_to_end(checkpoint_id)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return known

    # Folding.

    def folding(self, checkpoint_id: str | None, is_some: bool = False) -> Folding:
        """Begins to fold the writes of a checkpoint into the next step; of none, there are none.
        ``is_some`` says that there are some, even if they have not come yet.
        """
        with self._changed:
            known = None if checkpoint_id is None else self._of(checkpoint_id)
            if known is not None and is_some:
                self._wait_for_some(known)
            return Folding(self, known)

    def _wait_for_some(self, known: _Known) -> None:
        """Waits a moment for the first writes: LangGraph hands them over just before the checkpoint, but to
        another thread.
        """

        def has_some() -> bool:
            return bool(known.stored or known.storing or known.folded)

        if not has_some() and self._waiting.is_worth(_FIRST):
            self._changed.wait_for(has_some, _MOMENT)
            self._waiting.note(_FIRST, came=has_some())

    def _folded(self, known: _Known, objects: Objects) -> None:
        with self._changed:
            for key, writes in objects.items():
                if known.storing.pop(key, None) is None:
                    known.stored.pop(key, None)
                    self._superfluous.append(key)
                known.folded += writes
            is_time = len(self._superfluous) >= _TOGETHER
        if is_time:
            self._delete_soon()

    def _delete_soon(self) -> None:
        """Deletes what is superfluous in a thread: a file system that is busy with what others store lets
        deletions wait. What can't be deleted now is deleted later.
        """

        def delete() -> None:
            with contextlib.suppress(Exception):
                self.delete_superfluous()

        # At its end, the interpreter starts no more threads.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=delete, name="persist deletes pending writes").start()

    def delete_superfluous(self) -> None:
        """Deletes the writes that a later step has folded."""
        with self._changed:
            keys, self._superfluous = self._superfluous, []
            self._deleting.update(keys)
        left = keys
        try:
            if keys:
                left = [key for key, _ in self._place()[0].delete_many(keys)]
        finally:
            with self._changed:
                self._deleting.difference_update(keys)
                self._superfluous += left

    # Reading.

    def list(self, checkpoint_id: str | None = None) -> dict[str, list[str]]:
        """Returns the keys of writes that are not known to be folded, by checkpoint."""
        place, prefix = self._place()
        with self._changed:
            # The next step has them, and they are about to be deleted.
            superfluous = {*self._superfluous, *self._deleting}
        below = "" if checkpoint_id is None else quote(checkpoint_id, safe="") + ","
        found: dict[str, list[str]] = {}
        for key in place.keys(prefix + below):
            of_checkpoint = checkpoint_of(key[len(prefix) :])
            if of_checkpoint is not None and key not in superfluous:
                found.setdefault(of_checkpoint, []).append(key)
        return found

    def reading(self, keys: Sequence[str]) -> Reading:
        """Begins to read objects."""
        # Files are read as quickly one after the other.
        is_local = isinstance(self._store._location, (str, os.PathLike)) and "://" not in str(self._store._location)
        return Reading(self._place()[0], () if is_local else keys)

    def know(self, checkpoint_id: str, objects: Mapping[str, Sequence[Write]], folded: Iterable[Write]) -> None:
        """Keeps what was read, since this process may go on from the checkpoint."""
        with self._changed:
            known = self._of(checkpoint_id)
            for key, writes in objects.items():
                if key not in known.stored and key not in self._superfluous and key not in self._deleting:
                    known.stored[key] = [as_text(write) for write in writes]
            known.folded = known.folded or [as_text(write) for write in folded]

    # Removing.

    def delete(self, checkpoint_ids: Iterable[str] | None = None) -> None:
        """Deletes the writes of checkpoints; by default all."""
        place, prefix = self._place()
        wanted = None if checkpoint_ids is None else {*checkpoint_ids}
        # Also superfluous ones, and those that a thread is deleting just now: it may fail.
        keys = [key for key in place.keys(prefix) if wanted is None or checkpoint_of(key[len(prefix) :]) in wanted]
        for _, error in place.delete_many(keys):
            raise error

    def unswept(self, loose: Mapping[str, builtins.list[str]]) -> dict[str, builtins.list[str]]:
        """Returns those of these writes, by checkpoint, of which it is not known who has them."""
        unknown = {each: [key for key in keys if key not in self._swept] for each, keys in loose.items()}
        return {each: keys for each, keys in unknown.items() if keys}

    def sweep(self, checkpoint_id: str, keys: Sequence[str], folded: Iterable[Write]) -> None:
        """Deletes writes that a process that was killed has left, although the next step has them."""
        by_key = {(write.task_id, write.place): write for write in folded}

        def is_there(write: Write) -> bool:
            found = by_key.get((write.task_id, write.place))
            return found is not None and (write.place >= 0 or found.turn >= write.turn)

        with self.reading(keys) as reading:
            objects = reading.read(keys, is_missing_right=True)
        with self._changed:
            gone = [key for key, writes in objects.items() if all(map(is_there, writes))]
            self._superfluous += gone
            if len(self._swept) > _SWEPT:
                self._swept.clear()
            self._swept.update(objects.keys() - gone)

    def copy(self, other: PendingWrites, checkpoint_ids: Container[str]) -> None:
        """Copies the writes of checkpoints to another place, where the timeline was copied."""
        place, prefix = self._place()
        for checkpoint_id, keys in self.list().items():
            for key in keys if checkpoint_id in checkpoint_ids else ():
                target, there = other._place(key[len(prefix) :])
                # If it is gone, the next step has folded it.
                with contextlib.suppress(PersistNotFoundError):
                    place.copy(key, (target, there), {})

    def forget(self) -> None:
        """Forgets what is known, because the timeline was changed."""
        with self._changed:
            self._known.clear()
            self._superfluous.clear()
            self._swept.clear()


class Folding:
    """The writes of a checkpoint, while the step is stored that folds them."""

    def __init__(self, writes: PendingWrites, known: _Known | None) -> None:
        self._writes, self._known = writes, known
        self.objects: Objects = {}

    def __enter__(self) -> Folding:
        """Takes the writes that wait, and waits for those that are being stored."""
        known = self._known
        if known is not None:
            with self._writes._changed:
                known.has_next = True
                if known.waiting is not None:
                    known.joining.add(known.waiting)
                    known.waiting = None
                storing = known.storing.keys() - known.joining
                try:
                    self._writes._changed.wait_for(lambda: known.storing.keys().isdisjoint(storing))
                except BaseException:
                    # There is no step for them to join.
                    self.__exit__()
                    raise
                joining = {key: known.storing[key] for key in known.joining if key in known.storing}
                self.objects = {**known.stored, **joining}
        return self

    def done(self) -> None:
        """Notes that the next step has folded them."""
        if self._known is not None and self.objects:
            self._writes._folded(self._known, self.objects)

    def __exit__(self, *error: object) -> None:
        """Lets writes that could not join the step be stored by themselves."""
        if self._known is not None:
            with self._writes._changed:
                self._known.joining.clear()
                self._writes._changed.notify_all()
