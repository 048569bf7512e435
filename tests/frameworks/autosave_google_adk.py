"""Google ADK with autosave: each event of a session is a step."""

from __future__ import annotations

from typing import Any

import persist
from blocks import CrashError, program
from google.adk.agents import LlmAgent
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types
from turns import FIRST, SECOND, THIRD, check
from with_google_adk import Told, ask


async def crash(timeline: persist.Timeline) -> None:
    service = InMemorySessionService()
    session = await service.create_session(app_name="app", user_id="u", session_id="s")
    other = await service.create_session(app_name="app", user_id="u", session_id="other")
    async with persist.autosave(session, timeline.to_async()) as saver:
        agent = LlmAgent(name="a", model=Told(model="told"))
        runner = Runner(app_name="app", agent=agent, session_service=service, plugins=[saver.hook])

        async def run(session: Any, text: str) -> None:
            said = types.Content(role="user", parts=[types.Part(text=text)])
            async for _ in runner.run_async(user_id="u", session_id=session.id, new_message=said):
                pass

        await run(session, FIRST)
        await run(other, "something else")
        await run(session, SECOND)
        assert "append_event" not in vars(service)
        raise CrashError


async def go_on(timeline: persist.Timeline) -> None:
    service = InMemorySessionService()
    await timeline.to_async().load(into=service)
    check(await ask(service, "s", THIRD))


if __name__ == "__main__":
    # The runner adds what the user said before plugins hear of the run.
    program(crash, go_on, (lambda state: len(state["events"]), [2, 4]))
