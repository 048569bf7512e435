"""Microsoft Agent Framework: sessions, by their own ``to_dict`` and ``from_dict``."""

from __future__ import annotations

import copy
from typing import Any

from agent_framework import AgentSession

from persist._adapter import Adapter
from persist.adapters._compare import is_data, same
from persist.errors import PersistTypeError


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
        return state

    def restore(self, state: Any, into: Any = None) -> Any:
        """A session, or the one that is passed with the state."""
        if into is None:
            return AgentSession.from_dict(state)
        cls: Any = into if isinstance(into, type) else type(into)
        session = cls.from_dict(state)
        if into is cls:
            return session
        into.__dict__.update(session.__dict__)
        return into


ADAPTERS = (AgentFrameworkAdapter(),)
