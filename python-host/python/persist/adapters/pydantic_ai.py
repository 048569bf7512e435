"""Pydantic AI: the messages of a run."""

from __future__ import annotations

from typing import Any

from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelRequest, ModelResponse
from pydantic_ai.run import AgentRunResult

from persist.adapters import Adapter
from persist.adapters._compare import same
from persist.errors import PersistTypeError

_MESSAGES = (ModelRequest, ModelResponse)


class PydanticAIAdapter(Adapter):
    """Results of runs, and lists of messages."""

    name = "pydantic-ai"
    package = "pydantic-ai-slim"
    module = "pydantic_ai"
    stands_alone = True

    def accepts(self, agent: Any) -> bool:
        """Whether it has messages, or is a list of them."""
        if isinstance(agent, list):
            return bool(agent) and all(isinstance(message, _MESSAGES) for message in agent)
        return isinstance(agent, (AgentRunResult, *_MESSAGES)) or callable(getattr(agent, "all_messages", None))

    def takes(self, into: Any) -> bool:
        """Only a list takes messages."""
        return into is list or isinstance(into, list)

    def save(self, agent: Any) -> Any:
        """The messages, with bytes, times and numbers as they are."""
        messages = (
            agent if isinstance(agent, list) else [agent] if isinstance(agent, _MESSAGES) else agent.all_messages()
        )
        state = _plain(ModelMessagesTypeAdapter.dump_python(messages))
        made = ModelMessagesTypeAdapter.validate_python(state)
        again = _plain(ModelMessagesTypeAdapter.dump_python(made))
        if again != state or not same(made, messages):
            raise PersistTypeError(
                "the messages do not come back as they are from Pydantic AI's own type adapter",
                "invalid-argument",
                hint="keep what tools return to JSON's types, bytes and times",
            )
        return again

    def restore(self, state: Any, into: Any = None) -> Any:
        """The list of messages, for ``message_history``."""
        messages: list[ModelMessage] = ModelMessagesTypeAdapter.validate_python(state)
        if isinstance(into, list):
            into[:] = messages
            return into
        return messages


def _plain(value: Any) -> Any:
    """Subclasses of text and numbers, as enums are, as what they are."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    for plain in (str, int, float):
        if isinstance(value, plain) and type(value) not in (plain, bool):
            return plain(getattr(value, "value", value))
    return value


ADAPTERS = (PydanticAIAdapter(),)
