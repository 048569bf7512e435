"""CrewAI: flows, with their state and what of them has run."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from crewai.crews.crew_output import CrewOutput
from crewai.flow.async_feedback.types import PendingFeedbackContext
from crewai.flow.flow import Flow
from crewai.flow.human_feedback import HumanFeedbackResult, _serialize_llm_for_context
from crewai.flow.runtime import _iter_condition_events
from crewai.lite_agent_output import LiteAgentOutput
from crewai.types.usage_metrics import UsageMetrics
from pydantic import BaseModel

from persist._adapter import Adapter
from persist._values import put_into
from persist.adapters._compare import same
from persist.adapters._own import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import PersistConfigurationError, PersistIntegrityError, PersistTypeError

_RUN: dict[str, tuple[Any, Any]] = {
    "completed": (list, str),
    "outputs": (list, object),
    "counts": (dict, int),
    "calls": (dict, int),
    "heard": (dict, list),
    "fired": (list, str),
    "asked": (list, dict),
    "feedback": (list, HumanFeedbackResult),
    "last_feedback": (HumanFeedbackResult, object),
    "answers": (dict, HumanFeedbackResult),
    "pending": (PendingFeedbackContext, object),
    "usage": (dict, int),
}
"""What is kept of the methods that have run, of which kind it is, and of which what is
in it: their names, what they returned, how often each has run, also as a listener, what
those that wait for several have heard, which of those that wait for any have run, what
people were asked and said, what one is asked now, and the tokens that were used."""


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
            except Exception:  # Of names that are there for type checkers alone, or nowhere.
                continue
        yield from (CrewOutput, LiteAgentOutput, HumanFeedbackResult, PendingFeedbackContext)

    def save(self, agent: Any) -> Any:
        """Its state, what of its methods has run, and the attributes of a subclass."""
        state = agent.state
        run = {
            "completed": sorted(map(str, agent._completed_methods)),
            "outputs": list(agent._method_outputs),
            "counts": _by_name(agent._method_execution_counts),
            "calls": _by_name(agent._method_call_counts),
            "heard": {str(name): sorted(map(str, heard)) for name, heard in agent._pending_events.items() if heard},
            "fired": sorted(map(str, agent._fired_or_listeners)),
            "asked": list(agent._input_history),
            "feedback": list(agent.human_feedback_history),
            "last_feedback": agent.last_human_feedback,
            "answers": _by_name(agent._human_feedback_method_outputs),
            "pending": _pending(agent),
            "usage": {name: count for name, count in dict(agent.usage_metrics).items() if count},
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
        methods that had run, where CrewAI can. A flow that waits for a person goes on
        with ``flow.resume("what the person says")``.
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
        if "pending" in run:
            run["pending"] = _as_here(run["pending"], into)
        if resume:
            _check_resumable(run, into)
            # CrewAI hears them again from the methods that it skips.
            run = {name: item for name, item in run.items() if name not in ("calls", "heard", "fired")}
        _put_state(kept, into)
        set_own_attributes(into, Flow, own)
        _put_run(run, into)
        into._restored_from_checkpoint = resume
        return into


def _by_name(items: Any) -> dict[str, Any]:
    return {str(name): item for name, item in items.items()}


def _pending(flow: Any) -> PendingFeedbackContext | None:
    """What a person is asked now; a flow that stopped for it has left that to its
    persistence. Without how the model is reached: that belongs to the code.
    """
    waiting = flow.pending_feedback
    if waiting is None and flow.persistence is not None:
        waiting = (flow.persistence.load_pending_feedback(flow.flow_id) or (None, None))[1]
    return None if waiting is None else dataclasses.replace(waiting, llm=None)


def _as_here(waiting: PendingFeedbackContext, into: Any) -> PendingFeedbackContext:
    """What a person is asked, with the model, the outcomes and the default that the
    flow's own code names. CrewAI calls the model with the keys of this process: a
    snapshot may not say which, or where it is.
    """
    kinds: tuple[Any, ...] = (str, str, dict, (str, type(None)))
    items = (waiting.flow_id, waiting.message, waiting.metadata, waiting.execution_uuid)
    trace = waiting.trace_context
    is_trace = trace is None or (isinstance(trace, tuple) and [type(number) for number in trace] == [int, int])
    if not is_trace or not all(isinstance(item, kind) for item, kind in zip(items, kinds, strict=True)):
        raise _invalid()
    name = waiting.method_name
    method = into._definition.methods.get(name) if isinstance(name, str) else None
    if method is None or method.human_feedback is None:
        raise PersistConfigurationError(
            f"the saved flow waits for feedback on its method {name!r}, and this flow asks for none there",
            "invalid-argument",
            hint="restore it into a flow of the class that was saved",
        )
    here = method.human_feedback
    # As CrewAI itself does where a flow stops.
    is_plain = here.llm is None or isinstance(here.llm, (str, dict))
    return dataclasses.replace(
        waiting,
        emit=list(here.emit) if here.emit else None,
        default_outcome=here.default_outcome,
        llm=here.llm if is_plain else _serialize_llm_for_context(here.llm),
    )


def _check_resumable(run: dict[str, Any], into: Any) -> None:
    """Refuses to go on where CrewAI would give a method other arguments than before.
    Behind the start methods that it skips it passes what was returned last of all,
    behind others nothing; and it does not follow the routers that it skips.
    """
    completed = set(run.get("completed", ()))
    last = next(iter(run.get("outputs", ())[-1:]), None)
    returned_last = last.get("method") if isinstance(last, dict) else None
    problem = None
    for name, method in into._definition.methods.items():
        if name in completed:
            if method.router:
                problem = f"CrewAI would not follow its router {name}, which had finished"
            continue
        heard = completed.intersection(() if method.listen is None else _iter_condition_events(method.listen))
        if not heard or not inspect.signature(into._methods[name]).parameters.keys() - {"self"}:
            continue
        is_right = heard == {returned_last} and bool(into._definition.methods[returned_last].is_start)
        if not is_right:
            problem = f"CrewAI would not give its method {name} what {' and '.join(sorted(heard))} returned"
    if problem is not None:
        raise PersistConfigurationError(
            f"the flow can't be resumed: {problem}",
            "invalid-argument",
            hint="restore it without resume, so that its next kickoff begins anew",
        )


def _parts(state: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The state, what has run, and a subclass's attributes; all of it looked at."""
    if not isinstance(state, dict) or not {"state", "run"} <= state.keys() <= {"state", "run", "own"}:
        return state, {}, {}  # As this adapter once wrote it.
    run, own = state["run"], state.get("own", {})
    if not isinstance(run, dict) or not all(_is_run(name, item) for name, item in run.items()):
        raise _invalid()
    return state["state"], dict(run), own


