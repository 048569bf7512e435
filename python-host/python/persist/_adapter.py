"""The base classes of adapters."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar


class Adapter(abc.ABC):
    """Saves and restores the agents of one framework. Subclass it and pass an
    instance to :func:`persist.register_adapter`.

    ``save`` and ``restore`` may be ``async``. If a framework has both a synchronous
    and an asynchronous API, define ``asave`` and ``arestore`` too: the functions for
    asyncio use them.
    """

    name: ClassVar[str]
    """The adapter's name in the metadata of snapshots."""
    package: ClassVar[str]
    """The distribution that has to be installed, by the name that pip knows."""
    module: ClassVar[str]
    """The framework's module. The program imports it before it uses this adapter."""
    stands_alone: ClassVar[bool] = False
    """Whether ``restore`` can make an agent without ``into``."""

    @abc.abstractmethod
    def accepts(self, agent: Any) -> bool:
        """Returns whether this adapter can save a value."""

    def takes(self, into: Any) -> bool:
        """Returns whether this adapter can restore into a value. By default, it
        restores into whatever it can save.
        """
        return self.accepts(into)

    @abc.abstractmethod
    def save(self, agent: Any) -> Any:
        """Returns the state of an agent, as a value that can be saved. It may take
        keyword arguments of :func:`persist.snapshot`.
        """

    @abc.abstractmethod
    def restore(self, state: Any, into: Any = None) -> Any:
        """Returns a new agent with a state, or ``into`` after giving it the state. It
        may take keyword arguments of :func:`persist.restore`.

        The state may come from somebody else: check it.
        """

    def classes(self, agent: Any) -> Iterable[Any]:
        """Returns the types that the agent's own code names, such as the types of its
        state's fields. Their instances are restored without being registered, because
        the caller passes the agent. By default, there are none.
        """
        return ()

    def copied(self, agent: Any) -> Any:
        """Returns a copy of an agent, if it can be made quickly. The state is then taken
        from the copy in a thread, so that other tasks do not wait. Returns ``None`` by
        default: other tasks wait.
        """
        return None

    def watch(self, agent: Any, watcher: Any) -> Callable[[], object] | None:
        """Makes :func:`persist.autosave` save each step of an agent: registers a hook with the
        framework that calls ``watcher.step()``, or awaits ``watcher.astep()``, and returns a
        function that removes the hook. Returns ``None`` by default: there is no such hook.

        If the framework ignores what its hooks raise, call ``watcher.quiet_step()``. Each takes
        the object to save from now on, if that is not ``agent``.
        """
        return None

    def hook(self, agent: Any, watcher: Any) -> Any:
        """Returns the hook, if the program has to pass it to the framework: ``saver.hook``.
        Returns ``None`` by default.
        """
        return None

    def version(self) -> str | None:
        """Returns the framework's version, or ``None`` if it is not known."""
        return _version_of(self.package)


@functools.cache
def _version_of(package: str) -> str | None:
    """Returns the version of a distribution. It is cached because Python searches every
    folder on its path for it.
    """
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class PartAdapter(Adapter):
    """An adapter for values that may be anywhere in a state, and are written in place."""

    @abc.abstractmethod
    def save_part(self, value: Any) -> dict[str, Any]:
        """Returns the fields that are written for a value."""

    def form(self, cls: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Returns how to write the instances of a pydantic model that hold nothing but
        its fields: what :meth:`save_part` returns for every instance, without ``value``
        and ``set``; and the names of the fields. Each name has the default that is left
        out if the field was not set, or ``...`` if it is never left out. Returns ``None``
        by default: :meth:`save_part` is called for each instance.
        """
        return None

    @abc.abstractmethod
    def restore_part(self, fields: dict[str, Any], options: Mapping[str, Any]) -> Any:
        """Returns the value that was written as these fields."""

    def save(self, agent: Any) -> Any:
        """Returns the value itself: its parts are written in place."""
        return agent

    def restore(self, state: Any, into: Any = None) -> Any:
        """Returns the value itself: its parts were restored in place."""
        return state
