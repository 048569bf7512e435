"""What a user's own subclass of a framework's agent keeps in its attributes."""

from __future__ import annotations

import dis
import inspect
import sys
import types
import typing
import weakref
from collections.abc import Iterator
from typing import Any

from persist._models import _may_be_set, _slots
from persist.errors import PersistIntegrityError, PersistTypeError


def own_attributes(agent: Any, base: type) -> dict[str, Any]:
    """The attributes of an agent that no code of its framework sets: those of the
    user's subclass. Its ``__persist_exclude__`` names the ones that belong to the
    code, such as a client.
    """
    cls = type(agent)
    kept = _kept_out(cls, base)
    items = {**vars(agent), **_private(agent), **_in_slots(agent)}
    own = {name: item for name, item in items.items() if name not in kept}
    wrong = next((name for name in own if _is_of_code(cls, name)), None)
    if wrong is not None:
        raise PersistTypeError(
            f"an attribute can't be saved: {wrong} hides what belongs to the code of {cls.__qualname__}",
            "invalid-argument",
            hint=f"add {wrong!r} to the class's __persist_exclude__, or give it another name",
        )
    return own


def _is_of_code(cls: type, name: str) -> bool:
    """Whether an attribute would hide a method, a property or a class variable."""
    return not _may_be_set(cls, name) or any(_is_class_variable(_annotations(base).get(name)) for base in cls.__mro__)


def _annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        # Some names may be there for type checkers alone.
        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2].strip() == "ClassVar"
    return typing.ClassVar in (annotation, typing.get_origin(annotation))


def _in_slots(agent: Any) -> dict[str, Any]:
    """The attributes that are not in ``__dict__``."""
    found = {}
    for name, slot in _slots(type(agent)).items():
        try:
            found[name] = slot.__get__(agent, type(agent))
        except AttributeError:
            continue
    return found


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
    wrong = next((name for name in own if name in kept or _is_of_code(type(agent), name)), None)
    if wrong is not None:
        raise PersistTypeError(
            f"the state has an attribute {wrong!r}, which belongs to the code of this agent",
            "invalid-argument",
            hint="restore it into an agent of the class that was saved",
        )


def set_own_attributes(agent: Any, base: type, own: dict[str, Any]) -> None:
    """Gives an agent these attributes, which were checked, and no others of its own."""
    private, kept, slots = _private(agent), _kept_out(type(agent), base), _slots(type(agent))
    for name in _in_slots(agent):
        if name not in kept:
            slots[name].__delete__(agent)
    for name in [*vars(agent), *private]:
        if name not in kept:
            vars(agent).pop(name, None)
            private.pop(name, None)
    known = getattr(type(agent), "__private_attributes__", ())
    for name, item in own.items():
        if name in slots:
            slots[name].__set__(agent, item)
        else:
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
            names.update(getattr(known, "__dataclass_fields__", ()))
            for item in vars(known).values():
                for part in (item, *(getattr(item, name, None) for name in ("fget", "fset", "fdel", "func"))):
                    code = getattr(inspect.unwrap(part) if callable(part) else None, "__code__", None)
                    if code is not None and code.co_argcount and not isinstance(item, (staticmethod, classmethod)):
                        names.update(_set_in(code, code.co_varnames[0]))
    return names


def _set_in(code: types.CodeType, me: str) -> Iterator[str]:
    """The attributes that code sets on what this variable holds: ``self``, and not the
    other objects that a framework has, whose attributes may well have the same names.
    """
    before: dis.Instruction | None = None
    for step in dis.get_instructions(code):
        if step.opname == "STORE_ATTR" and before is not None and _loads(before, me):
            yield step.argval
        if step.opname != "EXTENDED_ARG":
            before = step
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType) and me in inner.co_freevars:
            yield from _set_in(inner, me)


def _loads(step: dis.Instruction, me: str) -> bool:
    """Whether a step puts a variable on top of the stack; some put two there at once."""
    if not step.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "STORE_FAST_LOAD_FAST")):
        return False
    return bool((step.argval[-1] if isinstance(step.argval, tuple) else step.argval) == me)
