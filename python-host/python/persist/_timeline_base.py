"""What :class:`Timeline` and :class:`AsyncTimeline` share: a folder with steps."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from persist import _persist
from persist._diffs import Diff
from persist._metadata import SnapshotMetadata
from persist._progress import Progress, shown
from persist._saving import Encoded
from persist._selecting import Selected, number_of, selected
from persist._steps import Damage, PrunedStep, PruneReport, StepBase
from persist._store_base import StoreBase
from persist._words import a
from persist.errors import PersistConfigurationError, PersistError, PersistTypeError
from persist.storage import Storage

S = TypeVar("S", bound=StepBase)
T = TypeVar("T", bound="TimelineBase[Any]")

AGENT, SESSION = "default_agent", "default_session"


class Opened(NamedTuple):
    """A timeline at one moment."""

    place: _persist.Place
    native: _persist.Timeline
    prefix: str
    """The start of the store's keys."""

    def locate(self, text: str) -> str:
        """Returns the location of a step from its metadata as JSON."""
        return self.place.location(SnapshotMetadata._from_json(text, "").key)

    def metadata(self, text: str) -> SnapshotMetadata:
        """Returns the metadata of a step, with its key in the store."""
        metadata = SnapshotMetadata._from_json(text, self.locate(text))
        return metadata._with_key(metadata.key[len(self.prefix) :])


