"""What the programs named ``story_*`` share: an agent whose steps are all saved is killed in the
middle of a step, and other processes go on. The command line is one of these:

``begin PLACE SESSION``: the agent begins. In step ``KILLED_IN`` it stops and waits to be killed.

``go_on PLACE SESSION UNTIL [TEXT]``: the agent goes on with the newest step until it has made
step ``UNTIL``. With a text, this is said to it first.

All print lines of JSON: the number of a step, and all that the agent knows. The lines of a step
that is being made come before its model answers, with what the agent knows from the step before.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import persist

FIRST = "my name is Ada"
KILLED_IN, LAST = 7, 10


class Steps:
    """Counts the steps that an agent makes.

    Args:
        next: The number of the step in which the model is asked first.
        until: The number of the last step.
        stops: Whether the agent stops in step ``KILLED_IN``.
    """

    def __init__(self, next: int, until: int, stops: bool = False) -> None:  # noqa: A002
        self.next = next
        self.until = until
        self.stops = stops

    def begins(self, known: Any) -> int:
        """Called when the model is asked. Returns the number of the step that is being made."""
        number, self.next = self.next, self.next + 1
        tell(number, known)
        return number

    def has_to_stop(self, number: int) -> bool:
        """Whether the agent waits in this step to be killed."""
        return self.stops and number == KILLED_IN


def tell(number: int, known: Any) -> None:
    """Prints all that an agent knows."""
    print(json.dumps({"step": number, "known": known}), flush=True)


Told = Callable[..., None] | Callable[..., Awaitable[None]]


def main(begin: Told, go_on: Told) -> None:
    """Runs the command line.

    Args:
        begin: Runs ``begin(timeline)``. It may be ``async``.
        go_on: Runs ``go_on(timeline, until, text)``, with no text as ``None``.
    """
    what, place, session, *rest = sys.argv[1:]
    timeline = persist.Timeline(place, agent_id="support", session_id=session)
    if what == "begin":
        done = begin(timeline)
    else:
        until, text = int(rest[0]), rest[1] if rest[1:] else None
        done = go_on(timeline, until, text)
    if inspect.isawaitable(done):

        async def wait() -> None:
            await done

        asyncio.run(wait())
