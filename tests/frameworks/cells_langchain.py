"""LangChain's row of the matrix: the messages of a conversation, and other objects in a state."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator
from typing import Any

import persist
from cells import MANY, PICTURE, Cell, main, told
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import PrivateAttr


@dataclasses.dataclass
class Weather:
    """What a tool found, in the program's own class."""

    city: str
    degrees: float


persist.register(Weather)


@tool(response_format="content_and_artifact")
def look_up(city: str) -> tuple[str, Weather]:
    """Reports the weather."""
    return f"21.5 degrees in {city}", Weather(city, 21.5)


CALL: Any = {"name": "look_up", "args": {"city": "Turin"}, "id": "call-1", "type": "tool_call"}


class Answers(Iterator[AIMessage]):
    """Answers of a model that says how many messages it heard."""

    def __init__(self, messages: list[BaseMessage]) -> None:
        self.messages = messages

    def __next__(self) -> AIMessage:
        return AIMessage(f"I heard {len(self.messages)} messages", id=f"answer-{len(self.messages)}")


def ask(messages: list[BaseMessage], *added: BaseMessage) -> list[BaseMessage]:
    messages.extend(added)
    messages.append(GenericFakeChatModel(messages=Answers(messages)).invoke(messages))
    return messages


def plain() -> list[BaseMessage]:
    return ask(ask([SystemMessage("Be brief.")], HumanMessage("Hello", id="1")), HumanMessage("Go on", name="Ada"))


def called() -> list[BaseMessage]:
    messages: list[BaseMessage] = [HumanMessage("Look it up"), AIMessage("", tool_calls=[CALL])]
    messages.append(look_up.invoke(CALL))
    wrong: Any = {"name": "look_up", "args": "{", "id": "call-2", "error": "no JSON", "type": "invalid_tool_call"}
    usage: Any = {
        "input_tokens": 3,
        "output_tokens": 4,
        "total_tokens": 7,
        "input_token_details": {"cache_read": 2},
    }
    again = AIMessage("", invalid_tool_calls=[wrong], usage_metadata=usage, response_metadata={"model_name": "a"})
    messages += [again, ToolMessage("no JSON", tool_call_id="call-2", status="error")]
    return ask(messages)


def waiting() -> list[BaseMessage]:
    """Returns messages with a call that a person has to approve. Another call was removed."""
    asked = AIMessage(
        "", tool_calls=[CALL], additional_kwargs={"tool_calls": [{"id": "taken out", "type": "function"}]}
    )
    streamed = AIMessageChunk("", tool_call_chunks=[{"name": "a", "args": "{", "id": "2", "index": 0}])
    return [HumanMessage("Look it up"), streamed, asked]


def allowed(messages: Any) -> Any:
    before = told(messages)
    (call,) = messages[-1].tool_calls
    return [before, go_on(messages, look_up.invoke(call))]


def seeing() -> list[BaseMessage]:
    picture = {"type": "image", "base64": base64.b64encode(PICTURE).decode(), "mime_type": "image/png"}
    raw = {"type": "file", "data": PICTURE, "mime_type": "application/pdf"}
    return ask([], HumanMessage([{"type": "text", "text": "What is this?"}, picture, raw]))


class Noted(HumanMessage):
    """A message of the program's own class."""

    _notes: list[bytes] = PrivateAttr(default_factory=list)


def custom() -> dict[str, Any]:
    found = Document("It is warm.", metadata={"weather": Weather("Turin", 21.5)}, id="document")
    more: Any = {"of_its_own": Weather("Rome", 30)}
    noted = Noted("Note it", **more)
    noted._notes.append(PICTURE)
    return {"messages": [*called(), noted], "weather": [Weather("Bonn", 9)], "found": (found,)}


def with_custom(state: Any) -> Any:
    noted = state["messages"][-1]
    beside = [noted.__pydantic_extra__, noted.__pydantic_private__, sorted(noted.model_fields_set)]
    return [told(state), told(beside), go_on(state["messages"])]


def many() -> list[BaseMessage]:
    return [
        message
        for number in range(MANY // 2)
        for message in (HumanMessage(f"question {number}"), AIMessage(f"answer {number}", id=f"run-{number}"))
    ]


def go_on(messages: Any, *added: BaseMessage) -> Any:
    before = told(messages)
    return [before, told(ask(messages, *(added or [HumanMessage("And now?")])))]


ROW = {
    "plain": Cell(plain, go_on),
    "tool call": Cell(called, go_on),
    "approval": Cell(waiting, allowed),
    "multi-modal": Cell(seeing, go_on),
    "custom class": Cell(custom, with_custom, restore={"allowed_objects": [Document, Noted]}),
    "5,000 messages": Cell(many, go_on),
}

if __name__ == "__main__":
    main(ROW)
