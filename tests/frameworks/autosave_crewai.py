"""CrewAI with autosave: each method of a flow is a step."""

from __future__ import annotations

import persist
from blocks import CrashError, program
from turns import FIRST, SECOND, THIRD, check
from with_crewai import RAN, Failing, Talk, ask


def crash(timeline: persist.Timeline) -> None:
    failing = Failing()
    other = persist.Timeline(timeline.location + "/failing", session_id="1")
    try:
        with persist.autosave(failing, other):
            failing.kickoff()
    except ConnectionError:
        # The method that had finished was saved before the next one began.
        assert other.load(plain=True, at=1)["run"]["completed"] == ["find"]
        assert other.at().labels == {"exception": "ConnectionError"}
    RAN.clear()
    again = other.load(into=Failing(), config={"resume": True})
    again.state["may_report"] = True
    assert again.kickoff() == "reported Ada"
    assert RAN == ["report"]
    flow = Talk()
    with persist.autosave(flow, timeline):
        ask(flow, FIRST)
        ask(flow, SECOND)
        raise CrashError


def go_on(timeline: persist.Timeline) -> None:
    check(ask(timeline.load(into=Talk()), THIRD))


if __name__ == "__main__":
    program(crash, go_on, (lambda state: len(state["state"]["heard"]), [1, 2]))
