"""What a user's own subclass of a framework's agent keeps in its attributes."""

from __future__ import annotations

import dis
import weakref
from typing import Any

from persist.errors import PersistIntegrityError, PersistTypeError


def own_attributes(agent: Any, base: type) -> dict[str, Any]:
    """The attributes of an agent that no code of its framework sets: those of the
    user's subclass. Its ``__persist_exclude__`` names the ones that belong to the
    code, such as a client.
    """
    kept = _kept_out(type(agent), base)
    return {name: item for name, item in vars(agent).items() if name not in kept}


def check_own_attributes(agent: Any, base: type, own: Any) -> None:
    """Refuses attributes that an agent can't be given."""
    if not isinstance(own, dict) or any(not isinstance(name, str) or name.startswith("__") for name in own):
        raise PersistIntegrityError(
            "Format error: the agent's own attributes are not valid",
            "invalid-format",
            hint="restore with plain=True to see what it holds",
        )
    kept = _kept_out(type(agent), base)
    wrong = next((name for name in own if name in kept or hasattr(type(agent), name)), None)
    if wrong is not None:
        raise PersistTypeError(
            f"the state has an attribute {wrong!r}, which belongs to the code of this agent",
            "invalid-argument",
            hint="restore it into an agent of the class that was saved",
        )


def set_own_attributes(agent: Any, base: type, own: dict[str, Any]) -> None:
    """Gives an agent these attributes, which were checked, and no others of its own."""
    for name in own_attributes(agent, base):
        del vars(agent)[name]
    vars(agent).update(own)


def _kept_out(cls: type, base: type) -> set[str]:
    """The attributes that are not the user's, or that the user keeps out."""
    kept = _known.get(cls)
    if kept is None:
        kept = _known[cls] = {*getattr(cls, "__persist_exclude__", ()), *_framework_names(cls, base)}
    return kept


_known: weakref.WeakKeyDictionary[type, set[str]] = weakref.WeakKeyDictionary()


def _framework_names(cls: type, base: type) -> set[str]:
    """What the framework's own classes define, and the attributes that their code sets."""
    framework = base.__module__.partition(".")[0]
    names: set[str] = set()
    for known in cls.__mro__:
        if known.__module__.partition(".")[0] == framework:
            names.update(vars(known))
            for item in vars(known).values():
                code = getattr(getattr(item, "fget", item), "__code__", None)
                if code is not None:
                    names.update(step.argval for step in dis.get_instructions(code) if step.opname == "STORE_ATTR")
    return names
