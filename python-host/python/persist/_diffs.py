"""The differences between two steps of a timeline."""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from persist.errors import PersistConfigurationError

if TYPE_CHECKING:
    from persist import _persist

_SHOWN = 100
"""How many changes are shown in a notebook."""

_STYLES = {"add": ("+", "#1a7f37"), "remove": ("-", "#cf222e"), "replace": ("~", "#9a6700")}


@dataclass(frozen=True)
class Change:
    """One difference between two JSON states."""

    operation: Literal["add", "remove", "replace"]
    """What happened to the value: ``replace`` if there is another one in its place."""
    path: str
    """Where the value is, as a JSON Pointer (RFC 6901). Positions in arrays are those in the
    second state; for a value that was removed, its own position is that in the first.
    """
    before: str | None
    """The value in the first state, as JSON; for a value over 200 bytes, its beginning and its
    size.
    """
    after: str | None
    """The value in the second state, in the same form."""

    def __str__(self) -> str:
        sign, _ = _STYLES[self.operation]
        values = [value for value in (self.before, self.after) if value is not None]
        return _plain(f"{sign} {self.path or '(everything)'}: {' → '.join(values)}")


def _plain(text: str) -> str:
    """Escapes what would change how a terminal shows a line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class Diff:
    """What is different between two steps of a timeline. It is true if there is any difference.

    Iterating over it yields each :class:`Change` of JSON states. JSON is compared by value;
    elements of arrays, such as messages, are aligned. Each iteration compares the steps again,
    and holds only a small part of them in memory, so states can be large.

    Example::

        for change in timeline.diff(41, 42):
            print(change.operation, change.path, change.after)
    """

    before: int
    """The number of the first step."""
    after: int
    """The number of the second step."""
    kind: Literal["equal", "json", "text", "binary"]
    """How the states are compared: as JSON if both are, as text by line, or not at all."""

    def __init__(
        self, first: tuple[_persist.Diff, int, int], opens: Callable[[], _persist.Diff], locations: tuple[str, str]
    ) -> None:
        self._opens, self._locations = opens, locations
        self._first: _persist.Diff | None = first[0]
        self.before, self.after = first[1:]
        self.kind = first[0].kind()

    def _opened(self) -> _persist.Diff:
        """Returns the differences, to go through once."""
        first, self._first = self._first, None
        return self._opens() if first is None else first

    def __iter__(self) -> Iterator[Change]:
        for operation, path, before, after in self._opened():
            yield Change(operation, path, _shown(before), _shown(after))

    @property
    def changes(self) -> list[Change]:
        """All changes of JSON states."""
        return list(self)

    @property
    def summary(self) -> str:
        """What changed, in one line: ``+2 messages, ~agent/temperature``. For states that are
        not JSON, how they compare.
        """
        if self.kind == "json":
            return self._opened().summary() or "equal values, written differently"
        return {"equal": "equal", "text": "different text", "binary": "different bytes"}[self.kind]

    def patch(self) -> list[dict[str, Any]]:
        """Returns a JSON Patch (RFC 6902), which turns the first state into the second.

        Raises:
            PersistConfigurationError: The states are not both JSON.
        """
        if self.kind == "equal":
            return []
        if self.kind != "json":
            raise PersistConfigurationError(
                "only JSON states have a JSON Patch, and these are not both JSON",
                "invalid-argument",
                hint="use text() instead",
            )
        return cast("list[dict[str, Any]]", json.loads(self._all()))

    def text(self) -> str:
        """Returns the differences as text: one line for each change of JSON states, in which
        control characters are escaped; the hunks of a unified diff for text, as it is; and one
        sentence for other states.
        """
        if self.kind == "json":
            return "".join(f"{change}\n" for change in self)
        return self._all().decode()

    def _all(self) -> bytes:
        diff = self._opened()
        return b"".join(iter(diff.read, None))

    def __bool__(self) -> bool:
        if self.kind == "json":
            return next(iter(self), None) is not None
        return self.kind != "equal"

    def __str__(self) -> str:
        one, other = self._locations
        after = f"{self.after}" if one == other else f"{other}, step {self.after}"
        return f"{one}, step {self.before} → {after}: {self.summary}"

    def __repr__(self) -> str:
        return f"<Diff of {self}>"

    def _repr_html_(self) -> str:
        """Shows the first changes as a table in a notebook. Nothing of a state becomes HTML."""
        title = f"<p><b>{html.escape(str(self))}</b></p>"
        if self.kind != "json":
            return f"{title}<pre>{html.escape(self.text()[:100_000])}</pre>" if self.kind != "equal" else title
        rows, first = [], list(itertools.islice(self, _SHOWN + 1))
        for change in first[:_SHOWN]:
            sign, color = _STYLES[change.operation]
            cells = [sign, change.path or "(everything)", change.before or "", change.after or ""]
            shown = "".join(f'<td style="text-align: left">{html.escape(cell)}</td>' for cell in cells)
            rows.append(f'<tr style="color: {color}">{shown}</tr>')
        more = "<p>…</p>" if len(first) > _SHOWN else ""
        headings = "".join(f'<th style="text-align: left">{name}</th>' for name in ("", "path", "before", "after"))
        return f"{title}<table><tr>{headings}</tr>{''.join(rows)}</table>{more}"


def _shown(value: tuple[str, int | None] | None) -> str | None:
    if value is None:
        return None
    text, size = value
    return text if size is None else f"{text}… ({size:,} bytes)"
