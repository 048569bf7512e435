"""Every value comes back from ``PersistSaver``, as plain data in between."""

from __future__ import annotations

import datetime
import math
import uuid
from pathlib import Path
from typing import Any

import numpy
import persist
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Send
from persist._langgraph import msgpack
from persist.langgraph import PersistSaver
from saver_calls import location, put, saver, thread

__all__ = ["location", "saver"]  # Fixtures.


VALUES = [
    None,
    b"bytes",
    bytearray(b"array"),
    2**64 - 1,
    -0.0,
    math.inf,
    "é\U0001f600",
    {"$": 1, "nested": {"$": [5, "a", "b"]}},
    {7: "int", 2.5: "float", None: "none", True: "bool"},
    {(1, (2, "x")): "tuple", (): {("nested",): 1}},
    {"b": b"$", "c": "$"},
    [HumanMessage("Hi", id="1"), AIMessage("", tool_calls=[{"name": "f", "args": {"$": 1}, "id": "x"}])],
    datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc),
    uuid.UUID(int=7),
    {1, 2},
    Send("node", {"message": HumanMessage("Hi")}),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_value_comes_back(saver: PersistSaver, value: Any) -> None:
    config = put(saver, thread(), 1, channel=value)
    saver.put_writes(config, [("channel", value)], "task")
    with PersistSaver(saver._threads.store._location) as other:
        found = other.get_tuple(thread())
    assert found is not None
    assert found.pending_writes is not None
    for back in (found.checkpoint["channel_values"]["channel"], found.pending_writes[0][2]):
        assert (type(back), back) == (type(value), value)


def test_nan_and_arrays_come_back(saver: PersistSaver) -> None:
    put(saver, thread(), 1, nan=math.nan, array=numpy.arange(6.0).reshape(2, 3))
    found = saver.get_tuple(thread())
    assert found is not None
    assert math.isnan(found.checkpoint["channel_values"]["nan"])
    assert (found.checkpoint["channel_values"]["array"] == numpy.arange(6.0).reshape(2, 3)).all()


def test_channels_may_have_any_name(saver: PersistSaver) -> None:
    names = ["$", "$$", "a/b", "", "é", "messages"]
    put(saver, thread(), 1, **{name: place for place, name in enumerate(names)})
    found = saver.get_tuple(thread())
    assert found is not None
    assert found.checkpoint["channel_values"] == {name: place for place, name in enumerate(names)}


def test_the_state_is_json_that_other_tools_read(saver: PersistSaver) -> None:
    put(saver, thread(), 1, messages=[HumanMessage("Hi")], data=b"\0")
    state = persist.Timeline(saver._threads.store._location, agent_id="langgraph", session_id="1").load()
    message = state["channel_values"]["messages"][0]
    assert (message["type"], message["content"]) == ("human", "Hi")
    assert state["channel_values"]["data"] == {"$": "bytes", "base64": "AA=="}


@pytest.mark.parametrize("text", ['{"$": "new"}', '{"$": [5]}', '{"$": "bytes"}', "{", '{"$": "map", "items": 1}'])
def test_a_form_that_is_not_known_is_damage(text: str) -> None:
    with pytest.raises(persist.PersistIntegrityError, match="not in the form that this version knows"):
        msgpack.loads(text.encode())


def test_another_state_in_the_place_of_a_checkpoint_is_named(saver: PersistSaver) -> None:
    persist.Timeline(saver._threads.store._location, agent_id="langgraph", session_id="1").append({"other": 1})
    with pytest.raises(persist.PersistIntegrityError, match="not a LangGraph checkpoint"):
        saver.get_tuple(thread())


def test_no_class_is_created_that_is_not_known(saver: PersistSaver, tmp_path: Path) -> None:
    class Unknown:
        def __init__(self, text: str) -> None:
            self.text = text

    made = JsonPlusSerializer().dumps_typed({"x": 1})
    assert made[0] == "msgpack"
    import ormsgpack

    evil = ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(["os", "system", f"touch {tmp_path}/evil"])))
    put(saver, thread(), 1, channel="x")
    space = saver._threads.namespace("1", "")
    state, _ = space.timeline._opened().native.load()
    text = msgpack.to_json(("msgpack", evil))
    space.timeline.append(state.replace(b'"channel":"x"', f'"channel":{text}'.encode()))
    found = saver.get_tuple(thread())
    assert found is not None
    assert found.checkpoint["channel_values"]["channel"] == f"touch {tmp_path}/evil"
    assert not (tmp_path / "evil").exists()
