"""AutoGen's row of the matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from autogen_agentchat.agents import AssistantAgent, BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.conditions import HandoffTermination, MaxMessageTermination, TextMentionTermination
from autogen_agentchat.messages import HandoffMessage, MultiModalMessage, StructuredMessage
from autogen_agentchat.teams import RoundRobinGroupChat, Swarm
from autogen_agentchat.tools import AgentTool
from autogen_core import AgentId, FunctionCall, Image
from autogen_core.memory import ListMemory, MemoryContent, MemoryMimeType
from autogen_core.models import AssistantMessage, CreateResult, ModelFamily, RequestUsage, UserMessage
from autogen_ext.models.replay import ReplayChatCompletionClient
from cells import MANY, PICTURE, Cell, main, told
from PIL import Image as Pictures
from pydantic import BaseModel

NEW = ("id", "created_at")
"""The fields that differ in each message."""

HEARD: list[Any] = []
"""What the models were told in the last turn."""


class Answering(ReplayChatCompletionClient):
    """A model that calls each tool once, then says how many messages it heard."""

    def __init__(self) -> None:
        can = dict.fromkeys(("vision", "function_calling", "json_output", "structured_output"), True)
        super().__init__([], model_info={**can, "family": ModelFamily.UNKNOWN})  # type: ignore[typeddict-item]

    async def create(self, messages: Any, *, tools: Any = (), **others: Any) -> CreateResult:
        HEARD.append(seen(list(messages)))
        said = [message.content for message in messages if isinstance(message, AssistantMessage)]
        called = {call.name for content in said if isinstance(content, list) for call in content}
        names = [tool["name"] if isinstance(tool, Mapping) else tool.name for tool in tools]
        content: Any = f"I heard {len(messages)} messages"
        for name in sorted(names, key=lambda name: not name.startswith("transfer")):
            if name not in called:
                arguments = {"transfer_to_user": "{}", "expert": '{"task": "Hello"}'}.get(name, '{"city": "Turin"}')
                content = [FunctionCall(id=f"call-{name}", name=name, arguments=arguments)]
                break
        return CreateResult(
            finish_reason="stop",
            content=content,
            usage=RequestUsage(prompt_tokens=len(messages), completion_tokens=4),
            cached=False,
            thought="I think",
        )


def seen(value: Any, but: Sequence[str] = ()) -> Any:
    """Returns a message as JSON values, with the pixels of images."""
    if isinstance(value, Image):
        return told([value.image.size, value.image.tobytes()])
    if isinstance(value, list):
        return [seen(item, but) for item in value]
    if isinstance(value, BaseModel):
        fields = {name: seen(item, but) for name, item in value if name not in but}
        return {"class": type(value).__qualname__, **fields}
    if isinstance(value, datetime):
        return value.isoformat()
    # In messages, AutoGen turns the type of a memory into text with the same meaning.
    return told(value.value if isinstance(value, MemoryMimeType) else value, but)


async def held(asked: Any) -> Any:
    """Returns everything that an agent or a team holds."""
    if isinstance(asked, Remembering):
        return [seen(asked.places), asked.greeted, await held_by_assistant(asked)]
    if isinstance(asked, AssistantAgent):
        return await held_by_assistant(asked)
    if isinstance(asked, Keeping):
        return seen(asked.kept)
    topics = (*asked._participant_topic_types, asked._group_chat_manager_topic_type)
    parts: list[Any] = [
        await asked._runtime.try_get_underlying_agent_instance(AgentId(topic, asked._team_id)) for topic in topics
    ]
    manager = vars(parts.pop())
    names = ("_message_thread", "_current_turn", "_next_speaker_index", "_current_speaker")
    return [
        [[seen(part._message_buffer), await held(part._agent)] for part in parts],
        {name: seen(manager[name]) for name in names if name in manager},
    ]


async def held_by_assistant(asked: AssistantAgent) -> Any:
    """Returns the messages of an agent, its memories, and what the agents among its tools hold."""
    tools = [await held(tool._agent) for tool in asked._tools if isinstance(tool, AgentTool)]
    memories = [seen(memory.content) for memory in asked._memory or () if isinstance(memory, ListMemory)]
    return [seen(await asked.model_context.get_messages()), memories, tools]


class Place(BaseModel):
    """The content of messages."""

    name: str
    at: tuple[float, float]


class Keeping(BaseChatAgent):
    """The program's own agent, which defines its state."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "keeps places")
        self.kept: list[Place] = []

    produced_message_types = (StructuredMessage[Place],)

    async def on_messages(self, messages: Any, cancellation_token: Any) -> Response:
        self.kept += [message.content for message in messages if isinstance(message.content, Place)]
        answer = StructuredMessage[Place](content=self.kept[-1], source=self.name, metadata={"of": str(len(self.kept))})
        return Response(chat_message=answer)

    async def on_reset(self, cancellation_token: Any) -> None:
        self.kept.clear()

    async def save_state(self) -> Mapping[str, Any]:
        return {"kept": [place.model_dump() for place in self.kept]}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        self.kept = [Place(**place) for place in state["kept"]]


