"""What :class:`Autosaver` and :class:`AsyncAutosaver` share: how a state is captured."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from persist import _agents
from persist._autosave_signals import Signalled, Signals, name_of
from persist._autosave_thread import Appending, Bell, Captured, HeldError, note, running, utc_now
from persist._autosave_watcher import MISSING, Watcher
from persist._saving import encoded
from persist._steps import StepBase
from persist._timeline_base import TimelineBase
from persist._words import a
from persist.errors import PersistConfigurationError, PersistConflictError, PersistError, PersistWarning

S = TypeVar("S", bound=StepBase)

_NEW, _OPEN, _CLOSING, _CLOSED, _CHILD = "not entered", "open", "closing", "closed", "in a child process"

_ATTEMPTS = 20
"""How often an agent is captured that other threads change in the meantime."""

_open: set[AutosaverBase[Any]] = set()
"""The savers whose blocks run."""


class AutosaverBase(Generic[S]):
    """Captures the states of an agent and has them appended."""

    def __init__(
        self,
        agent: Any,
        timeline: TimelineBase[S],
        every: float | None,
        pending: int,
        on_conflict: str,
        signals: bool,
        labels: Mapping[str, str],
        options: dict[str, Any],
    ) -> None:
        self._agent, self._timeline, self._every = agent, timeline, every
        self._labels, self._options, self._is_signalled = labels, options, signals
        self._appending: Appending[S] = Appending(timeline, pending, on_conflict)
        self._signals, self._watcher = Signals(), Watcher(self)
        self._phase = _NEW
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()
        """Whoever has it captures."""
        self._in_loop: int | None = None
        """The thread of the event loop in which a task has the turn."""
        self._bell = Bell()
        self._holds, self._holding, self._timer = 0, threading.Lock(), threading.Lock()
        self._undo: Callable[[], object] | None = None
        self._hook: Any = None
        self._conflicts: list[BaseException] = []

    @property
    def steps(self) -> int:
        """The number of steps that were appended so far."""
        return self._appending.steps

    @property
    def last(self) -> S | None:
        """The newest step that was appended, or that already held the state; ``None`` if there is
        none yet.
        """
        return self._appending.last

    @property
    def hook(self) -> Any:
        """What to pass to the framework, so that it reports each step. Only some frameworks need
        it: Google ADK takes it as a plugin, Microsoft Agent Framework as middleware.

        Raises:
            PersistConfigurationError: There is none for this agent.
        """
        if self._hook is None:
            adapter = _adapter_of(self._agent)
            self._hook = None if adapter is None else adapter.hook(self._agent, self._watcher)
        if self._hook is None:
            raise PersistConfigurationError(
                f"there is no hook to pass on for {a(type(self._agent).__qualname__)}",
                "invalid-argument",
                hint="each step is saved without it" if self._undo is not None else "call saver.save() after each step",
            )
        return self._hook

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps the timer (``every``) from capturing while a block changes the agent. In asyncio,
        this is only needed for a block with ``await``.
        """
        if self._phase == _CHILD:
            yield
            return
        with self._holding:
            if self._holds == 0:
                self._timer.acquire()
            self._holds += 1
        try:
            yield
        finally:
            # In a child process, the locks may belong to a thread that only the parent has.
            if self._phase != _CHILD:
                with self._holding:
                    self._holds -= 1
                    if self._holds == 0:
                        self._timer.release()
                self._appending.wake()
                self._bell.ring()

    def __repr__(self) -> str:
        counts = f"{self.steps} steps, {self._appending.waiting} waiting"
        name = type(self._agent).__qualname__
        return f"<{type(self).__name__}: {name} to {self._timeline!r}, {self._phase}, {counts}>"

    @property
    def _is_open(self) -> bool:
        return self._phase == _OPEN

    def _enter(self) -> None:
        if self._phase != _NEW:
            raise PersistConfigurationError(
                f"this autosave was already entered, and is {self._phase}",
                "invalid-argument",
                hint="call persist.autosave(…) again",
            )
        self._phase = _OPEN
        _open.add(self)

    def _check_open(self) -> None:
        if self._phase == _CHILD:
            raise PersistConfigurationError(
                "this autosave belongs to the parent process",
                "invalid-argument",
                hint="use persist.autosave(…) again in the child process, with another timeline",
            )
        if self._phase != _OPEN:
            raise PersistConfigurationError(
                f"this autosave is {self._phase}", "invalid-argument", hint="use it in its with block"
            )

    def _begin_exit(self) -> bool:
        """Stops what captures. Returns whether there is anything to do: not in a child process."""
        if self._phase != _OPEN:
            return False
        self._phase, self._signals.is_armed = _CLOSING, False
        self._unwatch()
        return True

    def _leave(self) -> None:
        """Frees everything. The thread ends when it has appended what waits."""
        self._unwatch()
        self._appending.stop()
        self._signals.restore()
        self._phase = _CLOSED
        _open.discard(self)

    def _end(self) -> None:
        """Has everything appended that waits, at the end of the program."""
        self._appending.wait(self._appending.mark())
        self._raise_failures()

    def _fork(self) -> None:
        """Leaves the block in a child process alone, which has no thread."""
        self._phase = _CHILD
        self._signals.restore_in_child()

    def _watch(self) -> None:
        adapter = _adapter_of(self._agent)
        self._undo = None if adapter is None else adapter.watch(self._agent, self._watcher)

    def _unwatch(self) -> None:
        undo, self._undo = self._undo, None
        if undo is not None:
            try:
                undo()
            except Exception as error:
                self._appending.fail(error)

    def _replace(self, agent: Any) -> None:
        if agent is not MISSING and agent is not self._agent:
            is_watched = self._undo is not None
            self._unwatch()
            self._agent = agent
            if is_watched:
                self._watch()

    def _reasons(self, error: BaseException | None) -> dict[str, str] | None:
        """Returns the labels of the state at the end of the block; ``None`` if it is not to be saved,
        because somebody else has appended and the program did not go on.
        """
        if self._appending.is_refused or self._is_conflict(error):
            return None
        if self._signals.received is not None:
            return {"signal": name_of(self._signals.received)}
        if isinstance(error, Signalled):  # Of a block around this one.
            return {"signal": name_of(error.number)}
        return {} if error is None else {"exception": type(error).__name__}

    def _is_conflict(self, error: BaseException | None) -> bool:
        """Returns whether an exception comes from a conflict that was raised."""
        while error is not None and self._conflicts:
            if any(error is conflict for conflict in self._conflicts):
                return True
            error = error.__cause__ or error.__context__
        return False

    def _report(self, error: BaseException | None) -> None:
        """Raises the failures that the program has not seen, or adds them to its own exception."""
        if error is None and self._signals.received is None:
            self._raise_failures()
        for failure in self._appending.failures():
            text = f"autosave could not save a state: {type(failure).__name__}: {failure}"
            if error is not None:
                note(error, text)
            warnings.warn(text, PersistWarning, stacklevel=3)

    def _raise_failures(self) -> None:
        failures = self._appending.failures()
        if not failures:
            return
        conflicts = [failure for failure in failures if isinstance(failure, PersistConflictError)]
        self._conflicts += conflicts
        first = (conflicts or failures)[0]
        for other in failures:
            if other is not first:
                note(first, f"autosave failed more than once: {type(other).__name__}: {other}")
        raise first

    def _keep(
        self, agent: Any, reasons: Mapping[str, str] | None, is_last: bool = False, is_quiet: bool = False
    ) -> None:
        """Captures a state and has it appended."""
        if not is_last:
            self._go_on()
        if self._in_loop == threading.get_ident():
            # A task of this very thread has the turn, and could not go on. What it has captured
            # is older, and is left out.
            self._keep_in_turn(agent, reasons, is_last)
        else:
            with self._turn:
                self._keep_in_turn(agent, reasons, is_last)
            self._bell.ring()
        if not (is_last or is_quiet):
            self._raise_failures()

    def _go_on(self) -> None:
        """Raises what the program has to know before it goes on."""
        for saver in tuple(_open):
            saver._signals.check()
        if self._appending.is_refused:
            self._raise_failures()
        self._conflicts.clear()

    def _keep_in_turn(self, agent: Any, reasons: Mapping[str, str] | None, is_last: bool) -> None:
        self._replace(agent)
        state = self._captured(reasons)
        if is_last or self._appending.is_news(state):
            self._appending.wait_for_room(state)
            self._appending.put(state)

    async def _keep_async(
        self, agent: Any, reasons: Mapping[str, str] | None, is_last: bool = False, is_timed: bool = False
    ) -> None:
        """Like :meth:`_keep`, in an event loop."""
        if not (is_last or is_timed):
            self._go_on()
        await self._bell.wait_async(lambda: self._turn.acquire(blocking=False))
        self._in_loop = threading.get_ident()
        try:
            self._replace(agent)
            number, given, now = next(self._numbers), dict(self._options), utc_now()
            made = await encoded(self._agent, given)
            state = self._appending.captured(number, made, given, self._labels, reasons or {}, now)
            if is_last or self._appending.is_news(state):
                await self._appending.wait_for_room_async(state)
                self._appending.put(state)
        finally:
            self._in_loop = None
            self._turn.release()
            self._bell.ring()
        if not (is_last or is_timed):
            self._raise_failures()

    def _captured(self, reasons: Mapping[str, str] | None = None) -> Captured:
        """Captures a state, again and again if other threads change it in the meantime."""
        for attempt in range(1, _ATTEMPTS):
            try:
                return self._captured_once(reasons)
            except Exception as error:
                if not _is_changing(error):
                    raise
                time.sleep(0.001 * attempt)
        return self._captured_once(reasons)

    def _captured_once(self, reasons: Mapping[str, str] | None) -> Captured:
        number, given, now, agent = next(self._numbers), dict(self._options), utc_now(), self._agent
        adapter = _adapter_of(agent)
        waits = _agents.waits(adapter, "save") or (bool(given.get("check")) and _agents.waits(adapter, "restore"))
        if waits and _is_in_loop():
            raise PersistConfigurationError(
                "this framework saves agents asynchronously, and an event loop is already running",
                "invalid-argument",
                hint="write `async with persist.autosave(agent, timeline.to_async())`",
            )
        made = _agents.run(encoded(agent, given, is_async=False), waits, "autosave")
        return self._appending.captured(number, made, given, self._labels, reasons or {}, now)

    def _capture_by_timer(self) -> Captured | None:
        """Captures a state in the thread that appends, unless somebody captures right now."""
        if not self._timer.acquire(blocking=False):
            raise HeldError
        try:
            if not self._is_open or self._conflicts or not self._turn.acquire(blocking=False):
                return None
            try:
                return self._captured()
            finally:
                self._turn.release()
                self._bell.ring()
        finally:
            self._timer.release()

    async def _capture_regularly(self, every: float) -> None:
        """Captures states in a task, between the awaits of other tasks."""
        import asyncio

        while True:
            await asyncio.sleep(every)
            await self._bell.wait_async(lambda: not self._holds)
            if not (self._appending.is_refused or self._conflicts):
                try:
                    await self._keep_async(MISSING, None, is_timed=True)
                except Exception as error:
                    self._appending.fail(error)


def _adapter_of(agent: Any) -> Any:
    return None if type(agent) is bytes else _agents.adapter_of(agent)


def _is_in_loop() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_changing(error: BaseException | None) -> bool:
    """Returns whether an agent could not be captured because somebody changed it meanwhile."""
    while error is not None:
        text = str(error)
        if (isinstance(error, RuntimeError) and "during iteration" in text) or (
            isinstance(error, PersistError) and "was changed while it was being saved" in text
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _at_exit() -> None:
    """Ends the blocks that the program has not left."""
    for saver in list(_open):
        try:
            saver._end()
        except Exception as failure:
            text = f"autosave could not save a state: {type(failure).__name__}: {failure}"
            warnings.warn(text, PersistWarning, stacklevel=1)
    # Also those of blocks whose end was interrupted.
    for appending in list(running):
        appending.wait(appending.stop())


def _in_child() -> None:
    for saver in list(_open):
        saver._fork()
    _open.clear()
    running.clear()


os.register_at_fork(after_in_child=_in_child)
# Later, no thread can append any more.
atexit.register(_at_exit)
