"""Turns the agents of frameworks into states and back, through their adapters. Plain
values pass through unchanged.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from persist import _persist, _registry
from persist._adapter import Adapter, PartAdapter
from persist._into import put_into
from persist._secrets import Pattern
from persist._values import Rebuilder, Reducer
from persist._words import a
from persist.errors import (
    PersistConfigurationError,
    PersistError,
    PersistIntegrityError,
    PersistTypeError,
    raise_foreign,
)

ADAPTER_OPTIONS = ("config",)
"""Arguments of ``snapshot`` and ``restore`` that only apply to agents."""

PART_OPTIONS = ("allowed_objects", "secrets")
"""Arguments of ``restore`` that apply to values anywhere in a state."""

_PLAIN = frozenset((dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, bool, type(None)))

Info = Mapping[str, Any]
"""The adapter's entry in the metadata."""


def adapter_of(agent: Any) -> Adapter | None:
    """Returns the adapter that saves a value, or ``None`` for a plain value."""
    cls = type(agent)
    if cls in (list, tuple) and agent:
        cls = type(agent[0])
    if cls in _PLAIN or _registry.by_class(cls) is not None:
        return None
    return _registry.adapter_for(agent)


def reducer(adapter: Adapter | None, agent: Any, redact: tuple[Pattern, ...] = ()) -> Reducer:
    """Returns the reducer for the values of an agent's state. It leaves out what
    ``redact`` names.
    """
    if adapter is None:
        return Reducer(type(agent), redact=redact)
    return Reducer(named=named(adapter, agent), redact=redact)


def named(adapter: Adapter | None, agent: Any) -> Iterable[Any]:
    """Returns the types that an agent's own code names."""
    if (
        adapter is None
        or agent is None
        or isinstance(agent, type)
        or not (adapter.accepts(agent) or adapter.takes(agent))
    ):
        return ()
    return adapter.classes(agent)


def run(work: Coroutine[Any, Any, Any], waits: bool, twin: str) -> Any:
    """Runs a coroutine from synchronous code. If it does not wait, no event loop is used."""
    if not waits:
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        work.close()
        raise RuntimeError("an adapter awaited something in a method that is not async")
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    work.close()
    raise PersistConfigurationError(
        "this framework saves and restores agents asynchronously, and an event loop is already running",
        "invalid-argument",
        hint=f"await persist.{twin}(…), or use the same method of an AsyncStore",
    )


def _method(adapter: Adapter, name: str, is_async: bool) -> Any:
    """Returns the asynchronous or the synchronous method of an adapter."""
    return (is_async and getattr(adapter, f"a{name}", None)) or getattr(adapter, name)


def waits(adapter: Adapter | None, name: str) -> bool:
    """Returns whether a method of an adapter is asynchronous."""
    return adapter is not None and inspect.iscoroutinefunction(getattr(adapter, name))


def _call(method: Any, *arguments: Any, options: Mapping[str, Any]) -> Any:
    """Calls a method of an adapter with the options that were given."""
    given = {name: value for name, value in options.items() if value is not None}
    accepted = inspect.signature(method).parameters
    unknown = [name for name in given if name not in accepted]
    if unknown:
        adapter = method.__self__.name
        raise PersistTypeError(
            f"{', '.join(unknown)} can't be used with agents of {adapter}",
            "invalid-argument",
            hint=f"leave out {', '.join(unknown)}",
        )
    return method(*arguments, **given)


def refuse_options(options: Mapping[str, Any], name: str) -> None:
    """Refuses arguments that only apply to agents of frameworks."""
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise PersistTypeError(
            f"{', '.join(given)} can only be used with framework agents, and this is {a(name)}",
            "invalid-argument",
            hint=f"leave out {', '.join(given)}",
        )


def copied(adapter: Adapter, agent: Any, options: Mapping[str, Any]) -> Any:
    """Returns a copy of an agent. For some agents, the options say which part is needed."""
    accepted = inspect.signature(adapter.copied).parameters
    given = {name: value for name, value in options.items() if value is not None and name in accepted}
    return adapter.copied(agent, **given)


async def to_state(
    adapter: Adapter | None, agent: Any, options: Mapping[str, Any], is_async: bool
) -> tuple[Any, Info | None]:
    """Returns the state of an agent, and the adapter's entry in the metadata."""
    if adapter is None:
        refuse_options(options, type(agent).__qualname__)
        return agent, None
    try:
        state = _call(_method(adapter, "save", is_async), agent, options=options)
        if inspect.isawaitable(state):
            state = await state
    except PersistError:
        raise
    except Exception as error:
        raise_failed(adapter, error)
    return state, described(adapter, agent)


def raise_failed(adapter: Adapter, error: Exception) -> NoReturn:
    """Raises the error for a framework that failed to save an agent."""
    problem = f"{adapter.package} {adapter.version()} failed to save the agent"
    raise_foreign(error, problem, "see the cause, which is the framework's own error")


def items(adapter: Adapter, parts: Iterable[list[Any]]) -> _persist.Items:
    """Returns a list for a state. The adapter makes its items, a few at a time, while the
    list is written.
    """
    return _persist.Items(_told(adapter, parts))


def _told(adapter: Adapter, parts: Iterable[list[Any]]) -> Iterator[list[Any]]:
    try:
        yield from parts
    except PersistError:
        raise
    except Exception as error:
        raise_failed(adapter, error)


