"""AutoGen: an agent, and a team."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import persist
from autogen_agentchat.agents import (
    AssistantAgent,
    BaseChatAgent,
    MessageFilterAgent,
    MessageFilterConfig,
    PerSourceFilter,
    SocietyOfMindAgent,
)
from autogen_agentchat.base import TerminationCondition
from autogen_agentchat.conditions import MaxMessageTermination, TextMentionTermination
from autogen_agentchat.messages import StructuredMessage
from autogen_agentchat.teams import DiGraphBuilder, GraphFlow, RoundRobinGroupChat, SelectorGroupChat
from autogen_core import AgentId, CancellationToken
from autogen_core.memory import ListMemory, MemoryContent
from autogen_core.model_context import UnboundedChatCompletionContext
from autogen_core.models import CreateResult, UserMessage
from autogen_ext.models.replay import ReplayChatCompletionClient
from pydantic import BaseModel
from turns import FIRST, SECOND, THIRD, answer, check, main, raises

logging.getLogger("autogen_core").setLevel(logging.CRITICAL)  # It logs that a run was stopped.


class Told(ReplayChatCompletionClient):
    """A model that answers with what it was told."""

    async def create(self, messages: Any, **others: Any) -> CreateResult:
        told = answer(str(message.content) for message in messages if isinstance(message, UserMessage))
        self.set_cached_bool_value = None
        self.chat_completions = [*self.chat_completions, told]
        return await super().create(messages, **others)


def agent() -> AssistantAgent:
    return AssistantAgent("helper", model_client=Told([]))


def team() -> RoundRobinGroupChat:
    return RoundRobinGroupChat([agent()], termination_condition=MaxMessageTermination(2))


def ask(asked: Any, text: str) -> str:
    result = asyncio.run(asked.run(task=text))
    return str(result.messages[-1].content)


def save(location: str) -> None:
    for asked, name in [(agent(), location), (team(), location + ".team")]:
        ask(asked, FIRST)
        ask(asked, SECOND)
        saved = persist.snapshot(asked, name)
        assert saved.adapter is not None
        assert saved.adapter["name"] == "autogen"


class Forgetful(AssistantAgent):
    """An agent whose author did not write how its state is saved."""

    save_state = BaseChatAgent.save_state


class Failing(AssistantAgent):
    """An agent that fails to load a state."""

    async def load_state(self, state: Any) -> None:
        if state.get("llm_context", {}).get("messages"):
            raise ConnectionError("db gone")
        await super().load_state(state)


def whole_or_not(location: str) -> None:
    forgetful = Forgetful("helper", model_client=Told([]))
    team = RoundRobinGroupChat([forgetful])
    for wrong in (forgetful, team, RoundRobinGroupChat([team]), SocietyOfMindAgent("x", team, Told([]))):
        with raises(persist.PersistTypeError, "Forgetful has no save_state", or_else="nothing would be saved"):
            persist.snapshot(wrong, location + ".forgetful")

    def pair(second: Any) -> Any:
        agents = [AssistantAgent("a", model_client=Told([])), second("b", model_client=Told([]))]
        return RoundRobinGroupChat(agents, termination_condition=MaxMessageTermination(3))

    told = pair(AssistantAgent)
    ask(told, FIRST)
    persist.snapshot(told, location + ".pair")
    failing = pair(Failing)
    before = asyncio.run(failing.save_state())
    try:
        persist.restore(location + ".pair", into=failing)
    except persist.PersistConnectionError as error:
        assert error.retryable
    else:
        raise AssertionError("the restore has to fail")
    assert asyncio.run(failing.save_state()) == before, "half of it was restored"


class Noting(AssistantAgent):
    """The program's own agent, which has more than its base class saves."""

    def __init__(self) -> None:
        self.model = Told([])
        super().__init__("noting", self.model, model_context=Counting(), memory=[ListMemory()])
        self.notes: list[Any] = []


class Counting(UnboundedChatCompletionContext):
    """The program's own model context."""

    def __init__(self) -> None:
        super().__init__()
        self.added = 0

    async def add_message(self, message: Any) -> None:
        self.added += 1
        await super().add_message(message)


class Choosing(Told):
    """A model that chooses the next speaker."""

    async def create(self, messages: Any, **others: Any) -> CreateResult:
        result = await super().create(messages, **others)
        return result.model_copy(update={"content": "helper"})


def society() -> SocietyOfMindAgent:
    return SocietyOfMindAgent("society", team(), Told([]))


def filtered() -> MessageFilterAgent:
    only = MessageFilterConfig(per_source=[PerSourceFilter(source="user")])
    return MessageFilterAgent("filtered", agent(), only)


def graph() -> GraphFlow:
    helper, *others = agents = [AssistantAgent(name, model_client=Told([])) for name in ("a", "b", "c")]
    built = DiGraphBuilder()
    for one in agents:
        built.add_node(one)
    built.add_edge(helper, others[0]).add_edge(others[0], others[1], condition="never")
    built.add_edge(others[0], helper, condition="told", activation_group="again").set_entry_point(helper)
    return GraphFlow(agents, built.build(), max_turns=3)


def selector() -> SelectorGroupChat:
    others = [AssistantAgent(name, model_client=Told([])) for name in ("b", "c")]
    kept = UnboundedChatCompletionContext()
    until = MaxMessageTermination(2)
    return SelectorGroupChat(
        [agent(), *others],
        Choosing([]),
        termination_condition=until,
        allow_repeated_speaker=True,
        model_context=kept,
    )


