"""A deep agent on ``PersistSaver`` is what it is on LangGraph's checkpointer in memory: with a plan,
files, an agent for a task, and a tool that a person has to allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from deepagents import create_deep_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.types import Command
from same_graphs import LIVES, Turn, same


class Model(BaseChatModel):
    """A model that uses a tool at each message, in this order, and then answers."""

    calls: Sequence[tuple[str, dict[str, Any]]]

    @property
    def _llm_type(self) -> str:
        return "fake"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *rest: Any, **options: Any) -> ChatResult:
        number = sum(message.type == "ai" for message in messages)
        said = AIMessage(f"answer {number}", id=f"{len(messages)}-{number}")
        if number < len(self.calls):
            name, given = self.calls[number]
            said.tool_calls = [{"name": name, "args": given, "id": f"call-{len(messages)}", "type": "tool_call"}]
        return ChatResult(generations=[ChatGeneration(message=said)])


def publish(text: str) -> str:
    """Publishes a text."""
    return f"published {text}"


def build(saver: Any) -> Any:
    helper = Model(calls=[("write_file", {"file_path": "/found.md", "content": "found"})])
    calls = [
        ("write_todos", {"todos": [{"content": "look", "status": "in_progress"}]}),
        ("write_file", {"file_path": "/notes.md", "content": "one\ntwo"}),
        ("task", {"description": "look it up", "subagent_type": "helper"}),
        ("edit_file", {"file_path": "/notes.md", "old_string": "two", "new_string": "three"}),
        ("publish", {"text": "all"}),
        ("read_file", {"file_path": "/notes.md"}),
    ]
    helpers: Any = [{"name": "helper", "description": "Looks things up.", "system_prompt": "Help.", "model": helper}]
    return create_deep_agent(
        model=Model(calls=calls), tools=[publish], subagents=helpers, interrupt_on={"publish": True}, checkpointer=saver
    )


def asks(text: str) -> Turn:
    return lambda graph, config: graph.invoke({"messages": [HumanMessage(text, id=text)]}, config)


def allows(graph: Any, config: Any) -> Any:
    return graph.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)


@pytest.mark.parametrize("life", LIVES)
def test_a_deep_agent(life: str) -> None:
    def earlier(graph: Any, config: Any) -> Any:
        kept = list(graph.get_state_history(config))[::-1]
        return graph.invoke(None, kept[len(kept) // 2].config)

    outcomes = same(build, asks("begin"), allows, asks("go on"), earlier, life=life)
    assert "publish" in str(outcomes[0]["__interrupt__"])
    assert set(outcomes[1]["files"]) == {"/notes.md", "/found.md"}
