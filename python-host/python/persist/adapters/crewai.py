"""CrewAI: the state of a flow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crewai.flow.flow import Flow
from pydantic import BaseModel

from persist._adapter import Adapter
from persist._values import put_into
from persist.adapters._compare import same
from persist.errors import PersistConfigurationError, PersistTypeError


class CrewAIAdapter(Adapter):
    """Flows."""

    name = "crewai"
    package = "crewai"
    module = "crewai"

    def accepts(self, agent: Any) -> bool:
        """Whether it is a flow."""
        return isinstance(agent, Flow)

    def classes(self, agent: Any) -> Iterable[Any]:
        """The class of its state."""
        return (type(agent.state),)

    def save(self, agent: Any) -> Any:
        """Its state; which methods have run is not part of it."""
        state = agent.state
        return state if isinstance(state, BaseModel) else dict(state)

    def restore(self, state: Any, into: Any = None) -> Any:
        """The flow, with the state."""
        if into is None or isinstance(into, type):
            raise PersistConfigurationError(
                "a CrewAI flow is restored into an existing one, and none was passed",
                "invalid-argument",
                hint="make the flow as before, and pass it: into=flow",
            )
        here = into.state
        if isinstance(here, BaseModel):
            put_into(state, here)
        else:
            new = dict(state)
            here.clear()
            here.update(new)
        return into


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
            hint="keep its fields to values of exactly the classes that their types name",
        )
    return again
