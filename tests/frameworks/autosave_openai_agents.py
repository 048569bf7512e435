"""The OpenAI Agents SDK with autosave: each turn of a session is a step."""

from __future__ import annotations

import persist
from agents import SQLiteSession
from blocks import CrashError, program
from turns import FIRST, SECOND, THIRD, check
from with_openai_agents import ask


async def crash(timeline: persist.Timeline) -> None:
    session = SQLiteSession("case-1")
    async with persist.autosave(session, timeline.to_async()):
        await ask(session, FIRST)
        await ask(session, SECOND)
        raise CrashError


async def go_on(timeline: persist.Timeline) -> None:
    check(await ask(await timeline.to_async().load(), THIRD))


if __name__ == "__main__":
    program(crash, go_on, (lambda state: len(state["items"]), [1, 2, 3, 4]))
