"""smolagents: the steps of an agent."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import persist
from smolagents import ChatMessage, CodeAgent, MessageRole, Model
from smolagents.memory import ActionStep
from smolagents.monitoring import Timing
from turns import FIRST, SECOND, THIRD, answer, check, main


class Told(Model):
    """Answers with the tasks that it was given."""

    def generate(self, messages: list[ChatMessage], **others: Any) -> ChatMessage:
        texts = [
            block["text"]
            for message in messages
            if message.role == MessageRole.USER
            for block in message.content or []
            if isinstance(block, dict)
        ]
        tasks = [line for text in texts for line in text.split("\n") if line in (FIRST, SECOND, THIRD)]
        code = f"Thought: I know.\n<code>\nfinal_answer({answer(tasks)!r})\n</code>"
        return ChatMessage(role=MessageRole.ASSISTANT, content=code)


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class NotedStep(ActionStep):
    note: str = ""


class Noting(CodeAgent):
    """A user's own agent, which keeps notes and uses a client."""

    __persist_exclude__ = ("client",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.notes: list[str] = []
        self.client = object()


def agent() -> CodeAgent:
    return CodeAgent(tools=[], model=Told(), verbosity_level=0)


def save(location: str) -> None:
    asked = agent()
    asked.run(FIRST)
    asked.run(SECOND, reset=False)
    saved = persist.snapshot(asked, location, check=True)
    assert saved.adapter is not None
    assert saved.adapter["name"] == "smolagents"
    noted = Noting(tools=[], model=Told(), verbosity_level=0)
    noted.state["document"] = "the text to work on"
    noted.notes.append("call back on Monday")
    noted.memory.steps.append(ActionStep(step_number=1, timing=Timing(1.0, 2.0), action_output=Color.RED))
    refused("with_smolagents.Color", noted, location + ".noted")
    persist.register(Color)
    persist.snapshot(noted, location + ".noted", check=True)
    noted.memory.steps.append(NotedStep(step_number=1, timing=Timing(1.0, 2.0), note="check this"))
    refused("with_smolagents.NotedStep", noted, location + ".step")


def refused(says: str, agent: Any, location: str) -> None:
    try:
        persist.snapshot(agent, location)
    except persist.PersistTypeError as error:
        assert says.rpartition(".")[2] in str(error), error
        assert "at state['steps'][" in str(error), error
    else:
        raise AssertionError(says)


def restore(location: str) -> None:
    steps = persist.restore(location)
    assert [step["class"] for step in steps] == ["TaskStep", "ActionStep", "TaskStep", "ActionStep"]
    asked = persist.restore(location, into=agent())
    check(asked.run(THIRD, reset=False))
    persist.register(Color)
    noted = Noting(tools=[], model=Told(), verbosity_level=0)
    noted.state["old"] = 1
    persist.restore(location + ".noted", into=noted)
    assert noted.state == {"document": "the text to work on"}
    assert noted.notes == ["call back on Monday"]
    assert noted.memory.steps[0].action_output is Color.RED


if __name__ == "__main__":
    main(save, restore)
