"""smolagents: the steps in an agent's memory, the variables in its state and in its
interpreter, and the same of the agents that it manages.

The functions, classes and modules in a code agent's interpreter and what a provider's
client returned beside the text are not among them, and are not saved.
"""

from __future__ import annotations

import dataclasses
import io
import types
from collections.abc import Iterable, Iterator
from typing import Any

from smolagents import agent_types, memory, models, monitoring, utils
from smolagents.agents import MultiStepAgent
from smolagents.local_python_executor import LocalPythonExecutor

from persist import _persist
from persist._adapter import Adapter
from persist._values import Reducer
from persist.adapters._own import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import PersistConfigurationError, PersistError, PersistIntegrityError, PersistTypeError

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
_PROVIDERS = ("raw", "_deserialized")
"""The fields with what a provider's client returned as it was, which is no data."""

_CODE = (types.FunctionType, types.ModuleType, type)
"""What a step's code may give that is code again, and no data."""

_RUN = ("task", "step_number")
"""What an agent knows of its run."""

_TOTALS = ("step_durations", "total_input_token_count", "total_output_token_count")
"""What its monitor adds up."""

_INTERPRETER = ("__name__", "_print_outputs", "_operations_count")
"""What an interpreter has among its variables for itself."""


class SmolagentsAdapter(Adapter):
    """Agents, and their memories."""

    name = "smolagents"
    package = "smolagents"
    module = "smolagents"

    def accepts(self, agent: Any) -> bool:
        """Whether it is an agent, or the memory of one."""
        return isinstance(agent, (MultiStepAgent, memory.AgentMemory))

    def save(self, agent: Any) -> Any:
        """The system prompt and the steps; of an agent also its variables, and the
        agents that it manages.
        """
        pictures = _Pictures()
        state = _remembered(agent, pictures) if isinstance(agent, memory.AgentMemory) else _state(agent, pictures, [])
        return {**state, "pictures": pictures.files} if pictures.files else state

    def restore(self, state: Any, into: Any = None) -> Any:
        """The steps as data; with an agent or a memory as ``into``, that, whose
        next ``run(task, reset=False)`` goes on from them.
        """
        files = state.get("pictures", [])
        pictures = [_opened(file) for file in files]
        if into is None or isinstance(into, type):
            _steps(state, pictures)
            return _with_files(state["steps"], files)
        if isinstance(into, memory.AgentMemory):
            _remember(into, state, _steps(state, pictures, into))
            # An agent's own prompt is made of its tools, and stays.
            into.system_prompt = memory.SystemPromptStep(system_prompt=str(state["system_prompt"]))
            return into
        for agent, part, steps, made in list(_checked(state, into, pictures)):
            _remember(agent.memory, part, steps)
            agent.state.clear()
            agent.state.update(made["state"])
            vars(agent).update(made["run"])
            vars(agent.monitor).update(made["totals"])
            if "variables" in part:
                variables = _variables(agent)
                for name in set(variables).difference(_INTERPRETER):
                    del variables[name]
                variables.update(made["variables"])
            set_own_attributes(agent, MultiStepAgent, part.get("own", {}))
        return into


