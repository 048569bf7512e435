"""Microsoft Agent Framework: sessions, by their own ``to_dict`` and ``from_dict``."""

from __future__ import annotations

import copy
from typing import Any

from agent_framework import AgentSession

from persist._adapter import Adapter
from persist.adapters._compare import is_data, same
from persist.adapters._own import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import PersistConfigurationError, PersistTypeError


class AgentFrameworkAdapter(Adapter):
    """Sessions."""

    name = "agent-framework"
    package = "agent-framework-core"
    module = "agent_framework"
    stands_alone = True

    def accepts(self, agent: Any) -> bool:
        """Whether it is a session, or for ``into`` the class of one."""
        return isinstance(agent, AgentSession) or (isinstance(agent, type) and issubclass(agent, AgentSession))

    def save(self, agent: Any) -> Any:
        """What it says of itself."""
        state = agent.to_dict()
        # What the framework has no way to write stays as it is, or loses its type.
        again = type(agent).from_dict(copy.deepcopy(state))
        if not is_data(state) or again.to_dict() != state or not same(again.state, agent.state):
            raise PersistTypeError(
                "AgentSession.to_dict and from_dict would change this session's state",
                "invalid-argument",
                hint="register the types in session.state with agent_framework.register_state_type(…)",
            )
        own = own_attributes(agent, AgentSession)
        if type(agent) is AgentSession and not own:
            return state
        return {"session": state, "class": type(agent).__qualname__, "own": own}

    def restore(self, state: Any, into: Any = None) -> Any:
        """A session, or the one that is passed with the state."""
        own, name = {}, None
        if isinstance(state.get("session"), dict) and "own" in state:
            state, own, name = state["session"], state["own"], state.get("class")
        if into is None:
            if name not in (None, AgentSession.__qualname__):
                raise PersistConfigurationError(
                    f"the session is a {name}, a class of your own",
                    "invalid-argument",
                    hint=f"pass the class: into={name}",
                )
            into = AgentSession
        cls: Any = into if isinstance(into, type) else type(into)
        session = cls.from_dict(state)
        check_own_attributes(session, AgentSession, own)
        set_own_attributes(session, AgentSession, own)
        if into is cls:
            return session
        into.__dict__.clear()
        into.__dict__.update(session.__dict__)
        return into


ADAPTERS = (AgentFrameworkAdapter(),)
