"""Watches the methods by which frameworks store what their agents do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MISSING = object()


def replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Callable[[], object]:
    """Replaces a method of one instance by what ``make`` makes of it. Returns what undoes that,
    unless somebody else has replaced it again.
    """
    attributes, before = vars(owner), vars(owner).get(name, _MISSING)
    made = attributes[name] = make(getattr(owner, name))

    def undo() -> None:
        if attributes.get(name) is not made:
            return
        if before is _MISSING:
            del attributes[name]
        else:
            attributes[name] = before

    return undo
