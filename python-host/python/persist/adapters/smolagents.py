"""smolagents: the steps in an agent's memory, and the variables in its state.

The variables of a code agent's interpreter and what a provider's client returned
beside the text are not among them, and are not saved.
"""

from __future__ import annotations

import dataclasses
import io
from typing import Any

from smolagents import memory, models, monitoring, utils
from smolagents.agents import MultiStepAgent

from persist._adapter import Adapter
from persist.adapters._own import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import PersistIntegrityError, PersistTypeError

_STEPS = (memory.TaskStep, memory.ActionStep, memory.PlanningStep, memory.SystemPromptStep, memory.FinalAnswerStep)
_CLASSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        *_STEPS,
        memory.ToolCall,
        monitoring.Timing,
        monitoring.TokenUsage,
        models.ChatMessage,
        models.ChatMessageToolCall,
        models.ChatMessageToolCallFunction,
    )
}
_ERRORS: dict[str, Any] = {
    name: cls
    for name, cls in vars(utils).items()
    if isinstance(cls, type) and issubclass(cls, utils.AgentError) and cls.__module__ == utils.__name__
}
_CLASS = "class"


class SmolagentsAdapter(Adapter):
    """Agents, and their memories."""

    name = "smolagents"
    package = "smolagents"
    module = "smolagents"

    def accepts(self, agent: Any) -> bool:
        """Whether it is an agent, or the memory of one."""
        return isinstance(agent, (MultiStepAgent, memory.AgentMemory))

    def save(self, agent: Any) -> Any:
        """The system prompt and the steps."""
        kept = agent if isinstance(agent, memory.AgentMemory) else agent.memory
        state = {"system_prompt": kept.system_prompt.system_prompt, "steps": [_data(step) for step in kept.steps]}
        if kept is agent:
            return state
        own = own_attributes(agent, MultiStepAgent)
        return {**state, "state": _data(agent.state), **({"own": own} if own else {})}

    def restore(self, state: Any, into: Any = None) -> Any:
        """The steps as data; with an agent or a memory as ``into``, that, whose
        next ``run(task, reset=False)`` goes on from them.
        """
        steps = [_step(step) for step in state["steps"]]
        variables = _made(state.get("state", {}))
        own = state.get("own", {})
        if isinstance(into, MultiStepAgent):
            check_own_attributes(into, MultiStepAgent, own)
        if into is None or isinstance(into, type):
            return state["steps"]
        kept = into if isinstance(into, memory.AgentMemory) else into.memory
        kept.steps[:] = steps
        if kept is not into:
            into.state.clear()
            into.state.update(variables)
            set_own_attributes(into, MultiStepAgent, own)
        if kept is into:
            # An agent's own prompt is made of its tools, and stays.
            kept.system_prompt = memory.SystemPromptStep(system_prompt=str(state["system_prompt"]))
        return into


def _data(value: Any) -> Any:
    """A step, or what is in one, as data: by its class's short name."""
    if isinstance(value, models.MessageRole):
        return value.value
    if isinstance(value, utils.AgentError):
        return {_CLASS: type(value).__name__, "message": value.message}
    if dataclasses.is_dataclass(value) and _CLASSES.get(type(value).__name__) is type(value):
        # What a provider's client returned as it was is no data.
        fields = (field.name for field in dataclasses.fields(value) if field.name not in ("raw", "_deserialized"))
        return {_CLASS: type(value).__name__, **{name: _data(getattr(value, name)) for name in fields}}
    if isinstance(value, list):
        return [_data(item) for item in value]
    if type(value) is tuple:
        return tuple(_data(item) for item in value)
    if type(value) is dict:
        if _CLASS in value:
            return {_CLASS: "dict", "items": [[key, _data(item)] for key, item in value.items()]}
        return {key: _data(item) for key, item in value.items()}
    if callable(getattr(value, "save", None)) and hasattr(value, "tobytes"):
        file = io.BytesIO()
        try:
            value.save(file, "PNG")
        except (OSError, ValueError) as error:
            raise PersistTypeError(
                f"a picture of the mode {getattr(value, 'mode', '?')} can't be saved as PNG",
                "invalid-argument",
                hint='convert it first: image.convert("RGB")',
            ) from error
        return {_CLASS: "image", "png": file.getvalue()}
    return value


def _made(data: Any) -> Any:
    """The way back from :func:`_data`, by the classes that are known here."""
    if isinstance(data, (list, tuple)):
        items = [_made(item) for item in data]
        return items if type(data) is list else tuple(items) if type(data) is tuple else data
    if not isinstance(data, dict):
        return data
    if _CLASS not in data:
        return {key: _made(item) for key, item in data.items()}
    name, fields = data[_CLASS], {key: _made(item) for key, item in data.items() if key != _CLASS}
    if name == "dict":
        return dict(fields["items"])
    if name == "image":
        import PIL.Image

        return PIL.Image.open(io.BytesIO(fields["png"]), formats=("PNG",))
    if name in _ERRORS:
        error = _ERRORS[name].__new__(_ERRORS[name])
        Exception.__init__(error, fields["message"])
        error.message = fields["message"]
        return error
    cls = _CLASSES.get(name)
    if cls is None:
        raise PersistIntegrityError(f"Format error: a step has a {name!r}, which is not known", "invalid-format")
    known = {field.name: field for field in dataclasses.fields(cls)}
    unknown = [key for key in fields if key not in known]
    if unknown:
        raise PersistTypeError(
            f"{name} has no field {', '.join(unknown)} in this version of smolagents",
            "invalid-argument",
            hint="restore it with plain=True, or with the version that saved it",
        )
    if "role" in fields:
        fields["role"] = models.MessageRole(fields["role"])
    made = cls.__new__(cls)
    for key, field in known.items():
        if key in fields:
            value = fields[key]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            raise PersistIntegrityError(f"Format error: a {name} lacks {key}", "invalid-format")
        setattr(made, key, value)
    return made


def _step(data: Any) -> Any:
    step = _made(data)
    if not isinstance(step, _STEPS):
        raise PersistIntegrityError("Format error: the steps hold something that is not a step", "invalid-format")
    return step


ADAPTERS = (SmolagentsAdapter(),)
