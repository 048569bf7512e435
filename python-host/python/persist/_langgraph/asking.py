"""What the adapter and the checkpointer for LangGraph share: questions to a checkpointer, which may
answer synchronously or asynchronously, and what a config names.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from persist.errors import PersistConfigurationError

Questions = Generator[tuple[Any, ...], Any, Any]
"""Yields questions, gets the answers, and returns a result."""


class Asking:
    """A sequence of questions, each of which may depend on the earlier answers. Synchronous and
    asynchronous code answer the same questions.
    """

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self.question: tuple[Any, ...] | None = None
        """The next question, or ``None`` after the last answer."""
        self.outcome: Any = None
        """The result, after the last answer."""
        self.answer(None)

    def answer(self, answer: Any) -> None:
        """Takes the answer to the current question and moves to the next one."""
        try:
            self.question = self._questions.send(answer)
        except StopIteration as end:
            self.question, self.outcome = None, end.value


def thread_of(config: Any) -> str:
    """Returns the ID of the thread that a config names."""
    configurable = config.get("configurable") if isinstance(config, Mapping) else None
    thread = configurable.get("thread_id") if isinstance(configurable, Mapping) else None
    if thread is None:
        raise PersistConfigurationError(
            "the config does not name a thread of the graph",
            "invalid-argument",
            hint='pass the config that the graph runs with: config={"configurable": {"thread_id": "1"}}',
        )
    return str(thread)
