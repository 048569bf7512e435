"""Snapshots crafted by somebody who knows the format: the digest is right, but what it covers
is not.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import craft
import persist
import pytest

MANY_BLOCKS = 3_000_000
OTHER_HASH = hashlib.sha256(b"another state").hexdigest()


def crafted(path: Path, change: Callable[[craft.Parts], None]) -> None:
    """Changes a snapshot so that all other parts still agree."""
    parts = craft.take_apart(path.read_bytes())
    change(parts)
    path.write_bytes(craft.put_together(parts))


def with_another_hash(parts: craft.Parts) -> None:
    parts.document["metadata"]["content_hash"] = OTHER_HASH


@pytest.mark.parametrize("name", ["x.json.gz", "x.json.zst"])
@pytest.mark.parametrize("size", [0, 10, MANY_BLOCKS])
def test_taking_a_snapshot_apart_and_putting_it_together_changes_nothing(name: str, size: int, folder: Path) -> None:
    """Proves that the writer of these tests is right."""
    persist.Store(".").save_bytes(os.urandom(size), name, labels={"é": "x" * 20_000})
    before = (folder / name).read_bytes()
    crafted(folder / name, lambda parts: None)
    assert (folder / name).read_bytes() == before


@dataclasses.dataclass
class Agent:
    step: int = 0
    text: str = ""


def pieces(file: persist.SnapshotReader, size: int) -> bytes:
    return b"".join(iter(lambda: file.read(size), b""))


def fills(file: persist.SnapshotReader) -> None:
    # A reader that knows the length of the state never reads past its end.
    buffer = bytearray(file.metadata.uncompressed_size)
    assert file.readinto(buffer) == len(buffer)


async def read_async(store: persist.AsyncStore, name: str) -> bytes:
    async with store.open(name) as file:
        return await file.read(file.metadata.uncompressed_size)


def readers(name: str) -> dict[str, Callable[[], Any]]:
    """Returns all ways to read a state."""
    store, twin = persist.Store("."), persist.AsyncStore(".")
    agent = Agent(7)

    def into() -> None:
        try:
            persist.restore(name, into=agent)
        except persist.PersistError:
            assert agent == Agent(7)
            raise

    return {
        "restore": lambda: persist.restore(name),
        "restore into a class": lambda: persist.restore(name, into=Agent),
        "restore into an instance": into,
        "restore, plain": lambda: persist.restore(name, plain=True),
        "arestore": lambda: asyncio.run(persist.arestore(name)),
        "verify_snapshot": lambda: persist.verify_snapshot(name),
        "averify_snapshot": lambda: asyncio.run(persist.averify_snapshot(name)),
        "Store.restore": lambda: store.restore(name),
        "Store.verify": lambda: store.verify(name),
        "Store.load_bytes": lambda: store.load_bytes(name),
        "Store.open, all": lambda: store.open(name).read(),
        "Store.open, in pieces": lambda: pieces(store.open(name), 1000),
        "Store.open, as text": lambda: io.TextIOWrapper(store.open(name)).read(),
        "Store.open, just its size": lambda: fills(store.open(name)),
        "AsyncStore.restore": lambda: asyncio.run(twin.restore(name)),
        "AsyncStore.load_bytes": lambda: asyncio.run(twin.load_bytes(name)),
        "AsyncStore.open, just its size": lambda: asyncio.run(read_async(twin, name)),
    }


@pytest.mark.parametrize("name", ["x.json.gz", "x.json.zst"])
@pytest.mark.parametrize("size", [10, MANY_BLOCKS])
def test_a_state_that_was_never_saved_is_refused(name: str, size: int, folder: Path) -> None:
    persist.snapshot(Agent(1, "x" * size), name)
    for read in readers(name).values():
        read()
    crafted(folder / name, with_another_hash)
    for way, read in readers(name).items():
        with pytest.raises(persist.PersistIntegrityError) as refused:
            read()
        assert refused.value.code == "integrity", way
        assert Path(refused.value.location or "") == Path(name), way
    # This reads only the metadata.
    assert persist.get_metadata(name).content_hash == OTHER_HASH


@pytest.mark.parametrize("name", ["x.gz", "x.zst"])
def test_the_last_bytes_of_a_wrong_state_are_never_returned(name: str, folder: Path) -> None:
    """For example with pickle, which stops at the end of its own data."""
    store = persist.Store(".")
    value = os.urandom(MANY_BLOCKS)
    store.save_bytes(pickle.dumps(value), name)
    with store.open(name) as file:
        assert pickle.load(file) == value
    crafted(folder / name, with_another_hash)
    with store.open(name) as file, pytest.raises(persist.PersistIntegrityError):
        pickle.load(file)
    # The blocks before the end are checked separately.
    with store.open(name) as file:
        assert file.read(100_000) == pickle.dumps(value)[:100_000]


@pytest.mark.parametrize("name", ["x.json.gz", "x.json.zst"])
@pytest.mark.parametrize("size", [10, MANY_BLOCKS])
def test_a_failed_restore_to_a_file_leaves_no_file(name: str, size: int, folder: Path) -> None:
    persist.snapshot({"text": "x" * size}, name)
    crafted(folder / name, with_another_hash)
    (folder / "earlier").write_text("earlier")
    for target in ("none", "earlier"):
        command = [sys.executable, "-m", "persist", "restore", name, "--output", target]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 5, done
        assert "Integrity error" in done.stderr
    assert sorted(os.listdir()) == ["earlier", name]
    assert (folder / "earlier").read_text() == "earlier"


def test_the_error_names_another_kind_of_object(folder: Path) -> None:
    persist.snapshot({"a": 1}, "x.gz")
    crafted(folder / "x.gz", lambda parts: parts.document.update(kind="chunk"))
    calls: list[Callable[[str], Any]] = [persist.restore, persist.verify_snapshot, persist.get_metadata]
    for call in calls:
        with pytest.raises(persist.PersistWrongKindError, match="chunk") as wrong:
            call("x.gz")
        assert (wrong.value.code, wrong.value.location) == ("wrong-kind", "x.gz")
        assert isinstance(wrong.value, persist.PersistIntegrityError)
    with pytest.raises(persist.PersistWrongKindError):
        persist.list_snapshots(errors="raise")
    with pytest.warns(persist.PersistWarning, match="x.gz"):
        assert persist.list_snapshots() == []


@pytest.mark.parametrize("name", ["x.json.gz", "x.json.zst"])
def test_the_metadata_says_whether_a_seal_was_checked(name: str, folder: Path) -> None:
    saved = persist.snapshot({"a": 1}, name)
    assert (saved.kind, saved.seal, saved.encryption) == ("snapshot", "none", "none")
    assert (saved["kind"], saved["seal"], saved["encryption"]) == ("snapshot", "none", "none")

    def sealed(parts: craft.Parts) -> None:
        parts.seal = b"a signature of a kind that is not known here"

    crafted(folder / name, sealed)
    found = persist.get_metadata(name)
    assert (found.kind, found.seal, found.encryption) == ("snapshot", "not-checked", "none")
    assert found.digest != saved.digest
    assert found.content_hash == saved.content_hash
    assert persist.restore(name) == {"a": 1}
    assert persist.verify_snapshot(name)
    assert [listed.seal for listed in persist.list_snapshots()] == ["not-checked"]


@pytest.mark.parametrize("field", [{"seal": "checked"}, {"encryption": "age"}, {"kind": "snapshot"}])
def test_a_snapshot_cannot_claim_to_be_sealed(field: dict[str, str], folder: Path) -> None:
    persist.snapshot({"a": 1}, "x.gz")
    crafted(folder / "x.gz", lambda parts: parts.document["metadata"].update(field))
    with pytest.raises(persist.PersistIntegrityError) as refused:
        persist.get_metadata("x.gz")
    assert refused.value.code == "invalid-format"
    with pytest.raises(persist.PersistConfigurationError):
        place, key = persist._persist.locate("y", {})
        place.save_bytes(key, b"{}", {"extra": json.dumps(field)})
    assert not persist.snapshot_exists("y")
