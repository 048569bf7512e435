"""What a task that was cancelled raised."""

from __future__ import annotations

import sys

import pytest


def raised_in(task: pytest.ExceptionInfo[BaseException]) -> BaseException:
    """The exception as the package raised it: before Python 3.11 that of the task is
    another, which has it as its context.
    """
    return task.value if sys.version_info >= (3, 11) else task.value.__context__ or task.value
