"""Pydantic AI's row of the matrix."""

from __future__ import annotations

import dataclasses
from typing import Any

from cells import MANY, PICTURE, Cell, main, told
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, DeferredToolRequests, DeferredToolResults, ToolReturn
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models.function import FunctionModel

dump = ModelMessagesTypeAdapter.dump_python

NEW = ("timestamp", "run_id", "conversation_id")
"""The fields that differ in each run."""

BESIDE: dict[str, Any] = {"provider_details": {"model": ["a", None]}, "metadata": {"of": 1.5}}
"""The fields of a response other than its parts."""

HEARD: list[Any] = []
"""What the model was told in the last call."""


def answer(messages: list[ModelMessage], info: Any) -> ModelResponse:
    """Calls each tool once, then says how many messages it heard."""
    HEARD[:] = [told(dump(messages, mode="json"), NEW)]
    called = {part.tool_name for message in messages for part in message.parts if isinstance(part, ToolCallPart)}
    for tool in info.function_tools:
        if tool.name not in called:
            called_part = ToolCallPart(tool.name, {"city": "Turin"}, tool_call_id=tool.name)
            return ModelResponse(parts=[called_part], finish_reason="tool_call", **BESIDE)
    return ModelResponse(parts=[TextPart(f"I heard {len(messages)} messages")], finish_reason="stop", **BESIDE)


class Weather(BaseModel):
    city: str
    degrees: float


@dataclasses.dataclass
class Place:
    name: str
    at: tuple[float, float]


def look_up(city: str) -> ToolReturn:
    """A tool that finds something and adds metadata."""
    return ToolReturn([city, 21.5, {"wind": None}], metadata={"from": [b"raw", None]})


def describe(city: str) -> dict[str, Any]:
    """A tool that returns instances of classes."""
    return {"weather": Weather(city=city, degrees=21.5), "place": Place(city, (45.07, 7.69))}


def agent(**options: Any) -> Agent[Any, Any]:
    return Agent(FunctionModel(answer), instructions="You help.", **options)


def with_tool(tool: Any = look_up) -> Agent[Any, Any]:
    asked = agent()
    asked.tool_plain(tool)
    return asked


def waiting() -> Agent[Any, Any]:
    asked = agent(output_type=[str, DeferredToolRequests])
    asked.tool_plain(requires_approval=True)(pay)
    return asked


def pay(city: str) -> str:
    """A tool that a person has to approve."""
    return f"paid in {city}"


async def go_on(result: Any, asked: Agent[Any, Any] | None = None, mode: Any = "python", **more: Any) -> Any:
    messages = result if isinstance(result, list) else result.all_messages()
    before = told(dump(messages, mode=mode))
    prompt = None if more else "And now?"
    done = await (asked or agent()).run(prompt, message_history=messages, **more)
    return [before, HEARD, told(done.output)]


async def many() -> list[ModelMessage]:
    pairs = (
        [ModelRequest(parts=[UserPromptPart(f"question {n}")]), ModelResponse(parts=[TextPart(f"answer {n}")])]
        for n in range(MANY // 2)
    )
    return [message for pair in pairs for message in pair]


ROW = {
    "plain": Cell(lambda: agent().run("Hello"), go_on),
    "tool call": Cell(lambda: with_tool().run("Look it up"), lambda result: go_on(result, with_tool())),
    "approval": Cell(
        lambda: waiting().run("Pay"),
        lambda result: go_on(result, waiting(), deferred_tool_results=DeferredToolResults(approvals={"pay": True})),
    ),
    "multi-modal": Cell(
        lambda: agent().run(["What is this?", BinaryContent(PICTURE, media_type="image/png")]),
        go_on,
    ),
    "custom class": Cell(
        lambda: with_tool(describe).run("Describe it"),
        lambda result: go_on(result, mode="json"),
        note="as the data that its model gets",
    ),
    "5,000 messages": Cell(many, go_on),
}

if __name__ == "__main__":
    main(ROW)
