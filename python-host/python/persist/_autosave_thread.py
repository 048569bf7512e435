"""The thread that appends the states that autosave captured."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import Future
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar

from persist._saving import Encoded
from persist._steps import StepBase
from persist._timeline_base import TimelineBase
from persist.errors import PersistConflictError, PersistIntegrityError, PersistNotFoundError

S = TypeVar("S", bound=StepBase)

MAX_WAITING = 64 << 20
"""The bytes of captured states that may wait. One state may always wait, whatever its size."""

_MOST_FAILURES = 8
"""The failures that are kept until the program sees them. Each may hold a state in its traceback."""


running: set[Appending[Any]] = set()
"""Those whose thread has not ended."""


class HeldError(Exception):
    """The timer may not capture now."""


_SIGNALS = 0.1
"""How often a waiting thread lets the handlers of signals run, in seconds."""


class Bell:
    """Wakes the threads and tasks that wait for a condition.

    There is no lock that an exception from a signal handler could leave behind: whoever is
    interrupted leaves a future that nobody waits for.
    """

    def __init__(self) -> None:
        self._waiting: deque[Future[None]] = deque()

    def ring(self) -> None:
        """Has everybody look at their condition again."""
        for _ in range(len(self._waiting)):
            try:
                waiting = self._waiting.popleft()
            except IndexError:  # Another thread rings too.
                return
            if waiting.set_running_or_notify_cancel():
                waiting.set_result(None)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Blocks the thread until the condition holds."""
        while not condition():
            waiting = self._next()
            if condition():
                return
            while not waiting.done():
                if sys.is_finalizing():  # There is no other thread left.
                    return
                # A signal that comes just before the thread sleeps does not wake it.
                futures.wait([waiting], _SIGNALS)

    async def wait_async(self, condition: Callable[[], bool]) -> None:
        """Waits in a task until the condition holds."""
        import asyncio

        while not condition():
            waiting = self._next()
            if condition():
                return
            await asyncio.wrap_future(waiting)

    def _next(self) -> Future[None]:
        waiting: Future[None] = Future()
        self._waiting.append(waiting)
        return waiting


class Wake:
    """Wakes the one thread that waits for it.

    A signal handler may call :meth:`set` in the middle of another :meth:`set`, which a
    ``threading.Event`` does not allow. ``queue.SimpleQueue`` does, but before Python 3.13 its
    ``get`` may wait for ever if the timeout is shorter than a few microseconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wakes the thread, or has its next :meth:`wait` return at once."""
        with contextlib.suppress(RuntimeError):  # It was released before, and the thread will look.
            self._lock.release()

    def wait(self, timeout: float | None) -> None:
        """Blocks until :meth:`set`, or so many seconds."""
        self._lock.acquire(timeout=-1 if timeout is None else timeout)


class Captured:
    """A state at one moment, with what is stored next to it."""

    __slots__ = ("encoded", "epoch", "key", "labels", "number", "options", "reasons")

    def __init__(
        self,
        number: int,
        encoded: Encoded,
        options: Mapping[str, Any],
        labels: Mapping[str, str],
        reasons: Mapping[str, str],
        time: datetime,
        epoch: int,
    ) -> None:
        self.number, self.encoded, self.epoch = number, encoded, epoch
        self.reasons = dict(reasons)
        """The labels of this state, which a step that already holds it gets too."""
        self.labels = {**labels, **reasons}
        self.options = {**options, "timestamp": time}
        self.key = (hashlib.sha256(encoded.state).hexdigest(), encoded.content_type)


