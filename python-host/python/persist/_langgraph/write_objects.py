"""The objects with pending writes: their names, and how they are read."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, unquote

from persist import _persist
from persist._langgraph.checkpoints import Write, Writes, read_writes
from persist.errors import PersistNotFoundError

_AT_ONCE = 16
"""How many objects are read at the same time."""

Objects = dict[str, list[Write]]
"""Writes by the key of their object."""


class Reading:
    """Reads objects; those that are given at the start at the same time, while something else is
    read.
    """

    def __init__(self, place: _persist.Place, keys: Sequence[str]) -> None:
        self._place = place
        self._pool = ThreadPoolExecutor(_AT_ONCE) if keys else None
        # If there are many, they are mostly those of other checkpoints.
        early = keys if len(keys) <= _AT_ONCE else ()
        self._read = {key: self._pool.submit(self._load, key) for key in early} if self._pool else {}

    def _load(self, key: str) -> list[Write]:
        state, _ = self._place.load(key)
        return read_writes(state, self._place.location(key))

    def read(self, keys: Iterable[str], is_missing_right: bool = False) -> Objects:
        """Returns the writes in objects. One that is missing was folded meanwhile."""
        keys = [*keys]
        if self._pool is not None:
            later = [key for key in keys if key not in self._read]
            self._read |= {key: self._pool.submit(self._load, key) for key in later}
        objects: Objects = {}
        for key in keys:
            try:
                objects[key] = self._read[key].result() if key in self._read else self._load(key)
            except PersistNotFoundError:
                if not is_missing_right:
                    raise
        return objects

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def merged(objects: Mapping[str, Iterable[Write]], folded: Iterable[Write]) -> list[Write]:
    """Returns the writes of a checkpoint in their order: those in objects, and those in the next
    step.
    """
    return Writes([*folded, *(write for key in sorted(objects) for write in objects[key])]).ordered()


def checkpoint_of(name: str) -> str | None:
    """Returns the checkpoint that the name of an object in the folder tells; None for any other file."""
    quoted, comma, _ = name.partition(",")
    return unquote(quoted) if comma else None


def name_of(checkpoint_id: str, writes: Sequence[Write]) -> str:
    """Returns a new name for an object with writes."""
    # If two writers do not know of each other, the time decides.
    unique = f"{time.time_ns() // 1000:015x}-{secrets.token_hex(4)}"
    return f"{quote(checkpoint_id, safe='')},{writes[0].turn:06}-{unique}.json.zst"
