"""Strands Agents' row of the matrix."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import persist
from cells import MANY, PICTURE, Cell, main, told
from strands import Agent, ToolContext, tool
from strands.agent.conversation_manager import NullConversationManager, SlidingWindowConversationManager
from with_strands import Told

NEW = ("tracking_id", "latencyMs", "timeToFirstByteMs")
"""The fields that differ in each message."""

HEARD: list[Any] = []
"""What the model was told, call by call."""

PAID: list[str] = []
"""The payments of this process."""


class Listening(Told):
    """A model that calls each tool once, then says how many messages it heard. Like a model whose
    provider keeps the conversation, it has a state.
    """

    async def stream(
        self, messages: Any, tool_specs: Any = None, system_prompt: Any = None, **others: Any
    ) -> AsyncGenerator[Any, None]:
        state = others["model_state"]
        HEARD.append(told([messages, tool_specs, system_prompt, state]))
        state["answers"] = state.get("answers", 0) + 1
        called = {block["toolUse"]["name"] for said in messages for block in said["content"] if "toolUse" in block}
        uncalled = [spec["name"] for spec in tool_specs or () if spec["name"] not in called]
        yield {"messageStart": {"role": "assistant"}}
        asked = {"city": "Turin", "reference": "of nothing"}
        for name in uncalled:
            yield {"contentBlockStart": {"start": {"toolUse": {"name": name, "toolUseId": f"call of {name}"}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(asked)}}}}
            yield {"contentBlockStop": {}}
        if not uncalled:
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "Count.", "signature": "signed"}}}}
            yield {"contentBlockStop": {}}
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": f"I heard {len(messages)} messages"}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use" if uncalled else "end_turn"}}
        usage = {"inputTokens": len(messages), "outputTokens": 1, "totalTokens": len(messages) + 1}
        yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 7}}}


@persist.register
@dataclasses.dataclass
class Place:
    name: str
    at: tuple[float, float]
    seen: set[str] = dataclasses.field(default_factory=set)


class Travelling(Agent):
    """The program's own agent, which remembers places."""

    def __init__(self, **options: Any) -> None:
        super().__init__(model=Listening(), callback_handler=None, **options)
        self.places: dict[str, Place] = {}


@tool
def look_up(city: str) -> dict[str, Any]:
    """A tool that finds something."""
    found = {"city": city, "degrees": 21.5, "wind": None}
    picture = {"image": {"format": "png", "source": {"bytes": PICTURE}}}
    return {"status": "success", "content": [{"json": found}, picture]}


@tool
def read(city: str) -> str:
    """A tool whose result is too long for the model and is offloaded."""
    return f"{city} " * 5000


@tool(context=True)
def pay(city: str, tool_context: ToolContext) -> str:
    """A tool that a person has to approve."""
    allowed = tool_context.interrupt("pay", reason={"city": city, "euros": 12.5})
    PAID.append(city)
    return f"paid in {city}: {allowed}"


def agent(**options: Any) -> Agent:
    return Agent(model=Listening(), callback_handler=None, system_prompt="Be brief.", **options)


def put_away(asked: Agent) -> Any:
    """Returns what the context manager of an agent has offloaded."""
    with ThreadPoolExecutor() as pool:  # A thread without an event loop.
        return pool.submit(lambda: asyncio.run(asked.context_manager.stash.take_snapshot())).result()


def keeping() -> Agent:
    return agent(conversation_manager=NullConversationManager())


def held(asked: Agent) -> Any:
    """Returns everything that an agent and the agents among its tools hold."""
    metrics = asked.event_loop_metrics
    below = [each.agent for each in asked.tool_registry.registry.values() if each.tool_type == "agent"]
    own = told(
        [
            asked.messages,
            asked.state.get(),
            asked.conversation_manager.get_state(),
            asked._interrupt_state.to_dict(),
            asked._model_state,
            getattr(asked, "places", None),
            None if asked.context_manager is None else put_away(asked),
            [metrics.cycle_count, metrics.cycle_durations, metrics.accumulated_usage, metrics.accumulated_metrics],
        ]
    )
    return [own, *(held(helper) for helper in below)]


def go_on(asked: Agent, prompt: Any = "And now?") -> Any:
    before, known = held(asked), {message["tracking_id"] for message in asked.messages}
    HEARD.clear()
    result = asked(prompt)
    new = [message for message in asked.messages if message["tracking_id"] not in known]
    usage = asked.event_loop_metrics.accumulated_usage
    return [before, HEARD, told([new, asked.state.get(), asked._model_state, usage], NEW), result.stop_reason, PAID]


def plain() -> Agent:
    asked = agent(conversation_manager=SlidingWindowConversationManager(window_size=6))
    asked.state.set("mood", {"calm": True, "since": (1, 2.0, None)})
    for text in ("Hello", "I live in Turin", "It is raining", "It is late"):
        asked(text)
    assert asked.conversation_manager.removed_message_count == 2
    return asked


def with_tools() -> Agent:
    """Makes an agent with a tool, and with another agent as a tool, which keeps its conversation."""
    helper = agent(name="helper", tools=[look_up])
    tools = [look_up, read, helper.as_tool(preserve_context=True)]
    return agent(tools=tools, context_manager="auto")


def called() -> Agent:
    asked = with_tools()
    asked("Look it up")
    asked("Once more")
    assert put_away(asked)
    return asked


def waiting() -> Agent:
    asked = agent(tools=[look_up, pay])
    assert asked("Pay").stop_reason == "interrupt"
    assert not PAID
    return asked


def allow(asked: Agent) -> Any:
    ((key, interrupt),) = asked._interrupt_state.interrupts.items()
    answer = {"interruptId": key, "response": {"allowed": True, "by": "Ada"}}
    came_to = go_on(asked, [{"interruptResponse": answer}])
    assert PAID == ["Turin"]
    assert interrupt.reason == {"city": "Turin", "euros": 12.5}
    return came_to


def seen() -> Agent:
    asked = agent()
    document = {"format": "txt", "name": "notes", "source": {"bytes": b"\0\xff"}, "citations": {"enabled": True}}
    asked(
        [
            {"text": "What is this?"},
            {"image": {"format": "png", "source": {"bytes": PICTURE}}},
            {"document": document},
            {"cachePoint": {"type": "default"}},
        ]
    )
    return asked


def travelling() -> Travelling:
    asked = Travelling()
    asked("Hello")
    asked.places["home"] = Place("Turin", (45.07, 7.69), {"the river"})
    return asked


def many() -> Agent:
    asked = keeping()
    for number in range(MANY // 2):
        asked.messages += [
            {"role": "user", "content": [{"text": f"question {number}"}], "tracking_id": f"q{number}"},
            {"role": "assistant", "content": [{"text": f"answer {number}"}], "tracking_id": f"a{number}"},
        ]
    return asked


ROW = {
    "plain": Cell(
        plain,
        go_on,
        into=lambda: agent(conversation_manager=SlidingWindowConversationManager(window_size=6)),
    ),
    "tool call": Cell(called, go_on, into=with_tools),
    "approval": Cell(waiting, allow, into=lambda: agent(tools=[look_up, pay])),
    "multi-modal": Cell(seen, go_on, into=agent),
    "custom class": Cell(travelling, go_on, into=Travelling),
    "5,000 messages": Cell(many, go_on, into=keeping),
}

if __name__ == "__main__":
    main(ROW)
