"""Strands Agents: an agent, and a storage for its session manager."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import AsyncGenerator
from typing import Any

import persist
from persist.adapters.strands import StrandsAdapter
from persist.strands import StoredBytes
from strands import Agent, ToolContext, tool
from strands.agent.conversation_manager import SlidingWindowConversationManager
from strands.models import Model
from turns import FIRST, SECOND, THIRD, answer, check, main, raises


class Told(Model):
    """A model that answers with what it was told."""

    def update_config(self, **config: Any) -> None:
        return None

    def get_config(self) -> Any:
        return {}

    async def structured_output(self, *rest: Any, **others: Any) -> AsyncGenerator[Any, None]:
        raise AssertionError("no program here asks for structured output")
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
    """The program's own agent, which keeps notes."""

    def __init__(self) -> None:
        super().__init__(model=Told(), callback_handler=None)
        self.notes: list[Any] = []


class Calling(Told):
    """A model that calls the first tool once per turn."""

    async def stream(
        self, messages: Any, tool_specs: Any = None, *rest: Any, **others: Any
    ) -> AsyncGenerator[Any, None]:
        if any("toolResult" in block for block in messages[-1]["content"]):
            async for event in super().stream(messages):
                yield event
            return
        named = {"name": tool_specs[0]["name"], "toolUseId": f"call {len(messages)}"}
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockStart": {"start": {"toolUse": named}}}
        yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps({"input": "help", "text": "help"})}}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use"}}
        yield {
            "metadata": {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}, "metrics": {"latencyMs": 7}}
        }


@dataclasses.dataclass
class Reason:
    why: str


@tool(context=True)
def permit(text: str, tool_context: ToolContext) -> str:
    """A tool that a person has to approve."""
    return f"{text}: {tool_context.interrupt('permit', reason=Reason(text))}"


@tool
def read(text: str) -> str:
    """A tool whose result is too long for the model."""
    return f"{text} " * 5000


def helped() -> Agent:
    """Makes an agent with another one as a tool, which keeps its conversation and asks for approval."""
    helper = Agent(model=Calling(), callback_handler=None, name="helper", tools=[permit])
    return Agent(model=Calling(), callback_handler=None, tools=[helper.as_tool(preserve_context=True)])


def helper_of(asked: Agent) -> Agent:
    found: Agent = asked.tool_registry.registry["helper"].agent
    return found


def reading() -> Agent:
    """Makes an agent whose context manager offloads contents."""
    return Agent(model=Calling(), callback_handler=None, tools=[read], context_manager="auto")


def put_away(asked: Agent) -> Any:
    return asyncio.run(asked.context_manager.stash.take_snapshot())


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
    with raises(persist.PersistTypeError, "at state['own']['notes'][1]", or_else="an object can't be saved"):
        persist.snapshot(noted, location + ".odd")
    save_more(location)
    crafted()


def save_more(location: str) -> None:
    """Saves what Strands keeps in addition to an agent's own messages."""
    asked = helped()
    assert asked("help me").stop_reason == "interrupt"
    with raises(persist.PersistTypeError, "Reason", or_else="the class of a reason must be registered"):
        persist.snapshot(asked, location + ".helped")
    persist.register(Reason)
    persist.snapshot(asked, location + ".helped", check=True)
    helper = helper_of(asked)
    helper.tool_registry.register_tool(asked.as_tool(name="boss", preserve_context=True))
    with raises(persist.PersistTypeError, "a tool of itself", or_else="agents can't be tools of each other"):
        persist.snapshot(asked, location + ".circle")
    reader = reading()
    reader("read it")
    reader("read it again")
    assert "[Stashed] [ref: " in str(reader.messages)
    persist.snapshot(reader, location + ".reading", check=True)
    persist.snapshot(put_away(reader), location + ".away")


class Remembering(SlidingWindowConversationManager):
    """The program's own conversation manager."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.seen = 0


def crafted() -> None:
    """Checks that invalid states are refused, and that a failed restore changes nothing."""
    adapter = StrandsAdapter()
    asked = Agent(model=Told(), callback_handler=None, conversation_manager=Remembering())
    asked.conversation_manager.notes.append("a note")  # type: ignore[attr-defined]
    asked.conversation_manager.seen = 3  # type: ignore[attr-defined]
    again = Agent(model=Told(), callback_handler=None, conversation_manager=Remembering(), system_prompt="Be brief.")
    manager: Any = asyncio.run(adapter.arestore(asyncio.run(adapter.asave(asked)), again)).conversation_manager
    assert (manager.notes, manager.seen) == (["a note"], 3)
    wrong: dict[str, Any] = {
        "system_prompt": {},
        "messages": [1],
        "conversation_manager_state": {"__name__": "Remembering", "removed_message_count": "x"},
        "interrupt_state": {"activated": True},
    }
    for name, item in wrong.items():
        state = adapter.save(asked)
        state["data"][name] = item
        before = [again.messages, again.state, again._interrupt_state, again._model_state]
        try:
            adapter.restore(state, again)
        except (persist.PersistIntegrityError, KeyError):
            after = [again.messages, again.state, again._interrupt_state, again._model_state]
            assert all(old is new for old, new in zip(before, after, strict=True)), name
            assert again.system_prompt == "Be brief."
        else:
            raise AssertionError(name)


def restore_more(location: str) -> None:
    persist.register(Reason)
    asked = persist.restore(location + ".helped", into=helped())
    assert asked.event_loop_metrics.cycle_count == 1
    assert asked.event_loop_metrics.accumulated_usage["totalTokens"] == 5
    ((key, interrupt),) = asked._interrupt_state.interrupts.items()
    assert interrupt.reason == Reason("help"), interrupt
    assert len(helper_of(asked).messages) == 2
    answered = asked([{"interruptResponse": {"interruptId": key, "response": "yes"}}])
    assert answered.stop_reason == "end_turn"
    assert "help: yes" in str(helper_of(asked).messages[2])
    refused("create the agent as before, with its tools", location + ".helped", agent())
    refused("create the agent as before, with its context_manager", location + ".reading", agent())
    reader = persist.restore(location + ".reading", into=reading())
    assert put_away(reader) == persist.restore(location + ".away")


def refused(hint: str, location: str, into: Agent) -> None:
    with raises(persist.PersistConfigurationError, hint=hint):
        persist.restore(location, into=into)
    assert not into.messages


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
    restore_more(location)
    asyncio.run(stored(os.path.dirname(location)))


if __name__ == "__main__":
    main(save, restore)
