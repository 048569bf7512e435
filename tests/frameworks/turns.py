"""What the programs here have in common: an agent is asked twice in one process
and saved, restored in another and asked a third time. Its model, which is none,
answers with everything that it was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

FIRST, SECOND, THIRD = "my name is Ada", "I live in Turin", "who am I, and where do I live?"


def answer(heard: Iterable[str]) -> str:
    """The answer of a model that was told all this."""
    return "I was told: " + " | ".join(heard)


def check(third: str) -> None:
    """Whether an answer knows all three."""
    expected = answer([FIRST, SECOND, THIRD])
    assert third == expected, f"{third!r} is not {expected!r}"
    print("the third answer knows the first two")


@contextlib.contextmanager
def raises(kind: type[BaseException], says: str = "", hint: str = "", or_else: str = "") -> Iterator[None]:
    """What is done within has to raise an error of this class, which says this and
    whose hint has this in it; ``or_else`` is what would be wrong otherwise. Every
    error that is not about the bytes has a hint.
    """
    raised: BaseException | None = None
    try:
        yield
    except kind as error:
        raised = error
    assert raised is not None, or_else or f"nothing said {says or hint or kind.__name__}"
    assert says in str(raised), raised
    given = getattr(raised, "hint", None) or ""
    assert hint in given, given
    assert given or getattr(raised, "code", "") == "invalid-format", raised


def main(save: Callable[[str], Any], restore: Callable[[str], Any]) -> None:
    """Runs what the command line asks for: ``save LOCATION`` or ``restore LOCATION``."""
    what, location = sys.argv[1:]
    done = {"save": save, "restore": restore}[what](location)
    if inspect.isawaitable(done):

        async def wait() -> None:
            await done

        asyncio.run(wait())
