"""Agents of frameworks on their way into states and out of them, by their
adapters; plain values pass as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Mapping
from typing import Any

from persist import _persist
from persist.errors import PersistConfigurationError, PersistError, PersistIntegrityError, PersistTypeError

PART_OPTIONS = ("allowed_objects", "secrets")
"""Arguments of ``restore`` that are for values anywhere in a state."""

_PLAIN = frozenset((dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, bool, type(None)))

Info = Mapping[str, Any]
"""What the metadata says of the adapter."""


def adapter_of(agent: Any) -> Any:
    """The adapter that saves a value; none for a plain one."""
    cls = type(agent)
    if cls in (list, tuple) and agent:
        cls = type(agent[0])
    if cls in _PLAIN:
        return None
    from persist import adapters
    from persist._values import is_registered

    return None if is_registered(cls) else adapters.for_agent(agent)


def run(work: Coroutine[Any, Any, Any], waits: bool, twin: str) -> Any:
    """Runs what may be asynchronous from code that is not."""
    if not waits:
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        work.close()
        raise RuntimeError("an adapter waits, and its method is not async")
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    work.close()
    raise PersistConfigurationError(
        "agents of this framework are saved and restored asynchronously, and this runs inside an event loop",
        "invalid-argument",
        hint=f"await persist.{twin}(…), or the same method of an AsyncStore",
    )


def _method(adapter: Any, name: str, is_async: bool) -> Any:
    """The method of an adapter for code that is asynchronous, or not."""
    return (is_async and getattr(adapter, f"a{name}", None)) or getattr(adapter, name)


def waits(adapter: Any, name: str) -> bool:
    """Whether a method of an adapter is asynchronous."""
    return adapter is not None and inspect.iscoroutinefunction(getattr(adapter, name))


async def to_state(adapter: Any, agent: Any, options: Mapping[str, Any], is_async: bool) -> tuple[Any, Info | None]:
    """What is saved of an agent, and what the metadata says of its adapter."""
    if adapter is None:
        given = [name for name, value in options.items() if value is not None]
        if given:
            raise PersistTypeError(
                f"{', '.join(given)} is for agents of frameworks, and this is a {type(agent).__qualname__}",
                "invalid-argument",
                hint="leave it out, or pass the agent",
            )
        return agent, None
    from persist import adapters

    try:
        state = adapters.call(_method(adapter, "save", is_async), agent, options=options)
        if inspect.isawaitable(state):
            state = await state
    except PersistError:
        raise
    except Exception as error:
        raise adapters.refused(error, adapter) from error
    return state, adapters.described(adapter, agent)


def from_state_adapter(info: Any, into: Any, plain: bool) -> Any:
    """The adapter that restores a state; none for a plain one."""
    cls = into if isinstance(into, type) else type(into)
    if plain or (info is None and cls in _PLAIN):
        return None
    from persist import adapters

    if info is None:
        wanted = adapters.for_target(into)
        if wanted is None or isinstance(wanted, adapters.PartAdapter):
            return None
        raise PersistTypeError(
            f"the snapshot was not made of an agent of {wanted.name}",
            "invalid-argument",
            hint="restore it without into to see what it holds",
        )
    if not isinstance(info, dict) or not isinstance(info.get("name"), str):
        raise PersistIntegrityError(
            "Format error: the metadata's adapter is not valid",
            "invalid-format",
            hint="restore it with plain=True to get its data",
        )
    return adapters.by_name(info["name"])


async def from_state(adapter: Any, info: Any, state: Any, into: Any, options: Mapping[str, Any], is_async: bool) -> Any:
    """The agent of a state."""
    from persist import adapters

    is_part = isinstance(adapter, adapters.PartAdapter)
    if into is not None and not is_part and not adapter.takes(into):
        cls = into if isinstance(into, type) else type(into)
        raise PersistTypeError(
            f"the snapshot was made of an agent of {adapter.name}, and a {cls.__qualname__} takes none",
            "invalid-argument",
            hint="restore it without into, or with plain=True, to see what it holds",
        )
    if is_part:
        options = {name: value for name, value in options.items() if name not in PART_OPTIONS}
    method = _method(adapter, "restore", is_async)
    accepted = inspect.signature(method).parameters
    options = {name: value for name, value in options.items() if name not in PART_OPTIONS or name in accepted}
    try:
        restored = adapters.call(method, state, into, options=options)
        return await restored if inspect.isawaitable(restored) else restored
    except PersistError:
        raise
    except Exception as error:
        raise adapters.explained(error, adapter, info) from error


async def check(adapter: Any, state: bytes, reducer: Any, cls: type | None, info: Info | None, is_async: bool) -> None:
    """Proves that a state of this class comes back: it is decoded, and encoded
    again.

    Raises:
        PersistTypeError: It does not.
    """
    from persist._values import Rebuilder, Reducer

    # With what a restore would have: what was registered, and the class of the
    # whole; and of frameworks what the caller can allow.
    allowed = [known for known in reducer.framework_classes if hasattr(known, "lc_id")]
    rebuilder = Rebuilder(cls, {"allowed_objects": allowed, "secrets": _AnySecret()})
    value = _persist.decode(state, rebuilder)
    if adapter is not None and adapter.stands_alone:
        agent = await from_state(adapter, info, value, None, {}, is_async)
        value, _ = await to_state(adapter, agent, {}, is_async)
    again = _persist.encode(value, Reducer())
    if again != state:
        at = next(
            (i for i, (one, other) in enumerate(zip(state, again, strict=False)) if one != other),
            min(len(state), len(again)),
        )
        raise PersistTypeError(
            f"the state does not come back as it is: at byte {at} of {len(state)} of its JSON",
            "invalid-argument",
            hint="register the classes in it with persist.register(…); without check=True it would come back as data",
        )


class _AnySecret(dict[str, str]):
    """Values for secrets, which are not in the state that is checked."""

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> str:
        return "secret"
