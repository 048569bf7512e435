"""``PersistMessageHistory`` keeps what a list of messages would, step by step, and loses nothing when processes
are killed or work on one session at the same time. Pydantic AI has no store of its own.

Run as a program, this adds messages until it is killed: ``sessions_pydantic_ai.py LOCATION NAME COUNT``.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

import persist
import pytest
from persist.pydantic_ai import AGENT, PersistMessageHistory
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.usage import RequestUsage
from turns import FIRST, SECOND, answer
from with_pydantic_ai import told
from writers import SEEDS, SESSION, add_until_killed, check_kills, check_two_processes


def message(source: random.Random, number: int) -> ModelMessage:
    image = BinaryContent(b"\0\xff", media_type="image/png")
    kinds: list[ModelMessage] = [
        ModelRequest([UserPromptPart(["look", image, f"é {number}"])], instructions="be kind"),
        ModelResponse(
            [ThinkingPart("hm", signature="s"), TextPart(f"answer {number}")],
            usage=RequestUsage(input_tokens=1, output_tokens=2),
        ),
        ModelResponse([ToolCallPart("search", {"q": number}, "c1"), ToolCallPart("search", '{"q": 1}', "c2")]),
        ModelRequest([ToolReturnPart("search", {"rows": [1.5, None]}, "c1", metadata={"k": 1})]),
    ]
    return source.choice(kinds)


def plain(messages: list[ModelMessage]) -> Any:
    """Returns messages as JSON, in which an image has one class."""
    return ModelMessagesTypeAdapter.dump_python(messages, mode="json")


@pytest.mark.parametrize("seed", SEEDS)
def test_it_keeps_what_a_list_would(location: str, seed: int) -> None:
    source, own = random.Random(seed), list[ModelMessage]()
    lasting = PersistMessageHistory(location, SESSION)
    for number in range(60):
        kind, messages = source.randrange(10), [message(source, number) for _ in range(source.randrange(3))]
        if kind == 0:
            asyncio.run(lasting.aclear())
            own = []
        elif kind == 1:
            lasting.replace(messages)
            own = messages
        elif kind == 2:
            own = [*own[1:], *messages]
            asyncio.run(lasting.areplace(own))
        elif kind < 6:
            asyncio.run(lasting.aadd(messages))
            own = [*own, *messages]
        else:
            lasting.add(messages)
            own = [*own, *messages]
        assert plain(lasting.load()) == plain(own), number
        assert plain(asyncio.run(PersistMessageHistory(location, SESSION).aload())) == plain(own), number
    lasting.clear()
    assert PersistMessageHistory(location, SESSION).load() == []


def test_sessions_are_apart(location: str) -> None:
    messages = [message(random.Random(1), 1)]
    PersistMessageHistory(location, SESSION).add(messages)
    assert PersistMessageHistory(location, "another").load() == []
    assert PersistMessageHistory(location, SESSION, agent_id="another").load() == []
    name = "long " * 60
    PersistMessageHistory(location, name).add(messages)
    assert plain(PersistMessageHistory(location, name).load()) == plain(messages)


def test_an_agent_goes_on(location: str) -> None:
    def ask(text: str) -> Any:
        history = PersistMessageHistory(location, SESSION)
        result = Agent(FunctionModel(told)).run_sync(text, message_history=history.load())
        history.add(result.new_messages())
        return result.output

    assert ask(FIRST) == answer([FIRST])
    assert ask(SECOND) == answer([FIRST, SECOND])


def test_a_step_stores_only_what_is_new(location: str) -> None:
    add = adding(location)
    for _ in range(50):
        add(os.urandom(500).hex())
    steps = [*persist.Timeline(location, agent_id=AGENT, session_id=SESSION)]
    assert len(steps) == 50
    assert sum(step.stored_size for step in steps) < 50 * 2000


def contents(location: str) -> list[str]:
    return [str(each.parts[0].content) for each in PersistMessageHistory(location, SESSION).load()]  # type: ignore[union-attr]


def test_two_processes_lose_nothing(location: str) -> None:
    check_two_processes(__file__, location, contents)


def test_what_was_acknowledged_survives_a_kill(location: str) -> None:
    check_kills(__file__, location, contents)


def adding(location: str) -> Callable[[str], object]:
    history = PersistMessageHistory(location, SESSION)
    return lambda text: history.add([ModelRequest([UserPromptPart(text)])])


if __name__ == "__main__":
    add_until_killed(adding)
