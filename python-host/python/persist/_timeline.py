"""Timelines: every step of a session.

This module is longer than 400 lines because both classes have all methods of a timeline, refer
to each other, and are pickled under the name of this module.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from persist import _agents, _listing, _persist, _restoring, _saving
from persist._arguments import (
    AppendArguments,
    AppendBytesArguments,
    Errors,
    RestoreOptions,
    Rules,
    WantedSteps,
    check_names,
)
from persist._diffs import Diff
from persist._progress import Progress, shown
from persist._saving import Encoded, encoded
from persist._selecting import At, Label, Selected, checked_rules
from persist._steps import AsyncStep, Damage, PruneReport, Step
from persist._threads import DELETED, in_thread, to_the_end
from persist._timeline_base import Opened, TimelineBase
from persist.errors import PersistError, PersistNotFoundError, PersistTypeError, PersistWarning

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")

_APPENDS = tuple(AppendArguments.__annotations__)
_BYTES = tuple(AppendBytesArguments.__annotations__)
_RESTORES = tuple(RestoreOptions.__annotations__)
_WANTED = tuple(WantedSteps.__annotations__)
_RULES = tuple(Rules.__annotations__)

_APPENDED = "the step was stored all the same"
_CHANGED = "the timeline was changed all the same"

_PAGE = 100
"""How many steps of a history an asyncio program gets from a thread at a time."""

_MISSING: Any = object()
"""Means that no default was given."""


class Timeline(TimelineBase[Step]):
    """Every step of one session, in a folder of its own. A step stores only what is new in
    its state.

    Args:
        location: A folder, as for :class:`persist.Store`; or a store.
        agent_id: The agent; with ``session_id``, it names the folder in the location, as in
            :meth:`persist.Store.save`. If only one of them is given, the other is
            ``default_agent`` or ``default_session``. If neither is, the location is the
            folder of the timeline, and its last two folders name the agent and the session.
        session_id: The conversation, run or thread.
        s3_region, s3_endpoint, s3_options, fsync: As for :class:`persist.Store`.

    A timeline keeps in memory the newest state that it appended, up to 64 MiB, so that the
    next append reads nothing. :meth:`close`, the end of a ``with`` block and garbage
    collection record which step is the newest. A timeline can be pickled, shared between
    threads, and used in child processes. The storage must support conditional writes, as
    local files, buckets and memory do; a :class:`persist.Storage` does not.

    Example::

        with persist.Timeline("s3://my-bucket/agents", agent_id="support", session_id="case-1") as timeline:
            timeline.append(agent)
            timeline.load(at=-2)
    """

    _steps = Step

    def to_async(self) -> AsyncTimeline:
        """Returns a timeline for asyncio in the same folder."""
        return self._twin(AsyncTimeline)

    def __enter__(self) -> Timeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # An error of the block says more. All steps are stored in any case.
        with contextlib.suppress(PersistError) if kind is not None else contextlib.nullcontext():
            self.close()

    def close(self) -> None:
        """Records which step is the newest, so that a loss of this step is noticed, and frees
        the memory. The timeline can still be used; the next append opens it again.
        """
        self._appender.close()

    def append(
        self,
        agent: Any,
        *,
        on_conflict: Literal["fail", "rebase"] = "fail",
        progress: Progress | None = None,
        **options: Unpack[AppendArguments],
    ) -> Step:
        """Appends a state as the next step, as a whole or not at all.

        Args:
            agent: What to save, as for :func:`persist.snapshot`.
            on_conflict: What to do if somebody else has appended since this timeline did.
                ``fail`` raises :class:`PersistConflictError`; the error's
                ``facts["number"]`` is the number of the other step, and the next append comes
                after it. ``rebase`` appends after the other step.
            progress: As for :func:`persist.snapshot`.
            options: As for :func:`persist.snapshot`, and ``number``: the number that the step has
                to get, one more than that of the step that you loaded. Otherwise, nothing is
                stored, whatever ``on_conflict`` says.

        Returns:
            The step.

        Raises:
            PersistConflictError: Somebody else has appended, or the next step has another number.
                Nothing was stored.
            PersistStorageError: The storage failed, or does not support conditional writes.
            PersistTypeError, PersistConfigurationError, PersistAccessError,
            PersistOutcomeUnknownError: As for :func:`persist.snapshot`.
        """
        check_names(options, _APPENDS)
        given, opened = dict(options), self._opened()
        adapter = None if type(agent) is bytes else _agents.adapter_of(agent)
        waits = _agents.waits(adapter, "save") or (bool(given.get("check")) and _agents.waits(adapter, "restore"))
        state = _agents.run(encoded(agent, given, is_async=False), waits, "AsyncTimeline(…).append")
        return self._append(opened, state, given, on_conflict, progress)

    def append_bytes(
        self,
        data: bytes | bytearray | memoryview,
        *,
        on_conflict: Literal["fail", "rebase"] = "fail",
        progress: Progress | None = None,
        **options: Unpack[AppendBytesArguments],
    ) -> Step:
        """Appends bytes as they are.

        Args:
            data: The state.
            on_conflict: As for :meth:`append`.
            progress: As for :func:`persist.snapshot`.
            options: As for :meth:`append`, and ``content_type``, the media type, which is
                ``application/octet-stream`` by default.
        """
        check_names(options, _BYTES)
        given = dict(options)
        return self._append(self._opened(), _bytes(data, given), given, on_conflict, progress)

    def at(self, at: At | None = None, *, label: Label | None = None) -> Step:
        """Returns a step, without its state; by default the newest.

        Args:
            at: The number of the step, from 1; ``-1`` for the newest and ``-2`` for the one
                before it; the time at which it was the newest, or how long ago that was, as
                for :func:`persist.list_snapshots`; or text for one of these: ``"42"``,
                ``"latest"``, ``"2026-01-31T12:00Z"``, ``"7d"``.
            label: The newest step with this label: its name, or its name and value as a
                tuple.

        Raises:
            PersistNotFoundError: There is no such step.
            PersistIntegrityError: It is damaged. An older step is never returned in its
                place.
        """
        where, opened = self._selected(at, label), self._opened()
        return self._step(opened, opened.native.find(*where))

    @overload
    def load(
        self,
        into: type[T],
        *,
        at: At | None = ...,
        label: Label | None = ...,
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> T: ...
    @overload
    def load(
        self,
        into: None = ...,
        *,
        at: At | None = ...,
        label: Label | None = ...,
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> Any: ...
    @overload
    def load(
        self,
        into: T,
        *,
        at: At | None = ...,
        label: Label | None = ...,
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> T: ...
    def load(
        self,
        into: Any = None,
        *,
        at: At | None = None,
        label: Label | None = None,
        default: Any = _MISSING,
        progress: Progress | None = None,
        **options: Unpack[RestoreOptions],
    ) -> Any:
        """Restores the state of a step; by default of the newest. If there is no such step,
        it returns ``default``, if given.

        Args:
            into: As for :func:`persist.restore`.
            at: The step, as for :meth:`at`.
            label: The newest step with this label, as for :meth:`at`.
            default: What to return if there is no such step.
            progress: As for :func:`persist.restore`.
            options: As for :func:`persist.restore`.
        """
        check_names(options, _RESTORES)
        where, opened = self._selected(at, label), self._opened()
        try:
            return _restoring.load_from(_reads(opened, where), opened.locate, into, progress, dict(options))[0]
        except PersistNotFoundError:
            if default is _MISSING:
                raise
            return default

    def load_bytes(
        self, at: At | None = None, *, label: Label | None = None, progress: Progress | None = None
    ) -> bytes:
        """Returns the state of a step as the bytes that were appended, whatever they are. The
        arguments are as for :meth:`load`.
        """
        return _load_bytes(self._opened(), self._selected(at, label), progress)

    def diff(self, before: At = -2, after: At = -1) -> Diff:
        """Says what is different between two steps; by default, what the newest changed.

        Args:
            before: The first step, as for :meth:`at`; or a :class:`Step` of another timeline,
                such as a fork.
            after: The second step.

        Raises:
            PersistNotFoundError: There is no such step.

        Example::

            print(timeline.diff(41, 42).text())
            print(timeline.diff(42, fork.at(-1)).text())
        """
        return self._diff(before, after)

    def fork(self, at: At | None = None, *, label: Label | None = None, to: Timeline | None = None) -> Timeline:
        """Continues the timeline elsewhere, from any of its steps. The steps up to this one are
        copied and keep their numbers; what is appended to the fork comes after them. This
        timeline does not change, and may be pruned or deleted later. While other programs
        append or prune, a fork is either complete or refused.

        Args:
            at: The last step to take, as for :meth:`at`; by default the newest.
            label: The newest step with this label, as for :meth:`at`.
            to: Where to continue: a timeline without steps. By default, one in the same store
                whose session ID is that of this timeline, followed by the number of the step and
                a random suffix.

        Returns:
            The fork.

        Raises:
            PersistNotFoundError: There is no such step, or it was removed in the meantime.
            PersistConflictError: There is another timeline at ``to``.
            PersistTypeError: ``to`` is not a timeline of this class.

        Example::

            fork = timeline.fork(at=5)
            agent = fork.load()
        """
        fork: Timeline = self._fork(at, label, to)
        return fork

    def copy(self, to: Timeline) -> int:
        """Copies the timeline, byte for byte and with the numbers of its steps, and reads all of the
        copy to check it. If ``to`` has an earlier copy, only what has been added since is copied.
        Copying again also finishes a copy that was interrupted.

        Args:
            to: A timeline without steps, or an earlier copy of this one; usually in another storage.

        Returns:
            The number of steps that were copied.

        Raises:
            PersistNotFoundError: This timeline has no steps.
            PersistConflictError: There is another timeline at ``to``, or the copy has later steps.
            PersistIntegrityError: A step is damaged.
            PersistTypeError: ``to`` is not a timeline of this class.

        Example::

            timeline.copy(persist.Timeline("s3://bucket/backup", session_id="case-1"))
        """
        return self._copy(to)

    def history(
        self, *, limit: int | None = None, errors: Errors = "warn", **wanted: Unpack[WantedSteps]
    ) -> Iterator[Step]:
        """Iterates over the steps, from the newest to the oldest. It reads them in pages, as
        they are needed.

        Args:
            limit: At most this many steps.
            errors: For a step that can't be read: ``warn`` returns it with its ``error`` and
                issues a :class:`PersistWarning`; ``raise`` raises the error; ``ignore`` leaves it
                out.
            wanted: ``labels``, ``since`` and ``until``, as for
                :func:`persist.list_snapshots`.
        """
        steps = self._history(limit, errors, dict(wanted))
        return itertools.islice((step for step in steps if step is not None), limit)

    def _history(
        self, limit: int | None, errors: str, wanted: dict[str, Any], token: _persist.CancelToken | None = None
    ) -> Iterator[Step | None]:
        opened, entries = _entries(self, limit, errors, wanted, token)
        return (_warned(self._entry(opened, entry, errors), errors) for entry in entries)

    def __iter__(self) -> Iterator[Step]:
        """Iterates over the steps, from the newest to the oldest."""
        return self.history()

    def label(self, step: int | Step, name: str, value: str) -> None:
        """Sets a label of a step, given by its number or as :class:`Step`. The step itself is
        not changed.

        Raises:
            PersistNotFoundError: There is no such step.
        """
        self._opened().native.set_label(self._number_of(step), _text(name), _text(value))

    def unlabel(self, step: int | Step, name: str) -> None:
        """Removes a label from a step. A label that the step does not have is ignored."""
        self._opened().native.set_label(self._number_of(step), _text(name), None)

    def prune(self, *, dry_run: bool = False, **rules: Unpack[Rules]) -> PruneReport:
        """Removes the steps that no rule keeps. The newest step is always kept. Pruning is
        safe while others append.

        Args:
            dry_run: Remove nothing, and return what would be removed.
            rules: ``keep_last=n`` keeps the ``n`` newest steps; ``keep_hourly``,
                ``keep_daily``, ``keep_weekly``, ``keep_monthly`` and ``keep_yearly`` keep the
                newest of each of the last ``n`` hours, days and so on that have a step.
                ``keep_within="30d"`` keeps all steps of that period before the newest step,
                and ``keep_within_hourly="7d"`` (and so on) the newest of each hour in it.
                Periods are text such as ``1y6m``, ``30d`` or ``36h``, or a ``timedelta``.
                ``keep_labels`` keeps all steps with one of these labels:
                ``["pinned", ("rating", "good")]``. Times are in UTC.

        Returns:
            What happened to each step and why, and how many bytes were freed and are left.
            If kept steps depend on a step that no rule keeps, that step is hidden, not removed.

        Raises:
            PersistConfigurationError: There is no rule, or one is not valid.
        """
        check_names(rules, _RULES)
        return self._prune(self._opened(), checked_rules(dict(rules)), dry_run)

    def check(self, *, read_data: bool = False, progress: Progress | None = None) -> list[Damage]:
        """Checks all steps and the other objects of the timeline.

        Args:
            read_data: Read all bytes. Otherwise, only what describes the states is read.
            progress: A function that is called from time to time with the number of steps
                checked so far, and the total; or ``True``, as for :func:`persist.snapshot`.

        Returns:
            The damaged objects; none if all is well. Damage is not raised, but errors of the
            storage are.
        """
        return self._check(self._opened(), _bool("read_data", read_data), progress)

    def repair(self, *, forget_damaged: bool = False) -> int:
        """Rewrites what is derived from the steps, where it is missing or damaged.

        Args:
            forget_damaged: Also hide damaged steps. If the newest step is damaged, a new step
                repeats the newest undamaged one.

        Returns:
            How many objects were written.

        Raises:
            PersistIntegrityError: The newest step is damaged, and ``forget_damaged`` is not set.
        """
        return self._repair(self._opened(), _bool("forget_damaged", forget_damaged))

    def delete(self) -> int:
        """Deletes the timeline. A marker of 192 bytes stays in place of each step. The first
        prune after a week removes the markers.

        Returns:
            How many steps were removed.

        Raises:
            PersistNotFoundError: There is no timeline.
            PersistConflictError: Somebody else has just appended.
        """
        return self._delete(self._opened())


def _bytes(data: Any, options: dict[str, Any]) -> Encoded:
    content_type = options.pop("content_type", None) or _saving.BYTES
    if isinstance(data, (bytearray, memoryview)):
        data = bytes(data)
    if not isinstance(data, bytes):
        raise PersistTypeError(
            f"data must be bytes, not {type(data).__qualname__}",
            "invalid-argument",
            hint="append other values with append()",
        )
    return Encoded(data, content_type, None)


def _reads(opened: Opened, where: Selected) -> _restoring.Read:
    return lambda max_size, told, token: opened.native.load(*where, max_size, told, token)


def _load_bytes(
    opened: Opened, where: Selected, progress: Progress | None, token: _persist.CancelToken | None = None
) -> bytes:
    with shown(progress, "restoring") as told:
        return opened.native.load(*where, None, told, token)[0]


def _entries(
    timeline: TimelineBase[Any],
    limit: int | None,
    errors: str,
    wanted: dict[str, Any],
    token: _persist.CancelToken | None = None,
) -> tuple[Opened, _persist.History]:
    check_names(wanted, _WANTED)
    _listing.check_errors(errors)
    _listing.check_limit(limit, "steps")
    # What is left out does not count.
    most = None if limit is None or errors == "ignore" else min(limit, (1 << 32) - 1)
    opened = timeline._opened()
    return opened, opened.native.history(_listing.filtered(wanted), most, token)


def _warned(step: Any, errors: str) -> Any:
    """Returns a step of the history, with a warning if it can't be read."""
    if step is not None and step.error is not None and errors == "warn":
        message = f"step {step.number} of {step._timeline.location} can't be read: {step.error}"
        warnings.warn(message, PersistWarning, stacklevel=4)
    return step


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise PersistTypeError(
            f"a label's name and value must be str, not {type(text).__qualname__}",
            "invalid-argument",
            hint='pass them like label(42, "rating", "good")',
        )
    return text


