"""The tools replace and delete nothing but snapshots, list what a filter asks for, and keep timelines."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .hosts import record
from .in_process import Tools
from .programs import STATE


@pytest.fixture(scope="module")
def tools() -> Tools:
    """The tools, compiled once."""
    return Tools()


def test_the_tools_replace_nothing_unless_asked(tools: Tools, tmp_path: Path) -> None:
    assert tools.snapshot(tmp_path, "a/1.json.gz", "first").key == "a/1.json.gz"
    first = (tmp_path / "a/1.json.gz").read_bytes()
    for replace in (None, False):
        refused = tools.snapshot(tmp_path, "a/1.json.gz", "second", replace=replace)
        assert refused.code == "already-exists"
        assert (tmp_path / "a/1.json.gz").read_bytes() == first
    tools.snapshot(tmp_path, "a/1.json.gz", "second", replace=True)
    assert tools.call(tmp_path, "restore", "a/1.json.gz") == "second"
    # `replace` also saves where there is nothing to replace.
    tools.snapshot(tmp_path, "a/2.json.gz", "third", replace=True)
    assert tools.call(tmp_path, "restore", "a/2.json.gz") == "third"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["1.json.gz", "2.json.gz"]


def test_the_tools_replace_and_delete_snapshots_alone(tools: Tools, tmp_path: Path) -> None:
    """Whatever else has the key stays as it is, and the message says why."""
    tools.snapshot(tmp_path, "whole.json.gz", STATE)
    whole = (tmp_path / "whole.json.gz").read_bytes()
    # One bit of the metadata.
    damaged = bytearray(whole)
    damaged[-300] ^= 1
    kept = {
        "notes.txt": b"written by hand",
        "other.json.gz": gzip.compress(b"{}"),
        "empty.json.gz": b"",
        "damaged.json.gz": bytes(damaged),
        "short.json.gz": whole[: len(whole) // 2],
    }
    for name, data in kept.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    codes = dict.fromkeys(("short.json.gz", "empty.json.gz"), "invalid-format")
    codes |= {"damaged.json.gz": "integrity", "folder": "invalid-key"}
    for name in (*kept, "folder"):
        expected = codes.get(name, "not-a-snapshot")
        assert tools.call(tmp_path, "get-metadata", name).code == expected, name
        refused = tools.snapshot(tmp_path, name, "{}", replace=True)
        assert (refused.code, "it was not replaced" in refused.message) == (expected, True), (name, vars(refused))
        refused = tools.call(tmp_path, "delete", name)
        assert (refused.code, "it was not deleted" in refused.message) == (expected, True), (name, vars(refused))
        assert tools.snapshot(tmp_path, name, "{}").code in ("already-exists", "invalid-key")
    # A file that only ends like a snapshot shows its metadata, but it is not a snapshot.
    length = int.from_bytes(whole[-58:-50], "little")
    program = b"fn main() {}\n".ljust(length, b"/") + whole[length:]
    for name, data in {"main.rs": program, "front.json.gz": whole[:20] + b"?" + whole[21:]}.items():
        (tmp_path / name).write_bytes(data)
        kept[name] = data
        assert tools.call(tmp_path, "get-metadata", name).key == name
        assert tools.snapshot(tmp_path, name, "{}", replace=True).code == "integrity"
        assert tools.call(tmp_path, "delete", name).code == "integrity"
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    assert tools.call(tmp_path, "delete", "none.json.gz").code == "not-found"
    assert tools.call(tmp_path, "delete", "whole.json.gz") is None
    assert not (tmp_path / "whole.json.gz").exists()


def test_the_tools_list_what_a_filter_wants(tools: Tools, tmp_path: Path) -> None:
    """Files that can't be read as snapshots are listed whatever the filter is."""
    for number in range(4):
        labels = [record({"name": "kind", "value": "even" if number % 2 == 0 else "odd"})]
        options = {"agent_id": f"agent-{number // 2}", "timestamp": f"2026-01-0{number + 1}T00:00:00Z"}
        tools.snapshot(tmp_path, f"{number}.json.gz", "{}", labels=labels, **options)
    (tmp_path / "notes.txt").write_text("written by hand")

    def listed(**wanted: object) -> list[str]:
        unset = dict.fromkeys(("agent-id", "session-id", "labels", "since", "until"))
        found = tools.call(tmp_path, "list", "", None, None, record({**unset, **wanted}))
        assert [entry.key for entry in found.unreadable] == ["notes.txt"]
        return [entry.key.split(".")[0] for entry in found.snapshots]

    assert listed() == ["0", "1", "2", "3"]
    assert listed(**{"agent-id": "agent-1"}) == ["2", "3"]
    assert listed(**{"session-id": "another"}) == []
    assert listed(labels=[record({"name": "kind", "value": "even"})]) == ["0", "2"]
    assert listed(since="2026-01-02T00:00:00Z", until="2026-01-03T01:00:00+01:00") == ["1"]
    wrong = record({**dict.fromkeys(("agent-id", "session-id", "labels", "until")), "since": "yesterday"})
    assert tools.call(tmp_path, "list", "", None, None, wrong).code == "invalid-argument"


