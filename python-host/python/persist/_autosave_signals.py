"""Signals that end a program: autosave lets its block end, saves, and then has the signal end
the program as it would have without autosave.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

NAMES = ("SIGTERM", "SIGHUP")
"""The signals that end a program unless it handles them. SIGINT is a ``KeyboardInterrupt``."""


def name_of(number: int) -> str:
    """Returns the name of a signal."""
    return signal.Signals(number).name


class Signalled(BaseException):
    """Ends the block because of a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(name_of(number))
        self.number = number


def die(number: int) -> None:
    """Ends the process by a signal, as the default handler does."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def unhandled() -> list[int]:
    """Returns the signals whose default handler is in place, if this thread may change that."""
    if threading.current_thread() is not threading.main_thread():
        return []
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]


class Signals:
    """Handlers for the signals that would end the program.

    A handler takes no lock and captures nothing: it only raises an exception, or cancels a task.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The signal that came, if any."""
        self.is_armed = False
        """Whether the block runs. Otherwise a signal does not interrupt what goes on."""
        self._installed: dict[int, Any] = {}
        self._loop: Any = None
        self._task: Any = None

    def install(self) -> None:
        """Installs handlers that raise :class:`Signalled` in the main thread."""
        for number in unhandled():
            signal.signal(number, self._raise)
            self._installed[number] = self._raise

    def install_in_loop(self) -> None:
        """Installs handlers that cancel the current task."""
        import asyncio

        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        for number in unhandled():
            # The loop's own handlers would not run while something blocks the loop, and then a
            # second signal could not end the process.
            signal.signal(number, self._cancel)
            self._installed[number] = self._cancel

    def _first(self, number: int) -> bool:
        """Notes a signal. The second one ends the process at once."""
        if self.received is not None:
            die(number)
        self.received = number
        return self.is_armed

    def check(self) -> None:
        """Ends the block, if a signal came and something has ignored the exception."""
        if self.received is None or not self.is_armed or threading.current_thread() is not threading.main_thread():
            return
        if self._task is None:
            raise Signalled(self.received)
        self._task.cancel()

    def _raise(self, number: int, frame: object) -> None:
        if self._first(number):
            raise Signalled(number)

    def _cancel(self, number: int, frame: object) -> None:
        if self._first(number):
            if self._loop.is_closed():  # The block was never left.
                die(number)
            # This also wakes the loop.
            self._loop.call_soon_threadsafe(self._task.cancel)

    def arm(self) -> None:
        """Lets signals interrupt the block, which begins now."""
        self.is_armed = True
        if self.received is not None:
            self.end()

    def end(self) -> None:
        """Restores the handlers, and has the signal that came, if any, end the process."""
        self.restore()
        if self.received is not None:
            die(self.received)

    def restore(self) -> None:
        """Restores the default handlers, unless the program has installed others meanwhile."""
        for number, handler in self._installed.items():
            if signal.getsignal(number) == handler:
                signal.signal(number, signal.SIG_DFL)
        self._installed = {}

    def restore_in_child(self) -> None:
        """Restores the default handlers in a child process, which has no block to end."""
        self.restore()
