"""AutoGen: agents and teams, by their own ``save_state`` and ``load_state``."""

from __future__ import annotations

from typing import Any

from autogen_agentchat.base import ChatAgent, Team

from persist._adapter import Adapter
from persist.errors import PersistConfigurationError


class AutoGenAdapter(Adapter):
    """Agents and teams."""

    name = "autogen"
    package = "autogen-agentchat"
    module = "autogen_agentchat"

    def accepts(self, agent: Any) -> bool:
        """Whether it is an agent or a team."""
        return isinstance(agent, (ChatAgent, Team))

    async def save(self, agent: Any) -> Any:
        """What it says of its state."""
        return dict(await agent.save_state())

    async def restore(self, state: Any, into: Any = None) -> Any:
        """The agent or team, with the state."""
        if into is None:
            raise PersistConfigurationError(
                "an AutoGen agent or team is restored into an existing one, and none was passed",
                "invalid-argument",
                hint="make the agent or team as before, and pass it: into=team",
            )
        await into.load_state(state)
        return into


ADAPTERS = (AutoGenAdapter(),)
