"""Microsoft Agent Framework: a session."""

from __future__ import annotations

import dataclasses
from typing import Any

import persist
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
from pydantic import BaseModel
from turns import FIRST, SECOND, THIRD, answer, check, main


class Told(BaseChatClient[Any]):
    """A model that answers with what it was told."""

    def _inner_get_response(self, *, messages: Any, stream: bool = False, options: Any = None, **others: Any) -> Any:
        told = answer(message.text for message in messages if message.role == "user")

        async def respond() -> ChatResponse:
            return ChatResponse(messages=[Message("assistant", [told])])

        return respond()


class Failing(FunctionInvocationLayer[Any], Told):
    """A model that calls a tool that fails, and has raw responses of its provider."""

    def _inner_get_response(self, *, messages: Any, **others: Any) -> Any:
        async def respond() -> ChatResponse:
            called = any(message.role == "tool" for message in messages)
            content = Content.from_text("It failed") if called else Content.from_function_call("1", fail.name)
            content.raw_representation = object()
            content.annotations = [{"type": "citation", "title": "A book", "raw_representation": object()}]
            return ChatResponse(messages=[Message("assistant", [content], raw_representation=object())])

        return respond()


@tool
def fail() -> str:
    """A tool that fails."""
    raise ValueError("no connection")


class Weather(BaseModel):
    """A class that the framework knows only after it was registered, or written before."""

    city: str


def agent() -> Any:
    return Agent(Told(), context_providers=[InMemoryHistoryProvider()])


async def ask(session: AgentSession, text: str) -> str:
    return str((await agent().run(text, session=session)).text)


async def save(location: str) -> None:
    session = AgentSession(session_id="a-session")
    await ask(session, FIRST)
    await ask(session, SECOND)
    saved = persist.snapshot(session, location, check=True)
    assert saved.adapter is not None
    assert saved.adapter["name"] == "agent-framework"

    for odd in (Odd(1), (1, 2), {1: 2}):
        session.state["odd"] = odd
        try:
            persist.snapshot(session, location + ".odd")
        except persist.PersistTypeError as error:
            assert error.hint
            assert str(error).startswith("AgentSession.to_dict and from_dict would change this session's state['odd']")
        else:
            raise AssertionError(odd)
    failed = AgentSession(session_id="failed")
    await Agent(Failing(), tools=[fail]).run("Go", session=failed)
    failed.state["weather"] = [{"of": Weather(city="Turin")}]
    persist.snapshot(failed, location + ".failed", check=True)
    noted = Noting(session_id="noted")
    noted.cart = ["a book"]
    persist.snapshot(noted, location + ".noted", check={"into": Noting})


class Noting(AgentSession):
    """The program's own session class."""

    cart: list[str]


@dataclasses.dataclass
class Odd:
    """A class that the framework does not know."""

    a: int


async def restore(location: str) -> None:
    session = persist.restore(location)
    assert session.session_id == "a-session"
    check(await ask(session, THIRD))
    into = AgentSession()
    assert persist.restore(location, into=into) is into
    check(await ask(into, THIRD))
    try:
        persist.restore(location + ".noted")
    except persist.PersistConfigurationError as error:
        assert error.hint == "pass the class: into=Noting"
    else:
        raise AssertionError("the session has another class")
    try:
        persist.restore(location + ".failed")
    except persist.PersistConfigurationError as error:
        assert str(error).startswith("session.state holds a Weather, which is not registered here")
    else:
        raise AssertionError("the weather is a dict")
    register_state_type(Weather)
    failed = persist.restore(location + ".failed")
    assert failed.state["weather"] == [{"of": Weather(city="Turin")}]
    result = failed.state["in_memory"]["messages"][-2].contents[0]
    assert (result.type, result.exception) == ("function_result", "FunctionInvocationError")
    assert failed.state["in_memory"]["messages"][-1].contents[0].annotations == [
        {"type": "citation", "title": "A book"}
    ]
    assert (await Agent(Failing(), tools=[fail]).run("Go on", session=failed)).text == "It failed"
    noted = persist.restore(location + ".noted", into=Noting)
    assert (type(noted), noted.cart) == (Noting, ["a book"])
    old = Noting(session_id="old")
    old.cart, old.of_old = ["of somebody else"], True  # type: ignore[attr-defined]
    persist.restore(location + ".noted", into=old)
    assert (old.cart, old.session_id, hasattr(old, "of_old")) == (["a book"], "noted", False)


if __name__ == "__main__":
    main(save, restore)
