"""Google ADK's row of the matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

from cells import MANY, PICTURE, Cell, main, told
from google.adk.agents import LlmAgent
from google.adk.events import Event, EventActions
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService, Session
from google.adk.tools import FunctionTool, ToolContext
from google.genai import types

NEW = ("id", "invocation_id", "timestamp", "last_update_time")
"""The fields of a new event that are random, or times."""

HEARD: list[Any] = []
"""Everything that the model was told in the last run, call by call."""

DONE: list[str] = []
"""What the tools have done in the last run."""

SERVICE = InMemorySessionService()
"""The service with the sessions of this process."""

SHARED = {"config": {"state": ["app:", "user:"]}}
"""Restores all of the state that sessions share."""


class Said(BaseLlm):
    """A model that calls all of its tools once and together, then says how many messages it heard."""

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        config = llm_request.config
        HEARD.append(told([llm_request.contents, config.system_instruction, config.tools]))
        parts = [part for content in llm_request.contents for part in content.parts or []]
        called = {part.function_call.name for part in parts if part.function_call}
        calls = [
            types.Part(
                function_call=types.FunctionCall(name=name, args={"city": "Turin"}), thought_signature=b"\xff signed"
            )
            for name in llm_request.tools_dict
            if name not in called
        ]
        said = types.Part(text=f"I heard {len(llm_request.contents)} messages")
        yield LlmResponse(
            content=types.Content(role="model", parts=calls or [said]),
            custom_metadata={"parts": len(parts)},
            usage_metadata=types.GenerateContentResponseUsageMetadata(
                prompt_token_count=len(parts), candidates_token_count=1, total_token_count=len(parts) + 1
            ),
        )


@dataclasses.dataclass
class Place:
    name: str
    at: tuple[float, float]


def look_up(city: str, tool_context: ToolContext) -> dict[str, Any]:
    """A tool that finds something, keeps it in the state, and forgets something else."""
    tool_context.state["seen"] = [city, b"\xff", {"wind": None}]
    tool_context.state["step"] = None
    return {"city": city, "degrees": 21.5, "wind": None}


def move(city: str, tool_context: ToolContext) -> str:
    """A tool that changes what other sessions share."""
    tool_context.state["user:home"] = city
    return "moved"


def photo(city: str) -> types.Part:
    """A tool that answers with an image."""
    return types.Part.from_bytes(data=PICTURE, mime_type="image/png")


def pay(city: str) -> str:
    """A tool that a person has to approve."""
    DONE.append(city)
    return f"paid in {city}"


def visit(city: str, tool_context: ToolContext) -> str:
    """A tool that keeps an instance of the program's own class."""
    tool_context.state["place"] = Place(city, (45.07, 7.69))
    return "visited"


async def run(session: Session, message: types.Content, *tools: Any) -> list[Event]:
    """Returns the events after a message."""
    agent = LlmAgent(
        name="helper", instruction="You help.", model=Said(model="said"), tools=list(tools), output_key="last"
    )
    runner = Runner(app_name=session.app_name, agent=agent, session_service=SERVICE)
    HEARD.clear()
    DONE.clear()
    return [
        event async for event in runner.run_async(user_id=session.user_id, session_id=session.id, new_message=message)
    ]


def say(*parts: Any) -> types.Content:
    return types.Content(
        role="user", parts=[types.Part(text=part) if isinstance(part, str) else part for part in parts]
    )


async def started(name: str, **state: Any) -> Session:
    """Creates a session of a separate app, so that no cell sees the state of another one."""
    return await SERVICE.create_session(app_name=name, user_id="u", session_id="s", state=state)


async def current(session: Session) -> Session:
    """Returns the session that the service has now."""
    names = {"app_name": session.app_name, "user_id": session.user_id}
    found = await SERVICE.get_session(**names, session_id=session.id)
    assert found is not None
    return found


async def talk(name: str, *tools: Any, said: tuple[Any, ...] = ("Hello",)) -> Session:
    session = await started(name, **{"step": 1, "app:limit": 10})
    await run(session, say(*said), *tools)
    await run(session, say("And then?"), *tools)
    return await current(session)


async def wait() -> Session:
    session = await started("waits")
    await run(session, say("Pay"), look_up, FunctionTool(pay, require_confirmation=True))
    assert not DONE
    return await current(session)


async def many() -> Session:
    session = await started("long")
    for n in range(MANY):
        author = "helper" if n % 2 else "user"
        event = Event(
            author=author,
            invocation_id=f"run {n // 2}",
            content=types.Content(role="model" if n % 2 else "user", parts=[types.Part(text=f"message {n}")]),
            actions=EventActions(state_delta={"step": n}),
            branch="helper.inner" if n % 2 else None,
            turn_complete=n % 2 == 1,
        )
        await SERVICE.append_event(session, event)
    return await current(session)


async def go_on(session: Session, *tools: Any) -> Any:
    return await come_to(session, say("And now?"), *tools)


async def decide(session: Session) -> Any:
    calls = [call for event in session.events for call in event.get_function_calls()]
    (asked,) = [call for call in calls if call.name == "adk_request_confirmation"]
    answer = types.FunctionResponse(id=asked.id, name=asked.name, response={"confirmed": True})
    came_to = await come_to(
        session,
        say(types.Part(function_response=answer)),
        look_up,
        FunctionTool(pay, require_confirmation=True),
    )
    assert DONE == ["Turin"], DONE
    return came_to


async def come_to(session: Session, message: types.Content, *tools: Any) -> Any:
    before = told(session)
    events = await run(session, message, *tools)
    after = await current(session)
    old, new = after.events[: len(session.events)], after.events[len(session.events) :]
    assert len(new) == len(events) + 1
    return alone([before, HEARD, told(after.state), told(old), told(new, NEW), told(events, NEW)])


def alone(value: Any) -> Any:
    """Returns events without their changes of the shared state. Restored events do not have
    these, because a service would apply them again.
    """
    if isinstance(value, list):
        return [alone(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {name: alone(item) for name, item in value.items()}
    if delta := plain.get("state_delta"):
        plain["state_delta"] = {name: item for name, item in delta.items() if not name.startswith(("app:", "user:"))}
    return plain


ROW = {
    "plain": Cell(lambda: talk("plain"), go_on, into=lambda: SERVICE, restore=SHARED),
    "tool call": Cell(
        lambda: talk("tools", look_up, move),
        lambda session: go_on(session, look_up, move),
        into=lambda: SERVICE,
        restore=SHARED,
        note="but events no longer say what they changed in the state that sessions share",
    ),
    "approval": Cell(wait, decide, into=lambda: SERVICE, restore=SHARED),
    "multi-modal": Cell(
        lambda: talk(
            "pictures",
            photo,
            said=("What is this?", types.Part.from_bytes(data=PICTURE, mime_type="image/png")),
        ),
        lambda session: go_on(session, photo),
        into=lambda: SERVICE,
        restore=SHARED,
    ),
    "custom class": Cell(
        lambda: talk("classes", visit),
        lambda session: go_on(session, visit),
        into=lambda: SERVICE,
        refused="would change session.state['place']",
    ),
    "5,000 messages": Cell(many, go_on, into=lambda: SERVICE, restore=SHARED),
}

if __name__ == "__main__":
    main(ROW)
