"""Timelines in Python: every step of a session, each stored as what is new in it.

    python timelines.py persist-fs.wasm FOLDER

It works with both hosts, ``composed.py`` and ``host.py``. The functions are those of ``wit/timelines.wit``: a method
of a resource has a name such as ``[method]timeline.append``, and takes the resource as its first argument.

A resource lives as long as its instance, so each operation opens the timeline anew, and an append reads the newest
state first. A program that appends often would keep the instance and the timeline, which keeps that state.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from composed import Persist
from wasmtime.component import Record, ResourceAny, Variant

TIMELINES = "persist:snapshot/timelines@0.1.0"

NEWEST = Variant("newest")


def _record(**fields: object) -> Record:
    made = Record()
    vars(made).update(fields)
    return made


class Timeline:
    """A timeline in a folder of a host's storage. Operations raise OSError if the component returns an error."""

    def __init__(self, host: Persist, folder: str) -> None:
        """The folder ends with ``/``. It need not exist."""
        self.host = host
        self.folder = folder

    @contextmanager
    def _opened(self) -> Iterator[tuple[Callable[..., object], ResourceAny]]:
        with self.host.instance() as call_instance:

            def call(name: str, *arguments: object) -> object:
                return call_instance(TIMELINES, name, *arguments)

            yield call, call("[constructor]timeline", self.folder)

    def append(self, state: str, on_conflict: str = "fail", **options: object) -> Record:
        """Appends a state as the next step, and returns the step. The options are those of a save.

        If another writer is faster, this fails with ``already-exists``, or with ``rebase`` takes the next number.
        """
        with self._opened() as (call, timeline):
            given = self.host.options(**options)
            step = call("[method]timeline.append", timeline, state.encode(), given, on_conflict, None)
            # It writes down that the step is there. If that fails, the step is stored all the same.
            with suppress(OSError):
                call("[method]timeline.finish", timeline)
            return step

    def find(self, step: Variant = NEWEST) -> Record:
        """Returns a step: the newest, or for example ``Variant("number", 42)``."""
        with self._opened() as (call, timeline):
            return call("[method]timeline.find", timeline, step)

    def load(self, step: Variant = NEWEST) -> str:
        """Returns the state of a step."""
        return self.host.restore(self.find(step).metadata.key)

    def history(self, limit: int = 20) -> list[Record | tuple[int, Record]]:
        """Returns the last steps, the newest first. One that can't be read is its number and an error."""
        with self._opened() as (call, timeline):
            history = call("[method]timeline.open-history", timeline, None, limit)
            return call("[method]history.next", history, limit)

    def prune(self, keep_last: int) -> Record:
        """Removes all steps except the last ones, and returns what became of each."""
        none = _record(count=0, within=None)
        periods = dict.fromkeys(("hourly", "daily", "weekly", "monthly", "yearly"), none)
        policy = _record(last=keep_last, within=None, labels=[], **periods)
        with self._opened() as (call, timeline):
            return call("[method]timeline.prune", timeline, policy, False)


if __name__ == "__main__":
    component, folder = sys.argv[1:]
    timeline = Timeline(Persist(component, folder), "support/case-1/")
    for state in ('{"messages": ["Hello"]}', '{"messages": ["Hello", "How can I help?"]}'):
        print(timeline.append(state, agent_id="support", session_id="case-1").number)
    print(timeline.load(Variant("number", 1)), [step.number for step in timeline.history()])
