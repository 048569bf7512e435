"""Pydantic AI: the messages of runs."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import datetime
import json
import math
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import persist
from persist import _persist
from persist.adapters import pydantic_ai as adapter
from pydantic import BaseModel, Field, field_serializer, model_serializer
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel
from turns import FIRST, SECOND, THIRD, answer, check, main, raises


def told(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    parts = [part for message in messages for part in message.parts if isinstance(part, UserPromptPart)]
    return ModelResponse(parts=[TextPart(answer(str(part.content) for part in parts))])


class City(BaseModel):
    name: str


@dataclasses.dataclass
class Place:
    name: str
    at: tuple[float, float] = (50.7, 7.1)


class Hidden(BaseModel):
    """A class that hides its field from the model."""

    key: str = "internal"

    @model_serializer(when_used="json")
    def shown(self) -> dict[str, str]:
        return {"key": "***"}


class Price(BaseModel):
    """A class that shows the model something other than its fields."""

    cents: int = Field(500, serialization_alias="price")
    raw: bytes = b"abc"

    @field_serializer("cents", when_used="json")
    def shown(self, cents: int) -> str:
        return f"{cents / 100} EUR"


RETURNED: dict[str, Any] = {"model": City(name="Bonn"), "dataclass": Place("Bonn"), "tuple": ("Bonn", [City(name="x")])}
to_json = ModelMessagesTypeAdapter.dump_json

AGENT = Agent(FunctionModel(told))


async def unfinished(location: str) -> None:
    """Checks that a run that has not ended is refused, because it has only some of its messages."""

    async def words(messages: Any, info: Any) -> AsyncIterator[str]:
        for word in ("hello ", "wor", "ld"):
            yield word

    asked = Agent(FunctionModel(told, stream_function=words))
    async with asked.iter(FIRST) as run:
        async for _ in run:
            await refused(run, location)
            break
        async for _ in run:
            pass
        await persist.asnapshot(run, location + ".run")
        assert len(await persist.arestore(location + ".run")) == 2
    async with asked.run_stream(FIRST) as stream:
        async for _ in stream.stream_text(debounce_by=None):
            await refused(stream, location)
            break
    async with asked.run_stream(FIRST) as stream:
        await stream.get_output()
        await persist.asnapshot(stream, location + ".run")
        assert len(await persist.arestore(location + ".run")) == 2


async def beside_the_loop(location: str) -> None:
    """Checks that the slow work is done in a thread, a few messages at a time, with the messages as
    they were.
    """
    messages: list[ModelMessage] = []
    for number in range(500):
        messages.append(ModelRequest(parts=[UserPromptPart(f"question {number}")]))
        messages.append(ModelResponse(parts=[TextPart(f"answer {number}")]))
    before = copy.deepcopy(messages)
    asked = Asked(ModelMessagesTypeAdapter)
    with asked.of(adapter):
        saving = asyncio.ensure_future(persist.asnapshot(messages, location + ".loop"))
        await asyncio.sleep(0)
        messages[0].parts[0].content = "changed"  # type: ignore[union-attr]
        messages[1].parts.append(TextPart("more"))  # type: ignore[arg-type, union-attr]
        messages[2:] = []
        await saving
        assert await persist.arestore(location + ".loop") == before
        into: list[Any] = [1]
        assert await persist.arestore(location + ".loop", into=into) is into
        assert into == before
    assert asked.lengths, "the type adapter was not used"
    assert max(asked.lengths) <= 100, asked.lengths
    assert threading.get_ident() not in asked.threads, "the event loop's thread used it"
    # The error names the wrong message, like an error of Pydantic AI for all messages.
    state = persist.restore(location + ".loop", plain=True)
    state[777]["kind"] = "answer"
    place, key = _persist.locate(location + ".wrong", {})
    described = {"name": "pydantic-ai", "version": "1", "type": "list"}
    extra = json.dumps({"value_encoding": 1, "adapter": described})
    place.save_bytes(key, _persist.encode(state), {"content_type": "application/json", "extra": extra})
    with raises(persist.PersistError, "777"):
        persist.restore(location + ".wrong")
    with raises(persist.PersistError, "777"):
        await persist.arestore(location + ".wrong")


class Asked:
    """Pydantic AI's type adapter, which records the threads and the number of messages."""

    def __init__(self, types: Any) -> None:
        self.types, self.lengths, self.threads = types, list[int](), set[int]()

    @contextlib.contextmanager
    def of(self, module: Any) -> Iterator[None]:
        """Replaces the type adapter in a module."""
        module.ModelMessagesTypeAdapter = self
        try:
            yield
        finally:
            module.ModelMessagesTypeAdapter = self.types

    def _note(self, messages: Any) -> None:
        self.lengths.append(len(messages))
        self.threads.add(threading.get_ident())

    def dump_python(self, messages: Any, **options: Any) -> Any:
        self._note(messages)
        return self.types.dump_python(messages, **options)

    def validate_python(self, data: Any) -> Any:
        self._note(data)
        return self.types.validate_python(data)


