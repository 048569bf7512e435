"""smolagents: the steps in an agent's memory, the variables in its state and in its
interpreter, and the same for the agents that it manages.

The functions, classes and modules in a code agent's interpreter are not saved, and neither
is what a provider's client returned in addition to the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from smolagents import memory
from smolagents.agents import MultiStepAgent
from smolagents.local_python_executor import LocalPythonExecutor

from persist import _persist
from persist._adapter import Adapter
from persist._values import Reducer
from persist._words import a
from persist.adapters._own_attributes import check_own_attributes, own_attributes, set_own_attributes
from persist.adapters._smolagents_steps import Pictures, data_of, made_of, opened, with_files
from persist.errors import PersistConfigurationError, PersistError, PersistIntegrityError, PersistTypeError

_RUN = ("task", "step_number")
"""The attributes of an agent about its run."""

_TOTALS = ("step_durations", "total_input_token_count", "total_output_token_count")
"""The totals of an agent's monitor."""

_INTERPRETER = ("__name__", "_print_outputs", "_operations_count")
"""The variables that an interpreter keeps for itself."""


class SmolagentsAdapter(Adapter):
    """Saves and restores agents and their memories."""

    name = "smolagents"
    package = "smolagents"
    module = "smolagents"

    def accepts(self, agent: Any) -> bool:
        """Returns whether a value is an agent, or the memory of one."""
        return isinstance(agent, (MultiStepAgent, memory.AgentMemory))

    def save(self, agent: Any) -> Any:
        """Returns the system prompt and the steps; for an agent, also its variables and the
        agents that it manages.
        """
        pictures = Pictures()
        state = _remembered(agent, pictures) if isinstance(agent, memory.AgentMemory) else _state(agent, pictures, [])
        return {**state, "pictures": pictures.files} if pictures.files else state

    def watch(self, agent: Any, watcher: Any) -> Callable[[], object] | None:
        """Hears of each step."""
        if not isinstance(agent, MultiStepAgent):
            return None

        def stepped(step: Any) -> None:
            # smolagents adds the step to the memory only after it has called the callbacks.
            steps = agent.memory.steps
            is_new = not isinstance(step, memory.FinalAnswerStep) and all(known is not step for known in steps)
            if is_new:
                steps.append(step)
            try:
                watcher.step()
            finally:
                if is_new and steps[-1] is step:
                    steps.pop()

        agent.step_callbacks.register(memory.MemoryStep, stepped)
        # The registry has no method that removes a callback.
        return lambda: agent.step_callbacks._callbacks[memory.MemoryStep].remove(stepped)

    def restore(self, state: Any, into: Any = None) -> Any:
        """Returns the steps as data. If ``into`` is an agent or a memory, it gets the steps and
        is returned, and the next ``run(task, reset=False)`` continues from them.
        """
        files = state.get("pictures", [])
        pictures = [opened(file) for file in files]
        if into is None or isinstance(into, type):
            _steps(state, pictures)
            return with_files(state["steps"], files)
        if isinstance(into, memory.AgentMemory):
            _remember(into, state, _steps(state, pictures, into))
            # The prompt of an agent is made from its tools, and stays as it is.
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


def _state(agent: Any, pictures: Pictures, above: list[Any]) -> dict[str, Any]:
    """Returns the state of an agent. ``above`` has the agents that manage it."""
    if agent in above:
        raise PersistTypeError("an agent manages itself", "invalid-argument", hint="save its memory: agent.memory")
    state = _remembered(agent.memory, pictures)
    state["state"] = data_of(agent.state, pictures)
    state["run"] = data_of({name: vars(agent)[name] for name in _RUN if name in vars(agent)}, pictures)
    state["totals"] = data_of({name: getattr(agent.monitor, name) for name in _TOTALS}, pictures)
    if (variables := _variables(agent)) is not None:
        # Each run copies the agent's own state into the interpreter.
        given = {name for name, item in agent.state.items() if variables.get(name) is item}
        names = [name for name in variables if name not in given and name not in _INTERPRETER]
        state["variables"] = dict(_savable(names, variables, pictures))
    if own := own_attributes(agent, MultiStepAgent):
        state["own"] = own
    if managed := {name: _state(below, pictures, [*above, agent]) for name, below in _managed(agent).items()}:
        state["managed"] = managed
    return state


