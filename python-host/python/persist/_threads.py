"""Runs blocking work in threads, for asyncio."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from persist import _persist
from persist.errors import PersistError, PersistOutcomeUnknownError

STORED = "the snapshot was stored all the same"
DELETED = "the snapshot was deleted all the same"


async def in_thread(work: Callable[..., Any], *arguments: Any, changed: str | None = None) -> Any:
    """Runs blocking work in a thread, with a cancel token as its last argument; see
    :func:`to_the_end`.
    """
    token = _persist.CancelToken()
    return await to_the_end(token, lambda: work(*arguments, token), changed)


async def to_the_end(token: _persist.CancelToken, work: Callable[[], Any], changed: str | None = None) -> Any:
    """Runs blocking work in a thread.

    If the task is cancelled before a thread is free, the work never starts. If it is
    cancelled later, the work is cancelled through the token and cleans up before the task
    ends. If the work had gone too far to be cancelled, the exception gets ``changed`` as a
    note, which says what was done. If the task is cancelled again, it ends at once, and the
    outcome is not known.
    """
    import asyncio
    import contextvars

    context = contextvars.copy_context()
    turn = _Turn()
    running = asyncio.get_running_loop().run_in_executor(None, lambda: turn.take() and context.run(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError as cancelled:
        token.cancel()
        if turn.give_up():
            running.cancel()
            raise
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as again:
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
            if changed is not None:
                raise again from _not_waited_for()
            raise
        error = running.exception()
        if error is None:
            if changed is not None and sys.version_info >= (3, 11):
                cancelled.add_note(changed)
            raise
        if isinstance(error, PersistError) and error.code == "cancelled" and error.hint is None:
            raise
        # The error says more than that the work was cancelled.
        raise cancelled from error


async def despite_cancellation(work: Coroutine[Any, Any, None]) -> BaseException | None:
    """Runs a coroutine in a task of its own, and waits until it has ended, also if this task is
    cancelled meanwhile. Returns what cancelled it, for the caller to raise.
    """
    import asyncio

    running, cancelled = asyncio.ensure_future(work), None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if running.cancelled():  # By the end of the event loop.
        return cancelled or asyncio.CancelledError()
    running.result()
    return cancelled


def _not_waited_for() -> PersistOutcomeUnknownError:
    return PersistOutcomeUnknownError(
        "the task was cancelled again before the outcome was known",
        "outcome-unknown",
        hint="check what is stored before you try again",
    )


class _Turn:
    """Decides what comes first: a thread that starts the work, or the task that gives it up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Returns whether the work may start."""
        return self._lock.acquire(blocking=False)

    def give_up(self) -> bool:
        """Returns whether the work has not started, and never will."""
        return self._lock.acquire(blocking=False)