async def triggered(asked: Any) -> Any:
    """Returns what the manager of a graph knows about the edges that made a node ready."""
    manager = AgentId(asked._group_chat_manager_topic_type, asked._team_id)
    found: Any = await asked._runtime.try_get_underlying_agent_instance(manager)
    return found._triggered_activation_groups


async def left_out(location: str) -> None:
    """Checks that what AutoGen's own states leave out is restored."""
    for make in (society, filtered, graph, selector):
        told: Any = make()
        await told.run(task=FIRST)
        await persist.asnapshot(told, location + ".left-out")
        again: Any = make()
        await again.run(task="I am somebody else")
        await persist.arestore(location + ".left-out", into=again)
        answers = [[message.to_text() for message in (await one.run(task=SECOND)).messages] for one in (told, again)]
        assert answers[0] == answers[1], make
        if make is selector:
            contexts = [await one._model_context.get_messages() for one in (told, again)]
            assert contexts[0] == contexts[1], "the selector has messages twice, or old ones"

    told, again = graph(), graph()
    await told.run(task=FIRST)
    await persist.asnapshot(told, location + ".graph")
    await persist.arestore(location + ".graph", into=again)
    assert await triggered(told) == {"a": set(), "b": {"b"}}
    assert await triggered(again) == await triggered(told)

    noting: Any = Noting()
    again = Noting()
    noting.notes.append(("Turin", 2.5))
    await noting._memory[0].add(MemoryContent(content="it rains", mime_type="text/plain"))
    await noting.run(task=FIRST)
    await persist.asnapshot(RoundRobinGroupChat([RoundRobinGroupChat([noting])]), location + ".noting")
    await persist.arestore(location + ".noting", into=RoundRobinGroupChat([RoundRobinGroupChat([again])]))
    assert (again.notes, again.model_context.added) == ([("Turin", 2.5)], 3)
    assert again._memory[0].content == noting._memory[0].content
    assert again.model is not noting.model
    with raises(persist.PersistConfigurationError, "RoundRobinGroupChat/noting", or_else="the notes are lost"):
        await persist.arestore(location + ".noting", into=RoundRobinGroupChat([RoundRobinGroupChat([agent()])]))


class Listening(TerminationCondition):
    """The program's own termination condition."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.is_wanted = lambda message: True
        self.inner = MaxMessageTermination(50)

    @property
    def terminated(self) -> bool:
        return False

    async def __call__(self, messages: Any) -> None:
        self.seen += [message.source for message in messages if self.is_wanted(message)]
        await self.inner(messages)

    async def reset(self) -> None:
        self.seen.clear()


async def counted(location: str) -> None:
    """Checks that a stopped run continues for as long as it would have."""

    def team() -> Any:
        until: Any = (MaxMessageTermination(9) & TextMentionTermination(FIRST)) | Listening()
        return RoundRobinGroupChat([agent()], termination_condition=until)

    def state(asked: Any) -> Any:
        both, listening = asked._termination_condition._conditions
        count, mention = both._conditions
        counts = (count._message_count, mention._terminated, listening.inner._message_count)
        return counts, [message.to_text() for message in both._stop_messages], listening.seen

    live, token = team(), CancellationToken()
    try:
        async for _ in live.run_stream(task=FIRST, cancellation_token=token):
            if live._termination_condition._conditions[0]._conditions[0]._message_count > 3:
                token.cancel()
    except asyncio.CancelledError:
        pass
    assert state(live)[0][0] > 3
    assert state(live)[0][1:] == (True, state(live)[0][0])
    await persist.asnapshot(live, location + ".counted")
    again = team()
    await again.run(task=FIRST)
    await persist.arestore(location + ".counted", into=again)
    assert state(again) == state(live)
    lengths = [len((await one.run()).messages) for one in (live, again)]
    assert lengths[0] == lengths[1], lengths
    other = RoundRobinGroupChat([agent()], termination_condition=MaxMessageTermination(9))
    with raises(persist.PersistConfigurationError, "had counts in a", or_else="the count would be lost"):
        await persist.arestore(location + ".counted", into=other)


class Place(BaseModel):
    """The content of messages."""

    name: str


class City(Place):
    """A class with more fields than the declared content."""

    people: int


def changed(location: str) -> None:
    """Checks that messages that AutoGen would change are refused."""
    until = MaxMessageTermination(2)
    types: list[Any] = [StructuredMessage[Place]]
    asked = RoundRobinGroupChat([agent()], termination_condition=until, custom_message_types=types)
    content = City(name="Turin", people=850_000)
    asyncio.run(asked.run(task=StructuredMessage[Place](content=content, source="user")))
    try:
        persist.snapshot(asked, location + ".changed")
    except persist.PersistTypeError as error:
        assert str(error).startswith("AutoGen would change a StructuredMessage[Place] of RoundRobinGroupChat"), error
    else:
        raise AssertionError("the people would be lost")


def restore(location: str) -> None:
    whole_or_not(location)
    asyncio.run(left_out(location))
    asyncio.run(counted(location))
    changed(location)
    for asked, name in [(agent(), location), (team(), location + ".team")]:
        assert persist.restore(name, into=asked) is asked
        check(ask(asked, THIRD))
    with raises(persist.PersistConfigurationError, hint="into", or_else="an agent was restored without into"):
        persist.restore(location)


if __name__ == "__main__":
    main(save, restore)
