"""The tools replace and delete nothing but snapshots, and list what a filter asks for."""

from __future__ import annotations

import gzip
from pathlib import Path

from .hosts import Tools, record
from .programs import STATE


def test_the_tools_replace_nothing_unless_asked(tmp_path: Path) -> None:
    tools = Tools()
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


def test_the_tools_replace_and_delete_snapshots_alone(tmp_path: Path) -> None:
    """Whatever else has the key stays as it is, and the message says why."""
    tools = Tools()
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


def test_the_tools_list_what_a_filter_wants(tmp_path: Path) -> None:
    """Files that can't be read as snapshots are listed whatever the filter is."""
    tools = Tools()
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
