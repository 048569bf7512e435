"""A growing list of items, such as messages or events, as a timeline. Each change is a step, which
stores only what is new, and no writer ever overwrites what another one has added.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from persist import _persist
from persist._keys import store_at
from persist._metadata import SnapshotMetadata
from persist._store import Store
from persist._store_base import StoreBase
from persist._timeline import Timeline
from persist.errors import PersistConflictError, PersistIntegrityError, PersistNotFoundError

CONTENT_TYPE = "application/json"

NAME = "name"
"""The label with the name of a part of a session."""

_ATTEMPTS = 1000
"""How often a change is made again because others were faster. Each time, one of them has succeeded."""

_PAUSE, _PAUSES = 0.002, 10
"""A writer waits for a random time before it tries again: up to so many seconds for each time that it has tried,
and for so many times at most.
"""


class Held(NamedTuple):
    """What a session has after one of its steps. It is never changed."""

    number: int
    """The number of the step, or 0."""
    items: Sequence[str]
    """The items, each as JSON text."""
    exists: bool = True
    """Whether there is such a step: a session may be new, or have been deleted."""
    kept: int = 0
    """How many items at the beginning are known to be those of the step."""

    def read(self, limit: int | None = None) -> list[Any]:
        """Returns the items, or the last of them."""
        items = self.items if limit is None else self.items[max(0, len(self.items) - limit) :]
        return list(json.loads(f"[{','.join(items)}]"))

    def adding(self, items: Iterable[str]) -> Held:
        """Returns it with more items."""
        return Held(self.number, [*self.items, *items], kept=self.kept)

    def holding(self, items: Sequence[str], kept: int = 0) -> Held:
        """Returns it with other items. The first ``kept`` are the same as before."""
        return Held(self.number, items, kept=min(kept, self.kept))


def text_of(item: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Returns a JSON value as text. ``default`` is as for ``json.dumps``.

    Raises:
        TypeError, ValueError: As for ``json.dumps``.
    """
    text = json.dumps(item, ensure_ascii=False, separators=(",", ":"), default=default)
    try:
        text.encode()
    except UnicodeEncodeError:  # Half a surrogate pair.
        return json.dumps(item, separators=(",", ":"), default=default)
    return text


def ending(items: Sequence[str], kept: int) -> bytes:
    """Returns what comes after the first items in the state."""
    comma = "," if 0 < kept < len(items) else ""
    return f"{comma}{','.join(items[kept:])}]".encode()


def number_of(metadata: str) -> int:
    """Returns the number of the step with this metadata as JSON."""
    step = _persist.step_of(SnapshotMetadata._from_json(metadata, "").key)
    return 0 if step is None else step[1]


