"""Strands Agents with autosave: each message is a step."""

from __future__ import annotations

import persist
from blocks import CrashError, program
from turns import FIRST, SECOND, THIRD, check
from with_strands import agent, ask


def crash(timeline: persist.Timeline) -> None:
    asked = agent()
    with persist.autosave(asked, timeline):
        ask(asked, FIRST)
    before = len(list(timeline))
    # Nothing hears of this any more.
    assert not any(
        entry.callback.__module__.startswith("persist")
        for entries in asked.hooks._registered_callbacks.values()
        for entry in entries
    )
    with persist.autosave(asked, timeline) as saver:
        saver.save()
        assert len(list(timeline)) == before
        ask(asked, SECOND)
        raise CrashError


def go_on(timeline: persist.Timeline) -> None:
    asked = agent()
    timeline.load(into=asked)
    check(ask(asked, THIRD))


if __name__ == "__main__":
    # The end of each turn counts what it took.
    program(crash, go_on, (lambda state: len(state["data"]["messages"]), [1, 2, 2, 3, 4, 4]))
