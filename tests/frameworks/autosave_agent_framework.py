"""Microsoft Agent Framework with autosave: each run of an agent is a step."""

from __future__ import annotations

import persist
from agent_framework import Agent, AgentSession, InMemoryHistoryProvider
from blocks import CrashError, program
from turns import FIRST, SECOND, THIRD, check
from with_agent_framework import Told, ask


async def crash(timeline: persist.Timeline) -> None:
    session = AgentSession(session_id="a-session")
    with persist.autosave(session, timeline) as saver:
        agent = Agent(Told(), context_providers=[InMemoryHistoryProvider()], middleware=[saver.hook])
        await agent.run(FIRST, session=session)
        await agent.run(SECOND, session=session)
        raise CrashError


async def go_on(timeline: persist.Timeline) -> None:
    check(await ask(timeline.load(), THIRD))


if __name__ == "__main__":
    program(crash, go_on, (lambda state: len(state["state"]["in_memory"]["messages"]), [2, 4]))
