"""Bounds the time to build sets and dicts: Python compares each value with all others of
the same hash.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable, Iterable
from typing import Any

from persist.errors import PersistTypeError, not_a_value

MAX_SAME_HASH = 256
"""The largest number of values of a set, or keys of a dict, with the same hash."""

MAX_COMPARED_BITS = 4096
"""The longest integer that may be compared with a decimal number. Python converts the
integer to base 10 for this, which takes quadratic time.
"""

MAX_COMPARISONS = 20_000_000
"""The largest number of comparisons while the sets and dicts of one state are built, which
take about a second.
"""

_INSTANCE = 32
"""The number of comparisons that comparing two instances counts as, whatever their class does."""


class Hashes:
    """The comparisons that are left while one state is restored."""

    def __init__(self) -> None:
        self._left = MAX_COMPARISONS
        self._costs: dict[int, tuple[Any, int]] = {}
        """The upper bounds for comparing values that contain others, by ``id()``."""
        self.kinds: dict[str, Callable[[dict[str, Any]], Any]] = {
            "dict": self._dict,
            "set": lambda fields: set(self._checked(fields["value"], "set")),
            "frozenset": lambda fields: frozenset(self._checked(fields["value"], "frozenset")),
        }
        """The functions that make values of these kinds from their fields."""

    def _dict(self, fields: dict[str, Any]) -> Any:
        entries = fields["value"]
        self._checked([key for key, _ in entries], "dict")
        return dict(entries)

    def _checked(self, items: list[Any], kind: str) -> list[Any]:
        problem = self.problem(items, kind)
        if problem is not None:
            raise not_a_value(problem)
        return items

    def problem(self, items: Iterable[Any], kind: str) -> str | None:
        """Returns why a set or dict of these items takes too long to build, or ``None``."""
        try:
            return self._problem(items, kind)
        except RecursionError:
            return f"the values of a {kind} have the same hash, and are nested too deeply"

    def _problem(self, items: Iterable[Any], kind: str) -> str | None:
        first: dict[int, Any] = {}
        same: dict[int, list[Any]] = {}
        for item in items:
            number = hash(item)
            if number not in first:
                first[number] = item
                continue
            others = same.setdefault(number, [first[number]])
            others.append(item)
            if len(others) > MAX_SAME_HASH:
                return f"more than {MAX_SAME_HASH} values of a {kind} have the same hash"
        for others in same.values():
            self._left -= len(others) ** 2 * max(map(self._cost, others))
            if self._left < 0:
                return f"the values of a {kind} have the same hash, and comparing them takes too long"
            if _has_long(others) and _has_decimal(others):
                return f"a long integer and a decimal number in a {kind} have the same hash"
        return None

    def _cost(self, item: Any) -> int:
        """Returns the largest number of comparisons that comparing a value takes."""
        if type(item) in _ATOMS:
            return 1
        known = self._costs.get(id(item))
        if known is not None:
            return known[1]
        inner = _within(item)
        costs = [self._cost(one) for one in inner]
        total = _INSTANCE + sum(costs)
        if isinstance(item, (set, frozenset)):
            # Each value is compared with the values of the same hash in the other set.
            counts: dict[int, int] = {}
            for one in inner:
                counts[hash(one)] = counts.get(hash(one), 0) + 1
            total = 1 + sum(cost * counts[hash(one)] for cost, one in zip(costs, inner, strict=True))
        total = min(total, MAX_COMPARISONS)
        # The item is kept so that its id is not reused.
        self._costs[id(item)] = (item, total)
        return total


_ATOMS = frozenset((int, float, str, bytes, bool, type(None)))


def _within(item: Any) -> list[Any]:
    """Returns the values in a value that are compared when it is compared."""
    if isinstance(item, (tuple, list, set, frozenset, collections.deque)):
        return list(item)
    if isinstance(item, dict):
        return [*item, *item.values()]
    fields = getattr(type(item), "__attrs_attrs__", ())
    names = [*getattr(type(item), "__dataclass_fields__", ()), *(field.name for field in fields)]
    return [*getattr(item, "__dict__", {}).values(), *(getattr(item, name, None) for name in names)]


def _leaves(items: Iterable[Any]) -> Iterable[Any]:
    """Yields the items, and all values in them."""
    waiting = list(items)
    seen: set[int] = set()
    while waiting:
        item = waiting.pop()
        if type(item) in _ATOMS:
            yield item
        elif id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting.extend(_within(item))


def _has_long(items: Iterable[Any]) -> bool:
    """Returns whether one of these is a long integer, or a fraction with one."""
    return any(
        part.bit_length() > MAX_COMPARED_BITS
        for item in _leaves(items)
        if type(item) in (int, _fraction())
        for part in (item.numerator, item.denominator)
    )


def _fraction() -> Any:
    return getattr(sys.modules.get("fractions"), "Fraction", int)


def _has_decimal(items: Iterable[Any]) -> bool:
    decimal = sys.modules.get("decimal")
    return decimal is not None and any(isinstance(item, decimal.Decimal) for item in _leaves(items))


def check(items: Iterable[Any], kind: str) -> None:
    """Refuses to save a set or dict that a restore would refuse. Short integers and texts
    are not checked: many of the same hash occur only in an attack, which does not save
    through this package.

    Raises:
        PersistTypeError: Too many of its values or keys have the same hash.
    """
    odd = [
        item
        for item in items
        if type(item) not in _ATOMS or (type(item) is int and item.bit_length() > MAX_COMPARED_BITS)
    ]
    problem = Hashes().problem(odd, kind)
    if problem is not None:
        raise PersistTypeError(
            f"{problem}, and restoring them would take too long",
            "invalid-argument",
            hint="save a list, or give the class a better __hash__",
        )