CASE = "support/case-1"


def append_steps(tools: Tools, folder: Path, count: int) -> None:
    """Appends states of one day each, with the label ``kind``."""
    for number in range(1, count + 1):
        labels = [record({"name": "kind", "value": "even" if number % 2 == 0 else "odd"})]
        time = f"2026-01-{number:02}T00:00:00Z"
        step = tools.append_text(folder, CASE, f"state {number}", labels=labels, timestamp=time)
        assert step.number == number, vars(step)


def test_the_tools_load_the_step_that_a_text_names(tools: Tools, tmp_path: Path) -> None:
    append_steps(tools, tmp_path, 5)
    assert tools.call(tmp_path, "load", CASE, None) == "state 5"
    for step, number in {
        "latest": 5,
        "2": 2,
        "-1": 5,
        "-2": 4,
        "2026-01-03": 3,
        "2026-01-03T23:59+01:00": 3,
        "kind=even": 4,
    }.items():
        assert tools.call(tmp_path, "load", CASE, step) == f"state {number}", step
    # A slash at the end makes no difference.
    assert tools.call(tmp_path, "load", CASE + "/", "1") == "state 1"
    newest = tools.call(tmp_path, "history", CASE, None, 1, None).steps[0]
    # The last folders name the agent and the session, and the key of a step is that of a snapshot.
    metadata = vars(newest.metadata)
    assert (metadata["agent-id"], metadata["session-id"], metadata["snapshot-index"]) == ("support", "case-1", 5)
    assert tools.call(tmp_path, "restore", newest.metadata.key) == "state 5"
    verified = vars(tools.call(tmp_path, "verify", newest.metadata.key))
    assert verified["content-hash"] == metadata["content-hash"]
    own = tools.append_text(tmp_path, CASE, "state 6", agent_id="a", session_id="b").metadata
    assert (vars(own)["agent-id"], vars(own)["session-id"]) == ("a", "b")
    # Without options, and in a folder without a parent.
    alone = tools.call(tmp_path, "append", "case-2", "state", None).metadata
    assert (vars(alone)["agent-id"], vars(alone)["session-id"]) == ("default_agent", "case-2")


def test_the_tools_say_why_there_is_no_step(tools: Tools, tmp_path: Path) -> None:
    append_steps(tools, tmp_path, 2)
    for step, code in {
        "3": "not-found",
        "-3": "not-found",
        "2025-12-31": "not-found",
        "kind=other": "not-found",
        "0": "invalid-argument",
        "": "invalid-argument",
        "the last one": "invalid-argument",
    }.items():
        refused = tools.call(tmp_path, "load", CASE, step)
        assert refused.code == code, (step, vars(refused))
    message = tools.call(tmp_path, "load", CASE, "the last one").message
    assert message.startswith("'the last one' does not select a step (use a number, latest")
    for folder, code in {"support/none": "not-found", "../support": "invalid-key"}.items():
        assert tools.call(tmp_path, "load", folder, "2").code == code
        assert tools.call(tmp_path, "history", folder, None, None, None).code == code
    assert tools.append_text(tmp_path, "../support", "x").code == "invalid-key"
    assert tools.append_text(tmp_path, CASE, "x", timestamp="yesterday").code == "invalid-argument"
    assert [step.number for step in tools.call(tmp_path, "history", CASE, None, None, None).steps] == [2, 1]


def test_two_agents_append_with_the_tools(tools: Tools, tmp_path: Path) -> None:
    """One of them gets the number. The other fails, and nothing is appended; or it takes the next number."""

    def append(on_conflict: str | None) -> list[Any]:
        """Appends several states at the same time."""

        def one(number: int) -> Any:
            return tools.append_text(tmp_path, CASE, f"state {number}", on_conflict=on_conflict)

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(one, range(8)))

    numbers: list[int] = []
    lost: list[Any] = []
    # Whether they meet is a matter of luck, so they try until they do.
    for _ in range(50):
        for answer in append(None) + append("fail"):
            if hasattr(answer, "number"):
                numbers.append(answer.number)
            else:
                lost.append(answer)
        if lost:
            break
    assert {error.code for error in lost} == {"already-exists"}
    assert "another writer has appended step" in lost[0].message
    assert "load the newest step" in lost[0].message
    numbers += [answer.number for answer in append("rebase")]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