def _is_run(name: str, item: Any) -> bool:
    """Whether something is a part of the record of what has run."""
    if name not in _RUN or not isinstance(item, _RUN[name][0]):
        return False
    if isinstance(item, dict) and not all(isinstance(key, str) for key in item):
        return False
    inner = _RUN[name][1]
    parts = list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else []
    if not all(isinstance(part, inner) and not (inner is int and isinstance(part, bool)) for part in parts):
        return False
    if name == "heard":
        return all(isinstance(event, str) for part in parts for event in part)
    return name != "usage" or item.keys() <= UsageMetrics.model_fields.keys()


def _invalid() -> PersistIntegrityError:
    return PersistIntegrityError(
        "Format error: the record of what the flow has run is invalid",
        "invalid-format",
        hint="restore with plain=True to see what it holds",
    )


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
    into._method_call_counts = dict(run.get("calls", {}))
    into._pending_events = {name: set(heard) for name, heard in run.get("heard", {}).items()}
    into._fired_or_listeners = set(run.get("fired", ()))
    into._input_history = list(run.get("asked", ()))
    into.human_feedback_history = list(run.get("feedback", ()))
    into.last_human_feedback = run.get("last_feedback")
    into._human_feedback_method_outputs = dict(run.get("answers", {}))
    into._pending_feedback_context = run.get("pending")
    into._aggregated_usage_metrics = UsageMetrics(**run.get("usage", {}))
    # Flow.from_pending sets it, but resume does without; a kickoff would skip what had run.
    into._is_execution_resuming = False
    # As Flow.from_pending does, so that resume counts its tokens.
    into._flow_match_id = None if into._pending_feedback_context is None else into.flow_id


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
