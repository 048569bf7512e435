"""CrewAI: flows, with their state and what of them has run."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Any

from crewai.crews.crew_output import CrewOutput
from crewai.flow.async_feedback.types import PendingFeedbackContext
from crewai.flow.flow import Flow
from crewai.flow.human_feedback import HumanFeedbackResult
from crewai.lite_agent_output import LiteAgentOutput
from pydantic import BaseModel

from persist._adapter import Adapter
from persist._values import put_into
from persist.adapters._compare import same
from persist.adapters._own import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import PersistConfigurationError, PersistIntegrityError, PersistTypeError

_RUN = ("completed", "outputs", "counts", "asked", "feedback", "last_feedback", "pending")
"""What is kept of the methods that have run: their names, what they returned, how
often each has, what people were asked and said, and what one is asked now."""


class CrewAIAdapter(Adapter):
    """Flows."""

    name = "crewai"
    package = "crewai"
    module = "crewai"

    def accepts(self, agent: Any) -> bool:
        """Whether it is a flow."""
        return isinstance(agent, Flow)

    def classes(self, agent: Any) -> Iterable[Any]:
        """The class of its state, those of its own fields, what its methods say that
        they return, and what CrewAI's crews and agents do.
        """
        yield type(agent.state)
        for name, field in type(agent).model_fields.items():
            if name not in Flow.model_fields:
                yield field.annotation
        for method in agent._methods.values():
            try:
                yield typing.get_type_hints(getattr(method, "__wrapped__", method)).get("return")
            except (NameError, TypeError):  # Of names that are there for type checkers alone.
                continue
        yield from (CrewOutput, LiteAgentOutput, HumanFeedbackResult, PendingFeedbackContext)

    def save(self, agent: Any) -> Any:
        """Its state, what of its methods has run, and the attributes of a subclass."""
        state = agent.state
        run = {
            "completed": sorted(map(str, agent._completed_methods)),
            "outputs": list(agent._method_outputs),
            "counts": {str(name): count for name, count in agent._method_execution_counts.items()},
            "asked": list(agent._input_history),
            "feedback": list(agent.human_feedback_history),
            "last_feedback": agent.last_human_feedback,
            "pending": _pending(agent),
        }
        own = own_attributes(agent, Flow)
        return {
            "state": state if isinstance(state, BaseModel) else dict(state),
            "run": {name: item for name, item in run.items() if item not in (None, [], {})},
            **({"own": own} if own else {}),
        }

    def restore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """The flow, with the state. Its next ``kickoff`` begins anew, as that of the
        flow that was saved would; with the config ``{"resume": True}`` it skips the
        methods that had run. A flow that waits for a person goes on with
        ``flow.resume("what the person says")``.
        """
        if into is None or isinstance(into, type):
            raise PersistConfigurationError(
                "a CrewAI flow can only be restored into an existing flow",
                "invalid-argument",
                hint="make the flow as before, and pass it: into=flow",
            )
        resume = (config or {}).get("resume", False)
        if not isinstance(resume, bool) or (config or {}).keys() - {"resume"}:
            raise PersistConfigurationError(
                "the config of a flow can only have the key 'resume', which must be a bool",
                "invalid-argument",
                hint='pass config={"resume": True}, or none',
            )
        kept, run, own = _parts(state)
        check_own_attributes(into, Flow, own)
        _put_state(kept, into)
        set_own_attributes(into, Flow, own)
        _put_run(run, into)
        into._restored_from_checkpoint = resume
        return into


def _pending(flow: Any) -> PendingFeedbackContext | None:
    """What a person is asked now; a flow that stopped for it has left that to its
    persistence.
    """
    if flow.pending_feedback is not None or flow.persistence is None:
        return typing.cast("PendingFeedbackContext | None", flow.pending_feedback)
    waiting = flow.persistence.load_pending_feedback(flow.flow_id)
    return None if waiting is None else waiting[1]


def _parts(state: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The state, what has run, and a subclass's attributes; all of it looked at."""
    if not isinstance(state, dict) or not {"state", "run"} <= state.keys() <= {"state", "run", "own"}:
        return state, {}, {}  # As this adapter once wrote it.
    run, own = state["run"], dict(state.get("own", {}))
    kinds = {"counts": dict, "last_feedback": HumanFeedbackResult, "pending": PendingFeedbackContext}
    is_run = isinstance(run, dict) and all(
        name in _RUN and isinstance(item, kinds.get(name, list)) for name, item in run.items()
    )
    if not is_run or not all(isinstance(name, str) for name in [*run.get("completed", ()), *run.get("counts", ())]):
        raise PersistIntegrityError(
            "Format error: the record of what the flow has run is invalid",
            "invalid-format",
            hint="restore with plain=True to see what it holds",
        )
    return state["state"], run, own


def _put_state(state: Any, into: Any) -> None:
    here = into.state
    if isinstance(here, BaseModel):
        put_into(state, here)
    else:
        new = dict(state)
        here.clear()
        here.update(new)


def _put_run(run: dict[str, Any], into: Any) -> None:
    into._completed_methods = set(run.get("completed", ()))
    into._method_outputs = list(run.get("outputs", ()))
    into._method_execution_counts = dict(run.get("counts", {}))
    into._input_history = list(run.get("asked", ()))
    into.human_feedback_history = list(run.get("feedback", ()))
    into.last_human_feedback = run.get("last_feedback")
    into._pending_feedback_context = run.get("pending")
    # As Flow.from_pending does.
    into._is_execution_resuming = into._pending_feedback_context is not None
    into._flow_match_id = into.flow_id if into._is_execution_resuming else None


ADAPTERS = (CrewAIAdapter(),)


def state_of(state: Any) -> dict[str, Any]:
    """What is saved of a flow's state."""
    if not isinstance(state, BaseModel):
        # As it is: what can't be saved is refused, and where it is is said.
        return dict(state)
    fields = state.model_dump()
    again = type(state).model_validate(fields).model_dump()
    if again != fields or not same(type(state).model_validate(fields), state):
        raise PersistTypeError(
            f"model_dump and model_validate would change this {type(state).__qualname__}",
            "invalid-argument",
            hint="use values of exactly the classes that its fields are annotated with",
        )
    return again
