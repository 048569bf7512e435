"""Strands Agents: an agent, and a storage for its session manager."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Any

import persist
from persist.strands import StoredBytes
from strands import Agent
from strands.models import Model
from turns import FIRST, SECOND, THIRD, answer, check, main


class Told(Model):
    """Answers with what it was told."""

    def update_config(self, **config: Any) -> None:
        return None

    def get_config(self) -> Any:
        return {}

    async def structured_output(self, *rest: Any, **others: Any) -> AsyncGenerator[Any, None]:
        raise NotImplementedError
        yield

    async def stream(self, messages: Any, *rest: Any, **others: Any) -> AsyncGenerator[Any, None]:
        users = [message for message in messages if message["role"] == "user"]
        told = answer(block["text"] for message in users for block in message["content"] if "text" in block)
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockStart": {"start": {}}}
        yield {"contentBlockDelta": {"delta": {"text": told}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn"}}


def agent() -> Agent:
    return Agent(model=Told(), callback_handler=None)


class Noting(Agent):
    """A user's own agent, which keeps notes."""

    def __init__(self) -> None:
        super().__init__(model=Told(), callback_handler=None)
        self.notes: list[Any] = []


def ask(asked: Agent, text: str) -> str:
    return str(asked(text)).strip()


def save(location: str) -> None:
    asked = agent()
    ask(asked, FIRST)
    ask(asked, SECOND)
    asked.state.set("mood", "calm")
    saved = persist.snapshot(asked, location, check=True)
    assert saved.adapter is not None
    assert saved.adapter["name"] == "strands"
    noted = Noting()
    noted.notes.append("call back on Monday")
    persist.snapshot(noted, location + ".noted", check=True)
    noted.notes.append(object())
    try:
        persist.snapshot(noted, location + ".odd")
    except persist.PersistTypeError as error:
        assert "at state['own']['notes'][1]" in str(error), error
    else:
        raise AssertionError("an object can't be saved")


async def stored(folder: str) -> None:
    storage = StoredBytes(folder + "/bytes")
    for key in ["a", "a/b.json", "a/.c", "a//d", "ü"]:
        await storage.write(key, key.encode() + b"\0")
    assert await storage.list("") == sorted(["a", "a/b.json", "a/.c", "a//d", "ü"])
    assert await storage.list("a/") == sorted(["a/b.json", "a/.c", "a//d"])
    assert await storage.list("a/.") == ["a/.c"]
    assert await storage.read("a//d") == b"a//d\0"
    await storage.delete("a//d")
    await storage.delete("a//d")
    assert await storage.read("a//d") is None


def restore(location: str) -> None:
    asked = persist.restore(location, into=agent())
    assert asked.state.get("mood") == "calm"
    check(ask(asked, THIRD))
    noted = Noting()
    persist.restore(location + ".noted", into=noted)
    assert noted.notes == ["call back on Monday"]
    asyncio.run(stored(os.path.dirname(location)))


if __name__ == "__main__":
    main(save, restore)
