"""AutoGen: agents and teams, by their own ``save_state`` and ``load_state``."""

from __future__ import annotations

from typing import Any

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import ChatAgent, Team

from persist._adapter import Adapter
from persist.errors import PersistConfigurationError, PersistTypeError


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
        for one in [agent, *getattr(agent, "_participants", ())]:
            _refuse_forgetful(one)
        return dict(await agent.save_state())

    async def restore(self, state: Any, into: Any = None) -> Any:
        """The agent or team, with the state."""
        if into is None:
            raise PersistConfigurationError(
                "an AutoGen agent or team is restored into an existing one, and none was passed",
                "invalid-argument",
                hint="make the agent or team as before, and pass it: into=team",
            )
        before = await into.save_state()
        try:
            await into.load_state(state)
        except BaseException:
            # Of a team some agents may have it already.
            await into.load_state(before)
            raise
        return into


def _refuse_forgetful(agent: Any) -> None:
    """Refuses an agent of the user's own class that says it has no state, because
    nobody wrote what its state is.
    """
    cls = type(agent)
    is_own = cls.__module__.partition(".")[0] != "autogen_agentchat"
    if is_own and getattr(cls, "save_state", None) is BaseChatAgent.save_state:
        raise PersistTypeError(
            f"{cls.__qualname__} has no save_state of its own, so that AutoGen would save nothing of it",
            "invalid-argument",
            hint="give the class save_state() and load_state(state)",
        )


ADAPTERS = (AutoGenAdapter(),)
