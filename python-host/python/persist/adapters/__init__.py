"""Agents of frameworks: one small module here for each, which is imported only
where its framework is, and the base class of one's own.

A snapshot says in its metadata which adapter made it. That chooses among the
adapters below and those that were registered, and only among those whose
framework the program has imported itself: it never imports anything.
"""

from __future__ import annotations

import abc
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from persist.errors import PersistConfigurationError, PersistError, PersistTypeError

__all__ = ["Adapter", "register_adapter"]


class Adapter(abc.ABC):
    """How the agents of one framework are saved and brought back. Subclass it
    and pass an instance to :func:`persist.register_adapter`.

    ``save`` and ``restore`` may be ``async``. Where a framework has two ways,
    ``asave`` and ``arestore`` are what the functions for asyncio use.
    """

    name: ClassVar[str]
    """What the metadata of snapshots calls it."""
    package: ClassVar[str]
    """The distribution that has to be installed, as pip calls it."""
    module: ClassVar[str]
    """The framework's module; it is imported where this adapter is used."""
    stands_alone: ClassVar[bool] = False
    """Whether ``restore`` makes an agent also without ``into``."""

    @abc.abstractmethod
    def accepts(self, agent: Any) -> bool:
        """Whether this adapter saves such a value."""

    def takes(self, into: Any) -> bool:
        """Whether this adapter restores into such a value; what it saves, unless
        overridden.
        """
        return self.accepts(into)

    @abc.abstractmethod
    def save(self, agent: Any) -> Any:
        """The state of an agent, as a value that can be saved. May have keyword
        arguments, which are those of :func:`persist.snapshot`.
        """

    @abc.abstractmethod
    def restore(self, state: Any, into: Any = None) -> Any:
        """The agent of a state, or ``into`` after it got the state. May have
        keyword arguments, which are those of :func:`persist.restore`.

        The state may be one that somebody else wrote: check it.
        """

    def version(self) -> str | None:
        """The framework's version."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


class PartAdapter(Adapter):
    """An adapter for values that may stand anywhere in a state, and are written
    where they stand.
    """

    @abc.abstractmethod
    def save_part(self, value: Any) -> dict[str, Any]:
        """The fields that are written for a value."""

    @abc.abstractmethod
    def restore_part(self, fields: dict[str, Any], options: Mapping[str, Any]) -> Any:
        """The value of such fields."""

    def save(self, agent: Any) -> Any:
        """The value as it is: its parts are written where they stand."""
        return agent

    def restore(self, state: Any, into: Any = None) -> Any:
        """The state, whose parts are there already."""
        if into is None:
            return state
        from persist._values import put_into

        return put_into(state, into)


class _Framework(NamedTuple):
    """A framework that has a module here."""

    adapters: tuple[str, ...]
    """The names of the adapters; its module here has the first, with ``_`` for
    ``-``, and holds them as ``ADAPTERS``."""
    module: str
    package: str


_FRAMEWORKS = (
    _Framework(("langchain",), "langchain_core", "langchain-core"),
    _Framework(("langgraph", "langgraph-parts"), "langgraph", "langgraph"),
    _Framework(("openai-agents",), "agents", "openai-agents"),
    _Framework(("autogen",), "autogen_agentchat", "autogen-agentchat"),
    _Framework(("agent-framework",), "agent_framework", "agent-framework-core"),
    _Framework(("pydantic-ai",), "pydantic_ai", "pydantic-ai-slim"),
    _Framework(("google-adk",), "google.adk", "google-adk"),
    _Framework(("strands",), "strands", "strands-agents"),
    _Framework(("crewai",), "crewai", "crewai"),
    _Framework(("smolagents",), "smolagents", "smolagents"),
)
_BY_TOP = {framework.module.partition(".")[0]: framework for framework in _FRAMEWORKS}
_BY_NAME = {name: framework for framework in _FRAMEWORKS for name in framework.adapters}

_known: dict[str, Adapter] = {}
"""Adapters that were registered, and those below that were used, by name."""


_strangers: dict[str, Exception] = {}
"""Modules that are called as frameworks, and are not what the adapter needs; why."""


def register_adapter(adapter: Adapter) -> Adapter:
    """Has snapshots of agents of a framework made and restored by an adapter.

    Args:
        adapter: What to ask from now on, before the adapters that come with
            this package.

    Returns:
        The adapter.

    Raises:
        PersistTypeError: It is no instance of a subclass of :class:`Adapter`.
    """
    named = isinstance(adapter, Adapter) and all(
        isinstance(getattr(adapter, name, None), str) for name in ("name", "package", "module")
    )
    if not named:
        raise PersistTypeError(
            f"{adapter!r} is no adapter",
            "invalid-argument",
            hint="pass an instance of a subclass of persist.Adapter with name, package and module",
        )
    _known[adapter.name] = adapter
    return adapter


def _load(framework: _Framework) -> list[Adapter]:
    """The adapters of a framework that is imported."""
    if any(name not in _known for name in framework.adapters) and framework.module not in _strangers:
        name = framework.adapters[0].replace("-", "_")
        try:
            module = importlib.import_module(f"persist.adapters.{name}")
        except (ImportError, AttributeError) as error:
            # Another module of this name, as one's own agents.py; or a version
            # that is not known here.
            _strangers[framework.module] = error
        else:
            for adapter in module.ADAPTERS:
                _known.setdefault(adapter.name, adapter)
    return [_known[name] for name in framework.adapters if name in _known]


def _candidates(value: Any) -> list[Adapter]:
    """The adapters whose frameworks a value's classes are from; then the others
    that are in use.
    """
    found: list[Adapter] = []
    of: Any = value[0] if type(value) in (list, tuple) and len(value) > 0 else value
    for cls in (of if isinstance(of, type) else type(of)).__mro__:
        module = cls.__module__
        if module.startswith(f"{__name__}."):
            # What comes with an adapter, as a session that is kept in a store.
            framework = _BY_NAME.get(module.rpartition(".")[2].replace("_", "-"))
        else:
            framework = _BY_TOP.get(module.partition(".")[0])
        if framework is None or framework.module not in sys.modules:
            continue
        found.extend(adapter for adapter in _load(framework) if adapter not in found)
    own = [adapter for name, adapter in _known.items() if name not in _BY_NAME]
    return own + found


def for_agent(agent: Any) -> Adapter | None:
    """The adapter that saves a value; none for a plain one."""
    for adapter in _candidates(agent):
        if adapter.accepts(agent):
            return adapter
    from persist._values import can_be_saved

    if can_be_saved(type(agent)):
        return None
    # One's own class that does as those of a framework do, without being one.
    for framework in _FRAMEWORKS:
        if framework.module in sys.modules:
            for adapter in _load(framework):
                if not isinstance(adapter, PartAdapter) and adapter.accepts(agent):
                    return adapter
    return None


def for_part(value: Any) -> PartAdapter | None:
    """The adapter of a value that stands somewhere in a state."""
    for adapter in _candidates(value):
        if isinstance(adapter, PartAdapter) and adapter.accepts(value):
            return adapter
    return None


def for_target(into: Any) -> Adapter | None:
    """The adapter that restores into a value."""
    for adapter in _candidates(into):
        if adapter.takes(into):
            return adapter
    return None


def by_name(name: str) -> Adapter:
    """The adapter that a snapshot names.

    Raises:
        PersistConfigurationError: It is not known, or its framework is not
            imported.
    """
    framework = _BY_NAME.get(name)
    if framework is not None and framework.module in sys.modules:
        _load(framework)
    if name in _known:
        return _known[name]
    stranger = None if framework is None else _strangers.get(framework.module)
    if framework is not None and stranger is not None:
        raise PersistConfigurationError(
            f"the module {framework.module} here is not what the adapter needs of {framework.package}: {stranger}",
            "invalid-argument",
            hint=f"pip install --upgrade {framework.package}; or restore it with plain=True to get its data",
        ) from stranger
    if framework is None:
        raise PersistConfigurationError(
            f"the snapshot was made by the adapter {name!r}, which is not known here",
            "invalid-argument",
            hint="pass the adapter to persist.register_adapter(…), or restore it with plain=True to get its data",
        )
    if _is_installed(framework):
        hint = f"import {framework.module} first: a snapshot never does; or restore it with plain=True to get its data"
        message = f"the snapshot was made of an agent of {name}, which this program has not imported"
    else:
        hint = f"pip install {framework.package}; or restore it with plain=True to get its data"
        message = f"the snapshot was made of an agent of {name}, which is not installed"
    raise PersistConfigurationError(message, "invalid-argument", hint=hint)


def _is_installed(framework: _Framework) -> bool:
    try:
        importlib.metadata.version(framework.package)
    except importlib.metadata.PackageNotFoundError:
        # From another distribution, or from sources. Looking for a module that
        # is in a package imports the package.
        return "." not in framework.module and importlib.util.find_spec(framework.module) is not None
    return True


def described(adapter: Adapter, agent: Any) -> dict[str, Any]:
    """What the metadata says of an adapter."""
    cls = type(agent[0]) if type(agent) in (list, tuple) and agent else type(agent)
    return {"name": adapter.name, "version": adapter.version(), "type": f"{cls.__module__}.{cls.__qualname__}"}


def call(method: Any, *arguments: Any, options: Mapping[str, Any]) -> Any:
    """Calls a method of an adapter with those of the options that were given."""
    given = {name: value for name, value in options.items() if value is not None}
    accepted = inspect.signature(method).parameters
    unknown = [name for name in given if name not in accepted]
    if unknown:
        adapter = method.__self__.name
        raise PersistTypeError(
            f"agents of {adapter} have no use for {', '.join(unknown)}", "invalid-argument", hint="leave it out"
        )
    return method(*arguments, **given)


def refused(error: Exception, adapter: Adapter) -> PersistError:
    """What it means that a framework does not give its state."""
    if isinstance(error, PersistError):
        return error
    message = f"{adapter.package} {adapter.version()} does not give the state: {type(error).__name__}: {error}"
    return PersistTypeError(message, "invalid-argument", hint="the cause above says what the framework wants")


def explained(error: Exception, adapter: Adapter, info: Mapping[str, Any]) -> PersistError:
    """What a framework's refusal of a state means."""
    if isinstance(error, PersistError):
        return error
    written, here = info.get("version"), adapter.version()
    message = f"{adapter.package} {here} does not take the state: {type(error).__name__}: {error}"
    if written == here:
        hint = "restore it with plain=True to see what it holds"
    else:
        hint = f"it was written with {adapter.package} {written}: install that, or restore it with plain=True"
    return PersistTypeError(message, "invalid-argument", hint=hint)
