"""Classes that the tests of instances share, and how their instances are compared."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import attr
import persist
import pydantic
import pydantic.dataclasses


def parts(value: Any) -> Any:
    """Returns everything that an instance holds, with the classes."""
    cls = type(value)
    if isinstance(value, pydantic.BaseModel):
        private = value.__pydantic_private__ or {}
        held = {**value.__dict__, **(value.__pydantic_extra__ or {}), **private}
        return cls, parts(held), sorted(value.model_fields_set)
    if dataclasses.is_dataclass(cls) or attr.has(cls):
        names = [*getattr(value, "__dict__", ()), *(n for base in cls.__mro__ for n in getattr(base, "__slots__", ()))]
        return cls, {name: parts(getattr(value, name)) for name in sorted(names) if hasattr(value, name)}
    if isinstance(value, dict):
        return cls, {name: parts(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return cls, [parts(item) for item in value]
    return cls, value


def comes_back(value: Any) -> Any:
    """Saves a value and restores it into its own class. Fails unless it is the same."""
    store = persist.Store("memory://models")
    store.snapshot(value, "x", level=1)
    restored = store.restore("x", into=type(value))
    assert parts(restored) == parts(value)
    return restored


@dataclasses.dataclass
class Tool:
    """A class that another is derived from."""

    name: str


@dataclasses.dataclass
class Search(Tool):
    """A class derived from ``Tool``."""

    index: str = "products"


@dataclasses.dataclass
class Toolbox:
    """A class whose annotations name ``Tool``."""

    tools: list[Tool]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A class whose instances can't be changed."""

    number: int


class Strict:
    """A class with methods for its state, which refuses some states."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __persist_state__(self) -> int:
        return self.number

    @classmethod
    def __persist_restore__(cls, state: int) -> Strict:
        if state < 0:
            raise ValueError("below zero")
        if state > 9:
            raise ConnectionError("db gone")
        return cls(state)


class Shape(enum.Enum):
    """An enum whose values are of different types."""

    DOT = (0, 0)
    LINE = "line"