class Items:
    """The items of one session. Its methods may be called by several threads at once.

    Args:
        store: Where it is.
        folder: The folder of the timeline, which ends with ``/``.
        agent_id, session_id: What its steps say about themselves.
        labels: The labels of each step.

    A state is a JSON array of the items. If it differs from the last one that was appended here only at its end,
    no more than that is handed over.
    """

    def __init__(
        self,
        store: StoreBase,
        folder: str,
        agent_id: str,
        session_id: str,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.timeline = Timeline.__new__(Timeline)
        self.timeline._set(store, folder, agent_id, session_id)
        self._labels = dict(labels or {})
        self.lock = threading.RLock()
        self._held: Held | None = None
        self._appended = (0, 0)

    def read(self, token: _persist.CancelToken | None = None) -> Held:
        """Returns what the session has now."""
        with self.lock:
            if self._held is None or not self.timeline._is_newest(self._held.number):
                self._held = self._load(0, token)
            return self._held

    def change(
        self, edit: Callable[[Held], Held], token: _persist.CancelToken | None = None, description: str | None = None
    ) -> Held:
        """Changes the session. ``edit`` gets what the session has and returns what it shall have; it is called
        again if somebody else was faster. If it returns the same, nothing is stored. The step gets the
        description.
        """
        with self.lock:
            base = 0
            for attempt in range(_ATTEMPTS):
                known = self._held
                held = known or self._load(base, token)
                try:
                    made = edit(held)
                except Exception:
                    # It may be about a session that looks different by now.
                    if known is None or self.timeline._is_newest(held.number):
                        raise
                    self._held = None
                    continue
                self._held = None
                if made is held:
                    if known is not None and not self.timeline._is_newest(held.number):
                        continue
                    self._held = held
                    return held
                try:
                    step = self._append(held, made, description, token)
                except PersistConflictError as error:
                    base = int(error.facts.get("number", 0))
                    time.sleep(random.uniform(0, _PAUSE * min(attempt, _PAUSES)))
                    continue
                self._held = Held(step, made.items, kept=len(made.items))
                return self._held
        raise self._changing()

    def stored(self, token: _persist.CancelToken | None = None) -> list[str]:
        """Reads the items again, whatever is held, and returns them."""
        with self.lock:
            self._held = self._load(0, token)
            return [*self._held.items]

    def empty(self, token: _persist.CancelToken | None = None) -> None:
        """Removes all items, with the steps that had them. The session is still there."""
        with self.lock:
            held = self.change(lambda held: held.holding([]) if held.items else held, token)
            self.timeline.close()
            self.timeline._opened().native.remove([*range(1, held.number)], token)
            # What was removed may have made the newest step another one.
            self._held = None

    def delete(self, token: _persist.CancelToken | None = None) -> None:
        """Deletes the session, with all its steps."""
        with self.lock:
            self._held = None
            for _ in range(_ATTEMPTS):
                try:
                    self.timeline._delete(self.timeline._opened(), token)
                except PersistNotFoundError:
                    pass
                except PersistConflictError:  # Somebody has just added something.
                    continue
                return
        raise self._changing()

    def _changing(self) -> PersistConflictError:
        return PersistConflictError(
            "the session keeps changing", "conflict", self.timeline.location, retryable=True, hint="try again"
        )

    def begun(self, token: _persist.CancelToken | None = None) -> datetime:
        """Returns when its first step was stored that is still there."""
        *_, (_, metadata, _, error) = self.timeline._opened().native.history({}, None, token)
        if error is not None:
            raise error
        return SnapshotMetadata._from_json(metadata, "").time

    def close(self) -> None:
        """Records which step is the newest."""
        with self.lock:
            self.timeline.close()

    def _load(self, base: int, token: _persist.CancelToken | None) -> Held:
        """Reads the newest step. ``base`` is the number after which the next one comes if there is none."""
        # Another program may have written the same items in other bytes.
        self._appended = (0, 0)
        try:
            state, metadata = self.timeline._opened().native.load(None, None, None, None, token)
        except PersistNotFoundError:
            return Held(base, [], exists=False)
        return self._parsed(state, number_of(metadata))

    def _append(self, held: Held, made: Held, description: str | None, token: _persist.CancelToken | None) -> int:
        timeline, appender = self.timeline, self.timeline._appender
        options: dict[str, Any] = {"labels": self._labels, "content_type": CONTENT_TYPE, **timeline._ids()}
        options["snapshot_index"] = held.number + 1
        if description is not None:
            options["description"] = description
        native = timeline._opened().native
        number, size = self._appended
        step = None
        if number == held.number and made.kept:
            tail = ending(made.items, made.kept)
            size -= len(ending(held.items, made.kept))
            step = appender.grow(native, number, size, tail, options, token)
            size += len(tail)
        if step is None:
            state = b"[" + ending(made.items, 0)
            step = appender.append(native, state, options, "fail", None, token, grows=True)
            size = len(state)
        # The number and the size of what the appender keeps.
        self._appended = (step[0], size)
        return step[0]

    def _parsed(self, state: bytes, number: int) -> Held:
        try:
            items = json.loads(state)
            if not isinstance(items, list):
                raise ValueError(type(items))
        except (ValueError, RecursionError) as error:
            raise PersistIntegrityError(
                "Format error: this is not a session of this framework, or a later version of this package wrote it",
                "invalid-format",
                f"{self.timeline.location}@{number}",
                hint="use another session ID, or update the package",
            ) from error
        return Held(number, [*map(text_of, items)], kept=len(items))


def items_at(location: str | os.PathLike[str] | Store, agent_id: str, session_id: str) -> Items:
    """Returns the items of a session at a location that a user has given."""
    folder = _persist.session_folder(agent_id, session_id)
    return Items(store_at(location)._twin(StoreBase), folder, agent_id, session_id)


def label_of(place: _persist.Place, folder: str) -> str:
    """Returns the name of the part of a session in a folder, which is a label of its steps."""
    return str(json.loads(place.timeline(folder).find()[1])["labels"][NAME])