def form_of(value: Any) -> str | tuple[str, dict[str, Any]] | None:
    """Returns how the instances of a value's class are written without a call for each: the kind
    ``datetime``; or, for instances that hold nothing but their fields, the JSON up to the first
    field, and the fields with their defaults. Returns ``None`` if a reducer looks at each instance.
    """
    cls = type(value)
    if _registry.by_class(cls) is not None:
        return None
    if cls is getattr(sys.modules.get("datetime"), "datetime", None):
        return "datetime"
    # One that is asked before may accept some instances of the class, and not others.
    adapter = next(iter(_registry.part_adapters(value)), None)
    if adapter is None or not adapter.accepts(value):
        return None
    form = adapter.form(cls)
    if form is None:
        return None
    fields, unset = form
    head = _persist.encode({"$": "part", "adapter": adapter.name, **fields}).decode()
    return f'{{"$persist{head[3:-1]},"value":{{', unset


def described(adapter: Adapter, agent: Any) -> Info:
    """Returns the adapter's entry in the metadata for an agent."""
    cls = type(agent[0]) if type(agent) in (list, tuple) and agent else type(agent)
    return {"name": adapter.name, "version": adapter.version(), "type": f"{cls.__module__}.{cls.__qualname__}"}


def adapter_for_state(info: Any, into: Any, plain: bool) -> Adapter | None:
    """Returns the adapter that restores a state, or ``None`` for a plain state."""
    cls = into if isinstance(into, type) else type(into)
    if plain or (info is None and cls in _PLAIN):
        return None
    if info is None:
        wanted = None if _registry.by_class(cls) is not None else _registry.adapter_for_target(into)
        if wanted is None or isinstance(wanted, PartAdapter):
            return None
        raise PersistTypeError(
            f"the snapshot does not hold an agent from {wanted.name}",
            "invalid-argument",
            hint="restore without into= to see what it holds",
        )
    if not isinstance(info, dict) or not isinstance(info.get("name"), str):
        raise PersistIntegrityError(
            "Format error: the adapter in the metadata is not valid",
            "invalid-format",
            hint="restore with plain=True to get the data",
        )
    return _registry.adapter_by_name(info["name"])


async def from_state(
    adapter: Adapter, info: Any, state: Any, into: Any, options: Mapping[str, Any], is_async: bool
) -> Any:
    """Returns the agent that has a state."""
    is_part = isinstance(adapter, PartAdapter)
    if into is not None and not is_part and not adapter.takes(into):
        cls = into if isinstance(into, type) else type(into)
        raise PersistTypeError(
            f"the snapshot holds an agent from {adapter.name}, which can't be restored into {a(cls.__qualname__)}",
            "invalid-argument",
            hint="restore without into, or with plain=True, to see what it holds",
        )
    if is_part:
        options = {name: value for name, value in options.items() if name not in PART_OPTIONS}
    method = _method(adapter, "restore", is_async)
    accepted = inspect.signature(method).parameters
    options = {name: value for name, value in options.items() if name not in PART_OPTIONS or name in accepted}
    try:
        restored = _call(method, state, into, options=options)
        if inspect.isawaitable(restored):
            restored = await restored
    except PersistError:
        raise
    except Exception as error:
        written, here = info.get("version"), adapter.version()
        hint = (
            "restore with plain=True to see what it holds"
            if written == here
            else f"it was saved with {adapter.package} {written}: install that version, or restore with plain=True"
        )
        raise_foreign(error, f"{adapter.package} {here} refused the state", hint)
    return put_into(restored, into) if is_part and into is not None else restored


async def check(
    adapter: Adapter | None, agent: Any, state: bytes, info: Info | None, given: Mapping[str, Any], is_async: bool
) -> None:
    """Proves that a state can be restored: restores it with the arguments that the
    caller will use, and saves the result again.

    Raises:
        PersistError: The restore would raise it.
        PersistTypeError: The restored state differs.
    """
    options = dict(given)
    into = options.pop("into", type(agent) if adapter is None else None)
    if adapter is None and into is not None and not isinstance(into, type):
        # The check must not change the caller's instance.
        into = type(into)
    # The caller may restore into the agent itself, which names the types of its state.
    rebuilder = Rebuilder(into, options, named=named(adapter, agent if into is None else into))
    value = rebuilder.finish(_persist.decode(state, rebuilder))
    if adapter is None:
        value = value if into is None else put_into(value, into)
    elif adapter.stands_alone:
        wanted = into if isinstance(into, type) else None
        restored = await from_state(adapter, info, value, wanted, options, is_async)
        value, _ = await to_state(adapter, restored, {}, is_async)
    again = _persist.encode(value, reducer(adapter, agent))
    if again != state:
        raise PersistTypeError(
            f"the restored state would differ: {_difference(json.loads(state), json.loads(again))}",
            "invalid-argument",
            hint="register the class of that value with persist.register(…), or save plain values",
        )


def _difference(one: Any, other: Any, path: str = "state") -> str:
    """Describes the first difference between two JSON values."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        differing = next((name for name in one if one[name] != other[name]), None)
        if differing is not None:
            is_inner = differing == "value" and "$persist" in one
            return _difference(one[differing], other[differing], path if is_inner else f"{path}[{differing!r}]")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        at = next((at for at, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]), None)
        if at is not None:
            return _difference(one[at], other[at], f"{path}[{at}]")
    return f"{path} is {_short(one)}, and would become {_short(other)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}…"
