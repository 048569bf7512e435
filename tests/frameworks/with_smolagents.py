"""smolagents: the steps of an agent."""

from __future__ import annotations

from typing import Any

import persist
from smolagents import ChatMessage, CodeAgent, MessageRole, Model
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


def agent() -> CodeAgent:
    return CodeAgent(tools=[], model=Told(), verbosity_level=0)


def save(location: str) -> None:
    asked = agent()
    asked.run(FIRST)
    asked.run(SECOND, reset=False)
    saved = persist.snapshot(asked, location, check=True)
    assert saved.adapter is not None
    assert saved.adapter["name"] == "smolagents"


def restore(location: str) -> None:
    steps = persist.restore(location)
    assert [step["class"] for step in steps] == ["TaskStep", "ActionStep", "TaskStep", "ActionStep"]
    asked = persist.restore(location, into=agent())
    check(asked.run(THIRD, reset=False))


if __name__ == "__main__":
    main(save, restore)
