"""AutoGen: an agent, and a team."""

from __future__ import annotations

import asyncio
from typing import Any

import persist
from autogen_agentchat.agents import AssistantAgent, BaseChatAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core.models import CreateResult, UserMessage
from autogen_ext.models.replay import ReplayChatCompletionClient
from turns import FIRST, SECOND, THIRD, answer, check, main


class Told(ReplayChatCompletionClient):
    """Replays what it was told."""

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
    """Has nothing to say of its state, as an agent whose author wrote nothing."""

    save_state = BaseChatAgent.save_state


class Failing(AssistantAgent):
    """Does not take a state."""

    async def load_state(self, state: Any) -> None:
        if state.get("llm_context", {}).get("messages"):
            raise ConnectionError("db gone")
        await super().load_state(state)


def whole_or_not(location: str) -> None:
    for wrong in (
        Forgetful("helper", model_client=Told([])),
        RoundRobinGroupChat([Forgetful("a", model_client=Told([]))]),
    ):
        try:
            persist.snapshot(wrong, location + ".forgetful")
        except persist.PersistTypeError as error:
            assert "Forgetful has no save_state" in str(error)
        else:
            raise AssertionError("nothing would be saved")

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
        raise AssertionError("it fails")
    assert asyncio.run(failing.save_state()) == before, "half of it was restored"


def restore(location: str) -> None:
    whole_or_not(location)
    for asked, name in [(agent(), location), (team(), location + ".team")]:
        assert persist.restore(name, into=asked) is asked
        check(ask(asked, THIRD))
    try:
        persist.restore(location)
    except persist.PersistConfigurationError as error:
        assert error.hint is not None
        assert "into" in error.hint
    else:
        raise AssertionError("an agent was made of nothing")


if __name__ == "__main__":
    main(save, restore)
