"""What the programs in this folder share: one process asks an agent twice and saves it, another
one restores it and asks a third time. A fake model answers with everything that it was told.
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
    """Returns the answer of a model that was told all of this."""
    return "I was told: " + " | ".join(heard)


def check(third: str) -> None:
    """Fails unless an answer contains all three messages."""
    expected = answer([FIRST, SECOND, THIRD])
    assert third == expected, f"{third!r} is not {expected!r}"
    print("the third answer knows the first two")


@contextlib.contextmanager
def raises(kind: type[BaseException], says: str = "", hint: str = "", or_else: str = "") -> Iterator[None]:
    """Fails unless the block raises an error of this class with these words in its message and its
    hint. ``or_else`` says what would be wrong otherwise. Every error needs a hint, except those
    about invalid bytes.
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
    """Runs the command line: ``save LOCATION`` or ``restore LOCATION``."""
    what, location = sys.argv[1:]
    done = {"save": save, "restore": restore}[what](location)
    if inspect.isawaitable(done):

        async def wait() -> None:
            await done

        asyncio.run(wait())
