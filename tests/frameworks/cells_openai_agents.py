"""The OpenAI Agents SDK's row of the matrix."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

from agents import (
    Agent,
    Model,
    ModelResponse,
    Runner,
    RunState,
    SQLiteSession,
    ToolOutputImage,
    ToolOutputText,
    Usage,
    function_tool,
    set_tracing_disabled,
)
from agents.memory import SessionSettings
from cells import MANY, PICTURE, Cell, main, told
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

set_tracing_disabled(True)

HEARD: list[Any] = []
"""Everything that the model was told in the last run, call by call."""

DONE: list[str] = []
"""What the tools have done in the last run."""

IMAGE = "data:image/png;base64," + base64.b64encode(PICTURE).decode()


class Said(Model):
    """A model that calls all of its tools once and together, then says how many items it heard."""

    async def get_response(self, *rest: Any, **asked: Any) -> ModelResponse:
        tools = asked.pop("tools")
        HEARD.append([told(asked, ("tracing",)), [tool.name for tool in tools]])
        items = [] if isinstance(asked["input"], str) else asked["input"]
        called = {item.get("name") for item in items if item.get("type") == "function_call"}
        output: list[Any] = [
            ResponseFunctionToolCall(
                id=f"fc_{tool.name}",
                call_id=f"call_{tool.name}",
                name=tool.name,
                arguments='{"city": "Turin"}',
                type="function_call",
                status="completed",
            )
            for tool in tools
            if tool.name not in called
        ]
        if not output:
            text = ResponseOutputText(text=f"I heard {len(items)} items", type="output_text", annotations=[])
            said = ResponseOutputMessage(
                id=f"msg_{len(items)}", content=[text], role="assistant", status="completed", type="message"
            )
            output = [said]
        used = Usage(requests=1, input_tokens=len(items), output_tokens=1, total_tokens=len(items) + 1)
        return ModelResponse(output=output, usage=used, response_id=f"resp_{len(items)}")

    def stream_response(self, *rest: Any, **others: Any) -> AsyncIterator[Any]:
        raise AssertionError("no program here streams a run")


@dataclasses.dataclass
class Customer:
    name: str
    paid: float


@function_tool
def look_up(city: str) -> list[Any]:
    """A tool that finds something."""
    DONE.append(f"looked up {city}")
    return [city, 21.5, {"wind": None}]


@function_tool
def draw(city: str) -> list[Any]:
    """A tool that answers with an image."""
    return [ToolOutputText(text=city), ToolOutputImage(image_url=IMAGE, detail="low")]


@function_tool(needs_approval=True)
def pay(city: str) -> str:
    """A tool that a person has to approve."""
    DONE.append(f"paid in {city}")
    return f"paid in {city}"


def agent(*tools: Any) -> Agent[Any]:
    return Agent(name="helper", instructions="You help.", model=Said(), tools=list(tools))


async def talk(*tools: Any, said: Any = "Hello", limit: int | None = None) -> SQLiteSession:
    session = SQLiteSession("case-1", session_settings=SessionSettings(limit=limit))
    await Runner.run(agent(*tools), said, session=session)
    await Runner.run(agent(*tools), "And then?", session=session)
    return session


class Noting(SQLiteSession):
    """The program's own session class."""

    customer = "nobody"


async def many() -> Noting:
    session = Noting("case-1")
    session.customer = "Ada"
    for n in range(MANY // 2):
        await session.add_items(
            [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": f"answer {n}"}]
        )
    return session


async def go_on(session: SQLiteSession, *tools: Any) -> Any:
    before = told(await session.get_items())
    HEARD.clear()
    done = await Runner.run(agent(*tools), "And now?", session=session)
    after = told(await session.get_items())
    own = [told(session.session_settings), getattr(session, "customer", None)]
    return [session.session_id, own, before, HEARD, told(done.final_output), after]


async def wait(context: Any) -> RunState[Any, Any]:
    DONE.clear()
    result = await Runner.run(agent(look_up, pay), "Pay", context=context, max_turns=7)
    assert DONE == ["looked up Turin"]
    assert len(result.interruptions) == 1
    return result.to_state()


async def decide(state: RunState[Any, Any]) -> Any:
    asked = state._current_agent
    assert asked is not None
    before = held(state)
    HEARD.clear()
    DONE.clear()
    state.approve(state.get_interruptions()[0])
    result = await Runner.run(asked, state)
    assert DONE == ["paid in Turin"], DONE
    context = result.context_wrapper
    came_to = [result.to_input_list(), context.context, context.usage, result.final_output]
    return in_order([before, HEARD, told(came_to)])


def held(state: RunState[Any, Any]) -> Any:
    """Returns a run as the SDK writes it, and the classes of items, which the SDK leaves out."""
    items = [[item.raw_item, getattr(item, "output", None)] for item in state._generated_items]
    return [state.to_json(strict_context=True), told([items, state._model_responses, state.pending_input])]


def in_order(value: Any) -> Any:
    """Sorts the keys of dicts, because the SDK changes their order in the outputs of tools."""
    return json.loads(json.dumps(value, sort_keys=True))


ROW = {
    "plain": Cell(lambda: talk(limit=3), go_on),
    "tool call": Cell(lambda: talk(look_up), lambda session: go_on(session, look_up)),
    "approval": Cell(
        lambda: wait({"customer": {"name": "Ada", "paid": 0.0}}),
        decide,
        into=lambda: agent(look_up, pay),
    ),
    "multi-modal": Cell(
        lambda: talk(
            draw,
            said=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is this?"},
                        {"type": "input_image", "image_url": IMAGE, "detail": "auto"},
                    ],
                }
            ],
        ),
        lambda session: go_on(session, draw),
    ),
    "custom class": Cell(
        lambda: wait(Customer("Ada", 0.0)),
        decide,
        into=lambda: agent(look_up, pay),
        refused="the context of a run must be a dict, not a Customer",
    ),
    "5,000 messages": Cell(many, go_on, into=lambda: Noting("case-1")),
}

if __name__ == "__main__":
    main(ROW)
