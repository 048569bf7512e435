"""States that adapters make while they are written, in a thread, or without a call for each
instance.
"""

from __future__ import annotations

import asyncio
import copy
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import persist
import pydantic
import pytest
from persist import _agents, _persist, _registry
from persist._adapter import PartAdapter


def test_items_are_written_while_they_are_made() -> None:
    def parts() -> Iterator[list[Any]]:
        for number in range(3):
            made.append(number)
            yield [number, {"a": (number,)}]

    made: list[int] = []
    items = _persist.Items(parts())
    assert made == []
    written = _persist.encode({"before": 1, "items": items})
    assert _persist.decode(written, lambda kind, fields: fields) == {
        "before": 1,
        "items": [item for number in range(3) for item in (number, {"a": (number,)})],
    }
    assert _persist.encode(_persist.Items([])) == b"[]"
    with pytest.raises(ValueError, match="were already taken"):
        _persist.encode(items)


class Lazy(persist.Adapter):
    """An adapter that makes its items while they are written."""

    name = "lazy"
    package = "pytest"
    module = "pytest"

    def __init__(self, *parts: Any) -> None:
        self.parts, self.threads = parts, set[int]()

    def accepts(self, agent: Any) -> bool:
        return type(agent) is Lazy

    def _made(self, parts: Iterable[Any]) -> Iterator[list[Any]]:
        for part in parts:
            self.threads.add(threading.get_ident())
            if isinstance(part, Exception):
                raise part
            yield part

    def save(self, agent: Any) -> Any:
        return _agents.items(self, self._made(agent.parts))

    def restore(self, state: Any, into: Any = None) -> Any:
        return state


def test_a_failure_while_writing_stores_nothing() -> None:
    store = persist.Store("memory://lazy")
    failing = Lazy([1] * 1_000_000, OSError("disk gone"))
    persist.register_adapter(failing)
    with pytest.raises(OSError, match="disk gone") as gone:
        store.snapshot(failing, "x")
    assert not store.exists("x")
    if sys.version_info >= (3, 11):
        assert any("failed to save the agent" in note for note in gone.value.__notes__)
    with pytest.raises(persist.PersistTypeError, match=r"at state\[2\]"):
        store.snapshot(Lazy([1], [2, object()]), "x")
    assert not store.exists("x")
    store.snapshot(Lazy([1], [2, {"a": 3}]), "x", check=True)
    assert json.loads(store.load_bytes("x")) == [1, 2, {"a": 3}]


def test_a_private_value_gives_the_same_json() -> None:
    value = {"a": ["x" * 1000] * 2000, "b": b"x" * 1_000_000}
    assert _persist.encode(value, None, True) == _persist.encode(value)


class Copied(Lazy):
    """An adapter whose agents can be copied."""

    name = "copied"

    def accepts(self, agent: Any) -> bool:
        return type(agent) is Copied

    def copied(self, agent: Any) -> Any:
        copied = copy.copy(agent)
        copied.parts = [list(part) for part in agent.parts]
        return copied


def test_a_copy_is_written_in_a_thread() -> None:
    async def saves() -> None:
        agent = Copied([1], [2])
        persist.register_adapter(adapter := Copied())
        saving = asyncio.ensure_future(persist.asnapshot(agent, "memory://lazy/copied"))
        await asyncio.sleep(0)
        agent.parts[0].append("later")
        saved = await saving
        assert saved.adapter is not None
        assert saved.adapter["type"].endswith("Copied")
        assert threading.get_ident() not in adapter.threads
        assert adapter.threads
        assert await persist.arestore("memory://lazy/copied") == [1, 2]

    asyncio.run(saves())


class Note(pydantic.BaseModel):
    text: str


class Formed(PartAdapter):
    """An adapter whose instances are written without a call for each."""

    name = "formed"
    package = "pytest"
    module = "pytest"

    def __init__(self) -> None:
        self.looked_at = 0

    def accepts(self, agent: Any) -> bool:
        return isinstance(agent, Note)

    def form(self, cls: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"text": ...}

    def save_part(self, value: Any) -> dict[str, Any]:
        self.looked_at += 1
        return {"value": {"text": value.text}}

    def restore_part(self, fields: dict[str, Any], options: Any) -> Any:
        return Note(**fields["value"])


class Choosy(Formed):
    """An adapter that accepts only some instances."""

    name = "choosy"

    def accepts(self, agent: Any) -> bool:
        return isinstance(agent, Note) and agent.text == "mine"


def test_an_adapter_that_is_asked_first_gets_what_it_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_registry, "_adapters", dict(_registry._adapters))
    choosy, formed = Choosy(), Formed()
    notes = [Note(text="a"), Note(text="mine")]
    persist.register_adapter(formed)
    assert [part["adapter"] for part in json.loads(_persist.encode(notes))] == ["formed", "formed"]
    assert formed.looked_at == 0
    monkeypatch.setattr(_registry, "_adapters", {"choosy": choosy, **_registry._adapters})
    assert [part["adapter"] for part in json.loads(_persist.encode(notes))] == ["formed", "choosy"]
    assert formed.looked_at == 1