class TimelineBase(Generic[S]):
    """A folder with the steps of one session."""

    _steps: type[S]

    def __init__(
        self,
        location: str | os.PathLike[str] | Storage | StoreBase,
        *,
        agent_id: str | None = None,
        session_id: str | None = None,
        s3_region: str | None = None,
        s3_endpoint: str | None = None,
        s3_options: Mapping[str, Any] | None = None,
        fsync: bool = True,
    ) -> None:
        settings: dict[str, Any] = {"s3_region": s3_region, "s3_endpoint": s3_endpoint, "s3_options": s3_options}
        settings = {name: value for name, value in settings.items() if value is not None}
        settings |= {} if fsync is True else {"fsync": fsync}
        if isinstance(location, StoreBase):
            if settings:
                raise PersistTypeError(
                    f"{', '.join(settings)} can't be used with a store",
                    "invalid-argument",
                    hint="pass them to the Store",
                )
            store = location._twin(StoreBase)
        else:
            store = StoreBase(location, **settings)
        if agent_id is None and session_id is None:
            self._set(store, "", *_ids(_folders_of(store._location)))
            return
        agent, session = AGENT if agent_id is None else agent_id, SESSION if session_id is None else session_id
        self._set(store, _persist.session_folder(agent, session), agent, session)

    def _set(self, store: StoreBase, folder: str, agent_id: str, session_id: str) -> None:
        self._store, self._folder, self.agent_id, self.session_id = store, folder, agent_id, session_id
        self._appender = _persist.Appender()

    agent_id: str
    """The agent."""
    session_id: str
    """The conversation, run or thread of that agent."""

    @classmethod
    def _in(cls: type[T], store: StoreBase, folder: str) -> T:
        """Returns the timeline in a folder of a store."""
        timeline = cls.__new__(cls)
        timeline._set(store._twin(StoreBase), folder, *_ids(_folders_of(store._location, folder)))
        return timeline

    def _folders(self) -> list[str]:
        return _folders_of(self._store._location, self._folder)

    @property
    def location(self) -> str:
        """The location: a path or ``s3://bucket/prefix``."""
        return self._opened().native.location().rstrip("/")

    def _opened(self) -> Opened:
        """Opens the timeline. It is opened at each use, so that a change of the environment
        takes effect.
        """
        place, folder = self._store._place(self._folder)
        return Opened(place, place.timeline(folder), folder[: len(folder) - len(self._folder)])

    def _is_newest(self, number: int) -> bool:
        """Returns whether no step comes after the one with this number. Numbers have no holes, and whoever
        removes the newest step takes the next number first.
        """
        place, key = self._store._place(f"{self._folder}{_persist.step_name(number + 1)}")
        return not place.exists(key)

    def _step(self, opened: Opened, parts: tuple[int, str, int | None]) -> S:
        number, text, restates = parts
        return self._steps(self, number, opened.metadata(text), restates)

    def _append(
        self,
        opened: Opened,
        encoded: Encoded,
        options: dict[str, Any],
        on_conflict: str,
        progress: Progress | None,
        token: _persist.CancelToken | None = None,
    ) -> S:
        for name in self._folders()[-2:]:
            if _is_shortened(name) and name in (self.agent_id, self.session_id):
                raise PersistConfigurationError(
                    f"the folder name {name} is only the start of an ID, so the ID is not known",
                    "invalid-argument",
                    self.location,
                    hint="open the timeline with agent_id= and session_id=",
                )
        options = dict(options)
        number = options.pop("number", None)
        options = {
            **options,
            "snapshot_index": 0 if number is None else number_of(number),
            "content_type": encoded.content_type,
            "extra": encoded.extra,
            **self._ids(),
        }
        with shown(progress, "appending") as told:
            parts = self._appender.append(opened.native, encoded.state, options, on_conflict, told, token)
        return self._step(opened, parts)

    def _ids(self) -> dict[str, str]:
        return {"agent_id": self.agent_id, "session_id": self.session_id}

    def _prune(
        self, opened: Opened, rules: dict[str, Any], dry_run: bool, token: _persist.CancelToken | None = None
    ) -> PruneReport:
        if not dry_run:
            self._appender.close(token)
        steps, restated_as, freed, left = opened.native.prune(rules, dry_run, token)
        pruned = (PrunedStep(*step[:4], tuple(step[4])) for step in steps)
        return PruneReport(tuple(pruned), restated_as, freed, left, dry_run)

    def _check(
        self,
        opened: Opened,
        read_data: bool,
        progress: Progress | None,
        token: _persist.CancelToken | None = None,
    ) -> list[Damage]:
        with shown(progress, "checking", "steps") as told:
            damaged = opened.native.check(read_data, told, token)
        return [Damage(number, key[len(opened.prefix) :], error) for number, key, error in damaged]

    def _repair(self, opened: Opened, forget_damaged: bool, token: _persist.CancelToken | None = None) -> int:
        self._appender.close(token)
        return opened.native.repair(forget_damaged, token)

    def _delete(self, opened: Opened, token: _persist.CancelToken | None = None, after: int | None = None) -> int:
        self._appender.close(token)
        return opened.native.delete(after, token)

    def _fork(self, at: Any, label: Any, to: Any, token: _persist.CancelToken | None = None) -> Any:
        where, opened = self._selected(at, label), self._opened()
        if to is None:
            to = self._fork_of(opened.native.find(*where, token)[0])
        self._check_target(to)
        opened.native.fork(to._opened().native, *where, token)
        return to

    def _copy(self, to: Any, token: _persist.CancelToken | None = None) -> int:
        self._check_target(to)
        return self._opened().native.copy(to._opened().native, token)

    def _check_target(self, to: Any) -> None:
        if not isinstance(to, type(self)):
            name = type(self).__name__
            raise PersistTypeError(
                f"to must be {a(name)}, not {type(to).__qualname__}",
                "invalid-argument",
                hint=f'pass a timeline without steps: persist.{name}("agents", session_id="case-1b")',
            )

    def _fork_of(self, number: int) -> Any:
        """Returns a timeline with a new name in the same store."""
        if not self._folder:
            raise PersistConfigurationError(
                "this timeline was opened by its folder, so a fork needs a destination",
                "invalid-argument",
                hint="pass to=, a timeline in another folder; or open this one with its IDs",
            )
        session = f"{self.session_id}-{number}-{secrets.token_hex(4)}"
        fork = type(self).__new__(type(self))
        fork._set(self._store, _persist.session_folder(self.agent_id, session), self.agent_id, session)
        return fork

    def _diff(self, before: Any, after: Any, token: _persist.CancelToken | None = None) -> Diff:
        # Steps may be of other timelines.
        one, other = (self if not isinstance(at, StepBase) else at._timeline for at in (before, after))
        first, second = one._opened().native, other._opened().native
        found = first.diff(selected(before), selected(after), second, token)
        # Later, whatever has been appended since.
        again = (str(found[1]), None), (str(found[2]), None)
        locations = first.location().rstrip("/"), second.location().rstrip("/")
        return Diff(found, lambda: first.diff(*again, second)[0], locations)

    def _selected(self, at: Any, label: Any = None) -> Selected:
        """Checks what selects a step of this timeline."""
        self._check_own(at)
        return selected(at, label)

    def _number_of(self, step: Any) -> int:
        """Returns the number of a step of this timeline, given as such or as the step."""
        self._check_own(step)
        return number_of(step)

    def _check_own(self, step: Any) -> None:
        if not isinstance(step, StepBase) or step._timeline.__getstate__() == self.__getstate__():
            return
        if os.path.realpath(step._timeline.location) != os.path.realpath(self.location):
            raise PersistConfigurationError(
                f"this is a step of another timeline, {step._timeline.location}",
                "invalid-argument",
                self.location,
                hint="use that timeline, or pass the number of the step",
            )

    def _entry(self, opened: Opened, entry: tuple[int, str, int | None, PersistError | None], errors: str) -> S | None:
        """Returns the step of an entry of the history, unless it is to be left out."""
        number, text, restates, error = entry
        if error is None:
            return self._step(opened, (number, text, restates))
        if errors == "raise":
            raise error
        return None if errors == "ignore" else self._steps(self, number, None, None, error)

    def _twin(self, cls: type[T]) -> T:
        """Returns a timeline of another class in the same folder."""
        twin = cls.__new__(cls)
        twin.__setstate__(self.__getstate__())
        return twin

    def __getstate__(self) -> dict[str, Any]:
        names = ("_store", "_folder", "agent_id", "session_id")
        return {name.lstrip("_"): getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set(**state)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__getstate__() == self.__getstate__()

    def __hash__(self) -> int:
        return hash((type(self), self._store, self._folder))

    def __repr__(self) -> str:
        location = self._store._location
        shown: dict[str, Any] = {}
        if self._folder == _persist.session_folder(self.agent_id, self.session_id):
            shown |= {"agent_id": self.agent_id, "session_id": self.session_id}
        elif self._folder:
            location = self.location
        shown |= {name: value for name, value in self._store._settings.items() if (name, value) != ("fsync", True)}
        text = os.fspath(location) if isinstance(location, os.PathLike) else location
        arguments = [repr(text), *(f"{name}={value!r}" for name, value in shown.items())]
        return f"{type(self).__name__}({', '.join(arguments)})"


def _is_shortened(name: str) -> bool:
    """Returns whether a text is a folder's name of which only the start of the ID is left."""
    return len(name) > 33 and name[-33] == "~"


def _folders_of(location: Any, below: str = "") -> list[str]:
    """Returns the folders of a location and those below it, without the bucket."""
    text = os.fspath(location) if isinstance(location, (str, os.PathLike)) else ""
    scheme, found, path = str(text).rpartition("://")
    folders = [folder for folder in f"{path}/{below}".split("/") if folder not in ("", ".", "..")]
    return folders[1:] if found and scheme == "s3" else folders


def _ids(folders: list[str]) -> tuple[str, str]:
    """Returns the agent and the session whose folders these end with."""
    ids = [name if (known := _persist.id_of(name)) is None else known for name in folders[-2:]]
    return ids[-2] if len(ids) > 1 else AGENT, ids[-1] if ids else SESSION
