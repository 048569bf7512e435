"""Makes one row of the matrix in docs/frameworks.md: what becomes of a framework's agent when
one process saves it and another one continues with it.

Each cell runs twice. The first process starts an agent, saves it, and then continues with it;
the second process restores it and continues in the same way. Both have to reach the same
result, in everything that they were told and everything that they hold. A difference means
that something was lost.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple

import persist

COLUMNS = ("plain", "tool call", "approval", "multi-modal", "custom class", "5,000 messages")

MANY = 5000
"""The smallest number of messages in the last column."""

PICTURE = bytes(range(256)) * 4
"""The bytes of an image, which can't be text."""


class Cell(NamedTuple):
    """The steps of one cell. The functions may be ``async``."""

    begin: Callable[[], Any]
    """Makes an agent and runs it for a while. The result is saved."""
    go_on: Callable[[Any], Any]
    """Runs an agent once more and returns the result as JSON values: everything that it held
    before and everything that its model was told. New parts are without times and random IDs.
    """
    into: Callable[[], Any] | None = None
    """Makes what the snapshot is restored into."""
    save: Mapping[str, Any] = {}
    """More arguments of ``persist.asnapshot``."""
    restore: Mapping[str, Any] = {}
    """More arguments of ``persist.arestore``."""
    refused: str = ""
    """Part of the error if the save is refused, else empty."""
    note: str = ""
    """A note in the matrix after ``ok``."""


def told(value: Any, but: Container[str] = ()) -> Any:
    """Returns a value as a JSON value, without the fields with these names. Bytes become their
    hash, and instances their class and fields.
    """
    if isinstance(value, enum.Enum):
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}", "name": value.name}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, Mapping):
        return {str(name): told(item, but) for name, item in value.items() if name not in but}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *(told(item, but) for item in value)]
    if type(value) is float and value.is_integer():
        return int(value)  # Frameworks turn 0 into 0.0.
    if value is None or type(value) in (bool, int, float, str):
        return value
    fields = told(getattr(value, "__dict__", {"": repr(value)}), but)
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **fields}


def main(row: Mapping[str, Cell]) -> None:
    """Runs the command line: ``save LOCATION`` or ``restore LOCATION``, where the location is a
    prefix of keys. Restoring prints the row as JSON in its last line: for each column ``ok``, why
    the save was refused, or how the results differ.
    """
    assert tuple(row) == COLUMNS, list(row)
    what, location = sys.argv[1:]
    asyncio.run({"save": _save, "restore": _restore}[what](row, location))


async def _save(row: Mapping[str, Cell], location: str) -> None:
    for number, (column, cell) in enumerate(row.items()):
        agent = await _done(cell.begin())
        expected: dict[str, Any] = {}
        try:
            saved = await persist.asnapshot(agent, f"{location}/{number}", **cell.save)
        except persist.PersistError as error:
            expected["refused"] = str(error)
        else:
            expected["size"] = saved.uncompressed_size
            expected["live"] = json.dumps(await _done(cell.go_on(agent)))
        says = expected.get("refused", "")
        assert bool(cell.refused) == bool(says), f"{column}: {says!r}"
        assert cell.refused in says, f"{column}: {says}"
        await persist.asnapshot(expected, f"{location}/{number}.expected")


async def _restore(row: Mapping[str, Cell], location: str) -> None:
    came_to = {}
    for number, (column, cell) in enumerate(row.items()):
        expected = await persist.arestore(f"{location}/{number}.expected")
        if "refused" in expected:
            came_to[column] = f"refused at save: {expected['refused']}"
            continue
        into = None if cell.into is None else await _done(cell.into())
        agent = await persist.arestore(f"{location}/{number}", into=into, **cell.restore)
        again = json.dumps(await _done(cell.go_on(agent)))
        if again == expected["live"]:
            came_to[column] = f"ok: {cell.note}" if cell.note else "ok"
        else:
            # The prefix of texts, not of paths.
            at = len(os.path.commonprefix([again, expected["live"]]))  # noqa: RUF071
            part = slice(max(0, at - 200), at + 200)
            came_to[column] = f"other: {again[part]}, and not {expected['live'][part]}"
    print(json.dumps(came_to))


async def _done(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
