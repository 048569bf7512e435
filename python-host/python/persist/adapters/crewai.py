"""CrewAI: flows, with their state and the record of what has run."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
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
from persist._into import put_into
from persist.adapters._compare import same
from persist.adapters._own_attributes import check_own_attributes, own_attributes, set_own_attributes
from persist.adapters._watching import replaced
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
"""The record of what has run, with the type of each part and of the items in it: the names of
the methods, what they returned, how often each has run, how often as a listener, what the
methods that wait for several others have heard, which of those that wait for any have run,
what people were asked and answered, what a person is asked now, and the tokens that were
used.
"""


class CrewAIAdapter(Adapter):
    """Saves and restores flows."""

    name = "crewai"
    package = "crewai"
    module = "crewai"

    def accepts(self, agent: Any) -> bool:
        """Returns whether a value is a flow."""
        return isinstance(agent, Flow)

    def classes(self, agent: Any) -> Iterable[Any]:
        """Returns the class of the flow's state, the classes of its own fields, the return types
        of its methods, and what CrewAI's crews and agents return.
        """
        yield type(agent.state)
        for name, field in type(agent).model_fields.items():
            if name not in Flow.model_fields:
                yield field.annotation
        for method in agent._methods.values():
            try:
                yield typing.get_type_hints(getattr(method, "__wrapped__", method)).get("return")
            except Exception:  # Names that exist only for type checkers, or not at all.
                continue
        yield from (CrewOutput, LiteAgentOutput, HumanFeedbackResult, PendingFeedbackContext)

    def save(self, agent: Any) -> Any:
        """Returns the flow's state, the record of what has run, and the attributes of a subclass."""
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

    def watch(self, agent: Any, watcher: Any) -> Callable[[], object]:
        """Hears of each method that has finished, before the next one starts: this is when CrewAI's own
        persistence saves. Events arrive while the next method may already change the state.
        """

        def finished(original: Any) -> Any:
            @functools.wraps(original)
            def wrapper(*arguments: Any, **options: Any) -> Any:
                done = original(*arguments, **options)
                watcher.step()
                return done

            return wrapper

        return replaced(agent, "_persist_method_completion", finished)

    def restore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """Restores the state into a flow, and returns the flow. Its next ``kickoff`` starts
        from the beginning, like that of the saved flow. With the config
        ``{"resume": True}``, it skips the methods that had run, if CrewAI can do that. A
        flow that waits for a person continues with ``flow.resume("what the person says")``.
        """
        if into is None or isinstance(into, type):
            raise PersistConfigurationError(
                "a CrewAI flow can only be restored into an existing flow",
                "invalid-argument",
                hint="create the flow as before, and pass it: into=flow",
            )
        resume = (config or {}).get("resume", False)
        if not isinstance(resume, bool) or (config or {}).keys() - {"resume"}:
            raise PersistConfigurationError(
                "the config of a flow can only have the key 'resume', which must be a bool",
                "invalid-argument",
                hint='pass config={"resume": True} or no config',
            )
        kept, run, own = _parts(state)
        check_own_attributes(into, Flow, own)
        if "pending" in run:
            run["pending"] = _as_here(run["pending"], into)
        if resume:
            _check_resumable(run, into)
            # CrewAI records these again for the methods that it skips.
            run = {name: item for name, item in run.items() if name not in ("calls", "heard", "fired")}
        _put_state(kept, into)
        set_own_attributes(into, Flow, own)
        _put_run(run, into)
        into._restored_from_checkpoint = resume
        return into


def _by_name(items: Any) -> dict[str, Any]:
    return {str(name): item for name, item in items.items()}


def _pending(flow: Any) -> PendingFeedbackContext | None:
    """Returns what a person is asked now, if anything. A flow that stopped to wait has put it
    into its persistence. The settings of the model are left out: they belong to the code.
    """
    waiting = flow.pending_feedback
    if waiting is None and flow.persistence is not None:
        waiting = (flow.persistence.load_pending_feedback(flow.flow_id) or (None, None))[1]
    return None if waiting is None else dataclasses.replace(waiting, llm=None)


def _as_here(waiting: PendingFeedbackContext, into: Any) -> PendingFeedbackContext:
    """Returns what a person is asked, with the model, the outcomes and the default from the
    flow's own code. CrewAI calls the model with the keys of this process, so a snapshot must
    not decide which model that is, or where.
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
            f"the saved flow is waiting for feedback on its method {name!r}, but this flow asks for none there",
            "invalid-argument",
            hint="restore it into a flow of the class that was saved",
        )
    here = method.human_feedback
    # CrewAI does the same when a flow stops.
    is_plain = here.llm is None or isinstance(here.llm, (str, dict))
    return dataclasses.replace(
        waiting,
        emit=list(here.emit) if here.emit else None,
        default_outcome=here.default_outcome,
        llm=here.llm if is_plain else _serialize_llm_for_context(here.llm),
    )


def _check_resumable(run: dict[str, Any], into: Any) -> None:
    """Refuses to resume if CrewAI would call a method with other arguments than before. After
    skipped start methods, CrewAI passes on the last of all returned values, and after other
    skipped methods it passes nothing; and it does not follow skipped routers.
    """
    completed = set(run.get("completed", ()))
    last = next(iter(run.get("outputs", ())[-1:]), None)
    returned_last = last.get("method") if isinstance(last, dict) else None
    problem = None
    for name, method in into._definition.methods.items():
        if name in completed:
            if method.router:
                problem = f"CrewAI would not follow the router {name}, which had finished"
            continue
        heard = completed.intersection(() if method.listen is None else _iter_condition_events(method.listen))
        if not heard or not inspect.signature(into._methods[name]).parameters.keys() - {"self"}:
            continue
        is_right = heard == {returned_last} and bool(into._definition.methods[returned_last].is_start)
        if not is_right:
            problem = f"CrewAI would not give the method {name} what {' and '.join(sorted(heard))} returned"
    if problem is not None:
        raise PersistConfigurationError(
            f"the flow can't be resumed: {problem}",
            "invalid-argument",
            hint="restore it without resume, so that its next kickoff starts from the beginning",
        )


def _parts(state: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Returns the state, the record of what has run, and the attributes of a subclass, after
    checking all of them.
    """
    if not isinstance(state, dict) or not {"state", "run"} <= state.keys() <= {"state", "run", "own"}:
        return state, {}, {}  # An earlier version of this adapter wrote the state alone.
    run, own = state["run"], state.get("own", {})
    if not isinstance(run, dict) or not all(_is_run(name, item) for name, item in run.items()):
        raise _invalid()
    return state["state"], dict(run), own


def _is_run(name: str, item: Any) -> bool:
    """Returns whether an item is a valid part of the record of what has run."""
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
    # Flow.from_pending sets it. resume works without it, and a kickoff would skip what had run.
    into._is_execution_resuming = False
    # Flow.from_pending does the same. resume counts its tokens by it.
    into._flow_match_id = None if into._pending_feedback_context is None else into.flow_id


ADAPTERS = (CrewAIAdapter(),)


def state_of(state: Any) -> dict[str, Any]:
    """Returns what is saved of a flow's state."""
    if not isinstance(state, BaseModel):
        # A value that can't be saved is refused later, with its place.
        return dict(state)
    fields = state.model_dump()
    again = type(state).model_validate(fields).model_dump()
    if again != fields or not same(type(state).model_validate(fields), state):
        raise PersistTypeError(
            f"model_dump and model_validate would change this {type(state).__qualname__}",
            "invalid-argument",
            hint="use values of exactly the classes in the annotations of its fields",
        )
    return again
