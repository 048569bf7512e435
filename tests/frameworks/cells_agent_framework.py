"""Microsoft Agent Framework's row of the matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from agent_framework import (
    Agent,
    AgentSession,
    BaseChatClient,
    ChatResponse,
    Content,
    FunctionInvocationLayer,
    InMemoryHistoryProvider,
    Message,
    register_state_type,
    tool,
)
from cells import MANY, PICTURE, Cell, main, told

NEW = ("id",)
"""The fields that differ in each call."""

HEARD: list[Any] = []
"""What the model was told in the last call."""


class Answering(FunctionInvocationLayer[Any], BaseChatClient[Any]):
    """A model that calls each tool once, then says how many messages it heard."""

    def _inner_get_response(self, *, messages: Any, stream: bool = False, options: Any = None, **others: Any) -> Any:
        HEARD[:] = [told(messages, NEW)]
        called = {content.name for message in messages for content in message.contents}
        calls = [tool.name for tool in options.get("tools") or () if tool.name not in called]

        async def respond() -> ChatResponse:
            if calls:
                contents = [Content.from_function_call(calls[0], calls[0], arguments={"city": "Turin"})]
            else:
                contents = [
                    Content.from_text_reasoning(text="I count", protected_data="c2VjcmV0"),
                    Content.from_text(
                        f"I heard {len(messages)} messages",
                        annotations=[{"type": "citation", "title": "A book", "additional_properties": {"page": 7}}],
                        additional_properties={"sure": 0.5, "of": [1, None]},
                    ),
                    Content.from_usage({"input_token_count": len(messages), "output_token_count": 4}),
                ]
            return ChatResponse(
                messages=[
                    Message(
                        "assistant",
                        contents,
                        message_id=f"answer-{len(messages)}",
                        additional_properties={"model": "fake", "took": 1.5},
                    )
                ]
            )

        return respond()


@tool
def look_up(city: str) -> str:
    """A tool that finds something."""
    return f"21.5 degrees in {city}"


@tool
def picture(city: str) -> list[Content]:
    """A tool that finds an image."""
    return [Content.from_text(f"This is {city}:"), Content.from_data(PICTURE[::-1], "image/png")]


PAID: list[str] = []
"""The payments of this process."""


@tool(approval_mode="always_require")
def pay(city: str) -> str:
    """A tool that a person has to approve."""
    PAID.append(city)
    return f"paid in {city}"


@dataclasses.dataclass
class Place:
    """A class that is registered with functions to write and read it."""

    name: str
    at: tuple[float, float]


class Visit:
    """A class with methods to write and read it."""

    def __init__(self, place: str, times: int) -> None:
        self.place = place
        self.times = times

    def to_dict(self) -> dict[str, Any]:
        return {"place": self.place, "times": self.times}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Visit:
        return cls(data["place"], data["times"])


register_state_type(
    Place,
    type_id="cells.place",
    encoder=lambda place: {"name": place.name, "at": list(place.at)},
    decoder=lambda data: Place(data["name"], (data["at"][0], data["at"][1])),
)
register_state_type(Visit, type_id="cells.visit")


class Shopping(AgentSession):
    """The program's own session class."""

    cart: list[Any]


def agent(*tools: Any) -> Any:
    providers = [
        InMemoryHistoryProvider(),
        InMemoryHistoryProvider("audit", load_messages=False, store_context_messages=True),
    ]
    return Agent(Answering(), name="helper", tools=list(tools), context_providers=providers)


async def begun(said: Any, *tools: Any, session: AgentSession | None = None) -> AgentSession:
    session = session or AgentSession()
    await agent(*tools).run(said, session=session)
    return session


async def go_on(session: AgentSession, *tools: Any, said: Any = "And now?") -> Any:
    before = told(session)
    done = await agent(*tools).run(said, session=session)
    return [before, HEARD, told(done.messages, NEW), told(session.state, NEW)]


async def approve(session: AgentSession) -> Any:
    """Approves the pending calls."""
    messages: Sequence[Message] = session.state["in_memory"]["messages"]
    asked = [content for content in messages[-1].contents if content.user_input_request]
    yes = Message("user", [request.to_function_approval_response(True) for request in asked])
    PAID.clear()
    return [len(asked), await go_on(session, pay, look_up, said=yes), told(PAID)]


async def waiting() -> AgentSession:
    session = await begun("Pay", pay, look_up)
    assert not PAID, "nobody approved it"
    return session


async def shopping() -> AgentSession:
    session = Shopping(session_id="shopping")
    session.cart = ["a book", {"of": [1, 2.5]}, ("a", None)]
    session.state["place"] = Place("Turin", (45.07, 7.69))
    session.state["visits"] = [Visit("Turin", 2), {"again": Visit("Ivrea", 1)}]
    return await begun("Hello", session=session)


async def many() -> AgentSession:
    session = AgentSession()
    for number, provider in enumerate(agent().context_providers):
        state = session.state.setdefault(provider.source_id, {})
        said = (Message(("user", "assistant")[n % 2], [f"message {n}"], message_id=f"m-{n}") for n in range(MANY))
        await provider.save_messages(session.session_id, list(said)[number:], state=state)
    return session


ROW = {
    "plain": Cell(lambda: begun("Hello"), go_on),
    "tool call": Cell(lambda: begun("Look it up", look_up), lambda session: go_on(session, look_up)),
    "approval": Cell(waiting, approve),
    "multi-modal": Cell(
        lambda: begun(Message("user", ["What is this?", Content.from_data(PICTURE, "image/png")]), picture),
        lambda session: go_on(session, picture),
    ),
    "custom class": Cell(
        shopping,
        go_on,
        into=lambda: Shopping,
        note="of classes that are registered",
    ),
    "5,000 messages": Cell(many, go_on),
}

if __name__ == "__main__":
    main(ROW)