class _Pictures:
    """The pictures of a state, each of which many steps may have."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self._found: dict[int, tuple[int, Any]] = {}

    def number(self, picture: Any) -> int:
        """Which of them it is."""
        if id(picture) not in self._found:
            self.files.append(_file(picture))
            self._found[id(picture)] = (len(self._found), picture)
        return self._found[id(picture)][0]


def _file(picture: Any) -> bytes:
    file = io.BytesIO()
    mode = getattr(picture, "mode", "?")
    try:
        picture.save(file, "PNG")
        comes_back = _opened(file.getvalue()).mode == mode
        cause = None
    except (OSError, ValueError) as error:
        comes_back, cause = False, error
    if not comes_back:
        raise PersistTypeError(
            f"a picture of the mode {mode} can't be saved as PNG",
            "invalid-argument",
            hint='convert it first: image.convert("RGB")',
        ) from cause
    return file.getvalue()


def _opened(file: bytes) -> Any:
    import PIL.Image

    return PIL.Image.open(io.BytesIO(file), formats=("PNG",))


def _state(agent: Any, pictures: _Pictures, above: list[Any]) -> dict[str, Any]:
    """An agent's state; ``above`` has the agents that manage it."""
    if agent in above:
        raise PersistTypeError(
            "an agent is among those that it manages", "invalid-argument", hint="save its memory: agent.memory"
        )
    state = _remembered(agent.memory, pictures)
    state["state"] = _data(agent.state, pictures)
    state["run"] = _data({name: vars(agent)[name] for name in _RUN if name in vars(agent)}, pictures)
    state["totals"] = _data({name: getattr(agent.monitor, name) for name in _TOTALS}, pictures)
    if (variables := _variables(agent)) is not None:
        # Each run gives the interpreter what the agent's own state has.
        given = {name for name, item in agent.state.items() if variables.get(name) is item}
        names = [name for name in variables if name not in given and name not in _INTERPRETER]
        state["variables"] = dict(_savable(names, variables, pictures))
    if own := own_attributes(agent, MultiStepAgent):
        state["own"] = own
    if managed := {name: _state(below, pictures, [*above, agent]) for name, below in _managed(agent).items()}:
        state["managed"] = managed
    return state


def _checked(state: Any, into: Any, pictures: list[Any]) -> Iterator[tuple[Any, Any, list[Any], dict[str, Any]]]:
    """The agents that a state is for, each with its part and what is made of that."""
    steps = _steps(state, pictures, into.memory)
    made = {name: _made(state.get(name, {}), pictures) for name in ("state", "run", "totals", "variables")}
    wrong = [name for name, item in made.items() if not isinstance(item, dict)]
    wrong += [name for name in made["run"] if name not in _RUN] + [
        name for name in made["totals"] if name not in _TOTALS
    ]
    wrong += [name for name in made["variables"] if not isinstance(name, str) or name in _INTERPRETER]
    if wrong:
        raise PersistIntegrityError(f"Format error: {wrong[0]} of the agent is not valid", "invalid-format")
    if made["variables"] and _variables(into) is None:
        raise PersistConfigurationError(
            "the agent had variables in its interpreter, and the agent to restore into has none",
            "invalid-argument",
            hint="restore it into a CodeAgent with a local interpreter, or into the agent's memory",
        )
    check_own_attributes(into, MultiStepAgent, state.get("own", {}))
    yield into, state, steps, made
    managed = _managed(into)
    for name, part in state.get("managed", {}).items():
        if name not in managed:
            raise PersistConfigurationError(
                f"the agent managed an agent {name!r}, and the one to restore into has none of that name",
                "invalid-argument",
                hint="make the agent as before, with its managed_agents",
            )
        yield from _checked(part, managed[name], pictures)


def _managed(agent: Any) -> dict[str, Any]:
    return {name: below for name, below in agent.managed_agents.items() if isinstance(below, MultiStepAgent)}


def _variables(agent: Any) -> Any:
    """The variables of an agent's interpreter, where they are in this process."""
    executor = getattr(agent, "python_executor", None)
    return executor.state if isinstance(executor, LocalPythonExecutor) else None


def _savable(names: Iterable[str], variables: Any, pictures: _Pictures) -> Iterator[tuple[str, Any]]:
    """Those variables that can be saved: a model may have made anything."""
    for name in names:
        try:
            _persist.encode(_data(variables[name], _Pictures()), Reducer())
        except (PersistError, RecursionError):
            continue
        yield name, _data(variables[name], pictures)


def _remembered(kept: Any, pictures: _Pictures) -> dict[str, Any]:
    """What a memory holds."""
    steps = [_data(step, pictures) for step in kept.steps]
    own = own_attributes(kept, memory.AgentMemory)
    state = {"system_prompt": kept.system_prompt.system_prompt, "steps": steps}
    return {**state, "memory": own} if own else state


def _remember(kept: Any, state: Any, steps: list[Any]) -> None:
    kept.steps[:] = steps
    set_own_attributes(kept, memory.AgentMemory, state.get("memory", {}))


