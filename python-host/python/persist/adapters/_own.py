"""What a user's own subclass of a framework's agent keeps in its attributes."""

from __future__ import annotations

from typing import Any

from persist.errors import PersistIntegrityError


def own_attributes(agent: Any, base: type) -> dict[str, Any]:
    """The attributes of an agent that no code of its framework names: those of the
    user's subclass. Its ``__persist_exclude__`` names the ones that belong to the
    code, such as a client.
    """
    named = _framework_names(type(agent), base)
    excluded = getattr(type(agent), "__persist_exclude__", ())
    return {name: item for name, item in vars(agent).items() if name not in named and name not in excluded}


def set_own_attributes(agent: Any, base: type, own: Any) -> None:
    """Gives an agent these attributes: none that its framework's code names."""
    named = _framework_names(type(agent), base)
    if not isinstance(own, dict) or any(name in named for name in own):
        raise PersistIntegrityError("Format error: the agent's own attributes are not valid", "invalid-format")
    vars(agent).update(own)


def _framework_names(cls: type, base: type) -> set[str]:
    """The attributes that the framework's own code names in an agent's classes."""
    framework = base.__module__.partition(".")[0]
    named: set[str] = set()
    for known in cls.__mro__:
        if known.__module__.partition(".")[0] == framework:
            named.update(vars(known))
            for item in vars(known).values():
                code = getattr(getattr(item, "fget", item), "__code__", None)
                named.update(code.co_names if code is not None else ())
    return named
