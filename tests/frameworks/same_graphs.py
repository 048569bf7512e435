"""What the tests of ``PersistSaver`` share: the same graph runs on it and on LangGraph's own
checkpointer in memory, and everything that can be read from both is the same after each turn.

IDs, times and the random part of versions differ between two runs. Here, a checkpoint is named
after its namespace and its place there, and every other ID after the order in which it is met.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import pydantic
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Interrupt, StateSnapshot
from persist.langgraph import PersistSaver

CONFIG: Any = {"configurable": {"thread_id": "a-thread"}}

LIVES = os.environ.get("PERSIST_LIVES", "kept,read,closed,dropped").split(",")
"""What becomes of a saver after a turn: it is used for the next one, too; so it is, but all is read
with it first; it is closed, and the next turn has a new one; or there is a new one, and it is not
closed, as if its process had died.
"""

TIMES = {"ts", "created_at", "modified_at", "run_id"}
"""Fields that differ between two runs."""

_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{32}\b")

Build = Callable[[BaseCheckpointSaver[Any]], Any]
"""Makes a graph with a checkpointer."""

Turn = Callable[[Any, Any], Any]
"""Does something with a graph and a config, and returns what came out."""


def new_location() -> str:
    """Returns a folder or a prefix that nobody else uses."""
    below = os.environ.get("PERSIST_TEST_LOCATION") or tempfile.mkdtemp()
    return f"{below.rstrip('/')}/{uuid.uuid4().hex}"


def same(
    build: Build, *turns: Turn, life: str = "kept", config: Any = CONFIG, named: bool = False, **options: Any
) -> Any:
    """Takes the same turns with a graph on both checkpointers, and compares them after each.

    Args:
        build: Makes the graph.
        turns: The turns.
        life: What becomes of a saver after a turn.
        config: The thread.
        named: Give the later turns the ID of the latest checkpoint, too, as a client that got it
            after its last turn.
        options: Arguments of the saver.

    Returns:
        What came out of the turns, with the names of this module instead of IDs.
    """
    location = new_location()

    def opened() -> PersistSaver:
        return PersistSaver(location, **options)

    memory, saver = InMemorySaver(), opened()
    outcomes = []
    for number, turn in enumerate(turns):
        if number and life in ("closed", "dropped"):
            saver = opened()
        configs = [build(each).get_state(config).config if named and number else config for each in (memory, opened())]
        expected, found = (
            taken(build, each, turn, its_config) for each, its_config in zip((memory, saver), configs, strict=True)
        )
        seen, names = view(build(memory), config)
        outcomes.append(names.plain(expected))
        for who, reader in (("the same", saver), ("another", opened())):
            if who == "the same" and life == "kept" and turn is not turns[-1]:
                continue
            again, names = view(build(reader), config)
            assert_same(again, seen, f"after turn {number}, read by {who} saver")
        assert_same(names.plain(found), outcomes[-1], f"what came out of turn {number}")
        if life == "closed":
            saver.close()
    saver.close()
    with opened() as last:
        assert_same(view(build(last), config)[0], seen, "after the last saver was closed")
    return outcomes


def taken(build: Build, saver: BaseCheckpointSaver[Any], turn: Turn, config: Any) -> Any:
    """Takes a turn, and returns what came out."""
    try:
        return turn(build(saver), config)
    except Exception as error:  # The error of a node is an outcome, too.
        return f"raised {type(error).__name__}: {error}"


def assert_same(found: Any, expected: Any, where: str) -> None:
    """Fails with the smallest parts that differ."""
    if found != expected:
        raise AssertionError(f"{where}:\n" + "\n".join(differences(found, expected, "")))


def differences(found: Any, expected: Any, path: str) -> Iterator[str]:
    """Yields where two values differ."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in {**expected, **found}:
            if key not in found or key not in expected:
                what = "missing" if key not in found else "only here"
                yield f"  {path}.{key}: {what}: {found.get(key, expected.get(key))!r:.500}"
            elif found[key] != expected[key]:
                yield from differences(found[key], expected[key], f"{path}.{key}")
        if list(found) != list(expected) and found == expected:
            yield f"  {path}: another order"
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            if one != other:
                yield from differences(one, other, f"{path}[{place}]")
    elif found != expected:
        yield f"  {path}: found {found!r:.500}\n    expected {expected!r:.500}"


