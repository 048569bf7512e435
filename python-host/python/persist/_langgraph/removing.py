"""Which checkpoints and threads are removed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from langgraph.checkpoint.base import SerializerProtocol

from persist._langgraph.channels import loaded
from persist._langgraph.entries import ANCESTOR, Entry
from persist._langgraph.namespace import Namespace
from persist._langgraph.threads import Threads
from persist.errors import PersistConflictError


def keep_latest(space: Namespace, serde: SerializerProtocol) -> None:
    """Removes all checkpoints but the latest. Those from which its channels are rebuilt are no longer
    shown.
    """
    newest = space.latest()
    if newest is None:
        return
    needed = set()
    delta = loaded(serde, newest.document.metadata).get("counters_since_delta_snapshot") or {}
    remaining = {channel for channel in delta if not newest.document.has(channel)}
    if remaining:
        for number, document, _ in space.ancestors(newest.document.id):
            needed.add(number)
            remaining = {channel for channel in remaining if not document.has(channel)}
            if not remaining:
                break
    entries = [*space.entries()]
    for entry in entries:
        if entry.number in needed and not entry.is_ancestor:
            space.timeline.label(entry.number, ANCESTOR, "ancestor")
    # Others may have gone on from the newest meanwhile.
    space.remove(entry.number for entry in entries if entry.number < newest.number and entry.number not in needed)


def remove(space: Namespace, gone: set[int]) -> None:
    """Removes steps, of which the newest may be one."""
    entries = [*space.entries()]
    if not entries:
        return  # Somebody else has deleted all.
    kept = next((entry for entry in entries if entry.number not in gone and not entry.is_ancestor), None)
    if kept is None:
        try:
            space.delete(after=entries[0].number)
        except PersistConflictError:
            if space.newest() == entries[0]:
                raise
            # What somebody else has just stored stays.
            remove(space, gone)
        return
    newest = entries[0].number
    if newest in gone and (found := space.get(kept.id)) is not None:
        number = space.restate(found)
        gone = gone | {kept.number if number == newest + 1 else number}
        # If others have stored a checkpoint meanwhile, that is the latest, and has to stay it.
        while number != newest + 1:
            later = next((entry for entry in space.entries() if entry.number == number - 1), None)
            if later is None or (found := space.get(later.id)) is None:
                break
            newest, number = number, space.restate(found)
            gone = gone | {later.number if number == newest + 1 else number}
    space.remove(gone)


def unused(threads: Threads, keep_last: int | None, older_than: timedelta | None) -> dict[str, dict[str, Entry]]:
    """Returns the threads that are not among those used last, or that were not used for this long, with
    the newest step of each of their namespaces.
    """
    now = datetime.now(timezone.utc)
    newest = {thread: threads.newest(thread) for thread in threads.ids()}
    used = sorted(((last_used(newest[thread]), thread) for thread in newest), reverse=True)
    return {
        thread: newest[thread]
        for place, (time, thread) in enumerate(used)
        if (keep_last is not None and place >= keep_last) or (older_than is not None and now - time > older_than)
    }


def last_used(newest: Mapping[str, Entry]) -> datetime:
    """Returns when the last checkpoint of a thread was stored, in any of its namespaces."""
    # A thread that was deleted meanwhile is the oldest.
    return max((entry.taken for entry in newest.values()), default=datetime.min.replace(tzinfo=timezone.utc))
