"""LangGraph's row of the matrix: threads of agents and of a graph."""

from __future__ import annotations

import base64
import dataclasses
import operator
from typing import Annotated, Any, TypedDict

from cells import MANY, PICTURE, Cell, main, told
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Interrupt, interrupt
from pydantic import BaseModel, Field, PrivateAttr

CONFIG: Any = {"configurable": {"thread_id": "a-thread"}}

RANDOM = ("id",)
"""The fields that differ in each run."""

HEARD: list[Any] = []
"""What the model was told and what the tools did, since it was cleared."""


class Model(GenericFakeChatModel):
    """A model that calls its tool once, if it has one, then says how many messages it heard."""

    tools: list[Any] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        self.tools = list(tools)
        return self

    def _generate(self, messages: list[BaseMessage], *rest: Any, **options: Any) -> Any:
        HEARD.append(told(messages, RANDOM))
        called = any(isinstance(message, AIMessage) and message.tool_calls for message in messages)
        calls: Any = [{"name": "pay", "args": {"euros": 5}, "id": "call-1"}] if self.tools and not called else []
        self.messages = iter([AIMessage("" if calls else f"I heard {len(messages)} messages", tool_calls=calls)])
        return super()._generate(messages, *rest, **options)


@tool
def pay(euros: int) -> str:
    """Pays."""
    HEARD.append(f"paid {euros}")
    return f"paid {euros} euros"


def agent(*tools: Any, **options: Any) -> Any:
    return create_agent(Model(messages=iter([])), tools=list(tools), checkpointer=InMemorySaver(), **options)


def careful() -> Any:
    """Makes an agent that asks a person before it pays."""
    return agent(pay, middleware=[HumanInTheLoopMiddleware(interrupt_on={"pay": True})])


def held(graph: Any) -> Any:
    """Returns everything that the thread of a graph holds."""
    kept = graph.get_state(CONFIG)
    tasks = [(task.id, task.name, task.interrupts, task.error) for task in kept.tasks]
    checkpoint = graph.checkpointer.get_tuple(CONFIG).checkpoint
    versions = [checkpoint["channel_versions"], checkpoint["versions_seen"]]
    return told([kept.values, kept.next, kept.config, kept.metadata, kept.created_at, kept.interrupts, tasks, versions])


def after(graph: Any, more: Any) -> Any:
    """Runs a graph once more. Returns what the thread held before, what was heard, and the result."""
    before = held(graph)
    HEARD.clear()
    values = graph.invoke(more, CONFIG)
    return [before, list(HEARD), told(values, RANDOM)]


def ran(graph: Any, *turns: Any) -> Any:
    for turn in turns:
        graph.invoke({"messages": turn}, CONFIG)
    return graph


def go_on(graph: Any) -> Any:
    return after(graph, {"messages": "And now?"})


def seeing() -> Any:
    picture = {"type": "image", "base64": base64.b64encode(PICTURE).decode(), "mime_type": "image/png"}
    raw = {"type": "file", "data": PICTURE, "mime_type": "application/pdf"}
    return ran(agent(), [HumanMessage([{"type": "text", "text": "What is this?"}, picture, raw])])


def many() -> list[Any]:
    pairs = ([HumanMessage(f"question {n}"), AIMessage(f"answer {n}")] for n in range(MANY // 2))
    return [message for pair in pairs for message in pair]


@dataclasses.dataclass
class Step:
    name: str
    at: tuple[int, int] = (0, 0)


class Careful(Step):
    """A step of a subclass."""


class Plan(BaseModel):
    steps: list[Step] = []
    _notes: dict[str, bytes] = PrivateAttr(default_factory=dict)


def joined(log: Any, updates: Any) -> list[str]:
    return [*(log or []), *(line for update in updates for line in update)]


class State(TypedDict):
    plan: Plan
    seen: Annotated[list[Step], operator.add]
    log: Annotated[list[str], DeltaChannel(joined)]


class Review(TypedDict):
    plan: Plan
    seen: Annotated[list[Step], operator.add]


class Memory(TypedDict):
    turns: Annotated[list[str], operator.add]


def reviewing() -> Any:
    """Makes a graph that waits after its first node, which must not run again."""

    def look(state: Any) -> Any:
        HEARD.append("looked")
        return {"seen": [Step("looked")]}

    def review(state: Any) -> Any:
        said = interrupt(Step("ask", (3, 4)))
        return {"seen": [Step(said), *state["plan"].steps]}

    builder = StateGraph(Review)
    builder.add_node("look", look)
    builder.add_node("review", review)
    builder.add_edge(START, "look")
    builder.add_edge("look", "review")
    return builder.compile()


def remembering() -> Any:
    """Makes a graph that keeps a state of its own."""
    builder = StateGraph(Memory)
    builder.add_node("write", lambda state: {"turns": [f"turn {len(state['turns'])}"]})
    builder.add_edge(START, "write")
    return builder.compile(checkpointer=True)


def planning() -> Any:
    """Makes a graph whose state has the program's own classes. One graph in it keeps a state, one
    waits, and other nodes write changes at the same time.
    """
    helpers = {"memory": remembering()}

    def draft(state: Any) -> Any:
        plan = Plan(steps=[Step("a"), Careful("b", (1, 2))])
        plan._notes["raw"] = PICTURE
        return {"plan": plan, "seen": [Careful("draft")], "log": ["drafted"]}

    def remember(state: Any) -> Any:
        return {"log": helpers["memory"].invoke({"turns": []})["turns"]}

    builder = StateGraph(State)
    builder.add_node("draft", draft)
    builder.add_node("remember", remember)
    builder.add_edge(START, "draft")
    builder.add_edge("draft", "remember")
    for number in range(8):
        builder.add_node(f"note {number}", lambda state, number=number: {"log": [f"note {number}"]})
        builder.add_edge("remember", f"note {number}")
    builder.add_node("review", reviewing())
    builder.add_edge("remember", "review")
    return builder.compile(checkpointer=InMemorySaver())


def planned() -> Any:
    graph = planning()
    done = graph.invoke({}, CONFIG)
    assert isinstance(done["__interrupt__"][0], Interrupt)
    return graph


def go_on_planned(graph: Any) -> Any:
    notes = graph.get_state(CONFIG).values["plan"]._notes
    resumed = after(graph, Command(resume="fine"))
    again = graph.invoke({"seen": []}, CONFIG)
    # The IDs of these questions are new.
    asked = [question.value for question in again.pop("__interrupt__")]
    return [told(notes), resumed, told([again, asked], RANDOM)]


SAVE = {"config": CONFIG}

ROW = {
    "plain": Cell(lambda: ran(agent(), "Hello", "Go on"), go_on, agent, SAVE),
    "tool call": Cell(lambda: ran(agent(pay), "Pay"), go_on, lambda: agent(pay), SAVE),
    "approval": Cell(
        lambda: ran(careful(), "Pay"),
        lambda graph: after(graph, Command(resume={"decisions": [{"type": "approve"}]})),
        careful,
        SAVE,
    ),
    "multi-modal": Cell(seeing, go_on, agent, SAVE),
    "custom class": Cell(planned, go_on_planned, planning, SAVE),
    "5,000 messages": Cell(lambda: ran(agent(), many()), go_on, agent, SAVE),
}

if __name__ == "__main__":
    main(ROW)
