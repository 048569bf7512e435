"""smolagents with autosave: each step of an agent is a step."""

from __future__ import annotations

import persist
from blocks import CrashError, program
from smolagents import CodeAgent
from turns import FIRST, SECOND, THIRD, check
from with_smolagents import Told, agent


def crash(timeline: persist.Timeline) -> None:
    asked = agent()
    with persist.autosave(asked, timeline):
        asked.run(FIRST)
        asked.run(SECOND, reset=False)
        raise CrashError


def go_on(timeline: persist.Timeline) -> None:
    asked = CodeAgent(tools=[], model=Told(), verbosity_level=0)
    timeline.load(into=asked)
    check(asked.run(THIRD, reset=False))


if __name__ == "__main__":
    # The final answer is a step of its own, and counts.
    program(
        crash,
        go_on,
        (lambda state: (len(state["steps"]), state["run"]["step_number"]), [(2, 1), (2, 2), (4, 1), (4, 2)]),
    )
