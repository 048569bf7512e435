"""How the steps of a timeline are selected: by number, time or label, and by rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NoReturn

from persist._arguments import Moment
from persist._listing import moment
from persist._steps import StepBase
from persist.errors import PersistConfigurationError, PersistTypeError

At = int | Moment | StepBase
"""Selects a step: its number, ``-1`` for the newest, a time, how long ago, or text."""

Label = str | tuple[str, str | None]
"""The name of a label, or its name and value."""

Selected = tuple[str | None, tuple[str, str | None] | None]
"""What selects a step: text, or a label; neither for the newest."""


def selected(at: Any, label: Any = None) -> Selected:
    """Checks what selects a step."""
    if label is not None:
        if at is not None:
            raise PersistTypeError(
                "at and label can't be used together", "invalid-argument", hint="pass one of the two"
            )
        return None, checked_label("label", label)
    if at is None:
        return None, None
    if isinstance(at, StepBase):
        return str(at.number), None
    if isinstance(at, int) and not isinstance(at, bool):
        if at == 0:
            raise PersistConfigurationError(
                "there is no step 0: steps are numbered from 1",
                "invalid-argument",
                hint="use 1 for the first step, and -1 for the newest",
            )
        return f"{at:d}" if abs(at) < 1 << 64 else _no_selector(at), None
    if isinstance(at, (datetime, date, timedelta)):
        return moment("at", at), None
    return (at, None) if isinstance(at, str) else _no_selector(at)


def _no_selector(at: Any) -> NoReturn:
    shown = type(at).__qualname__ if not isinstance(at, int) or isinstance(at, bool) else "an int that large"
    raise PersistTypeError(
        f"at must be an int, a str, a time or a step, not {shown}",
        "invalid-argument",
        hint='pass a number, -1 for the newest, a datetime, or how long ago: "7d"',
    )


def checked_label(name: str, label: Any) -> tuple[str, str | None]:
    """Checks a label, which is a name, or a name and a value."""
    if isinstance(label, str):
        return label, None
    if isinstance(label, (tuple, list)) and len(label) == 2:
        key, value = label
        if isinstance(key, str) and (value is None or isinstance(value, str)):
            return key, value
    raise PersistTypeError(
        f"{name} must be a str or a tuple of two, not {label!r}",
        "invalid-argument",
        hint='pass the name of a label, or its name and value: ("rating", "good")',
    )


def checked_rules(rules: dict[str, Any]) -> dict[str, Any]:
    """Checks the rules for what to keep, and returns them in the form of the host."""
    checked = {name: _period(name, value) if isinstance(value, timedelta) else value for name, value in rules.items()}
    if not any(checked.values()):
        raise PersistConfigurationError(
            "there is no rule for what to keep", "invalid-argument", hint="pass at least one, such as keep_last=20"
        )
    labels = checked.get("keep_labels")
    if labels is not None:
        items = labels.items() if isinstance(labels, Mapping) else labels
        if isinstance(items, str) or not isinstance(items, Iterable):
            raise PersistTypeError(
                f"keep_labels must be a list of labels, not {items!r}",
                "invalid-argument",
                hint='pass names, or names and values: ["pinned", ("rating", "good")]',
            )
        checked["keep_labels"] = [checked_label("each of keep_labels", label) for label in items]
    return checked


def _period(name: str, value: timedelta) -> str:
    hours, rest = divmod(value, timedelta(hours=1))
    if rest or hours <= 0:
        raise PersistConfigurationError(
            f"{name} must be a whole number of hours, not {value}",
            "invalid-argument",
            hint='write it like "30d" or "36h"',
        )
    return f"{hours}h"


def number_of(step: Any) -> int:
    """Returns the number of a step, given as such or as the step."""
    if isinstance(step, StepBase):
        return step.number
    if type(step) is not int or not 0 < step < 1 << 63:
        raise PersistTypeError(
            f"the step must be a Step or a number of at least 1, not {step!r}",
            "invalid-argument",
            hint="to count from the end, pass timeline.at(-1)",
        )
    return step
