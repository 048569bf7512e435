"""Differences between the steps of a timeline."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import persist
import pytest


@pytest.fixture
def timeline() -> persist.Timeline:
    timeline = persist.Timeline("agents", agent_id="support", session_id="case-1")
    timeline.append({"messages": ["Hello"], "agent": {"temperature": 0.2}, "old": [1]})
    timeline.append({"messages": ["Hello", "<b>Hi</b>", "é" * 300], "agent": {"temperature": 0.7}})
    return timeline


def test_changes_are_listed(timeline: persist.Timeline) -> None:
    diff = timeline.diff()
    assert (diff.before, diff.after, diff.kind) == (1, 2, "json")
    found = {(change.operation, change.path): (change.before, change.after) for change in diff}
    assert found.pop(("remove", "/old")) == ("[1]", None)
    assert found.pop(("replace", "/agent/temperature")) == ("0.2", "0.7")
    assert found.pop(("add", "/messages/1")) == (None, '"<b>Hi</b>"')
    (operation, path), (before, after) = found.popitem()
    assert (operation, path, before) == ("add", "/messages/2", None)
    assert after is not None
    assert after.startswith('"é')
    assert after.endswith(" bytes)")
    assert not found
    assert diff.changes == list(diff), "each iteration has all of them"
    assert diff
    assert len(diff.text().splitlines()) == 4
    assert "~ /agent/temperature: 0.2 → 0.7\n" in diff.text()


def test_a_diff_shows_itself(timeline: persist.Timeline) -> None:
    diff = timeline.diff(1, 2)
    summary = "-old, +2 messages, ~agent/temperature"
    assert repr(diff) == f"<Diff of {timeline.location}, step 1 → 2: {summary}>"
    shown = diff._repr_html_()
    assert summary in shown
    assert "/agent/temperature" in shown
    assert "&lt;b&gt;Hi" in shown
    assert "<b>Hi" not in shown, "nothing of a state is HTML"
    for number in range(200):
        timeline.append({str(index): index for index in range(number % 2, 150 * (number % 2) + 1)})
    assert timeline.diff()._repr_html_().count("<tr ") == 100


def test_a_patch_is_one_of_rfc_6902(timeline: persist.Timeline) -> None:
    patch = timeline.diff(1, 2).patch()
    assert {"op": "replace", "path": "/agent/temperature", "value": 0.7} in patch
    assert {"op": "remove", "path": "/old"} in patch
    state: Any = timeline.load(at=1)
    for operation in patch:
        *parents, name = operation["path"].split("/")[1:]
        place = state
        for parent in parents:
            place = place[parent]
        if operation["op"] == "remove":
            del place[name]
        elif isinstance(place, list):
            place.insert(int(name), operation["value"])
        else:
            place[name] = operation["value"]
    assert state == timeline.load(at=2)
    assert timeline.diff(2, 1).patch() != patch


def test_steps_are_selected_as_elsewhere(timeline: persist.Timeline) -> None:
    one, other = timeline.at(1), timeline.at(2)
    assert timeline.diff(one, other).changes == timeline.diff(1, "latest").changes == timeline.diff(-2, -1).changes
    diff = timeline.diff()
    timeline.append({"messages": []})
    assert (diff.before, diff.after) == (1, 2)
    assert diff.changes == timeline.diff(1, 2).changes, "later steps change nothing"
    with pytest.raises(persist.PersistNotFoundError, match="no step 9"):
        timeline.diff(1, 9)
    with pytest.raises(persist.PersistTypeError):
        timeline.diff(None, [])  # type: ignore[arg-type]


def test_other_states_are_compared_as_text_or_not_at_all(timeline: persist.Timeline) -> None:
    timeline.append_bytes(b"one\ntwo\n")
    timeline.append_bytes(b"one\n2\n")
    diff = timeline.diff()
    assert (diff.kind, diff.text()) == ("text", "@@ -1,2 +1,2 @@\n one\n-two\n+2\n")
    assert list(diff) == []
    assert diff
    assert "+2" in diff._repr_html_()
    with pytest.raises(persist.PersistConfigurationError, match="only JSON states"):
        diff.patch()
    timeline.append_bytes(b"\xff")
    assert timeline.diff().text() == "Binary states differ: 6 bytes and 1 bytes\n"
    assert timeline.diff().summary == "different bytes"
    same = timeline.diff(-1, -1)
    assert (same.kind, same.patch(), same.text(), bool(same)) == ("equal", [], "", False)
    assert "equal" in same._repr_html_()


def test_equal_values_are_no_difference(timeline: persist.Timeline) -> None:
    state = timeline.load(at=1)
    timeline.append_bytes(json.dumps(state, indent=2).encode())
    diff = timeline.diff(1, -1)
    assert (diff.kind, diff.changes, diff.patch(), bool(diff)) == ("json", [], [], False)
    assert diff.summary == "equal values, written differently"


def test_asyncio_programs_compare_steps(timeline: persist.Timeline) -> None:
    async def compare() -> None:
        diff = await timeline.to_async().diff(1, 2)
        assert len(await asyncio.to_thread(diff.patch)) == 4

    asyncio.run(compare())


def test_what_is_printed_has_no_control_characters() -> None:
    timeline = persist.Timeline("agents", session_id="1")
    timeline.append({"a": 1})
    timeline.append({"a": "\u009b31m\u202e", "\x1b[31m é日": 2})
    diff = timeline.diff(1, 2)
    for text in (diff.text(), *map(str, diff), str(diff), repr(diff)):
        assert not {"\x1b", "\u009b", "\u202e"} & set(text), ascii(text)
    assert "é日" in diff.text()
