"""``PersistChatHistory`` does what LangChain's own history does, step by step, and loses nothing when processes
are killed or work on one session at the same time.

Run as a program, this adds messages until it is killed: ``sessions_langchain.py LOCATION NAME COUNT``.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Callable
from typing import Any

import persist
import pytest
from langchain_core.chat_history import BaseChatMessageHistory, InMemoryChatMessageHistory
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from persist.langchain import AGENT, PersistChatHistory, copy
from turns import FIRST, SECOND, answer
from writers import IS_S3, SEEDS, SESSION, add_until_killed, check_kills, check_two_processes

CALL = {"name": "search", "args": {"q": "Grüße", "n": 3}, "id": "c1", "type": "tool_call"}


def message(source: random.Random, number: int) -> BaseMessage:
    kinds: list[BaseMessage] = [
        HumanMessage(f"question {number}", name="Ada"),
        AIMessage("", tool_calls=[CALL], usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}),
        ToolMessage("found", tool_call_id="c1", artifact={"rows": [1, 2]}),
        SystemMessage([{"type": "text", "text": f"part {number} \ud83d"}]),
        AIMessage(f"answer {number}", response_metadata={"model": "m"}, additional_kwargs={"k": [None]}),
    ]
    return source.choice(kinds)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_does_what_the_history_of_langchain_does(location: str, seed: int) -> None:
    source = random.Random(seed)
    own: BaseChatMessageHistory = InMemoryChatMessageHistory()
    lasting = PersistChatHistory(location, SESSION)
    for number in range(60):
        kind = source.randrange(10)
        messages = [message(source, number) for _ in range(source.randrange(4))]
        for each in (own, lasting):
            if kind == 0:
                each.clear()
            elif kind == 1:
                each.add_user_message(f"user {number}")
            elif kind == 2:
                each.add_ai_message(AIMessage(f"model {number}"))
            elif kind < 6:
                asyncio.run(each.aadd_messages(messages))
            else:
                each.add_messages(messages)
        assert lasting.messages == own.messages, number
        assert asyncio.run(PersistChatHistory(location, SESSION).aget_messages()) == own.messages, number
        assert str(lasting) == str(own)
    asyncio.run(lasting.aclear())
    assert PersistChatHistory(location, SESSION).messages == []


def test_every_kind_of_message_comes_back(location: str) -> None:
    messages = [RemoveMessage(id="m1"), ChatMessage("hello", role="judge"), FunctionMessage("x", name="f")]
    PersistChatHistory(location, SESSION).add_messages(messages)
    assert PersistChatHistory(location, SESSION).messages == messages


def test_sessions_are_apart(location: str) -> None:
    PersistChatHistory(location, SESSION).add_user_message("one")
    assert PersistChatHistory(location, "another").messages == []
    assert PersistChatHistory(location, SESSION, agent_id="another").messages == []
    name = "long " * 60
    PersistChatHistory(location, name).add_user_message("two")
    assert PersistChatHistory(location, name).messages == [HumanMessage("two")]


def test_a_message_that_json_lacks_is_refused(location: str) -> None:
    history = PersistChatHistory(location, SESSION)
    with pytest.raises(TypeError):
        history.add_messages([HumanMessage("kept"), HumanMessage("x", additional_kwargs={"odd": object()})])
    assert history.messages == []


def test_a_step_stores_only_what_is_new(location: str) -> None:
    history = PersistChatHistory(location, SESSION)
    for _ in range(50):
        history.add_user_message(os.urandom(500).hex())
    history.close()
    steps = [*persist.Timeline(location, agent_id=AGENT, session_id=SESSION)]
    assert len(steps) == 50
    assert sum(step.stored_size for step in steps) < 50 * 2000


def test_many_writers_lose_nothing(location: str) -> None:
    histories = [PersistChatHistory(location, SESSION) for _ in range(4)]
    count = 10 if IS_S3 else 25

    def adds(writer: int) -> None:
        for number in range(count):
            histories[writer % 4].add_user_message(f"{writer} {number}")

    threads = [threading.Thread(target=adds, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(contents(location)) == sorted(f"{writer} {number}" for writer in range(8) for number in range(count))


def contents(location: str) -> list[str]:
    return [str(each.content) for each in PersistChatHistory(location, SESSION).messages]


def test_two_processes_lose_nothing(location: str) -> None:
    check_two_processes(__file__, location, contents)


def test_what_was_acknowledged_survives_a_kill(location: str) -> None:
    check_kills(__file__, location, contents)


def test_a_history_moves_in(location: str) -> None:
    source = random.Random(1)
    own = InMemoryChatMessageHistory(messages=[message(source, number) for number in range(20)])
    target = PersistChatHistory(location, SESSION)
    target.add_messages(own.messages[:5])
    assert copy(own, target) == 15
    assert copy(own, target) == 0
    odd = InMemoryChatMessageHistory(messages=[AIMessage("x", additional_kwargs={"score": float("nan")})])
    assert [copy(odd, PersistChatHistory(location, "odd")) for _ in range(2)] == [1, 0]
    assert PersistChatHistory(location, SESSION).messages == own.messages
    own.clear()
    with pytest.raises(persist.PersistConflictError, match="something else"):
        copy(own, target)


def test_a_chain_goes_on(location: str) -> None:
    def told(messages: list[BaseMessage]) -> AIMessage:
        return AIMessage(answer(str(each.content) for each in messages if isinstance(each, HumanMessage)))

    def ask(text: str) -> Any:
        chain = RunnableWithMessageHistory(RunnableLambda(told), lambda session: PersistChatHistory(location, session))
        return chain.invoke([HumanMessage(text)], {"configurable": {"session_id": SESSION}}).content

    assert ask(FIRST) == answer([FIRST])
    assert ask(SECOND) == answer([FIRST, SECOND])


def adding(location: str) -> Callable[[str], object]:
    history = PersistChatHistory(location, SESSION)
    return lambda text: history.add_user_message(text)


if __name__ == "__main__":
    add_until_killed(adding)
