"""One row of the matrix in docs/frameworks.md: what a framework's agent comes to
when one process saves it and another goes on with it.

Each cell is done twice. The first process begins, saves, and then goes on itself;
the second restores, and goes on with the same. Both have to come to the same, in
all that they were told and all that they hold. What is not the same is lost.
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
"""How many messages the last column has at least."""

PICTURE = bytes(range(256)) * 4
"""The bytes of a picture, which no text holds."""


class Cell(NamedTuple):
    """What is done in one cell; the functions may be ``async``."""

    begin: Callable[[], Any]
    """Makes an agent and runs it for a while: what is saved."""
    go_on: Callable[[Any], Any]
    """Runs an agent once more: what it comes to, as values of JSON. All that it held
    before and all that its model is told has to be in it; of what is new, no times
    and no ids that are random."""
    into: Callable[[], Any] | None = None
    """Makes what the snapshot is restored into."""
    save: Mapping[str, Any] = {}
    """More arguments of ``persist.asnapshot``."""
    restore: Mapping[str, Any] = {}
    """More arguments of ``persist.arestore``."""
    refused: str = ""
    """What the error says where the save is refused; empty where it is not."""
    note: str = ""
    """What the matrix says beside ``ok``, where there is more to say."""


def told(value: Any, but: Container[str] = ()) -> Any:
    """A value as one of JSON, without the fields of these names: bytes by their
    hash, instances by class and fields.
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
        return int(value)  # Frameworks make 0.0 of 0.
    if value is None or type(value) in (bool, int, float, str):
        return value
    fields = told(getattr(value, "__dict__", {"": repr(value)}), but)
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **fields}


def main(row: Mapping[str, Cell]) -> None:
    """Runs what the command line asks for: ``save LOCATION`` or ``restore LOCATION``,
    a prefix of keys. Restoring prints the row as JSON, as its last line: by column ``ok``, why the save
    was refused, or how what came out differs.
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
            # Of texts, not of paths.
            at = len(os.path.commonprefix([again, expected["live"]]))  # noqa: RUF071
            part = slice(max(0, at - 200), at + 200)
            came_to[column] = f"other: {again[part]}, and not {expected['live'][part]}"
    print(json.dumps(came_to))


async def _done(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
