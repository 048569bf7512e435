"""What a user's own subclass of a framework's agent keeps in its attributes."""

from __future__ import annotations

import dis
import weakref
from typing import Any

from persist._models import hides_code
from persist.errors import PersistIntegrityError, PersistTypeError


def own_attributes(agent: Any, base: type) -> dict[str, Any]:
    """The attributes of an agent that no code of its framework sets: those of the
    user's subclass. Its ``__persist_exclude__`` names the ones that belong to the
    code, such as a client.
    """
    cls = type(agent)
    kept = _kept_out(cls, base)
    own = {name: item for name, item in {**vars(agent), **_private(agent)}.items() if name not in kept}
    wrong = next((name for name in own if _hides_code(cls, name)), None)
    if wrong is not None:
        raise PersistTypeError(
            f"an attribute can't be saved: {wrong} hides what belongs to the code of {cls.__qualname__}",
            "invalid-argument",
            hint=f"add {wrong!r} to the class's __persist_exclude__, or give it another name",
        )
    return own


def _hides_code(cls: type, name: str) -> bool:
    """Whether an attribute would hide a method or property of the class."""
    return name.startswith("__") or hides_code(cls, name)


def _private(agent: Any) -> dict[str, Any]:
    """The private attributes of a pydantic model, which are kept by themselves."""
    private: dict[str, Any] | None = getattr(agent, "__pydantic_private__", None)
    return {} if private is None else private


def check_own_attributes(agent: Any, base: type, own: Any) -> None:
    """Refuses attributes that an agent can't be given."""
    if not isinstance(own, dict) or any(not isinstance(name, str) for name in own):
        raise PersistIntegrityError(
            "Format error: the agent's own attributes are not valid",
            "invalid-format",
            hint="restore with plain=True to see what it holds",
        )
    kept = _kept_out(type(agent), base)
    wrong = next((name for name in own if name in kept or _hides_code(type(agent), name)), None)
    if wrong is not None:
        raise PersistTypeError(
            f"the state has an attribute {wrong!r}, which belongs to the code of this agent",
            "invalid-argument",
            hint="restore it into an agent of the class that was saved",
        )


def set_own_attributes(agent: Any, base: type, own: dict[str, Any]) -> None:
    """Gives an agent these attributes, which were checked, and no others of its own."""
    private, kept = _private(agent), _kept_out(type(agent), base)
    for name in [*vars(agent), *private]:
        if name not in kept:
            vars(agent).pop(name, None)
            private.pop(name, None)
    known = getattr(type(agent), "__private_attributes__", ())
    for name, item in own.items():
        (private if name in known else vars(agent))[name] = item


def _kept_out(cls: type, base: type) -> set[str]:
    """The attributes that are not the user's, or that the user keeps out."""
    kept = _known.get(cls)
    if kept is None:
        kept = _known[cls] = {"__orig_class__", *getattr(cls, "__persist_exclude__", ()), *_framework_names(cls, base)}
    return kept


_known: weakref.WeakKeyDictionary[type, set[str]] = weakref.WeakKeyDictionary()


def _framework_names(cls: type, base: type) -> set[str]:
    """What the framework's own classes define, and the attributes that their code sets."""
    framework = base.__module__.partition(".")[0]
    names: set[str] = set()
    for known in cls.__mro__:
        if known.__module__.partition(".")[0] == framework:
            names.update(vars(known))
            # Of a pydantic model.
            names.update(getattr(known, "__pydantic_fields__", ()), getattr(known, "__private_attributes__", ()))
            for item in vars(known).values():
                code = getattr(getattr(item, "fget", item), "__code__", None)
                if code is not None:
                    names.update(step.argval for step in dis.get_instructions(code) if step.opname == "STORE_ATTR")
    return names
