"""The checkpoints of one namespace of a LangGraph thread: a timeline, and pending writes beside it.

The writes of a checkpoint come before the next one is stored, which then repeats (folds) them.
Only the step right after a checkpoint does that, so a reader knows where to look: it lists the
writes first, then reads the next step, and misses none.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from persist._langgraph.checkpoints import CONTENT_TYPE, Document, Made, Text, Write, Writes
from persist._langgraph.entries import Entry, entry_of, is_uuid, options_of
from persist._langgraph.pending_writes import PendingWrites
from persist._langgraph.write_objects import merged
from persist._saving import Encoded
from persist._steps import Step
from persist._store_base import StoreBase
from persist._timeline import Timeline
from persist.errors import PersistConflictError, PersistNotFoundError

_ATTEMPTS = 20
"""How often a checkpoint is read again because others have gone on meanwhile."""

_CACHED = 8 << 20
"""The size in bytes of the states of which the checkpoints are kept while a history is read."""

_LEFT = 64
"""How many superfluous writes others may have left before they are looked for."""


class Found(NamedTuple):
    """A checkpoint that was found."""

    number: int
    taken: datetime
    """When it was made, in UTC."""
    document: Document
    writes: list[Write]


class Head(NamedTuple):
    """The newest checkpoint that this process has stored or read."""

    entry: Entry
    values: Mapping[str, tuple[Any, Text | None]]
    """The version of each channel, and its value, if it has one and this process has stored it."""
    document: Document

    @property
    def number(self) -> int:
        """The number of its step."""
        return self.entry.number

    @property
    def id(self) -> str:
        """Its ID."""
        return self.entry.id


class Namespace:
    """Reads and writes the checkpoints of one namespace. Its methods may be called by several
    threads at once.
    """

    def __init__(self, store: StoreBase, folder: str, agent_id: str, session_id: str) -> None:
        self.lock = threading.RLock()
        """Held while a checkpoint is stored."""
        self.timeline = Timeline.__new__(Timeline)
        self.timeline._set(store, folder, agent_id, session_id)
        self.writes = PendingWrites(store, folder, agent_id, session_id)
        self.head: Head | None = None
        self._numbers: dict[str, int] = {}
        self._cache: OrderedDict[int, tuple[int, Document]] = OrderedDict()
        self._cached = 0
        """The size of all documents in it, in bytes of JSON."""

    # Reading.

    def latest(self) -> Found | None:
        """Returns the newest checkpoint, with its writes."""
        for _ in range(_ATTEMPTS):
            # Before the newest step is looked for: no step after it can have folded these.
            loose = self.writes.list()
            with self.writes.reading([key for keys in loose.values() for key in keys]) as reading:
                try:
                    entry, document = self._newest()
                except PersistNotFoundError:
                    return None
                try:
                    objects = reading.read(loose.get(document.id, ()))
                except PersistNotFoundError:
                    continue  # A later step has folded it.
            with self.lock:
                self._numbers[document.id] = entry.number
                if self.head is None or entry.number > self.head.number:
                    self.head = Head(entry, {}, document)
            self.writes.know(document.id, objects, ())
            self._sweep(loose, entry.number)
            return Found(entry.number, entry.taken, document, merged(objects, ()))
        raise self._changing()

    def _newest(self) -> tuple[Entry, Document]:
        """Reads the newest step. Mostly, it is the one that this process has stored."""
        head = self.head
        if head is not None and self.timeline._is_newest(head.number):
            return head.entry, head.document
        state, metadata = self.timeline._opened().native.load()
        entry = entry_of(metadata)
        return entry, self._document(state, entry.number)

    def get(self, checkpoint_id: str) -> Found | None:
        """Returns a checkpoint with its writes. This process may go on from it."""
        for _ in range(_ATTEMPTS):
            number = self.number_of(checkpoint_id)
            if number is None:
                return None
            keys = self.writes.list(checkpoint_id).get(checkpoint_id, [])
            with self.writes.reading(keys) as reading:
                try:
                    state, metadata = self.timeline._opened().native.load(str(number))
                    folded = self._folded_after(number, checkpoint_id)
                    objects = reading.read(keys)
                except PersistNotFoundError:
                    # It was pruned, or is stored under another number now; or writes were folded.
                    self._numbers.pop(checkpoint_id, None)
                    continue
            self.writes.know(checkpoint_id, objects, folded)
            return Found(number, entry_of(metadata).taken, self._document(state, number), merged(objects, folded))
        raise self._changing()

    def _changing(self) -> PersistConflictError:
        return PersistConflictError(
            "the thread keeps changing", "conflict", self.timeline.location, retryable=True, hint="try again"
        )

    def all(self, is_wanted: Callable[[Entry], bool]) -> Iterator[Found]:
        """Yields the wanted checkpoints with their writes, from the newest step to the oldest."""
        loose = self.writes.list()
        for entry in self.entries():
            if is_wanted(entry):
                try:
                    document = self.document(entry.number)
                except PersistNotFoundError:  # It was pruned meanwhile.
                    continue
                writes = self._writes_of(entry.number, entry.id, loose)
                yield Found(entry.number, entry.taken, document, writes)

    def ancestors(self, checkpoint_id: str) -> Iterator[tuple[int, Document, Callable[[], Sequence[Write]]]]:
        """Yields the ancestors of a checkpoint, the nearest first: the number of each, the checkpoint,
        and what returns its writes.
        """
        loose = self.writes.list()
        wanted: str | None = checkpoint_id
        seen: set[str] = set()
        # A checkpoint may be stored again, as a child of itself.
        while wanted is not None and wanted not in seen and (number := self.number_of(wanted)) is not None:
            try:
                document = self.document(number)
            except PersistNotFoundError:
                return
            if seen:
                yield number, document, partial(self._writes_of, number, wanted, loose)
            seen.add(wanted)
            wanted = document.parent

    def _writes_of(self, number: int, checkpoint_id: str, loose: Mapping[str, Sequence[str]]) -> list[Write]:
        """Returns the writes of a checkpoint, of which these were listed before."""
        keys = loose.get(checkpoint_id, ())
        with self.writes.reading(keys) as reading:
            folded = self._folded_after(number, checkpoint_id)
            return merged(reading.read(keys, is_missing_right=True), folded)

    def document(self, number: int) -> Document:
        """Reads the checkpoint of a step, which never changes."""
        with self.lock:
            if (cached := self._cache.get(number)) is not None:
                self._cache.move_to_end(number)
                return cached[1]
        state, _ = self.timeline._opened().native.load(str(number))
        return self._document(state, number)

    def newest(self) -> Entry | None:
        """Returns the newest step."""
        return next(self.entries(1), None)

    def entries(self, limit: int | None = None) -> Iterator[Entry]:
        """Yields all steps, or the newest, from the newest to the oldest. Each checkpoint comes once."""
        seen: set[str] = set()
        for entry in self._steps(limit):
            if entry.id not in seen:
                seen.add(entry.id)
                self._numbers[entry.id] = entry.number
                yield entry

    def _steps(self, limit: int | None = None) -> Iterator[Entry]:
        """The same, but a checkpoint that was stored again comes again."""
        for number, metadata, _, error in self.timeline._opened().native.history({}, limit):
            if error is not None:
                raise error
            yield entry_of(metadata, number)

    def number_of(self, checkpoint_id: str) -> int | None:
        """Returns the number of the step that has a checkpoint."""
        if (known := self._numbers.get(checkpoint_id)) is not None:
            return known
        return next((entry.number for entry in self.entries() if entry.id == checkpoint_id), None)

    def _document(self, state: bytes, number: int) -> Document:
        document = Document.read(state, f"{self.timeline.location}@{number}")
        self._keep(number, len(state), document)
        return document

    def _keep(self, number: int, size: int, document: Document) -> None:
        with self.lock:
            if number in self._cache:
                self._cached -= self._cache.pop(number)[0]
            self._cached += size
            self._cache[number] = size, document
            while len(self._cache) > 1 and self._cached > _CACHED:
                self._cached -= self._cache.popitem(last=False)[1][0]

    def _folded_after(self, number: int, checkpoint_id: str) -> Sequence[Write]:
        """Returns the writes that the next step has folded."""
        try:
            after = self.document(number + 1)
        except PersistNotFoundError:
            return []
        return after.folded if after.parent == checkpoint_id else []

    # Storing.

    def append(self, made: Made) -> None:
        """Stores a checkpoint, with the writes of its parent."""
        parent = made.parent
        with self.lock:
            earlier = self._numbers.get(made.id)
            if earlier is None:
                self.writes.begin(made.id)
            else:
                # It is stored again. What the step after it has folded stays with it.
                self.writes.put_again(made.id, self._folded_after(earlier, made.id))
            is_next = parent not in (None, made.id) and self.head is not None and self.head.id == parent
            with self.writes.folding(parent if is_next else None, made.follows_tasks) as folding:
                folded = merged(folding.objects, ())
                # What can fail comes before the step is stored.
                state, document = made.state(folded), made.document(folded)
                step = self._append(made.id, state, made.time)
                # Otherwise somebody else came first, and the writes stay where they are.
                if parent is not None and self._numbers.get(parent) == step.number - 1:
                    folding.done()
            self._numbers[made.id] = step.number
            entry = Entry(step.number, made.id, False, step.time)
            self.head = Head(entry, made.values, document)
            self._keep(step.number, len(state), self.head.document)

    def _append(self, checkpoint_id: str, state: bytes, time: str | None) -> Step:
        options = options_of(checkpoint_id, time)
        return self.timeline._append(
            self.timeline._opened(), Encoded(state, CONTENT_TYPE, None), options, "rebase", None
        )

    def put_writes(self, checkpoint_id: str, made: Callable[[Writes, int], Sequence[Write]]) -> None:
        """Stores writes of a checkpoint. ``made`` gets those that are known, and their turn."""
        # Others may have stored some, but not of one that is just being stored here.
        if self._is_coming(checkpoint_id):
            self.writes.begin(checkpoint_id, is_sure=False)
        elif not self.writes.knows(checkpoint_id) and self.get(checkpoint_id) is None:
            loose = self.writes.list(checkpoint_id).get(checkpoint_id, [])
            with self.writes.reading(loose) as reading:
                self.writes.know(checkpoint_id, reading.read(loose, is_missing_right=True), ())
        number, head = self._numbers.get(checkpoint_id), self.head
        self.writes.put(checkpoint_id, number is not None and head is not None and number < head.number, made)

    def _is_coming(self, checkpoint_id: str) -> bool:
        """Returns whether a checkpoint seems to be the next: LangGraph hands over writes even before the
        checkpoint, and to look for it would take as long as to read the history.
        """
        head = self.head
        if head is None or self.writes.knows(checkpoint_id) or checkpoint_id in self._numbers:
            return False
        # The text of UUIDs of version 6 is in the order of time.
        return is_uuid(checkpoint_id) and is_uuid(head.id) and checkpoint_id[14] == "6" and checkpoint_id > head.id

    def restate(self, found: Found) -> int:
        """Stores a checkpoint again, as the newest, with its writes. Returns the number of its step."""
        with self.lock:
            state, _ = self.timeline._opened().native.load(str(found.number))
            step = self._append(found.document.id, state, found.taken.isoformat())
            self.writes.put_again(found.document.id, found.writes)
            self.forget()
            return step.number

    # Removing.

    def close(self) -> None:
        """Records which step is the newest, and deletes what is superfluous."""
        with self.lock:
            self.writes.delete_superfluous()
            self.timeline.close()

    def delete(self, after: int | None = None) -> None:
        """Deletes all checkpoints and writes; with ``after``, only if that is still the number of the newest
        step, and without the writes of checkpoints that are not there, which may be about to come.

        Raises:
            PersistConflictError: Somebody else has just stored a checkpoint.
        """
        with self.lock:
            ids = None if after is None else {entry.id for entry in self.entries()}
            self.timeline._delete(self.timeline._opened(), after=after)
            self.writes.delete(ids)
            self.forget()

    def copy(self, other: Namespace) -> None:
        """Copies all checkpoints and writes to a namespace that has none, or an earlier copy. Others may
        go on meanwhile.
        """
        self.timeline.copy(other.timeline)
        other.forget()
        there = {entry.id: entry.number for entry in other.entries()}
        self.writes.copy(other.writes, there)
        if there:
            # What the next step has folded since, which was not copied.
            checkpoint_id, number = max(there.items(), key=lambda item: item[1])
            other.writes.put_again(checkpoint_id, self._folded_after(number, checkpoint_id))

    def forget(self) -> None:
        """Forgets what is known, because the timeline was changed."""
        self.head = None
        self._numbers.clear()
        self._cache.clear()
        self._cached = 0
        self.writes.forget()

    def remove(self, numbers: Iterable[int]) -> None:
        """Removes steps, with the writes of their checkpoints. If the step goes that has folded the
        writes of a checkpoint that stays, these are stored beside it again.
        """
        gone = {*numbers}
        with self.lock:
            self.writes.delete_superfluous()
            entries = [*self._steps()]
            ids = {entry.id for entry in entries} - {entry.id for entry in entries if entry.number not in gone}
            for entry in entries:
                if entry.id not in ids and entry.number + 1 in gone:
                    self.writes.put_again(entry.id, self._folded_after(entry.number, entry.id))
            self.timeline._appender.close()
            self.timeline._opened().native.remove(sorted(gone))
            self.writes.delete(ids)
            self.forget()

    def _sweep(self, loose: Mapping[str, list[str]], newest: int) -> None:
        """Deletes writes that a process that was killed has left, although they were folded."""
        # Others may forget them meanwhile.
        numbers = {each: number for each in loose if (number := self._numbers.get(each, newest)) < newest}
        left = self.writes.unswept({each: loose[each] for each in numbers})
        if sum(map(len, left.values())) >= _LEFT:
            for checkpoint_id, keys in left.items():
                folded = self._folded_after(numbers[checkpoint_id], checkpoint_id)
                self.writes.sweep(checkpoint_id, keys, folded)
            self.writes.delete_superfluous()
