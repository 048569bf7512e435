"""smolagents in the story: each step of an agent is a step, and so is the final answer."""

from __future__ import annotations

import threading
from typing import Any

import persist
from smolagents import ChatMessage, CodeAgent, MessageRole, Model
from story import FIRST, LAST, Steps, main, tell


class Counting(Model):
    """A model that writes a line of code in each step, and the final answer in the last one."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps
        self.agent: CodeAgent | None = None

    def generate(self, messages: list[ChatMessage], **others: Any) -> ChatMessage:
        assert self.agent is not None
        number = self.steps.begins(known(self.agent))
        if self.steps.has_to_stop(number):
            threading.Event().wait()
        # The final answer is kept once more, as the last step.
        code = f"print('step {number}')" if number < self.steps.until - 1 else "final_answer('I am done')"
        return ChatMessage(role=MessageRole.ASSISTANT, content=f"Thought: I know.\n<code>\n{code}\n</code>")


def agent(steps: Steps) -> CodeAgent:
    model = Counting(steps)
    model.agent = CodeAgent(tools=[], model=model, verbosity_level=0)
    return model.agent


def known(asked: CodeAgent) -> Any:
    return asked.memory.get_full_steps()


def begin(timeline: persist.Timeline) -> None:
    asked = agent(Steps(1, LAST, stops=True))
    with persist.autosave(asked, timeline):
        asked.run(FIRST)


def go_on(timeline: persist.Timeline, until: int, text: str | None) -> None:
    newest = timeline.at()
    asked = agent(Steps(newest.number + 1, until))
    newest.load(into=asked)
    tell(newest.number, known(asked))
    with persist.autosave(asked, timeline):
        asked.run(text or "go on", reset=False)


if __name__ == "__main__":
    main(begin, go_on)
