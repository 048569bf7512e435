"""Saves the attributes that a program's own subclass adds to an agent of a framework."""

from __future__ import annotations

import dis
import inspect
import sys
import types
import typing
import weakref
from collections.abc import Iterator
from typing import Any

from persist._classes import may_be_set, slots
from persist.errors import PersistIntegrityError, PersistTypeError


def own_attributes(agent: Any, base: type) -> dict[str, Any]:
    """Returns the attributes of an agent that the framework's code does not set: those of the
    program's subclass. ``__persist_exclude__`` of the subclass names attributes that are not
    saved, such as a client.
    """
    cls = type(agent)
    kept = _kept_out(cls, base)
    items = {**vars(agent), **_private(agent), **_in_slots(agent)}
    own = {name: item for name, item in items.items() if name not in kept}
    wrong = next((name for name in own if _is_of_code(cls, name)), None)
    if wrong is not None:
        raise PersistTypeError(
            f"an attribute can't be saved: {wrong} hides an attribute of the class {cls.__qualname__}",
            "invalid-argument",
            hint=f"add {wrong!r} to the class's __persist_exclude__, or give it another name",
        )
    return own


def _is_of_code(cls: type, name: str) -> bool:
    """Returns whether an attribute would hide a method, a property or a class variable."""
    return not may_be_set(cls, name) or any(_is_class_variable(_annotations(base).get(name)) for base in cls.__mro__)


def _annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        # Some names may exist only for type checkers.
        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2].strip() == "ClassVar"
    return typing.ClassVar in (annotation, typing.get_origin(annotation))


def _in_slots(agent: Any) -> dict[str, Any]:
    """Returns the attributes that are not in ``__dict__``."""
    found = {}
    for name, slot in slots(type(agent)).items():
        try:
            found[name] = slot.__get__(agent, type(agent))
        except AttributeError:
            continue
    return found


def _private(agent: Any) -> dict[str, Any]:
    """Returns the private attributes of a pydantic model, which are kept separately."""
    private: dict[str, Any] | None = getattr(agent, "__pydantic_private__", None)
    return {} if private is None else private


def check_own_attributes(agent: Any, base: type, own: Any) -> None:
    """Refuses attributes that can't be set on an agent."""
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
    """Sets attributes of an agent, which were checked, and removes all others of its subclass."""
    private, kept, in_slots = _private(agent), _kept_out(type(agent), base), slots(type(agent))
    for name in _in_slots(agent):
        if name not in kept:
            in_slots[name].__delete__(agent)
    for name in [*vars(agent), *private]:
        if name not in kept:
            vars(agent).pop(name, None)
            private.pop(name, None)
    known = getattr(type(agent), "__private_attributes__", ())
    for name, item in own.items():
        if name in in_slots:
            in_slots[name].__set__(agent, item)
        else:
            (private if name in known else vars(agent))[name] = item


def _kept_out(cls: type, base: type) -> set[str]:
    """Returns the names that are not saved: those of the framework, and those that the
    subclass excludes.
    """
    kept = _known.get(cls)
    if kept is None:
        kept = _known[cls] = {"__orig_class__", *getattr(cls, "__persist_exclude__", ()), *_framework_names(cls, base)}
    return kept


_known: weakref.WeakKeyDictionary[type, set[str]] = weakref.WeakKeyDictionary()


def _framework_names(cls: type, base: type) -> set[str]:
    """Returns the names that the framework's classes define, and the attributes that their
    code sets.
    """
    framework = base.__module__.partition(".")[0]
    names: set[str] = set()
    for known in cls.__mro__:
        if known.__module__.partition(".")[0] == framework:
            names.update(vars(known))
            # Pydantic models.
            names.update(getattr(known, "__pydantic_fields__", ()), getattr(known, "__private_attributes__", ()))
            names.update(getattr(known, "__dataclass_fields__", ()))
            for item in vars(known).values():
                for part in (item, *(getattr(item, name, None) for name in ("fget", "fset", "fdel", "func"))):
                    code = getattr(inspect.unwrap(part) if callable(part) else None, "__code__", None)
                    if code is not None and code.co_argcount and not isinstance(item, (staticmethod, classmethod)):
                        names.update(_set_in(code, code.co_varnames[0]))
    return names


def _set_in(code: types.CodeType, me: str) -> Iterator[str]:
    """Yields the attributes that code sets on the object in a variable: on ``self``, and not
    on other objects, whose attributes may have the same names as those of the subclass.
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
    """Returns whether an instruction pushes a variable to the top of the stack. Some
    instructions push two at once.
    """
    if not step.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "STORE_FAST_LOAD_FAST")):
        return False
    return bool((step.argval[-1] if isinstance(step.argval, tuple) else step.argval) == me)
