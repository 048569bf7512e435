"""AutoGen with autosave: it has no hook, so the program saves after each run."""

from __future__ import annotations

import persist
from blocks import CrashError, program
from turns import FIRST, SECOND, THIRD, check
from with_autogen import agent, ask


async def crash(timeline: persist.Timeline) -> None:
    asked = agent()
    async with persist.autosave(asked, timeline.to_async()) as saver:
        await asked.run(task=FIRST)
        await saver.save()
        await asked.run(task=SECOND)
        raise CrashError


def go_on(timeline: persist.Timeline) -> None:
    asked = agent()
    timeline.load(into=asked)
    check(ask(asked, THIRD))


if __name__ == "__main__":
    program(crash, go_on, (lambda state: len(state["llm_context"]["messages"]), [2, 4]))
