"""LangGraph with autosave: each checkpoint is a step."""

from __future__ import annotations

import asyncio

import persist
from blocks import CrashError, program
from turns import FIRST, SECOND, THIRD, check
from with_langgraph import CONFIG, agent, ask


def crash(timeline: persist.Timeline) -> None:
    graph = agent()
    with persist.autosave(graph, timeline, config=CONFIG):
        ask(graph, FIRST)
    assert "put" not in vars(graph.checkpointer)

    async def main() -> None:
        async with persist.autosave(graph, timeline.to_async(), config=CONFIG):
            await graph.ainvoke({"messages": [("user", SECOND)]}, CONFIG)
            raise CrashError

    asyncio.run(main())


def go_on(timeline: persist.Timeline) -> None:
    graph = agent()
    timeline.load(into=graph, config=CONFIG)
    check(ask(graph, THIRD))


if __name__ == "__main__":
    program(crash, go_on, (lambda state: state["checkpoints"][-1]["metadata"]["step"], [-1, 0, 1, 2, 3, 4]))
