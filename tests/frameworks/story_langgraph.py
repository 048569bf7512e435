"""LangGraph in the story: each checkpoint is a step. A graph that was killed goes on where it was."""

from __future__ import annotations

import threading
from typing import Any

import persist
from langchain_core.messages import messages_to_dict
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from story import FIRST, LAST, Steps, main, tell
from with_langgraph import CONFIG, Model

INPUT = 2
"""The checkpoints for what is said to a graph, before its first node."""


def agent(steps: Steps) -> Any:
    """Makes an agent that thinks until it has made its last step."""

    def think(state: MessagesState) -> Any:
        number = steps.begins(messages_to_dict(state["messages"]))
        if steps.has_to_stop(number):
            threading.Event().wait()
        return {"messages": [Model(messages=iter([])).invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", lambda _: "think" if steps.next <= steps.until else END, ["think", END])
    return graph.compile(checkpointer=InMemorySaver())


def run(asked: Any, text: str | None) -> None:
    """Runs an agent. Without an input, the node that was killed runs again."""
    # A checkpoint is stored before the next node begins, and not beside it.
    asked.invoke({"messages": [("user", text)]} if text else None, CONFIG, durability="sync")


def begin(timeline: persist.Timeline) -> None:
    asked = agent(Steps(INPUT + 1, LAST, stops=True))
    with persist.autosave(asked, timeline, config=CONFIG):
        run(asked, FIRST)


def go_on(timeline: persist.Timeline, until: int, text: str | None) -> None:
    newest = timeline.at().number
    steps = Steps(newest + 1 + (INPUT if text else 0), until)
    asked = agent(steps)
    timeline.load(into=asked, config=CONFIG)
    tell(newest, messages_to_dict(asked.get_state(CONFIG).values["messages"]))
    with persist.autosave(asked, timeline, config=CONFIG):
        run(asked, text)


if __name__ == "__main__":
    main(begin, go_on)
