"""CrewAI: flows, and a ``FlowPersistence`` for their state."""

from __future__ import annotations

import os

os.environ["CREWAI_DISABLE_TELEMETRY"] = os.environ["OTEL_SDK_DISABLED"] = "true"

import tempfile
from typing import Any

import persist
from crewai.flow.async_feedback.types import HumanFeedbackPending
from crewai.flow.flow import Flow, FlowState, listen, start
from crewai.flow.human_feedback import human_feedback
from crewai.flow.persistence import SQLiteFlowPersistence
from persist.adapters.crewai import CrewAIAdapter
from persist.crewai import PersistFlows
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from turns import FIRST, SECOND, THIRD, answer, check, main, raises


class Less(BaseModel):
    a: int = 0


class More(Less):
    b: int = 0


class Told(FlowState):
    """A state with what the flow was told."""

    heard: list[str] = Field(default_factory=list)
    model_config = ConfigDict(extra="allow")

    odd: Less = Less()
    said: str = ""
    _noted: list[str] = PrivateAttr(default_factory=list)


class Talk(Flow[Told]):
    """A flow that answers with what it was told."""

    @start()
    def listen(self) -> str:
        self.state.heard.append(self.state.said)
        return answer(self.state.heard)


class Loose(Flow[dict]):  # type: ignore[type-arg]
    """The same flow with a dict as its state."""

    @start()
    def listen(self) -> str:
        self.state.setdefault("heard", []).append(self.state["said"])
        return answer(self.state["heard"])


RAN: list[str] = []
"""The methods of ``Failing`` that ran."""


class Found(BaseModel):
    name: str


class Failing(Flow[dict]):  # type: ignore[type-arg]
    """A flow that fails in its second method, the first time."""

    topic: str = "none"
    _notes: list[str] = PrivateAttr(default_factory=list)

    @start()
    def find(self) -> Found:
        RAN.append("find")
        self._notes.append("found it")
        self.later = ["a book"]
        return Found(name="Ada")

    @listen(find)
    def report(self, found: Found) -> str:
        RAN.append("report")
        if not self.state.get("may_report"):
            raise ConnectionError("the printer is gone")
        return f"reported {found.name}"


def fail(location: str) -> None:
    failing = Failing(topic="people")
    try:
        failing.kickoff()
    except ConnectionError:
        failing.state["may_report"] = True
    persist.snapshot(failing, location, check=True)


def resumed(location: str) -> None:
    """Checks that a flow continues after the methods that had run, or starts from the beginning."""
    flow = persist.restore(location, into=Failing(), config={"resume": True})
    assert (flow.topic, flow._notes, flow.later) == ("people", ["found it"], ["a book"])
    assert (flow.kickoff(), RAN) == ("reported Ada", ["report"])
    RAN.clear()
    flow = persist.restore(location, into=Failing())
    assert flow.method_outputs == [Found(name="Ada")]
    assert (flow.kickoff(), RAN) == ("reported Ada", ["find", "report"])
    for config in ({"resume": 1}, {"again": True}):
        with raises(persist.PersistConfigurationError, hint="resume"):
            persist.restore(location, into=Failing(), config=config)


class Chain(Flow[dict]):  # type: ignore[type-arg]
    """A flow that fails after a method to which CrewAI would pass nothing when it resumes."""

    @start()
    def find(self) -> os.Nothing:  # type: ignore[name-defined]
        self.last_intent = "to find"
        return "Ada"

    @listen(find)
    def greet(self, name: str) -> str:
        return f"Hello {name}"

    @listen(greet)
    def send(self, greeting: str) -> None:
        raise ConnectionError(greeting)


def resume_is_refused(location: str) -> None:
    chain = Chain()
    try:
        chain.kickoff()
    except ConnectionError:
        persist.snapshot(chain, location, check=True)
    assert persist.restore(location, into=Chain()).last_intent == "to find"
    with raises(persist.PersistConfigurationError, "the method send what greet returned", or_else="send gets None"):
        persist.restore(location, into=Chain(), config={"resume": True})


class Paused:
    def request_feedback(self, context: Any, flow: Any) -> str:
        raise HumanFeedbackPending(context=context)


class Asking(Flow[dict]):  # type: ignore[type-arg]
    """A flow that waits for a person, without a model that interprets the answer."""

    @start()
    @human_feedback(message="May I?", provider=Paused())
    def permit(self) -> str:
        RAN.append("permit")
        return "a question"


def model_is_of_code() -> None:
    """Checks that a state does not decide which model gets the keys of the process, or which
    method waits.
    """
    adapter = CrewAIAdapter()
    flow = Asking(persistence=SQLiteFlowPersistence(os.path.join(tempfile.mkdtemp(), "flows.db")))
    flow.kickoff({"id": "asking"})
    state = adapter.save(flow)
    state["run"]["pending"].llm = {"model": "openai/gpt-4o", "base_url": "http://127.0.0.1:9"}
    state["run"]["pending"].emit = ["pay"]
    again = adapter.restore(state, Asking())
    assert (again.pending_feedback.llm, again.pending_feedback.emit) == (None, None)
    RAN.clear()
    again.kickoff()
    assert RAN == ["permit"]
    with raises(persist.PersistConfigurationError, "asks for none there", or_else="it asks for no feedback"):
        adapter.restore(state, Failing())


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
    fail(location + ".failing")
    resume_is_refused(location + ".chain")
    model_is_of_code()
    kept = PersistFlows(os.path.dirname(location) + "/flows")
    for text in (FIRST, SECOND):
        Talk(persistence=kept).kickoff({"id": "a-flow", "said": text})
        # Saves the state by hand, like a flow that is persisted after each method.
        heard = [FIRST] if text == FIRST else [FIRST, SECOND]
        kept.save_state("a-flow", "listen", Told(id="a-flow", heard=heard))


def restore(location: str) -> None:
    for flow, name in [(Talk(), location), (Loose(), location + ".dict")]:
        assert persist.restore(name, into=flow) is flow
        check(ask(flow, THIRD))
    odd = persist.restore(location + ".odd", into=Talk()).state
    assert (odd.odd, odd._noted, odd.later) == (More(a=1, b=2), ["a note"], [1])
    resumed(location + ".failing")
    kept = PersistFlows(os.path.dirname(location) + "/flows")
    check(str(Talk(persistence=kept).kickoff({"id": "a-flow", "said": THIRD})))
    assert kept.load_state("another") is None
    assert kept.load_pending_feedback("a-flow") is None


if __name__ == "__main__":
    main(save, restore)
