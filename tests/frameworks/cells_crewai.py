"""CrewAI's row of the matrix: flows that call the model of a crew themselves."""

from __future__ import annotations

import os

os.environ["CREWAI_DISABLE_TELEMETRY"] = os.environ["OTEL_SDK_DISABLED"] = "true"

import dataclasses
import tempfile
from typing import Any

from cells import MANY, PICTURE, Cell, main, told
from crewai.flow.async_feedback.types import HumanFeedbackPending
from crewai.flow.flow import Flow, FlowState, and_, listen, or_, start
from crewai.flow.human_feedback import human_feedback
from crewai.flow.persistence import SQLiteFlowPersistence
from pydantic import BaseModel, Field, PrivateAttr

RANDOM = ("timestamp", "requested_at", "execution_uuid", "trace_context")
"""The fields that differ in each run."""

HEARD: list[Any] = []
"""What the methods were told."""


class Talk(Flow[dict]):  # type: ignore[type-arg]
    """A flow that answers with what it was told."""

    @start()
    def answer(self) -> str:
        messages = self.state.setdefault("messages", [])
        messages.append({"role": "user", "content": self.state.get("said")})
        HEARD.append(told(messages))
        messages.append({"role": "assistant", "content": f"I heard {len(messages)} messages"})
        return str(messages[-1]["content"])


class Found(BaseModel):
    city: str
    degrees: float


class Calling(Flow[dict]):  # type: ignore[type-arg]
    """A flow that calls a tool, and then fails the first time."""

    @start()
    def look_up(self) -> Found:
        HEARD.append(["look_up", self.state.get("said")])
        return Found(city="Turin", degrees=21.5)

    @listen(look_up)
    def report(self, found: Any) -> str:
        HEARD.append(["report", told(found)])
        if not self.state.get("may_report"):
            raise ConnectionError("the printer is gone")
        return "reported"


async def called() -> Any:
    flow = Calling()
    try:
        await flow.kickoff_async({"said": "Look it up"})
    except ConnectionError:
        flow.state["may_report"] = True
        return flow
    raise AssertionError("it fails")


class Paused:
    """A provider that asks a person who is absent."""

    def request_feedback(self, context: Any, flow: Any) -> str:
        raise HumanFeedbackPending(context=context)


class Typed:
    """A provider with the input of a person."""

    def request_input(self, message: str, flow: Any, metadata: Any = None) -> str:
        return "Ada"


class Paying(Flow[dict]):  # type: ignore[type-arg]
    """A flow that pays only after a person has approved twice."""

    @start()
    @human_feedback(message="May I?", provider=Paused())
    def permit(self) -> dict[str, Any]:
        self.state["euros"] = 5
        return {"euros": 5}

    @listen(permit)
    @human_feedback(message="Surely?", provider=Paused())
    def permit_again(self, said: Any) -> str:
        self._aggregated_usage_metrics.total_tokens += 5  # Like the answer of a model.
        return f"{self.ask('Who?')}: {said.feedback}"

    @listen(and_(permit, permit_again))
    def pay(self, said: Any) -> str:
        HEARD.append(["pay", told([said, self.human_feedback_history], RANDOM)])
        return f"paid {self.state['euros']}: {said.feedback}"

    @listen(or_(permit, permit_again))
    def note(self) -> None:
        HEARD.append(["note"])


async def waiting() -> Any:
    kept = SQLiteFlowPersistence(os.path.join(tempfile.mkdtemp(), "flows.db"))
    assert isinstance(await new_paying(kept).kickoff_async({"id": "a-flow"}), HumanFeedbackPending)
    flow = Paying.from_pending("a-flow", kept, input_provider=Typed())
    assert isinstance(await flow.resume_async("yes"), HumanFeedbackPending)
    return flow


def new_paying(kept: Any = None) -> Paying:
    return Paying(persistence=kept, input_provider=Typed())


async def allowed(flow: Any) -> Any:
    before = held(flow)
    HEARD.clear()
    result = await flow.resume_async("surely")
    return [before, list(HEARD), told(result, RANDOM), held(flow)]


@dataclasses.dataclass
class Step:
    name: str
    at: tuple[int, int] = (0, 0)


class Careful(Step):
    """A step of a subclass."""


class Plan(FlowState):
    steps: list[Step] = Field(default_factory=list)
    raw: bytes = b""
    said: str = ""
    _notes: list[str] = PrivateAttr(default_factory=list)


class Planning(Flow[Plan]):
    """A flow with a state and attributes of its own."""

    topic: str = "none"
    _secretly: list[Step] = PrivateAttr(default_factory=list)

    @start()
    def plan(self) -> list[Step]:
        HEARD.append(told([self.state, self.state._notes, self.topic, self._secretly, vars(self).get("later")]))
        self.state.steps.append(Careful(self.state.said, (1, 2)))
        self.state._notes.append(self.state.said)
        self._secretly.append(Step("secret"))
        self.later = [self.state.said]
        return self.state.steps


async def planned() -> Any:
    flow = Planning(topic="travel")
    flow.state.raw = PICTURE
    await flow.kickoff_async({"said": "Plan"})
    return flow


def held(flow: Any) -> Any:
    """Returns everything that a flow holds."""
    return told(
        [
            flow.state,
            sorted(flow._completed_methods),
            flow._method_outputs,
            flow._method_execution_counts,
            flow._method_call_counts,
            {name: sorted(heard) for name, heard in flow._pending_events.items() if heard},
            sorted(flow._fired_or_listeners),
            flow._input_history,
            flow.human_feedback_history,
            flow.last_human_feedback,
            flow.pending_feedback,
            flow.usage_metrics,
        ],
        RANDOM,
    )


async def ran(flow: Any, **inputs: Any) -> Any:
    await flow.kickoff_async({"said": "Hello", **inputs})
    return flow


async def go_on(flow: Any) -> Any:
    before = held(flow)
    HEARD.clear()
    result = await flow.kickoff_async({"said": "And now?"})
    return [before, list(HEARD), told(result), told(flow.state)]


async def many() -> Any:
    messages = [{"role": ("user", "assistant")[n % 2], "content": f"message {n}"} for n in range(MANY)]
    return await ran(Talk(), messages=messages)


ROW = {
    "plain": Cell(lambda: ran(Talk()), go_on, Talk),
    "tool call": Cell(called, go_on, Calling),
    "approval": Cell(waiting, allowed, new_paying),
    "multi-modal": Cell(lambda: ran(Talk(), picture=PICTURE), go_on, Talk),
    "custom class": Cell(planned, go_on, Planning),
    "5,000 messages": Cell(many, go_on, Talk),
}

if __name__ == "__main__":
    main(ROW)
