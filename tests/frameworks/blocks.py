"""What the programs named ``autosave_*`` share: one process asks an agent twice in a block of
autosave and fails, another one goes on with the newest step and asks a third time.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import persist
from turns import main


class CrashError(Exception):
    """What ends the block."""


def program(crash: Callable[[persist.Timeline], Any], go_on: Callable[[persist.Timeline], Any], each: Any) -> None:
    """Runs the command line of ``turns.main``.

    Args:
        crash: Runs the block, and lets it end with :class:`CrashError`. It may be ``async``.
        go_on: Loads the newest step, and checks the answer to the third question.
        each: Returns what to compare of the plain state of a step, and what that has to be for
            each step.
    """
    of_state, expected = each

    def save(location: str) -> None:
        timeline = persist.Timeline(location, session_id="1")
        try:
            _run(crash, timeline)
        except CrashError:
            pass
        else:
            raise AssertionError("the block did not end with the exception")
        steps = list(reversed(list(timeline)))
        found = [of_state(step.load(plain=True)) for step in steps]
        assert found == expected, found
        labels = [step.labels for step in steps]
        assert labels == [{}] * (len(steps) - 1) + [{"exception": "CrashError"}], labels

    main(save, lambda location: _run(go_on, persist.Timeline(location, session_id="1")))


def _run(function: Callable[[persist.Timeline], Any], timeline: persist.Timeline) -> None:
    done = function(timeline)
    if inspect.isawaitable(done):

        async def wait() -> None:
            await done

        asyncio.run(wait())
