"""Pydantic AI with autosave: each result is a step."""

from __future__ import annotations

import persist
from blocks import CrashError, program
from turns import FIRST, SECOND, THIRD, check
from with_pydantic_ai import AGENT


def crash(timeline: persist.Timeline) -> None:
    with persist.autosave([], timeline) as saver:
        result = AGENT.run_sync(FIRST)
        saver.save(result)
        result = AGENT.run_sync(SECOND, message_history=result.all_messages())
        saver.save(result)
        raise CrashError


def go_on(timeline: persist.Timeline) -> None:
    check(AGENT.run_sync(THIRD, message_history=timeline.load()).output)


if __name__ == "__main__":
    program(crash, go_on, (len, [2, 4]))