class Names:
    """The names of IDs."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.is_write = False
        """LangGraph may give a message its ID while what holds it is stored as a write."""

    def name(self, found: re.Match[str]) -> str:
        return self.known.setdefault(found[0], f"<{len(self.known)}>")

    def plain(self, value: Any) -> Any:
        """Returns a value as lists, dicts and text that can be compared."""
        if isinstance(value, str):
            return _ID.sub(self.name, value)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, enum.Enum):
            return [_kind(value), value.name]
        if isinstance(value, int | float):
            # A float may be no number, which is not equal to itself.
            return value if type(value) is int else [_kind(value), repr(value)]
        if isinstance(value, pydantic.BaseModel):
            fields = {**{name: getattr(value, name) for name in type(value).model_fields}, **(value.model_extra or {})}
            if self.is_write and isinstance(value, BaseMessage):
                del fields["id"]
            return {"class": _kind(value), **self.plain(fields)}
        if isinstance(value, StateSnapshot):
            return self.plain(value._asdict())
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return {"class": _kind(value), **self.plain(value._asdict())}
        if isinstance(value, Interrupt):
            return {"class": "Interrupt", "value": self.plain(value.value), "id": self.plain(value.id)}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {"class": _kind(value), **self.plain(fields)}
        if isinstance(value, Mapping):
            return {
                self.plain(key) if isinstance(key, str) else (_kind(key), repr(key)): self.plain(each)
                for key, each in value.items()
                if key not in TIMES
            }
        if isinstance(value, Set):
            return [_kind(value), *sorted(map(repr, value))]
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {value}"
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | range):
            parts = list(value)
            if parts and all(isinstance(each, Interrupt) for each in parts):
                # Parallel nodes interrupt in any order.
                parts.sort(key=lambda each: repr(each.value))
            plain = [self.plain(each) for each in parts]
            return plain if isinstance(value, list) else [_kind(value), *plain]
        if hasattr(value, "__slots__") and type(value).__module__.startswith("langgraph"):
            fields = {name: getattr(value, name) for name in value.__slots__ if hasattr(value, name)}
            return {"class": _kind(value), **self.plain(fields)}
        return [_kind(value), _ID.sub(self.name, repr(value))]


def view(graph: Any, config: Any) -> tuple[dict[str, Any], Names]:
    """Returns everything that can be read of a thread, and the names that are used in it."""
    names = Names()
    spaces: dict[str, list[CheckpointTuple]] = {}
    for found in graph.checkpointer.list(config):
        spaces.setdefault(found.config["configurable"]["checkpoint_ns"], []).insert(0, found)
    # Sub-graphs that ran in parallel are in the order of what they did.
    ordered = sorted(spaces.items(), key=lambda space: (_without_ids(space[0]), _story(space[1])))
    for number, (name, kept) in enumerate(ordered):
        for place, found in enumerate(kept):
            checkpoint_id = found.config["configurable"]["checkpoint_id"]
            names.known[checkpoint_id] = f"<{number}:{_without_ids(name)}@{place}>"
    seen: dict[str, Any] = {}
    for name, kept in ordered:
        seen[names.plain(name)] = [_checkpoint(found, names) for found in kept]
    return {
        "checkpoints": seen,
        "state": names.plain(graph.get_state(config, subgraphs=True)),
        "history": [names.plain(each) for each in graph.get_state_history(config)],
    }, names


def _checkpoint(found: CheckpointTuple, names: Names) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {**found.checkpoint}
    tasks: dict[str, int] = {}
    names.is_write = True
    writes = [
        # They are sorted by the path of their task.
        (tasks.setdefault(task, len(tasks)), channel, names.plain(value))
        for task, channel, value in found.pending_writes or []
    ]
    names.is_write = False
    return {
        "id": names.plain(found.config["configurable"]["checkpoint_id"]),
        "parent": names.plain(found.parent_config and found.parent_config["configurable"]["checkpoint_id"]),
        "metadata": names.plain(dict(sorted(found.metadata.items()))),
        "values": names.plain(dict(sorted(checkpoint.pop("channel_values").items()))),
        "versions": _numbers(checkpoint.pop("channel_versions")),
        "seen": {node: _numbers(seen) for node, seen in sorted(checkpoint.pop("versions_seen").items())},
        "rest": names.plain(dict(sorted(checkpoint.items()))),
        "writes": [list(write) for write in writes],
    }


def _numbers(versions: Mapping[str, Any]) -> dict[str, int]:
    return {channel: int(str(version).split(".")[0]) for channel, version in sorted(versions.items())}


def _story(kept: Sequence[CheckpointTuple]) -> str:
    values = [sorted(found.checkpoint["channel_values"].items()) for found in kept]
    writes = [[(channel, value) for _, channel, value in found.pending_writes or []] for found in kept]
    return _without_ids(repr((values, writes)))


def _without_ids(text: str) -> str:
    return _ID.sub("", text)


def _kind(value: Any) -> str:
    return type(value).__qualname__
