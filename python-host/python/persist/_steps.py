"""What timelines return: steps, and the results of pruning and checking."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from persist._metadata import SnapshotMetadata
from persist._progress import Progress
from persist.errors import PersistError

if TYPE_CHECKING:
    import sys

    from persist._arguments import RestoreOptions

    if sys.version_info >= (3, 11):
        from typing import Unpack
    else:
        from typing_extensions import Unpack


class StepBase:
    """One step of a timeline: its number and its metadata, without its state.

    If ``error`` is set, the step can't be read, and reading its metadata raises that error.
    """

    number: int
    """The number of the step, from 1."""
    restates: int | None
    """The step that it repeats, because that one was removed."""
    error: PersistError | None
    """Why the step can't be read, or ``None``."""

    def __init__(
        self,
        timeline: Any,
        number: int,
        metadata: SnapshotMetadata | None,
        restates: int | None = None,
        error: PersistError | None = None,
    ) -> None:
        self._timeline, self._metadata = timeline, metadata
        self.number, self.restates, self.error = number, restates, error

    @property
    def metadata(self) -> SnapshotMetadata:
        """The metadata of the step, in the same form as that of a snapshot. Its ``key`` or its
        ``location`` can be passed to a restore.
        """
        if self._metadata is None:
            raise self.error or PersistError("the step can't be read")
        return self._metadata

    @property
    def labels(self) -> dict[str, str]:
        """The labels, with those that were set later."""
        return self.metadata.labels

    @property
    def timestamp(self) -> str:
        """When the state was taken: RFC 3339, UTC, microseconds."""
        return self.metadata.timestamp

    @property
    def time(self) -> datetime:
        """When the state was taken, in UTC."""
        return self.metadata.time

    @property
    def description(self) -> str | None:
        """A note for people."""
        return self.metadata.description

    @property
    def key(self) -> str:
        """The key of the step in its store."""
        return self.metadata.key

    @property
    def location(self) -> str:
        """The location of the step, which :func:`persist.restore` takes."""
        return self.metadata.location

    @property
    def uncompressed_size(self) -> int:
        """The size of the state in bytes."""
        return self.metadata.uncompressed_size

    @property
    def stored_size(self) -> int:
        """The size of the object in bytes. It holds only what is new in the state."""
        return self.metadata.stored_size

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = (vars(step).copy() for step in (self, other))
        errors = [str(step.pop("error")) for step in (mine, theirs)]
        return mine == theirs and errors[0] == errors[1]

    def __hash__(self) -> int:
        return hash((self._timeline, self.number))

    def __repr__(self) -> str:
        shown: dict[str, Any] = {"number": self.number}
        if self._metadata is None:
            shown["error"] = self.error
        else:
            shown |= {name: getattr(self, name) for name in ("timestamp", "labels", "uncompressed_size", "stored_size")}
        if self.restates is not None:
            shown["restates"] = self.restates
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class Step(StepBase):
    """One step of a :class:`persist.Timeline`: its number and its metadata, without its state.

    If ``error`` is set, the step can't be read, and reading its metadata raises that error.
    """

    def load(self, into: Any = None, *, progress: Progress | None = None, **options: Unpack[RestoreOptions]) -> Any:
        """Restores the state of the step; see :meth:`persist.Timeline.load`."""
        return self._timeline.load(into, at=self, progress=progress, **options)

    def load_bytes(self, *, progress: Progress | None = None) -> bytes:
        """Returns the state as the bytes that were appended."""
        state: bytes = self._timeline.load_bytes(at=self, progress=progress)
        return state


class AsyncStep(StepBase):
    """One step of a :class:`persist.AsyncTimeline`; see :class:`persist.Step`."""

    async def load(
        self, into: Any = None, *, progress: Progress | None = None, **options: Unpack[RestoreOptions]
    ) -> Any:
        """Restores the state of the step; see :meth:`persist.Timeline.load`."""
        return await self._timeline.load(into, at=self, progress=progress, **options)

    async def load_bytes(self, *, progress: Progress | None = None) -> bytes:
        """Returns the state as the bytes that were appended."""
        state: bytes = await self._timeline.load_bytes(at=self, progress=progress)
        return state


@dataclass(frozen=True)
class PrunedStep:
    """A step that the rules of a prune were applied to."""

    number: int
    """The number of the step."""
    timestamp: str
    """When its state was taken; empty if it can't be read."""
    stored_size: int
    """The size of the object in bytes."""
    outcome: Literal["kept", "hidden", "removed"]
    """It is ``kept``; or ``hidden``, because kept steps depend on it; or ``removed``."""
    reasons: tuple[str, ...]
    """The rules that keep it."""


@dataclass(frozen=True, repr=False)
class PruneReport:
    """What a prune did, or would do."""

    steps: tuple[PrunedStep, ...]
    """All steps that were in the history, the newest first."""
    restated_as: int | None
    """The number of a new step that repeats the newest one, so that whatever only the original
    needs can be removed.
    """
    freed: int
    """The bytes that are no longer used."""
    left: int
    """The size of all objects of the timeline that are left, in bytes."""
    dry_run: bool
    """Whether nothing was removed."""

    def _numbers(self, outcome: str) -> list[int]:
        return [step.number for step in self.steps if step.outcome == outcome]

    @property
    def kept(self) -> list[int]:
        """The numbers of the steps that are kept, the newest first."""
        return self._numbers("kept")

    @property
    def hidden(self) -> list[int]:
        """The numbers of the steps that are hidden, the newest first."""
        return self._numbers("hidden")

    @property
    def removed(self) -> list[int]:
        """The numbers of the steps that are removed, the newest first."""
        return self._numbers("removed")

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(self._numbers(outcome))} {outcome}" for outcome in ("kept", "hidden", "removed"))
        shown: dict[str, Any] = {"freed": self.freed, "left": self.left}
        shown |= {} if self.restated_as is None else {"restated_as": self.restated_as}
        shown |= {"dry_run": True} if self.dry_run else {}
        return f"<PruneReport: {counts}; {', '.join(f'{name}={value}' for name, value in shown.items())}>"


@dataclass(frozen=True)
class Damage:
    """A damaged object of a timeline."""

    number: int | None
    """The step that can't be restored; ``None`` for an object that is made from the steps, or
    is a label.
    """
    key: str
    """The key of the object in its store."""
    error: PersistError
    """What is wrong."""
