"""Runs of the OpenAI Agents SDK as the SDK writes them, and what the SDK would change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from agents.exceptions import UserError
from agents.run_state import RunState

from persist._words import a
from persist.adapters._compare import same
from persist.errors import PersistError, PersistTypeError, invalid


async def run_of(state: Any) -> Any:
    """Returns a run as the SDK writes it. Refuses what the SDK could not read again and what
    it would leave out, because the SDK reports this too late or not at all.
    """
    context = getattr(state._context, "context", None)
    if context is not None and type(context) is not dict:
        raise PersistTypeError(
            f"the context of a run must be a dict, not {a(type(context).__qualname__)}",
            "invalid-argument",
            hint="pass a dict to Runner.run as the context",
        )
    try:
        run = state.to_json(strict_context=True)
    except (UserError, RuntimeError) as error:
        raise PersistTypeError(
            f"the SDK can't write this run: {error}", "invalid-argument", hint="change the run as the SDK says"
        ) from error
    if (odd := _not_json(run, "state['run']")) is not None:
        raise PersistTypeError(
            f"the SDK can only restore JSON types, and {odd}",
            "invalid-argument",
            hint="make it text or a number, or keep it outside the run",
        )
    again = await run_from(state._starting_agent or state._current_agent, run)
    if len(again._context._approvals) != len(state._context._approvals):
        raise PersistTypeError(
            "approvals or rejections would be lost: two agents of the run have the same name",
            "invalid-argument",
            hint="give each agent its own name",
        )
    if not same(again.to_json(strict_context=True), run):
        raise PersistTypeError(
            "saving this run in the SDK's own form would change it",
            "invalid-argument",
            hint="save the run's session instead",
        )
    known = dict(_given(again))
    for place, value in _given(state):
        if place not in known or not same(_as_data(known[place]), _as_data(value)):
            raise PersistTypeError(
                f"the SDK would change {place}, which is {a(type(value).__qualname__)}",
                "invalid-argument",
                hint="use text, numbers, lists and dicts with text keys there, or models and dataclasses of them",
            )
    return run


async def run_from(agent: Any, run: Any) -> Any:
    """Returns a run as the SDK reads it. The SDK may raise any error, without a message."""
    if not isinstance(run, dict):
        raise invalid("the run is")
    try:
        return await RunState.from_json(agent, run, strict_context=True)
    except PersistError:
        raise
    except Exception as error:
        known = run.get("current_agent")
        name = known.get("name") if isinstance(known, dict) else None
        raise PersistTypeError(
            f"the SDK can't read this run: {type(error).__name__}: {error}",
            "invalid-argument",
            hint=f"pass the agent that the run began with, which is, or hands off to, the agent {name!r}: into=agent",
        ) from error


def _given(state: Any) -> Iterator[tuple[str, Any]]:
    """Yields the outputs of tools and guardrails in a run, with their places. The SDK silently
    turns those that are not JSON into text.
    """
    generated = state._merge_generated_items_with_processed() if hasattr(state, _MERGE) else state._generated_items
    for name, items in (("generated_items", generated), ("session_items", getattr(state, "_session_items", ()))):
        for at, item in enumerate(items):
            if hasattr(item, "output"):
                yield f"state['run'][{name!r}][{at}]['output']", item.output
    for name in ("input", "output", "tool_input", "tool_output"):
        for at, result in enumerate(getattr(state, f"_{name}_guardrail_results", ())):
            place = f"state['run']['{name}_guardrail_results'][{at}]"
            yield f"{place}['output']['outputInfo']", result.output.output_info
            if name == "output":
                yield f"{place}['agentOutput']", result.agent_output


_MERGE = "_merge_generated_items_with_processed"


def _as_data(value: Any, is_within: bool = False) -> Any:
    """Returns the output of a tool with models and dataclasses as data, as the SDK writes them."""
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return _as_data(value.model_dump(), True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _as_data(dataclasses.asdict(value), True)
    if type(value) is list or (is_within and type(value) is tuple):
        return [_as_data(item, is_within) for item in value]
    if type(value) is dict:
        return {key: _as_data(item, is_within) for key, item in value.items()}
    return value


def _not_json(value: Any, path: str) -> str | None:
    """Describes the first value that is not a JSON type, or returns ``None``."""
    if type(value) is dict:
        if (key := next((key for key in value if type(key) is not str), None)) is not None:
            return f"{path} has the key {key!r}"
        parts = ((f"{path}[{key!r}]", item) for key, item in value.items())
    elif type(value) is list:
        parts = ((f"{path}[{at}]", item) for at, item in enumerate(value))
    else:
        is_json = value is None or type(value) in (str, int, float, bool)
        return None if is_json else f"{path} is {a(type(value).__qualname__)}"
    return next((odd for place, item in parts if (odd := _not_json(item, place)) is not None), None)
