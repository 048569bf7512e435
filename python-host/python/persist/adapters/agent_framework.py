"""Microsoft Agent Framework: sessions, through their own ``to_dict`` and ``from_dict``."""

from __future__ import annotations

import copy
from typing import Any

from agent_framework import AgentMiddleware, AgentSession, Content, Message

from persist._adapter import Adapter
from persist._copies import copied
from persist._words import a
from persist.adapters._compare import is_data, same
from persist.adapters._own_attributes import check_own_attributes, own_attributes, set_own_attributes
from persist.errors import PersistConfigurationError, PersistTypeError


class AgentFrameworkAdapter(Adapter):
    """Saves and restores sessions."""

    name = "agent-framework"
    package = "agent-framework-core"
    module = "agent_framework"
    stands_alone = True

    def accepts(self, agent: Any) -> bool:
        """Returns whether a value is a session, or a class of sessions for ``into``."""
        return isinstance(agent, AgentSession) or (isinstance(agent, type) and issubclass(agent, AgentSession))

    def copied(self, agent: Any) -> Any:
        """Returns a copy of the session."""
        return copied(agent)

    def save(self, agent: Any) -> Any:
        """Returns what ``to_dict`` returns, with the registered types in the session's state."""
        written = copy.copy(agent)
        written.state = _written(agent.state)
        state = written.to_dict()
        # The framework leaves values that it can't write unchanged, or loses their types.
        again = type(agent).from_dict(copy.deepcopy(state))
        kept, made = state.get("state", {}), again.state
        wrong = [
            name
            for name, item in written.state.items()
            if name not in made or not is_data(kept.get(name)) or not same(_fields(made[name]), _fields(item))
        ]
        if wrong or not is_data(state) or again.to_dict() != state:
            raise PersistTypeError(
                "AgentSession.to_dict and from_dict would change this session's state"
                + "".join(f"[{name!r}]" for name in wrong[:1]),
                "invalid-argument",
                hint="register the types in session.state with agent_framework.register_state_type(…), "
                "and keep plain data in its messages",
            )
        own = own_attributes(agent, AgentSession)
        types = _types(kept, made)
        if type(agent) is AgentSession and not own and not types:
            return state
        return {"session": state, "class": type(agent).__qualname__, "own": own, "types": types}

    def hook(self, agent: Any, watcher: Any) -> Any:
        """Returns middleware for an agent, which hears of the end of each run. A session gets the
        messages of a run at its end.
        """
        return _Middleware(watcher)

    def restore(self, state: Any, into: Any = None) -> Any:
        """Returns a new session, or ``into`` after giving it the state."""
        own, name, types = {}, None, {}
        if isinstance(state.get("session"), dict) and "own" in state:
            own, name, types = state["own"], state.get("class"), state.get("types", {})
            state = state["session"]
        if into is None:
            if name not in (None, AgentSession.__qualname__):
                raise PersistConfigurationError(
                    f"the session is an instance of {name}, a class of your own",
                    "invalid-argument",
                    hint=f"pass the class: into={name}",
                )
            into = AgentSession
        cls: Any = into if isinstance(into, type) else type(into)
        session = cls.from_dict(state)
        found = _types(state.get("state"), session.state)
        unknown = next((type_id for type_id in types if type_id not in found), None)
        if unknown is not None:
            raise PersistConfigurationError(
                f"session.state holds {a(types[unknown])}, which is not registered here",
                "invalid-argument",
                hint=f"call agent_framework.register_state_type({types[unknown]}, type_id={unknown!r}) first",
            )
        check_own_attributes(session, AgentSession, own)
        set_own_attributes(session, AgentSession, own)
        if into is cls:
            return session
        into.__dict__.clear()
        into.__dict__.update(session.__dict__)
        return into


class _Middleware(AgentMiddleware):
    """Has the session saved after each run."""

    def __init__(self, watcher: Any) -> None:
        self._watcher = watcher

    async def process(self, context: Any, call_next: Any) -> None:
        """Runs the agent."""
        if context.stream:
            # The run goes on while the program reads the stream.
            context.stream_cleanup_hooks.append(self._watcher.astep)
        await call_next()
        if not context.stream:
            await self._watcher.astep()


def _written(value: Any) -> Any:
    """Returns a state in the form that the framework writes: messages without the raw response
    of the provider, and a marker instead of the text of an exception.
    """
    if isinstance(value, (Message, Content)):
        made = copy.copy(value)
        fields = {
            # The framework reads these sequences as lists.
            name: list(item) if name in ("annotations", "items") and type(item) is tuple else item
            for name, item in vars(value).items()
        }
        vars(made).update(_written(fields), raw_representation=None)
        if isinstance(made, Content):
            if made.exception is not None:
                made.exception = made.to_dict()["exception"]
            if type(made.annotations) is list:
                # to_dict does not remove it here.
                for annotation in made.annotations:
                    annotation.pop("raw_representation", None)
        return made
    if type(value) is dict:
        return {name: _written(item) for name, item in value.items()}
    return [_written(item) for item in value] if type(value) is list else value


def _fields(value: Any) -> Any:
    """Returns a state with the classes and fields of its messages, for comparison."""
    if isinstance(value, (Message, Content)):
        return [type(value), _fields(vars(value))]
    if type(value) is dict:
        return {name: _fields(item) for name, item in value.items()}
    return [_fields(item) for item in value] if type(value) is list else value


def _types(data: Any, made: Any) -> dict[str, str]:
    """Returns the classes of the instances that registered types made from data, by the names
    of the types. The framework leaves the data of an unknown type unchanged.
    """
    if type(data) is dict and type(made) is not dict:
        return {} if isinstance(made, Message) else {str(data.get("type")): type(made).__qualname__}
    pairs: Any = ()
    if type(data) is dict:
        pairs = ((item, made.get(name)) for name, item in data.items())
    elif type(data) is list and type(made) is list:
        pairs = zip(data, made, strict=True)
    return {type_id: name for pair in pairs for type_id, name in _types(*pair).items()}


ADAPTERS = (AgentFrameworkAdapter(),)