def test_the_tools_keep_the_steps_of_a_timeline(tools: Tools, tmp_path: Path) -> None:
    """Nothing that works on snapshots replaces or deletes a step."""
    append_steps(tools, tmp_path, 2)
    before = {path.name: path.read_bytes() for path in (tmp_path / CASE).iterdir()}
    for name in ("000000000001.step", "000000000003.step", "head", "000000000002.hidden"):
        for replace in (True, False):
            refused = tools.snapshot(tmp_path, f"{CASE}/{name}", "{}", replace=replace)
            assert refused.code in ("invalid-argument", "not-a-snapshot", "already-exists"), (name, vars(refused))
        deleted = tools.call(tmp_path, "delete", f"{CASE}/{name}")
        assert deleted.code in ("unsupported", "not-found", "not-a-snapshot"), (name, vars(deleted))
    assert {path.name: path.read_bytes() for path in (tmp_path / CASE).iterdir()} == before


def test_the_tools_list_the_history_page_by_page(tools: Tools, tmp_path: Path) -> None:
    append_steps(tools, tmp_path, 7)

    def listed(before: int | None = None, limit: int | None = None, **wanted: object) -> tuple[Any, ...]:
        unset = dict.fromkeys(("agent-id", "session-id", "labels", "since", "until"))
        page = tools.call(tmp_path, "history", CASE, before, limit, record({**unset, **wanted}))
        return [step.number for step in page.steps], [step.number for step in page.unreadable], page.next

    assert listed() == ([7, 6, 5, 4, 3, 2, 1], [], None)
    assert listed(limit=3) == ([7, 6, 5], [], 5)
    assert listed(before=5, limit=3) == ([4, 3, 2], [], 2)
    assert listed(before=2, limit=3) == ([1], [], None)
    assert listed(before=1) == ([], [], None)
    assert listed(labels=[record({"name": "kind", "value": "even"})], limit=2) == ([6, 4], [], 4)
    assert listed(since="2026-01-02T00:00:00Z", until="2026-01-04T00:00:00Z") == ([3, 2], [], None)
    # A damaged step is listed whatever the filter is.
    damaged = tmp_path / CASE / "000000000005.step"
    damaged.write_bytes(damaged.read_bytes()[:-20] + bytes(20))
    assert listed(labels=[record({"name": "kind", "value": "even"})]) == ([6, 4, 2], [5], None)
    assert tools.call(tmp_path, "load", CASE, "5").code == "integrity"
    for limit in (0, 1001):
        assert tools.call(tmp_path, "history", CASE, None, limit, None).code == "invalid-argument"


def test_the_tools_say_what_is_different(tools: Tools, tmp_path: Path) -> None:
    tools.append_text(tmp_path, CASE, '{"messages": ["Hello"]}')
    tools.append_text(tmp_path, CASE, '{"messages": ["Hello", "How can I help?"]}')
    tools.snapshot(tmp_path, "notes@1.gz", "one\ntwo\n")
    tools.snapshot(tmp_path, "notes.gz", "one\n2\n")

    def compared(before: str, after: str, most: int | None = None) -> tuple[str, str, bool]:
        found = tools.call(tmp_path, "diff", before, after, most)
        return found.kind, found.text, vars(found)["is-cut"]

    kind, text, is_cut = compared(f"{CASE}@1", f"{CASE}@latest")
    assert (kind, is_cut) == ("json", False)
    assert json.loads(text) == [{"op": "add", "path": "/messages/1", "value": "How can I help?"}]
    assert compared(f"{CASE}@-2", f"{CASE}/000000000001.step") == ("equal", "", False)
    # There is an object with this key, so the @ is a part of it.
    assert compared("notes@1.gz", "notes.gz") == ("text", "@@ -1,2 +1,2 @@\n one\n-two\n+2\n", False)
    assert compared("notes@1.gz", "notes.gz", 10) == ("text", "@@ -1,2 +1", True)
    tools.snapshot(tmp_path, "euro.gz", "\u20ac\n")
    text = compared("notes.gz", "euro.gz")[1]
    most = len(text.encode()) - 2
    # No character is cut in two.
    assert compared("notes.gz", "euro.gz", most) == ("text", text[:-2], True)
    (tmp_path / "other.gz").write_bytes(b"no snapshot")
    refused: list[tuple[str, str, int | None, str]] = [
        (f"{CASE}@3", f"{CASE}@1", None, "not-found"),
        ("none@1", "notes.gz", None, "not-found"),
        (f"{CASE}@soon", f"{CASE}@1", None, "invalid-argument"),
        ("notes.gz", "none.gz", None, "not-found"),
        ("notes.gz", "other.gz", None, "not-a-snapshot"),
        ("notes.gz", "notes.gz", 0, "invalid-argument"),
        ("notes.gz", "notes.gz", (1 << 20) + 1, "invalid-argument"),
    ]
    for before, after, limit, code in refused:
        assert tools.call(tmp_path, "diff", before, after, limit).code == code, (before, after, limit)
