"""Measures what it costs to save 5,000 messages of a framework: how long other tasks wait, and
how long it takes compared with the framework's own serializer. ``bench_package.py`` runs this
program in the framework's environment and reads the JSON that it prints.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import persist

COUNT, ROUNDS = 5000, 5
TEXT = "lorem ipsum dolor sit amet " * 9
STORE = persist.Store("memory://bench")
OURS, OWN = "ours.json.gz", "own.json.gz"


class Messages(NamedTuple):
    """Messages of one framework."""

    value: Any
    save: Callable[[], object] | None = None
    """Saves them with the framework's serializer."""
    restore: Callable[[], object] | None = None
    into: Callable[[], Any] | None = None
    options: Mapping[str, Any] = {}


def langchain_messages() -> list[Any]:
    from langchain_core.messages import AIMessage, HumanMessage

    kinds: list[Any] = [HumanMessage, AIMessage]
    return [kinds[number % 2](f"{number} {TEXT}", id=str(number)) for number in range(COUNT)]


def langchain() -> Messages:
    from langchain_core.load import dumps, loads

    messages = langchain_messages()

    def save() -> None:
        STORE.save_bytes(f"[{','.join(message.model_dump_json() for message in messages)}]".encode(), OWN)

    STORE.save_bytes(dumps(messages).encode(), "dumps.json.gz")
    return Messages(
        messages, save, lambda: loads(STORE.load_bytes("dumps.json.gz").decode(), allowed_objects="messages")
    )


def langchain_in_dict() -> Messages:
    found = langchain()
    return found._replace(value={"messages": found.value, "step": 1})


def langgraph() -> Messages:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph

    def made() -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node("node", lambda _: {})
        builder.add_edge(START, "node")
        return builder.compile(checkpointer=InMemorySaver())

    graph, config = made(), {"configurable": {"thread_id": "1"}}
    graph.invoke({"messages": langchain_messages()}, config)
    return Messages(graph, into=made, options={"config": config})


def pydantic_ai() -> Messages:
    from pydantic_ai.messages import (
        ModelMessage,
        ModelMessagesTypeAdapter,
        ModelRequest,
        ModelResponse,
        TextPart,
        UserPromptPart,
    )

    messages: list[ModelMessage] = []
    for number in range(COUNT // 2):
        messages.append(ModelRequest(parts=[UserPromptPart(f"{number} {TEXT}")]))
        messages.append(ModelResponse(parts=[TextPart(TEXT)]))
    return Messages(
        messages,
        lambda: STORE.save_bytes(ModelMessagesTypeAdapter.dump_json(messages), OWN),
        lambda: ModelMessagesTypeAdapter.validate_json(STORE.load_bytes(OWN)),
    )


def google_adk() -> Messages:
    from google.adk.events import Event
    from google.adk.sessions import InMemorySessionService, Session
    from google.genai import types

    def event(number: int) -> Event:
        said = types.Content(role="user", parts=[types.Part(text=f"{number} {TEXT}")])
        return Event(author="user", invocation_id="1", timestamp=float(number), content=said)

    session = Session(app_name="app", user_id="u", id="s", events=[event(number) for number in range(COUNT)])
    return Messages(
        session,
        lambda: STORE.save_bytes(session.model_dump_json().encode(), OWN),
        lambda: Session.model_validate_json(STORE.load_bytes(OWN)),
        InMemorySessionService,
    )


async def longest_wait(work: Callable[[], Awaitable[object]]) -> float:
    """Returns the longest wait of another task in ms, as the minimum of several rounds."""
    found = []
    for _ in range(ROUNDS):
        longest, last = 0.0, time.perf_counter()
        working = asyncio.ensure_future(work())
        while not working.done():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        await working
        found.append(longest)
    return min(found) * 1000


async def seconds(work: Callable[[], Any]) -> float:
    """Returns how long work takes, as the minimum of several rounds."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        done = work()
        if asyncio.isfuture(done) or asyncio.iscoroutine(done):
            await done
        found.append(time.perf_counter() - began)
    return min(found)


async def main(name: str) -> None:
    messages: Messages = globals()[name]()
    store = STORE.to_async()

    def save() -> Any:
        return store.snapshot(messages.value, OURS, **messages.options)

    def restore() -> Any:
        return store.restore(OURS, into=None if messages.into is None else messages.into())

    found = {"saving": await longest_wait(save), "restoring": await longest_wait(restore)}
    if messages.save is not None and messages.restore is not None:
        found["save"], found["own save"] = await seconds(save), await seconds(messages.save)
        # Without the work of a service, which the serializer does not do either.
        found["restore"], found["own restore"] = (
            await seconds(lambda: store.restore(OURS)),
            await seconds(messages.restore),
        )
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