def _steps(state: Any, pictures: list[Any], into: Any = None) -> list[Any]:
    """The steps of a state, which is one for this memory."""
    if into is not None:
        check_own_attributes(into, memory.AgentMemory, state.get("memory", {}))
    steps = [_made(step, pictures) for step in state["steps"]]
    if not all(isinstance(step, _STEPS) for step in steps):
        raise PersistIntegrityError("Format error: the steps hold something that is not a step", "invalid-format")
    return steps


def _data(value: Any, pictures: _Pictures) -> Any:
    """A step, or what is in one, as data: by its class's short name."""
    cls = type(value)
    if isinstance(value, models.MessageRole):
        return value.value
    if cls is agent_types.AgentText:
        return {_CLASS: "text", "value": _data(value.to_raw(), pictures)}
    if _ERRORS.get(cls.__name__) is cls:
        return {_CLASS: cls.__name__, "message": value.message, **_more(value, ("message",), pictures)}
    if dataclasses.is_dataclass(value) and _CLASSES.get(cls.__name__) is cls:
        names = [field.name for field in dataclasses.fields(value)]
        fields = {name: _data(getattr(value, name), pictures) for name in names if name not in _PROVIDERS}
        if isinstance(fields.get("action_output"), _CODE):
            fields["action_output"] = None
        return {_CLASS: cls.__name__, **fields, **_more(value, (*names, *_PROVIDERS), pictures)}
    if isinstance(value, list):
        return [_data(item, pictures) for item in value]
    if cls is tuple:
        return tuple(_data(item, pictures) for item in value)
    if cls is dict:
        if _CLASS in value:
            return {_CLASS: "dict", "items": [[key, _data(item, pictures)] for key, item in value.items()]}
        return {key: _data(item, pictures) for key, item in value.items()}
    if isinstance(value, agent_types.AgentImage):
        return {_CLASS: "answer", "number": pictures.number(value.to_raw())}
    if callable(getattr(value, "save", None)) and hasattr(value, "tobytes"):
        return {_CLASS: "image", "number": pictures.number(value)}
    return value


def _more(value: Any, names: Iterable[str], pictures: _Pictures) -> dict[str, Any]:
    """The attributes that a user gave a step, or what is in one, beside its fields."""
    more = {name: _data(item, pictures) for name, item in vars(value).items() if name not in names}
    return {"more": more} if more else {}


def _made(data: Any, pictures: list[Any]) -> Any:
    """The way back from :func:`_data`, by the classes that are known here."""
    if isinstance(data, (list, tuple)):
        items = [_made(item, pictures) for item in data]
        return items if type(data) is list else tuple(items) if type(data) is tuple else data
    if not isinstance(data, dict):
        return data
    if _CLASS not in data:
        return {key: _made(item, pictures) for key, item in data.items()}
    name, fields = data[_CLASS], {key: _made(item, pictures) for key, item in data.items() if key != _CLASS}
    if name == "dict":
        return dict(fields["items"])
    if name == "text":
        return agent_types.AgentText(fields["value"])
    if name in ("image", "answer"):
        picture = _opened(fields["png"]) if "png" in fields else pictures[fields["number"]]
        return picture if name == "image" else agent_types.AgentImage(picture)
    more = fields.pop("more", {})
    if name in _ERRORS:
        error = _ERRORS[name].__new__(_ERRORS[name])
        Exception.__init__(error, fields["message"])
        error.message = fields["message"]
        return _with_more(error, more)
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
    return _with_more(made, more)


def _with_more(made: Any, more: Any) -> Any:
    """A step, or what is in one, with the attributes that a user gave it."""
    for name in more:
        if not isinstance(name, str) or hasattr(made, name):
            raise PersistIntegrityError(f"Format error: the attribute {name} is not valid", "invalid-format")
    vars(made).update(more)
    return made


def _with_files(data: Any, files: list[bytes]) -> Any:
    """Steps as data, which has the files of pictures where they belong."""
    if type(data) in (list, tuple):
        return type(data)(_with_files(item, files) for item in data)
    if type(data) is not dict:
        return data
    if data.get(_CLASS) in ("image", "answer") and "number" in data:
        return {_CLASS: data[_CLASS], "png": files[data["number"]]}
    return {key: _with_files(item, files) for key, item in data.items()}


ADAPTERS = (SmolagentsAdapter(),)
