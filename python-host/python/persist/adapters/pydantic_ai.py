"""Pydantic AI: the messages of a run."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_ai import messages as _messages
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelRequest, ModelResponse, ToolReturnPart
from pydantic_ai.run import AgentRun, AgentRunResult

from persist import _agents, _persist
from persist._adapter import Adapter
from persist._copies import Copies, in_parts
from persist._threads import in_thread
from persist._words import a
from persist.adapters._compare import same
from persist.errors import PersistTypeError

_MESSAGES = (ModelRequest, ModelResponse)


class PydanticAIAdapter(Adapter):
    """Saves and restores results of runs, and lists of messages."""

    name = "pydantic-ai"
    package = "pydantic-ai-slim"
    module = "pydantic_ai"
    stands_alone = True

    def accepts(self, agent: Any) -> bool:
        """Returns whether a value has messages, or is a list of them."""
        if isinstance(agent, list):
            return bool(agent) and all(isinstance(message, _MESSAGES) for message in agent)
        if isinstance(agent, (AgentRunResult, *_MESSAGES)):
            return True
        # A streamed run. Another class with a method of this name is the program's own.
        is_own = type(agent).__module__.partition(".")[0] != "pydantic_ai"
        return not is_own and callable(getattr(agent, "all_messages", None))

    def takes(self, into: Any) -> bool:
        """Returns whether a value is a list: only lists can take messages."""
        return into is list or isinstance(into, list)

    def copied(self, agent: Any) -> Any:
        """Returns copies of the messages."""
        return Copies(_messages_of(agent))

    def save(self, agent: Any) -> Any:
        """Returns the messages, with bytes, times and numbers as they are."""
        parts = agent.parts() if isinstance(agent, Copies) else in_parts(_messages_of(agent))
        return _agents.items(self, _written(parts))

    def restore(self, state: Any, into: Any = None) -> Any:
        """Returns the list of messages, for ``message_history``."""
        return _put(_made(state), into)

    async def arestore(self, state: Any, into: Any = None) -> Any:
        """Like :meth:`restore`, in a thread."""
        return _put(await in_thread(lambda _: _made(state)), into)


def _written(parts: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """Yields messages as data, a few at a time, from which Pydantic AI creates the same
    messages.
    """
    start = 0
    for messages in parts:
        some = [_with_data(message) for message in messages]
        written = _same_again(some, exclude_none=True)
        if written is None:
            # A field that is None may have another default.
            written = _same_again(some, exclude_none=False)
        if written is None:
            raise PersistTypeError(
                f"Pydantic AI's own type adapter would change the messages from number {start} on",
                "invalid-argument",
                hint="have tools return models, dataclasses, or values of JSON types, bytes and times",
            )
        yield written
        start += len(some)


def _same_again(some: list[Any], *, exclude_none: bool) -> list[Any] | None:
    """Returns messages as data, or ``None`` if Pydantic AI would not create the same
    messages from it.
    """
    written: list[Any] = _plain(ModelMessagesTypeAdapter.dump_python(some, exclude_none=exclude_none))
    made = ModelMessagesTypeAdapter.validate_python(written)
    if len(made) != len(some):
        return None
    # As the framework writes what it has made: a whole number may have become a float.
    again: list[Any] = _plain(ModelMessagesTypeAdapter.dump_python(made, exclude_none=exclude_none))
    is_same = again == written and all(same(made[at], some[at]) for at in _persist.differing(made, some))
    return again if is_same else None


def _made(state: Any) -> list[ModelMessage]:
    """Returns the messages that Pydantic AI makes from data."""
    try:
        if type(state) is list:
            return [made for some in in_parts(state) for made in ModelMessagesTypeAdapter.validate_python(some)]
    except ValidationError:
        pass  # The validation of the whole below names the wrong message.
    messages: list[ModelMessage] = ModelMessagesTypeAdapter.validate_python(state)
    return messages


def _put(messages: list[ModelMessage], into: Any) -> Any:
    if isinstance(into, list):
        into[:] = messages
        return into
    return messages


def _messages_of(agent: Any) -> list[Any]:
    if (isinstance(agent, AgentRun) and agent.result is None) or getattr(agent, "is_complete", True) is False:
        raise PersistTypeError(
            f"{type(agent).__qualname__} has not ended, and has only some of its messages",
            "invalid-argument",
            hint="save it after its last node or the end of its stream",
        )
    if isinstance(agent, _MESSAGES):
        return [agent]
    return list(agent if isinstance(agent, list) else agent.all_messages())


def _with_data(message: Any) -> Any:
    """Returns a message with the return values of tools as data, in the form that the model gets."""
    if not any(isinstance(part, ToolReturnPart) for part in message.parts):
        return message
    parts = []
    for part in message.parts:
        content = getattr(part, "content", None)
        data = _returned(content) if isinstance(part, ToolReturnPart) else content
        made = part if data is content else dataclasses.replace(part, content=data)
        if made is not part and made.model_response_str() != part.model_response_str():
            raise PersistTypeError(
                f"what the tool {part.tool_name!r} returned, {a(type(content).__qualname__)}, would look different "
                "to the model",
                "invalid-argument",
                hint="have the tool return the data that the model should see",
            )
        parts.append(made)
    is_same = all(one is other for one, other in zip(parts, message.parts, strict=True))
    return message if is_same else dataclasses.replace(message, parts=parts)


def _returned(value: Any) -> Any:
    """Returns what a tool returned as data. Instances of Pydantic AI's own classes are kept."""
    cls = type(value)
    if cls.__module__.partition(".")[0] == "pydantic_ai":
        return value
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(cls):
        # The model gets JSON, in which a class may hide or change some of its fields.
        data, told = _ANY.dump_python(value), _TOLD.dump_python(value, mode="json", by_alias=True)
        return _returned(data) if _TOLD.dump_python(data, mode="json", by_alias=True) == told else told
    if cls in (list, tuple):
        items = [_returned(item) for item in value]
        return value if cls is list and all(map(operator.is_, items, value)) else items
    if cls is dict:
        made = {key: _returned(item) for key, item in value.items()}
        return value if all(made[key] is value[key] for key in value) else made
    return value


_ANY: TypeAdapter[Any] = TypeAdapter(Any)

_TOLD: TypeAdapter[Any] = getattr(_messages, "tool_return_ta", _ANY)
"""Writes what a tool returned as Pydantic AI does for the model."""


def _plain(value: Any) -> Any:
    """Returns a value with plain text and numbers instead of instances of their subclasses, such
    as enums.
    """
    return value if _persist.is_plain(value) else _made_plain(value)


def _made_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _made_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_made_plain(item) for item in value]
    for plain in (str, int, float):
        if isinstance(value, plain) and type(value) not in (plain, bool):
            return plain(getattr(value, "value", value))
    return value


ADAPTERS = (PydanticAIAdapter(),)