async def refused(run: Any, location: str) -> None:
    with raises(persist.PersistTypeError, "has not ended", or_else="the answer is lost"):
        await persist.asnapshot(run, location + ".unfinished")


def save(location: str) -> None:
    first = AGENT.run_sync(FIRST)
    second = AGENT.run_sync(SECOND, message_history=first.all_messages())
    saved = persist.snapshot(second, location, check=True)
    assert saved.adapter is not None
    assert saved.adapter["name"] == "pydantic-ai"
    persist.snapshot(second.all_messages(), location + ".list", check=True)
    # Values that JSON would change stay the same.
    odd: list[ModelMessage] = [
        ModelRequest(parts=[UserPromptPart([BinaryContent(bytes(range(256)), media_type="image/png")])]),
        ModelRequest(parts=[ToolReturnPart("a", {"a": math.inf, "at": datetime.datetime(2026, 1, 31)}, "1")]),
    ]
    persist.snapshot(odd, location + ".odd", check=True)
    # The return values of tools come back as the model gets them.
    for name, returned in RETURNED.items():
        asked = Agent(TestModel())
        asked.tool_plain(lambda returned=returned: returned, name="look_up")
        result = asked.run_sync("Hello")
        persist.snapshot(result, f"{location}.{name}", check=True)
        back = persist.restore(f"{location}.{name}")
        assert to_json(back) == to_json(result.all_messages())
        asked.run_sync("And now?", message_history=back)

    for hiding in (Hidden(), Price(), [1, {"of": Hidden(), "for": (Price(),)}]):
        said = ToolReturnPart("look_up", hiding, tool_call_id="1")
        persist.snapshot([ModelRequest(parts=[said])], location + ".hiding", check=True)
        (again,) = persist.restore(location + ".hiding")[0].parts
        assert again.model_response_str() == said.model_response_str(), again
        assert "internal" not in str(again.content), again
    asyncio.run(unfinished(location))
    asyncio.run(beside_the_loop(location))

    class Chat:
        """The program's own class, with a method of this name."""

        def all_messages(self) -> Any:
            return second.all_messages()

    with raises(persist.PersistTypeError, "Chat can't be saved", or_else="only its messages were saved"):
        persist.snapshot(Chat(), location + ".chat")
    with raises(
        persist.PersistTypeError,
        "from pydantic-ai-slim can't be saved, at state['history'][0]",
        or_else="messages in a dict became dicts",
    ):
        persist.snapshot({"history": second.all_messages()}, location + ".nested")
    noted = second.all_messages()
    noted[0].note = "check this"  # type: ignore[attr-defined]
    with raises(persist.PersistTypeError, "would change the messages from number 0", or_else="the note is lost"):
        persist.snapshot(noted, location + ".noted")
    # With Pydantic AI's own test model.
    tested = Agent(TestModel(custom_output_text="tested")).run_sync("test")
    persist.snapshot(tested, location + ".tested", check=True)


def restore(location: str) -> None:
    messages = persist.restore(location)
    assert messages == persist.restore(location + ".list")
    check(AGENT.run_sync(THIRD, message_history=messages).output)
    odd: Any = persist.restore(location + ".odd")
    assert odd[0].parts[0].content[0].data == bytes(range(256))
    assert odd[1].parts[0].content["a"] == math.inf
    (tested,) = persist.restore(location + ".tested")[-1].parts
    assert tested.content == "tested"


if __name__ == "__main__":
    main(save, restore)
