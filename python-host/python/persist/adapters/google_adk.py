"""Google ADK: sessions with their events and state."""

from __future__ import annotations

from enum import Enum
from typing import Any

from google.adk.sessions import BaseSessionService, Session

from persist.adapters import Adapter
from persist.adapters._compare import same
from persist.errors import PersistTypeError


class GoogleADKAdapter(Adapter):
    """Sessions."""

    name = "google-adk"
    package = "google-adk"
    module = "google.adk"

    def accepts(self, agent: Any) -> bool:
        """Whether it is a session."""
        return isinstance(agent, Session)

    def takes(self, into: Any) -> bool:
        """Whether it is a service that keeps sessions."""
        return isinstance(into, BaseSessionService) or into is Session

    def save(self, agent: Any) -> Any:
        """Its fields, with bytes, times and sets as they are."""
        state = _plain(agent.model_dump())
        session = Session.model_validate(state)
        again = _plain(session.model_dump())
        if again != state or not same(session, agent):
            raise PersistTypeError(
                "the session does not come back as it is from its own model",
                "invalid-argument",
                hint="keep session.state and what tools return to JSON's types",
            )
        return again

    async def restore(self, state: Any, into: Any = None) -> Any:
        """A session; with a service as ``into``, one that the service keeps,
        under its own names. There must be none with its id.
        """
        session = Session.model_validate(state)
        if into is None or isinstance(into, type):
            return session
        kept = await into.create_session(
            app_name=session.app_name, user_id=session.user_id, session_id=session.id, state=dict(session.state)
        )
        for event in session.events:
            await into.append_event(kept, event)
        return await into.get_session(app_name=session.app_name, user_id=session.user_id, session_id=session.id)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


ADAPTERS = (GoogleADKAdapter(),)
