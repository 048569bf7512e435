"""The OpenAI Agents SDK in the story: what is said to an agent is a step, and so is each turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import persist
from agents import Agent, Model, ModelResponse, Runner, SQLiteSession, Usage, function_tool, set_tracing_disabled
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from story import FIRST, LAST, Steps, main, tell

set_tracing_disabled(True)


@function_tool
def note(text: str) -> str:
    """Notes something."""
    return f"noted: {text}"


class Noting(Model):
    """A model that notes something in each turn, and answers in the last one."""

    def __init__(self, session: SQLiteSession, steps: Steps) -> None:
        self.session = session
        self.steps = steps

    async def get_response(self, *rest: Any, **others: Any) -> ModelResponse:
        number = self.steps.begins(await self.session.get_items())
        if self.steps.has_to_stop(number):
            await asyncio.Event().wait()
        output: Any
        if number < self.steps.until:
            arguments = f'{{"text": "step {number}"}}'
            output = ResponseFunctionToolCall(
                arguments=arguments, call_id=f"{number}", name="note", type="function_call"
            )
        else:
            text = ResponseOutputText(text="I am done", type="output_text", annotations=[])
            output = ResponseOutputMessage(id="1", content=[text], role="assistant", status="completed", type="message")
        return ModelResponse(output=[output], usage=Usage(), response_id=None)

    def stream_response(self, *rest: Any, **others: Any) -> AsyncIterator[Any]:
        raise AssertionError("no program here streams a run")


async def run(session: SQLiteSession, timeline: persist.Timeline, text: str, steps: Steps) -> None:
    asked = Agent(name="a", model=Noting(session, steps), tools=[note])
    async with persist.autosave(session, timeline.to_async()):
        await Runner.run(asked, text, session=session)


async def begin(timeline: persist.Timeline) -> None:
    await run(SQLiteSession("case-1"), timeline, FIRST, Steps(2, LAST, stops=True))


async def go_on(timeline: persist.Timeline, until: int, text: str | None) -> None:
    newest = await timeline.to_async().at()
    session = await newest.load(into=SQLiteSession("case-1"))
    tell(newest.number, await session.get_items())
    await run(session, timeline, text or "go on", Steps(newest.number + 2, until))


if __name__ == "__main__":
    main(begin, go_on)
