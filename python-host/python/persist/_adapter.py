"""The base classes of adapters."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar


class Adapter(abc.ABC):
    """How the agents of one framework are saved and restored. Subclass it and
    pass an instance to :func:`persist.register_adapter`.

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
        """Whether this adapter restores into such a value; by default whatever it
        saves.
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

    def classes(self, agent: Any) -> Iterable[Any]:
        """Types that the agent's own code names, as the types of its state's
        fields: their instances come back without being registered, since the
        caller passes the agent. None by default.
        """
        return ()

    def copied(self, agent: Any) -> Any:
        """A copy of an agent, made in an instant: its state is then taken in a
        thread, and other tasks need not wait for it. None by default, so that they
        do.
        """
        return None

    def version(self) -> str | None:
        """The framework's version."""
        return _version_of(self.package)


@functools.cache
def _version_of(package: str) -> str | None:
    """Looked for once: all folders that Python imports from have to be read for it."""
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class PartAdapter(Adapter):
    """An adapter for values that may stand anywhere in a state, and are written
    where they stand.
    """

    @abc.abstractmethod
    def save_part(self, value: Any) -> dict[str, Any]:
        """The fields that are written for a value."""

    def form(self, cls: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """How instances of a class are written that hold nothing but the fields of a
        pydantic model: what :meth:`save_part` gives of any but for ``value`` and ``set``;
        and the names of the fields, each with the default that is left out where nobody
        set the field, or with ``...``. None by default: each is asked about.
        """
        return None

    @abc.abstractmethod
    def restore_part(self, fields: dict[str, Any], options: Mapping[str, Any]) -> Any:
        """The value of such fields."""

    def save(self, agent: Any) -> Any:
        """The value as it is: its parts are written where they stand."""
        return agent

    def restore(self, state: Any, into: Any = None) -> Any:
        """The value as it is: its parts were made where they stand."""
        return state