def _checked(state: Any, into: Any, pictures: list[Any]) -> Iterator[tuple[Any, Any, list[Any], dict[str, Any]]]:
    """Yields the agents that a state is for, each with its part of the state, the steps and the
    other values.
    """
    steps = _steps(state, pictures, into.memory)
    made = {name: made_of(state.get(name, {}), pictures) for name in ("state", "run", "totals", "variables")}
    wrong = [name for name, item in made.items() if not isinstance(item, dict)]
    wrong += [name for name in made["run"] if name not in _RUN] + [
        name for name in made["totals"] if name not in _TOTALS
    ]
    wrong += [name for name in made["variables"] if not isinstance(name, str) or name in _INTERPRETER]
    if wrong:
        raise PersistIntegrityError(f"Format error: {wrong[0]} of the agent is not valid", "invalid-format")
    if made["variables"] and _variables(into) is None:
        raise PersistConfigurationError(
            "the saved agent had a local interpreter with variables, but this agent has none",
            "invalid-argument",
            hint="restore it into a CodeAgent with a local interpreter, or into the agent's memory",
        )
    check_own_attributes(into, MultiStepAgent, state.get("own", {}))
    yield into, state, steps, made
    managed = _managed(into)
    for name, part in state.get("managed", {}).items():
        if name not in managed:
            raise PersistConfigurationError(
                f"the saved agent managed an agent {name!r}, but this agent does not",
                "invalid-argument",
                hint="create the agent as before, with its managed_agents",
            )
        yield from _checked(part, managed[name], pictures)


def _managed(agent: Any) -> dict[str, Any]:
    return {name: below for name, below in agent.managed_agents.items() if isinstance(below, MultiStepAgent)}


def _variables(agent: Any) -> Any:
    """Returns the variables of an agent's interpreter, if it runs in this process."""
    executor = getattr(agent, "python_executor", None)
    return executor.state if isinstance(executor, LocalPythonExecutor) else None


def _savable(names: Iterable[str], variables: Any, pictures: Pictures) -> Iterator[tuple[str, Any]]:
    """Yields the variables that can be saved. The model's code may have made anything."""
    for name in names:
        try:
            _persist.encode(data_of(variables[name], Pictures()), Reducer())
        except (PersistError, RecursionError):
            continue
        yield name, data_of(variables[name], pictures)


def _remembered(kept: Any, pictures: Pictures) -> dict[str, Any]:
    """Returns the content of a memory."""
    odd = next((at for at, step in enumerate(kept.steps) if not isinstance(step, memory.MemoryStep)), None)
    if odd is not None:
        raise PersistTypeError(
            f"{a(type(kept.steps[odd]).__qualname__)} is not a step, at state['steps'][{odd}]",
            "invalid-argument",
            hint="derive its class from smolagents.memory.MemoryStep and register it",
        )
    steps = [data_of(step, pictures) for step in kept.steps]
    own = own_attributes(kept, memory.AgentMemory)
    state = {"system_prompt": kept.system_prompt.system_prompt, "steps": steps}
    return {**state, "memory": own} if own else state


def _remember(kept: Any, state: Any, steps: list[Any]) -> None:
    kept.steps[:] = steps
    set_own_attributes(kept, memory.AgentMemory, state.get("memory", {}))


def _steps(state: Any, pictures: list[Any], into: Any = None) -> list[Any]:
    """Returns the steps of a state, and checks the state for a memory."""
    if into is not None:
        check_own_attributes(into, memory.AgentMemory, state.get("memory", {}))
    steps = [made_of(step, pictures) for step in state["steps"]]
    # A step of an unregistered class was restored as plain data.
    if not all(isinstance(step, memory.MemoryStep) for step in steps):
        raise PersistIntegrityError("Format error: the steps contain something that is not a step", "invalid-format")
    return steps


ADAPTERS = (SmolagentsAdapter(),)
