"""Autosave: the steps of an agent are appended to a timeline while it runs."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

from persist._arguments import AutosaveArguments, check_names
from persist._autosave_base import AutosaverBase
from persist._autosave_watcher import MISSING
from persist._steps import AsyncStep, Step
from persist._threads import despite_cancellation
from persist._timeline import AsyncTimeline, Timeline
from persist.errors import PersistConfigurationError, PersistError, PersistTypeError

if TYPE_CHECKING:
    import asyncio

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

_OPTIONS = tuple(AutosaveArguments.__annotations__)


@overload
def autosave(
    agent: Any,
    timeline: Timeline,
    every: float | timedelta | None = ...,
    pending: int = ...,
    on_conflict: Literal["fail", "rebase"] = ...,
    signals: bool = ...,
    labels: Mapping[str, str] | None = ...,
    **options: Unpack[AutosaveArguments],
) -> Autosaver: ...
@overload
def autosave(
    agent: Any,
    timeline: AsyncTimeline,
    every: float | timedelta | None = ...,
    pending: int = ...,
    on_conflict: Literal["fail", "rebase"] = ...,
    signals: bool = ...,
    labels: Mapping[str, str] | None = ...,
    **options: Unpack[AutosaveArguments],
) -> AsyncAutosaver: ...
def autosave(
    agent: Any,
    timeline: Timeline | AsyncTimeline,
    every: float | timedelta | None = None,
    pending: int = 4,
    on_conflict: Literal["fail", "rebase"] = "fail",
    signals: bool = True,
    labels: Mapping[str, str] | None = None,
    **options: Unpack[AutosaveArguments],
) -> Autosaver | AsyncAutosaver:
    """Appends the steps of an agent to a timeline while a ``with`` block runs, in a thread of
    its own: after each step of the framework, on each :meth:`Autosaver.save`, and at the end of
    the block, even if an exception or a signal ends it.

    Args:
        agent: What to save, as for :func:`persist.snapshot`.
        timeline: A :class:`Timeline`, for ``with``; or an :class:`AsyncTimeline`, for
            ``async with``.
        every: Also save at this interval: a number of seconds, or a ``timedelta``.
        pending: How many captured states may wait to be appended. If that many are waiting, the
            next capture blocks. A process that is killed loses at most one more than this.
        on_conflict: As for :meth:`Timeline.append`.
        signals: On SIGTERM or SIGHUP, end the block, save, and then let the signal end the
            process. Only in the main thread, and only for a
            signal that the program does not handle itself.
        labels: The labels of each step.
        options: ``config``, ``check``, ``redact``, ``description``, ``codec`` and ``level``, as
            for :func:`persist.snapshot`.

    A state that the newest step already holds is not appended again.

    Returns:
        The context manager for the ``with`` block.

    Example::

        with persist.autosave(agent, persist.Timeline("agents", session_id="case-1")) as saver:
            agent("Hello")
    """
    check_names(options, _OPTIONS)
    checked = _seconds(every), _pending(pending), _conflict(on_conflict), _signals(signals), _labels(labels)
    if isinstance(timeline, AsyncTimeline):
        return AsyncAutosaver(agent, timeline, *checked, dict(options))
    if isinstance(timeline, Timeline):
        return Autosaver(agent, timeline, *checked, dict(options))
    raise PersistTypeError(
        f"timeline must be a Timeline or an AsyncTimeline, not {type(timeline).__qualname__}",
        "invalid-argument",
        hint='pass persist.Timeline("agents", session_id="case-1")',
    )


class Autosaver(AutosaverBase[Step]):
    """What :func:`persist.autosave` returns for a :class:`Timeline`. Its methods can be called
    from several threads.
    """

    _timeline: Timeline

    def __enter__(self) -> Autosaver:
        self._enter()
        try:
            self._appending.start(self._every, self._capture_by_timer)
            self._watch()
            if self._is_signalled:
                self._signals.install()
        except BaseException:
            self._leave()
            raise
        self._signals.arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._begin_exit():
            return
        try:
            if (reasons := self._reasons(error)) is not None:
                try:
                    self._keep(MISSING, reasons, is_last=True)
                except Exception as failure:
                    self._appending.fail(failure)
            self._appending.wait(self._appending.stop())
        finally:
            self._leave()
        try:
            self._report(error)
        finally:
            if self._signals.received is not None:
                with contextlib.suppress(PersistError):
                    self._timeline.close()
                self._signals.end()

    def _end(self) -> None:
        self.__exit__(None, None, None)

    def save(self, agent: Any = MISSING, *, labels: Mapping[str, str] | None = None) -> None:
        """Captures the state of the agent, and queues it to be appended. It waits only if
        ``pending`` states are already waiting. If the last step holds the same state, that step gets the labels.

        Args:
            agent: The agent to save from now on, if it is a different object.
            labels: More labels for this step.

        Raises:
            PersistError: The state can't be saved; or a state that was captured earlier could not be
                appended. In the second case, the current state is still appended, unless somebody
                else has appended to the timeline.
        """
        self._check_open()
        self._keep(agent, _labels(labels))

    def flush(self) -> None:
        """Waits until all captured states are appended.

        Raises:
            PersistError: A state could not be appended.
        """
        self._check_open()
        self._appending.wait(self._appending.mark())
        self._raise_failures()

    if not TYPE_CHECKING:

        async def __aenter__(self) -> NoReturn:
            raise _other_protocol("with", "async with", "a Timeline", "timeline.to_async()")

        async def __aexit__(self, *error: object) -> None: ...


class AsyncAutosaver(AutosaverBase[AsyncStep]):
    """What :func:`persist.autosave` returns for an :class:`AsyncTimeline`."""

    _timeline: AsyncTimeline
    _ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AsyncAutosaver:
        import asyncio

        self._enter()
        try:
            self._appending.start()
            self._watch()
            if self._every is not None:
                self._ticking = asyncio.create_task(self._capture_regularly(self._every))
            if self._is_signalled:
                self._signals.install_in_loop()
        except BaseException:
            self._leave()
            raise
        self._signals.arm()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._begin_exit():
            return
        try:
            cancelled = await despite_cancellation(self._save_last(error))
        finally:
            self._leave()
        try:
            self._report(error or cancelled)
        finally:
            if self._signals.received is not None:
                with contextlib.suppress(PersistError):
                    await self._timeline.close()
                self._signals.end()
        if cancelled is not None:
            raise cancelled

    async def _save_last(self, error: BaseException | None) -> None:
        """Saves at the end of the block, and waits until everything is appended."""
        import asyncio

        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
        if (reasons := self._reasons(error)) is not None:
            try:
                await self._keep_async(MISSING, reasons, is_last=True)
            except Exception as failure:
                self._appending.fail(failure)
        await self._appending.wait_async(self._appending.stop())

    async def save(self, agent: Any = MISSING, *, labels: Mapping[str, str] | None = None) -> None:
        """Captures the state of the agent, and queues it to be appended; see :meth:`Autosaver.save`."""
        self._check_open()
        await self._keep_async(agent, _labels(labels))

    async def flush(self) -> None:
        """Waits until all captured states are appended; see :meth:`Autosaver.flush`."""
        self._check_open()
        await self._appending.wait_async(self._appending.mark())
        self._raise_failures()

    if not TYPE_CHECKING:

        def __enter__(self) -> NoReturn:
            raise _other_protocol("async with", "with", "an AsyncTimeline", "timeline.to_sync()")

        def __exit__(self, *error: object) -> None: ...


def _seconds(every: Any) -> float | None:
    if every is None:
        return None
    seconds = every.total_seconds() if isinstance(every, timedelta) else every
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise PersistTypeError(
            f"every must be a number of seconds or a timedelta, not {type(every).__qualname__}",
            "invalid-argument",
            hint="pass seconds, such as every=30",
        )
    if not (math.isfinite(seconds) and 0 < seconds <= threading.TIMEOUT_MAX):
        raise PersistConfigurationError(
            f"every must be more than 0 and finite, not {every}",
            "invalid-argument",
            hint="pass seconds, such as every=30",
        )
    return float(seconds)


def _pending(pending: Any) -> int:
    if type(pending) is not int or pending < 1:
        raise PersistConfigurationError(
            f"pending must be an int of at least 1, not {pending!r}",
            "invalid-argument",
            hint="pass how many captured states may wait to be appended, such as pending=4",
        )
    return pending


def _conflict(on_conflict: Any) -> str:
    if on_conflict not in ("fail", "rebase"):
        raise PersistConfigurationError(
            f"on_conflict must be 'fail' or 'rebase', not {on_conflict!r}",
            "invalid-argument",
            hint="'rebase' appends after the step of another writer",
        )
    return str(on_conflict)


def _signals(signals: Any) -> bool:
    if not isinstance(signals, bool):
        raise PersistTypeError(
            f"signals must be a bool, not {type(signals).__qualname__}", "invalid-argument", hint="pass True or False"
        )
    return signals


def _labels(labels: Any) -> dict[str, str]:
    if labels is None:
        return {}
    if isinstance(labels, Mapping) and all(isinstance(text, str) for item in labels.items() for text in item):
        return dict(labels)
    raise PersistTypeError(
        f"labels must be a dict of str, not {labels!r}", "invalid-argument", hint='pass names and values: {"run": "7"}'
    )


def _other_protocol(right: str, wrong: str, timeline: str, other: str) -> PersistTypeError:
    """Returns the error for ``with`` in place of ``async with``, or the other way round."""
    return PersistTypeError(
        f"autosave with {timeline} must be entered with `{right}`, not `{wrong}`",
        "invalid-argument",
        hint=f"write `{right} persist.autosave(agent, timeline)`, or pass {other}",
    )