class Remembering(AssistantAgent):
    """The program's own agent, which has more than its base class saves."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, Answering(), **options)
        self.places: list[Any] = []
        self.greeted = 0

    async def on_messages_stream(self, messages: Any, cancellation_token: Any) -> Any:
        self.greeted += 1
        self.places += [(message.source, message.content.at) for message in messages]
        async for item in super().on_messages_stream(messages, cancellation_token):
            yield item


def look_up(city: str) -> list[Any]:
    """A tool that finds something."""
    return [city, 21.5, {"wind": None}]


PAID: list[str] = []
"""The payments of this process."""


def pay(city: str) -> str:
    """A tool that a person has to approve."""
    PAID.append(city)
    return f"paid in {city}"


def agent(name: str = "helper", **options: Any) -> AssistantAgent:
    return AssistantAgent(name, Answering(), **options)


def with_tools() -> AssistantAgent:
    return agent(tools=[look_up, AgentTool(agent("expert"))], max_tool_iterations=3)


def team() -> RoundRobinGroupChat:
    return RoundRobinGroupChat([agent("a"), agent("b")], termination_condition=MaxMessageTermination(4))


def cashier() -> Swarm:
    until = HandoffTermination("user") | TextMentionTermination("I heard")
    return Swarm([agent(tools=[pay], handoffs=["user"])], termination_condition=until)


def travellers() -> RoundRobinGroupChat:
    remembering = Remembering("remembering", memory=[ListMemory("of places")])
    return RoundRobinGroupChat([Keeping("keeping"), remembering], termination_condition=MaxMessageTermination(3))


def place(name: str) -> StructuredMessage[Place]:
    return StructuredMessage[Place](content=Place(name=name, at=(45.07, 7.69)), source="user", format_string="{name}")


async def begun(asked: Any, said: Any) -> Any:
    await asked.run(task=said)
    return asked


async def go_on(asked: Any, said: Any = "And now?") -> Any:
    before = await held(asked)
    HEARD.clear()
    done = await asked.run(task=said)
    return [
        before,
        list(HEARD),
        seen(list(done.messages), NEW),
        done.stop_reason if hasattr(done, "stop_reason") else None,
    ]


async def waiting() -> Any:
    asked = await begun(cashier(), "Pay")
    assert not PAID, "nobody approved it"
    return asked


async def allow(asked: Any) -> Any:
    PAID.clear()
    went_on = await go_on(asked, HandoffMessage(content="Yes, pay", source="user", target="helper"))
    return [went_on, told(PAID)]


async def travelled() -> Any:
    asked = travellers()
    memory = asked._participants[1]._memory[0]
    for content, kind in (("It rains", MemoryMimeType.TEXT), ({"sun": None}, MemoryMimeType.JSON)):
        await memory.add(MemoryContent(content=content, mime_type=kind, metadata={"of": 1}))
    return await begun(asked, place("Turin"))


async def many() -> Any:
    asked = agent()
    for n in range(MANY // 2):
        await asked.model_context.add_message(UserMessage(content=f"question {n}", source="user"))
        await asked.model_context.add_message(AssistantMessage(content=f"answer {n}", source="helper", thought=f"{n}"))
    return asked


def picture() -> MultiModalMessage:
    image = Image(Pictures.frombytes("RGB", (32, 32), PICTURE * 3))
    return MultiModalMessage(content=["What is this?", image], source="user", metadata={"of": "a phone"})


ROW = {
    "plain": Cell(lambda: begun(team(), "Hello"), go_on, team),
    "tool call": Cell(lambda: begun(with_tools(), "Look it up"), go_on, with_tools),
    "approval": Cell(waiting, allow, cashier),
    "multi-modal": Cell(lambda: begun(team(), picture()), go_on, team),
    "custom class": Cell(travelled, lambda asked: go_on(asked, place("Ivrea")), travellers),
    "5,000 messages": Cell(many, go_on, agent),
}

if __name__ == "__main__":
    main(ROW)
