"""Shows the progress of an operation."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from persist.errors import PersistTypeError

Told = Callable[[int, "int | None"], object]
"""Called with the number of bytes processed so far, and the total or ``None`` if it is not known."""

Progress = Told | bool
"""The same; or ``True`` for a tqdm bar if tqdm is installed, else a line on stderr."""


@contextmanager
def shown(progress: Progress | None, doing: str, unit: str = "bytes") -> Iterator[Told | None]:
    """Yields the function to call from time to time: the one that the caller passed, or for
    ``True`` a tqdm bar if tqdm is installed, else a line on stderr.
    """
    if progress is None or progress is False:
        yield None
    elif progress is True:
        display = _bar(doing, unit) or _Line(doing, unit)
        try:
            yield display
        finally:
            display.close()
    elif callable(progress):
        yield progress
    else:
        raise PersistTypeError(
            "progress must be a callable or a bool", "invalid-argument", hint="pass a function of (done, total)"
        )


class _Line:
    """A line that is rewritten as work goes on. If stderr is not a terminal, only its final
    state is written.
    """

    def __init__(self, doing: str, unit: str) -> None:
        self._doing, self._unit, self._text, self._shown = doing, unit, "", 0.0
        self._watched = sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, done: int, total: int | None) -> None:
        of = "" if total is None else f" of {total:,}"
        self._text = f"{self._doing}: {done:,}{of} {self._unit}"
        if self._watched and time.monotonic() - self._shown > 0.1:
            self._shown = time.monotonic()
            sys.stderr.write(f"\r{self._text}")
            sys.stderr.flush()

    def close(self) -> None:
        if self._text and sys.stderr is not None:
            sys.stderr.write(f"\r{self._text}\n" if self._watched else f"{self._text}\n")


def _bar(doing: str, unit: str) -> Any:
    try:
        tqdm = importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        return None

    class Bar:
        def __init__(self) -> None:
            # tqdm shows bytes as kB and MB.
            is_bytes = unit == "bytes"
            self._bar = tqdm(desc=doing, unit="B" if is_bytes else f" {unit}", unit_scale=is_bytes)

        def __call__(self, done: int, total: int | None) -> None:
            if self._bar.total != total:
                self._bar.total = total
            self._bar.update(done - self._bar.n)

        def close(self) -> None:
            self._bar.close()

    return Bar()
