"""What the tests of timelines share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import persist
import pytest


@pytest.fixture
def timeline() -> persist.Timeline:
    """Returns an empty timeline."""
    return persist.Timeline("agents", agent_id="support", session_id="Case/1")


def day(number: int) -> datetime:
    """Returns noon of a day in January 2026."""
    return datetime(2026, 1, number, 12, tzinfo=timezone.utc)


def filled(timeline: persist.Timeline, count: int) -> persist.Timeline:
    """Appends one step a day, from the first of January 2026."""
    for number in range(1, count + 1):
        timeline.append({"step": number}, timestamp=day(number))
    return timeline


def numbers(steps: Iterator[persist.Step]) -> list[int]:
    """Returns the numbers of steps."""
    return [step.number for step in steps]
