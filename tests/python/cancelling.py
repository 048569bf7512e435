"""The exception of a cancelled task."""

from __future__ import annotations

import sys

import pytest


def raised_in(task: pytest.ExceptionInfo[BaseException]) -> BaseException:
    """Returns the exception that the package raised. Before Python 3.11, the task raises another
    one, which has it as its context.
    """
    return task.value if sys.version_info >= (3, 11) else task.value.__context__ or task.value
