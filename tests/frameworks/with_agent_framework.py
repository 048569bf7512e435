"""Microsoft Agent Framework: a session."""

from __future__ import annotations

import dataclasses
from typing import Any

import persist
from agent_framework import Agent, AgentSession, BaseChatClient, ChatResponse, InMemoryHistoryProvider, Message
from turns import FIRST, SECOND, THIRD, answer, check, main


class Told(BaseChatClient[Any]):
    """Answers with what it was told."""

    def _inner_get_response(self, *, messages: Any, stream: bool = False, options: Any = None, **others: Any) -> Any:
        told = answer(message.text for message in messages if message.role == "user")

        async def respond() -> ChatResponse:
            return ChatResponse(messages=[Message("assistant", [told])])

        return respond()


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
        else:
            raise AssertionError(odd)
    noted = Noting(session_id="noted")
    noted.cart = ["a book"]
    persist.snapshot(noted, location + ".noted", check={"into": Noting})


class Noting(AgentSession):
    """A user's own session."""

    cart: list[str]


@dataclasses.dataclass
class Odd:
    """What the framework does not know."""

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
        raise AssertionError("it would be another class's")
    noted = persist.restore(location + ".noted", into=Noting)
    assert (type(noted), noted.cart) == (Noting, ["a book"])
    old = Noting(session_id="old")
    old.cart, old.of_old = ["of somebody else"], True  # type: ignore[attr-defined]
    persist.restore(location + ".noted", into=old)
    assert (old.cart, old.session_id, hasattr(old, "of_old")) == (["a book"], "noted", False)


if __name__ == "__main__":
    main(save, restore)
