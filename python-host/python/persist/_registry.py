"""Registered classes, by class and by name, and adapters for the agents of frameworks.
Every name in a snapshot is looked up here, and nothing is ever imported for it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, overload

from persist._adapter import Adapter, PartAdapter
from persist._classes import BUILT_IN, kind_of, name_of, takes_methods
from persist._words import a
from persist.errors import PersistConfigurationError, PersistTypeError

T = TypeVar("T")


class Registered:
    """A registered class."""

    __slots__ = ("cls", "name", "restore", "save")

    def __init__(
        self, cls: type, name: str, save: Callable[[Any], Any] | None, restore: Callable[[Any], Any] | None
    ) -> None:
        self.cls = cls
        self.name = name
        self.save = save
        self.restore = restore


_classes: dict[type, Registered] = {}
_names: dict[str, Registered] = {}


@overload
def register(cls: type[T], *, name: str | None = ...) -> type[T]: ...
@overload
def register(
    cls: type[T], *, name: str | None = ..., save: Callable[[T], Any], restore: Callable[[Any], T]
) -> type[T]: ...
@overload
def register(*, name: str) -> Callable[[type[T]], type[T]]: ...
def register(
    cls: Any = None,
    *,
    name: str | None = None,
    save: Callable[[Any], Any] | None = None,
    restore: Callable[[Any], Any] | None = None,
) -> Any:
    """Registers a class, so that its instances can be saved anywhere in a state and are
    restored as instances of that class.

    Args:
        cls: The class. Subclasses are registered separately.
        name: The name of the class in snapshots; its module and qualified name by
            default. Pass the old name when you move or rename the class.
        save: Turns an instance into a value that can be saved.
        restore: Turns such a value back into an instance. The value may come
            from a snapshot that somebody else wrote, so check it.

    Without ``save`` and ``restore``, the class must be a dataclass, an attrs class, a
    pydantic model, an enum or a named tuple, or have ``__persist_state__()`` and the
    class method ``__persist_restore__(state)``.

    Returns:
        The class, so that this also works as a decorator.

    Raises:
        PersistTypeError: The class is none of these.
        PersistConfigurationError: Another class has this name.
    """
    if cls is None:
        options: dict[str, Any] = {"name": name, "save": save, "restore": restore}
        return lambda cls: register(cls, **options)
    if name is not None and (not isinstance(name, str) or not name):
        raise PersistTypeError(
            f"a class can't be registered as {name!r}", "invalid-argument", hint="pass a non-empty str as name"
        )
    if not isinstance(cls, type) or cls in BUILT_IN or cls in (bool, type(None), object):
        raise PersistTypeError(f"{cls!r} can't be registered", "invalid-argument", hint="register a class of your own")
    if (save is None) != (restore is None):
        raise PersistTypeError("save and restore go together", "invalid-argument", hint="pass both or neither")
    if save is None and kind_of(cls) is None:
        raise PersistTypeError(
            f"Persist does not know how to save {a(name_of(cls))}",
            "invalid-argument",
            hint="pass save and restore"
            + (", or give the class __persist_state__() and __persist_restore__(state)" if takes_methods(cls) else ""),
        )
    entry = Registered(cls, name or name_of(cls), save, restore)
    known = _names.get(entry.name)
    # Reloading a module defines its classes again.
    if known is not None and known.cls is not cls and name_of(known.cls) != name_of(cls):
        raise PersistConfigurationError(
            f"the name {entry.name!r} already belongs to {name_of(known.cls)}",
            "invalid-argument",
            hint="choose another name",
        )
    _names[entry.name] = _classes[cls] = entry
    return cls


def by_class(cls: type) -> Registered | None:
    """Returns the registration of a class."""
    return _classes.get(cls)


def by_type_name(name: str) -> Registered | None:
    """Returns the registration of a name."""
    return _names.get(name)


class _Framework(NamedTuple):
    """A framework with a module in ``persist.adapters``."""

    adapters: tuple[str, ...]
    """The names of the adapters. The adapters are in the ``ADAPTERS`` of a module with the
    first name, with ``_`` instead of ``-``.
    """
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

_adapters: dict[str, Adapter] = {}
"""Registered adapters, and adapters of frameworks in use, by name."""

_strangers: dict[str, Exception] = {}
"""Modules that have the name of a framework but lack what its adapter needs, and the error."""


def register_adapter(adapter: Adapter) -> Adapter:
    """Registers an adapter, which saves and restores the agents of a framework from now
    on. It takes precedence over the adapters of this package.

    Args:
        adapter: An instance of a subclass of :class:`persist.Adapter`.

    Returns:
        The adapter.

    Raises:
        PersistTypeError: It is not such an instance, or lacks ``name``, ``package`` or
            ``module``.
    """
    named = isinstance(adapter, Adapter) and all(
        isinstance(getattr(adapter, name, None), str) for name in ("name", "package", "module")
    )
    if not named:
        raise PersistTypeError(
            f"{adapter!r} is not an adapter",
            "invalid-argument",
            hint="pass an instance of a subclass of persist.Adapter with name, package and module",
        )
    _adapters[adapter.name] = adapter
    return adapter


def _load(framework: _Framework) -> list[Adapter]:
    """Returns the adapters of an imported framework."""
    if any(name not in _adapters for name in framework.adapters) and framework.module not in _strangers:
        name = framework.adapters[0].replace("-", "_")
        try:
            module = importlib.import_module(f"persist.adapters.{name}")
        except (ImportError, AttributeError) as error:
            # Another module with this name, such as the program's own agents.py, or an
            # unsupported version of the framework.
            if (getattr(error, "name", None) or "").startswith("persist"):
                raise
            _strangers[framework.module] = error
        else:
            for adapter in module.ADAPTERS:
                _adapters.setdefault(adapter.name, adapter)
    return [_adapters[name] for name in framework.adapters if name in _adapters]


def framework_of(cls: type) -> str | None:
    """Returns the package of the framework that a class comes from, if that is imported."""
    framework = _BY_TOP.get(cls.__module__.partition(".")[0])
    is_one = framework is not None and framework.module in sys.modules and _load(framework)
    return framework.package if framework is not None and is_one else None


def _candidates(value: Any) -> list[Adapter]:
    """Returns the adapters that may handle a value: first those that the program registered,
    then those of the frameworks that the value's classes come from.
    """
    found: list[Adapter] = []
    of: Any = value[0] if type(value) in (list, tuple) and len(value) > 0 else value
    for cls in (of if isinstance(of, type) else type(of)).__mro__:
        package, _, module = cls.__module__.partition(".")
        # This package has modules with the names of frameworks for its own classes, such
        # as a session in a store.
        framework = _BY_NAME.get(module.replace("_", "-")) if package == "persist" else _BY_TOP.get(package)
        if framework is None or framework.module not in sys.modules:
            continue
        found.extend(adapter for adapter in _load(framework) if adapter not in found)
    own = [adapter for name, adapter in list(_adapters.items()) if name not in _BY_NAME]
    return own + found


def adapter_for(agent: Any) -> Adapter | None:
    """Returns the adapter that saves a value, or ``None`` if there is none."""
    for adapter in _candidates(agent):
        if adapter.accepts(agent):
            return adapter
    cls = type(agent)
    if cls in _classes or cls in BUILT_IN or kind_of(cls) is not None:
        return None
    # The program's own class may satisfy a protocol of a framework.
    for framework in _FRAMEWORKS:
        if framework.module in sys.modules:
            for adapter in _load(framework):
                if not isinstance(adapter, PartAdapter) and adapter.accepts(agent):
                    return adapter
    return None


def adapter_for_part(value: Any) -> PartAdapter | None:
    """Returns the adapter for a value within a state."""
    return next((adapter for adapter in part_adapters(value) if adapter.accepts(value)), None)


def part_adapters(value: Any) -> list[PartAdapter]:
    """Returns the adapters that are asked whether they accept a value, in order."""
    return [adapter for adapter in _candidates(value) if isinstance(adapter, PartAdapter)]


def adapter_for_target(into: Any) -> Adapter | None:
    """Returns the adapter that restores into a value."""
    for adapter in _candidates(into):
        if adapter.takes(into):
            return adapter
    return None


def adapter_by_name(name: str) -> Adapter:
    """Returns the adapter that a snapshot names.

    Raises:
        PersistConfigurationError: The adapter is not known, or its framework is not
            imported.
    """
    framework = _BY_NAME.get(name)
    if framework is not None and framework.module in sys.modules:
        _load(framework)
    if name in _adapters:
        return _adapters[name]
    if framework is None:
        raise PersistConfigurationError(
            f"the snapshot was made by the adapter {name!r}, which is not registered",
            "invalid-argument",
            hint="pass the adapter to persist.register_adapter(…), or restore with plain=True to get the data",
        )
    stranger = _strangers.get(framework.module)
    if stranger is not None:
        raise PersistConfigurationError(
            f"the module {framework.module} lacks what Persist needs from {framework.package}: {stranger}",
            "invalid-argument",
            hint=f"pip install --upgrade {framework.package}; or restore with plain=True to get the data",
        ) from stranger
    if _is_installed(framework):
        hint = f"import {framework.module} first (restoring never does), or restore with plain=True to get the data"
        message = f"the snapshot holds an agent from {name}, which this program has not imported"
    else:
        hint = f"pip install {framework.package}; or restore with plain=True to get the data"
        message = f"the snapshot holds an agent from {name}, which is not installed"
    raise PersistConfigurationError(message, "invalid-argument", hint=hint)


def _is_installed(framework: _Framework) -> bool:
    import importlib.metadata
    import importlib.util

    try:
        importlib.metadata.version(framework.package)
    except importlib.metadata.PackageNotFoundError:
        # It may come from another distribution or from sources. Finding a submodule would
        # import its package, so only top-level modules are looked for.
        return "." not in framework.module and importlib.util.find_spec(framework.module) is not None
    return True