class Appending(Generic[S]):
    """Appends states in a thread, in the order in which they were captured, and never the same
    state twice in a row.
    """

    def __init__(self, timeline: TimelineBase[S], pending: int, on_conflict: str) -> None:
        self.timeline, self._pending, self._on_conflict = timeline, pending, on_conflict
        self.steps, self.last = 0, None
        self._newest = 0
        self._given: tuple[str, str] | None = None
        self._stored: tuple[str, str] | None = None
        self._is_known = False
        self._epoch, self._refused = 0, -1
        self._failures: deque[BaseException] = deque()
        self._more = 0
        self._items: deque[Captured | Callable[[], None] | None] = deque()
        """What the thread has to do: append a state, call a function, or end. It looks here whenever
        it is woken, so nothing is lost if a signal interrupts whoever puts something in.
        """
        self._wake = Wake()
        self._bell = Bell()
        self._ended = False
        self._every: float | None = None
        self._tick: Callable[[], Captured | None] | None = None

    steps: int
    """The number of steps that were appended."""
    last: S | None
    """The newest of these, or the step that already held the state."""

    def start(self, every: float | None = None, tick: Callable[[], Captured | None] | None = None) -> None:
        """Starts the thread, which also captures a state with ``tick`` every so many seconds. If
        that raises :class:`HeldError`, it tries again after :meth:`wake`.
        """
        self._every, self._tick = every, tick
        running.add(self)
        # The end of the block waits for it. If that is interrupted, the process must still end.
        threading.Thread(target=self._run, name="persist-autosave", daemon=True).start()

    @property
    def waiting(self) -> int:
        """The number of states that wait to be appended."""
        return len(self._sizes())

    def _sizes(self) -> list[int]:
        return [len(item.encoded.state) for item in tuple(self._items) if isinstance(item, Captured)]

    def _send(self, item: Captured | Callable[[], None] | None) -> None:
        self._items.append(item)
        self._wake.set()

    def captured(
        self,
        number: int,
        encoded: Encoded,
        options: Mapping[str, Any],
        labels: Mapping[str, str],
        reasons: Mapping[str, str],
        time: datetime,
    ) -> Captured:
        """Returns a state to append."""
        return Captured(number, encoded, options, labels, reasons, time, self._epoch)

    def is_news(self, state: Captured) -> bool:
        """Returns whether a state has to be passed to the thread at all."""
        return state.key != self._given or bool(state.reasons)

    def has_room(self, state: Captured) -> bool:
        """Returns whether one more state may wait."""
        sizes = self._sizes()
        return len(sizes) < self._pending and (not sizes or sum(sizes) + len(state.encoded.state) <= MAX_WAITING)

    def put(self, state: Captured) -> None:
        """Passes a state to the thread, unless a later one was passed before it."""
        if state.number > self._newest:
            self._send(state)
            self._newest, self._given = state.number, state.key

    def wait_for_room(self, state: Captured) -> None:
        """Blocks until one more state may wait."""
        self._bell.wait(lambda: self.has_room(state) or self._ended)

    async def wait_for_room_async(self, state: Captured) -> None:
        """Waits in a task until one more state may wait."""
        await self._bell.wait_async(lambda: self.has_room(state) or self._ended)

    def mark(self) -> Callable[[], bool]:
        """Returns a condition that holds when everything that was passed so far is done."""
        done: list[bool] = []

        def passed() -> None:
            done.append(True)
            self._bell.ring()

        self._send(passed)
        return lambda: bool(done) or self._ended

    def stop(self) -> Callable[[], bool]:
        """Ends the thread after everything that was passed. Returns a condition that holds then."""
        self._send(None)
        return lambda: self._ended

    def wait(self, condition: Callable[[], bool]) -> None:
        """Blocks until a condition of :meth:`mark` or :meth:`stop` holds. At the end of the
        program, when the thread is gone, does its work here.
        """
        self._bell.wait(condition)
        while not condition() and self._items:
            self._do(self._items.popleft())

    async def wait_async(self, condition: Callable[[], bool]) -> None:
        """Waits in a task until a condition of :meth:`mark` or :meth:`stop` holds."""
        await self._bell.wait_async(condition)

    def wake(self) -> None:
        """Has the thread capture a state if it is time."""
        if self._tick is not None:
            self._send(lambda: None)

    def _run(self) -> None:
        every, tick = self._every, self._tick
        due, is_held = time.monotonic() + (every or 0), False
        while True:
            is_timed = every is not None and not is_held
            if not self._items:
                self._wake.wait(max(0.0, due - time.monotonic()) if is_timed else None)
            if self._items:
                self._do(self._items.popleft())
                if self._ended:
                    break
            if every is not None and tick is not None and time.monotonic() >= due:
                try:
                    self._timed(tick)
                except HeldError:
                    is_held = True
                else:
                    due, is_held = time.monotonic() + every, False
        running.discard(self)
        self._bell.ring()

    def _do(self, item: Captured | Callable[[], None] | None) -> None:
        if item is None:
            self._ended = True
        elif isinstance(item, Captured):
            self._bell.ring()
            self._append(item)
        else:
            item()

    def _timed(self, tick: Callable[[], Captured | None]) -> None:
        try:
            state = tick()
        except HeldError:
            raise
        except BaseException as error:
            self.fail(error)
            return
        if state is not None and state.number > self._newest and self.is_news(state):
            self._newest, self._given = state.number, state.key
            self._append(state)

    def _append(self, state: Captured) -> None:
        if state.epoch <= self._refused:
            return
        try:
            opened = self.timeline._opened()
            if not self._is_known:
                self._find_newest(state.key)
            if state.key != self._stored:
                options = {**state.options, "labels": state.labels or None}
                self.last = self.timeline._append(opened, state.encoded, options, self._on_conflict, None)
                self._stored = state.key
                self.steps += 1
            elif self.last is not None:
                for name, value in state.reasons.items():
                    opened.native.set_label(self.last.number, name, value)
        except BaseException as error:  # Also a panic of the host. The thread goes on.
            if isinstance(error, PersistConflictError) and self._on_conflict == "fail":
                # What was captured before the program knows of the other writer stays out.
                self._refused = self._epoch
            self.fail(error)

    def _find_newest(self, key: tuple[str, str]) -> None:
        """Reads which state the newest step holds: at the start, and after a failure, which may
        have stored the state all the same.
        """
        opened = self.timeline._opened()
        try:
            step = self.timeline._step(opened, opened.native.find())
        except (PersistNotFoundError, PersistIntegrityError):
            # There is none, or it is damaged: then the state is stored as a whole.
            self._stored = None
        else:
            self._stored = (step.metadata.content_hash, step.metadata.content_type)
            if self._stored == key:
                self.last = step
        self._is_known = True

    def fail(self, error: BaseException) -> None:
        """Keeps a failure until the program sees it. The next state is tried again."""
        self._is_known, self._given = False, None
        if len(self._failures) < _MOST_FAILURES or isinstance(error, PersistConflictError):
            self._failures.append(error)
        else:
            self._more += 1

    @property
    def is_refused(self) -> bool:
        """Whether somebody else has appended, and the program does not know it yet."""
        return self._refused == self._epoch

    def failures(self) -> list[BaseException]:
        """Returns the failures that the program has not seen. The last one has a note if there
        were more than are kept.
        """
        taken = []
        while self._failures:
            taken.append(self._failures.popleft())
        if any(isinstance(error, PersistConflictError) for error in taken):
            self._epoch += 1
        if taken and self._more:
            states = "state" if self._more == 1 else "states"
            note(taken[-1], f"{self._more} more {states} could not be saved")
            self._more = 0
        return taken


def note(error: BaseException, text: str) -> None:
    """Adds a note to an exception. Before Python 3.11 it is only kept."""
    if sys.version_info >= (3, 11):
        error.add_note(text)
    else:
        vars(error).setdefault("__notes__", []).append(text)


def utc_now() -> datetime:
    """Returns the time."""
    return datetime.now(timezone.utc)