def _bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise PersistTypeError(
            f"{name} must be a bool, not {type(value).__qualname__}", "invalid-argument", hint="pass True or False"
        )
    return value


class AsyncTimeline(TimelineBase[AsyncStep]):
    """A :class:`Timeline` for asyncio: its methods are awaited, and ``async for`` iterates over
    its history. A cancelled task leaves nothing behind, unless its step was already being
    stored.

    Example::

        async with persist.AsyncTimeline("agents", agent_id="support", session_id="case-1") as timeline:
            await timeline.append(agent)
            async for step in timeline.history(limit=10):
                print(step.number, step.timestamp)
    """

    _steps = AsyncStep

    def to_sync(self) -> Timeline:
        """Returns a timeline for synchronous code in the same folder."""
        return self._twin(Timeline)

    async def __aenter__(self) -> AsyncTimeline:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(PersistError) if kind is not None else contextlib.nullcontext():
            await self.close()

    async def close(self) -> None:
        """Records which step is the newest; see :meth:`Timeline.close`."""
        await in_thread(self._appender.close)

    async def append(
        self,
        agent: Any,
        *,
        on_conflict: Literal["fail", "rebase"] = "fail",
        progress: Progress | None = None,
        **options: Unpack[AppendArguments],
    ) -> AsyncStep:
        """Appends a state as the next step; see :meth:`Timeline.append`. The value is copied
        before any other task runs, so that other tasks may change it.
        """
        check_names(options, _APPENDS)
        given, opened = dict(options), self._opened()
        state = await encoded(agent, given)
        step: AsyncStep = await in_thread(self._append, opened, state, given, on_conflict, progress, changed=_APPENDED)
        return step

    async def append_bytes(
        self,
        data: bytes | bytearray | memoryview,
        *,
        on_conflict: Literal["fail", "rebase"] = "fail",
        progress: Progress | None = None,
        **options: Unpack[AppendBytesArguments],
    ) -> AsyncStep:
        """Appends bytes as they are; see :meth:`Timeline.append_bytes`."""
        check_names(options, _BYTES)
        given = dict(options)
        state, opened = _bytes(data, given), self._opened()
        step: AsyncStep = await in_thread(self._append, opened, state, given, on_conflict, progress, changed=_APPENDED)
        return step

    async def at(self, at: At | None = None, *, label: Label | None = None) -> AsyncStep:
        """Returns a step, without its state; see :meth:`Timeline.at`."""
        where, opened = self._selected(at, label), self._opened()
        return self._step(opened, await in_thread(opened.native.find, *where))

    @overload
    async def load(
        self,
        into: type[T],
        *,
        at: At | None = ...,
        label: Label | None = ...,
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> T: ...
    @overload
    async def load(
        self,
        into: None = ...,
        *,
        at: At | None = ...,
        label: Label | None = ...,
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> Any: ...
    @overload
    async def load(
        self,
        into: T,
        *,
        at: At | None = ...,
        label: Label | None = ...,
        default: Any = ...,
        progress: Progress | None = ...,
        **options: Unpack[RestoreOptions],
    ) -> T: ...
    async def load(
        self,
        into: Any = None,
        *,
        at: At | None = None,
        label: Label | None = None,
        default: Any = _MISSING,
        progress: Progress | None = None,
        **options: Unpack[RestoreOptions],
    ) -> Any:
        """Restores the state of a step; see :meth:`Timeline.load`."""
        check_names(options, _RESTORES)
        where, opened = self._selected(at, label), self._opened()
        try:
            found = await _restoring.aload_from(_reads(opened, where), opened.locate, into, progress, dict(options))
        except PersistNotFoundError:
            if default is _MISSING:
                raise
            return default
        return found[0]

    async def load_bytes(
        self, at: At | None = None, *, label: Label | None = None, progress: Progress | None = None
    ) -> bytes:
        """Returns the state of a step as bytes; see :meth:`Timeline.load_bytes`."""
        state: bytes = await in_thread(_load_bytes, self._opened(), self._selected(at, label), progress)
        return state

    async def diff(self, before: At = -2, after: At = -1) -> Diff:
        """Says what is different between two steps; see :meth:`Timeline.diff`. The steps are
        compared only when the result is used: with large states, use it in a thread, for
        example ``await asyncio.to_thread(diff.patch)``.
        """
        diff: Diff = await in_thread(self._diff, before, after)
        return diff

    async def fork(
        self, at: At | None = None, *, label: Label | None = None, to: AsyncTimeline | None = None
    ) -> AsyncTimeline:
        """Continues the timeline elsewhere, from any of its steps; see :meth:`Timeline.fork`."""
        fork: AsyncTimeline = await in_thread(self._fork, at, label, to, changed=_CHANGED)
        return fork

    async def copy(self, to: AsyncTimeline) -> int:
        """Copies the timeline to another storage; see :meth:`Timeline.copy`."""
        steps: int = await in_thread(self._copy, to, changed=_CHANGED)
        return steps

    async def history(
        self, *, limit: int | None = None, errors: Errors = "warn", **wanted: Unpack[WantedSteps]
    ) -> AsyncIterator[AsyncStep]:
        """Iterates over the steps, from the newest to the oldest; see :meth:`Timeline.history`."""
        token = _persist.CancelToken()
        opened, entries = await to_the_end(token, lambda: _entries(self, limit, errors, dict(wanted), token))
        left = limit
        while page := await to_the_end(token, lambda: list(itertools.islice(entries, _PAGE))):
            for entry in page:
                step = _warned(self._entry(opened, entry, errors), errors)
                if step is None:
                    continue
                if left is not None:
                    if left == 0:
                        return
                    left -= 1
                yield step

    def __aiter__(self) -> AsyncIterator[AsyncStep]:
        """Iterates over the steps, from the newest to the oldest."""
        return self.history()

    async def label(self, step: int | AsyncStep, name: str, value: str) -> None:
        """Sets a label of a step; see :meth:`Timeline.label`."""
        given = self._number_of(step), _text(name), _text(value)
        await in_thread(self._opened().native.set_label, *given, changed=_CHANGED)

    async def unlabel(self, step: int | AsyncStep, name: str) -> None:
        """Removes a label from a step; see :meth:`Timeline.unlabel`."""
        given = self._number_of(step), _text(name), None
        await in_thread(self._opened().native.set_label, *given, changed=_CHANGED)

    async def prune(self, *, dry_run: bool = False, **rules: Unpack[Rules]) -> PruneReport:
        """Removes the steps that no rule keeps; see :meth:`Timeline.prune`."""
        check_names(rules, _RULES)
        changed = None if dry_run else _CHANGED
        given, opened = checked_rules(dict(rules)), self._opened()
        report: PruneReport = await in_thread(self._prune, opened, given, dry_run, changed=changed)
        return report

    async def check(self, *, read_data: bool = False, progress: Progress | None = None) -> list[Damage]:
        """Checks all steps and the other objects; see :meth:`Timeline.check`."""
        damaged: list[Damage] = await in_thread(self._check, self._opened(), _bool("read_data", read_data), progress)
        return damaged

    async def repair(self, *, forget_damaged: bool = False) -> int:
        """Rewrites what is derived from the steps; see :meth:`Timeline.repair`."""
        forget = _bool("forget_damaged", forget_damaged)
        written: int = await in_thread(self._repair, self._opened(), forget, changed=_CHANGED)
        return written

    async def delete(self) -> int:
        """Deletes the timeline; see :meth:`Timeline.delete`."""
        removed: int = await in_thread(self._delete, self._opened(), changed=DELETED)
        return removed
