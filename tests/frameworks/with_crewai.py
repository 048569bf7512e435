"""CrewAI: the state of flows, and what keeps it."""

from __future__ import annotations

import os

os.environ["CREWAI_DISABLE_TELEMETRY"] = os.environ["OTEL_SDK_DISABLED"] = "true"

import persist
from crewai.flow.flow import Flow, FlowState, start
from persist.crewai import StoredFlows
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from turns import FIRST, SECOND, THIRD, answer, check, main


class Less(BaseModel):
    a: int = 0


class More(Less):
    b: int = 0


class Told(FlowState):
    """What a flow was told."""

    heard: list[str] = Field(default_factory=list)
    model_config = ConfigDict(extra="allow")

    odd: Less = Less()
    said: str = ""
    _noted: list[str] = PrivateAttr(default_factory=list)


class Talk(Flow[Told]):
    """Answers with what it was told."""

    @start()
    def listen(self) -> str:
        self.state.heard.append(self.state.said)
        return answer(self.state.heard)


class Loose(Flow[dict]):  # type: ignore[type-arg]
    """The same with a dict as its state."""

    @start()
    def listen(self) -> str:
        self.state.setdefault("heard", []).append(self.state["said"])
        return answer(self.state["heard"])


def ask(flow: Flow[Told] | Loose, text: str) -> str:
    return str(flow.kickoff({"said": text}))


def save(location: str) -> None:
    for flow, name in [(Talk(), location), (Loose(), location + ".dict")]:
        ask(flow, FIRST)
        ask(flow, SECOND)
        saved = persist.snapshot(flow, name, check=True)
        assert saved.adapter is not None
        assert saved.adapter["name"] == "crewai"
    talk = Talk()
    talk.state.odd = More(a=1, b=2)
    talk.state._noted.append("a note")
    talk.state.later = [1]  # type: ignore[attr-defined]
    persist.snapshot(talk, location + ".odd", check=True)
    kept = StoredFlows(os.path.dirname(location) + "/flows")
    for text in (FIRST, SECOND):
        Talk(persistence=kept).kickoff({"id": "a-flow", "said": text})
        # A flow that is kept after each method: here by hand.
        heard = [FIRST] if text == FIRST else [FIRST, SECOND]
        kept.save_state("a-flow", "listen", Told(id="a-flow", heard=heard))


def restore(location: str) -> None:
    for flow, name in [(Talk(), location), (Loose(), location + ".dict")]:
        assert persist.restore(name, into=flow) is flow
        check(ask(flow, THIRD))
    odd = persist.restore(location + ".odd", into=Talk()).state
    assert (odd.odd, odd._noted, odd.later) == (More(a=1, b=2), ["a note"], [1])
    kept = StoredFlows(os.path.dirname(location) + "/flows")
    check(str(Talk(persistence=kept).kickoff({"id": "a-flow", "said": THIRD})))
    assert kept.load_state("another") is None
    assert kept.load_pending_feedback("a-flow") is None


if __name__ == "__main__":
    main(save, restore)
