"""A store as its users see it: sessions, a mapping, copies."""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import pickle
import threading
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import persist
import pytest
from persist import _persist
from storages import DictStorage

NAMES = json.loads((Path(__file__).parents[1] / "names.json").read_text())


@pytest.fixture
def store(tmp_path: Path) -> persist.Store:
    return persist.Store(tmp_path / "agents")


def old(days: int) -> datetime:
    return datetime.now(timezone.utc) - timedelta(days=days)


def first_hour(store: persist.Store) -> None:
    """Saves three agents over ten sessions, and does what a user does first."""
    agents = ["support", "billing", "Research"]
    for session in range(1, 11):
        for step in range(2):
            saved = store.save(
                {"session": session, "step": step},
                agent_id=agents[session % 3],
                session_id=f"case-{session}",
                labels={"final": "yes"} if step else None,
                timestamp=old(30) if session == 10 else None,
            )
            assert saved.snapshot_index == step
    assert len(store) == 20
    assert "billing/case-1/0.json.zst" in store
    latest = store.latest(session_id="case-7")
    assert latest is not None
    assert latest.key == "billing/case-7/1.json.zst"
    assert store.restore(latest) == {"session": 7, "step": 1} == store[latest.key]
    assert [found.session_id for found in store.list(labels={"final": "yes"}, agent_id="Research")] == [
        "case-2",
        "case-5",
        "case-8",
    ]
    assert store.verify(latest)
    assert [found.session_id for found in store.list(until="7d")] == ["case-10", "case-10"]
    for found in store.list(until=timedelta(days=7)):
        store.delete(found)
    assert len(store) == 18
    assert store.latest(session_id="case-10") is None


def test_the_first_hour_of_a_user(store: persist.Store) -> None:
    first_hour(store)


@pytest.mark.usefixtures("s3")
def test_the_first_hour_of_a_user_with_a_bucket() -> None:
    first_hour(persist.Store("s3://my-bucket/agents"))


def test_keys_are_those_of_the_command(store: persist.Store) -> None:
    for text, name in NAMES:
        assert _persist.folder_name(text) == name
        assert _persist.id_of(name) == (None if "~" in name else text)
    for agent, session in [("..", "/"), ("", "🤖"), ("A", "a"), ("a", "A"), ("x" * 1000, "../..")]:
        for index in range(2):
            saved = store.save([index], agent_id=agent, session_id=session)
            assert (saved.agent_id, saved.session_id, saved.snapshot_index) == (agent, session, index)
            assert store[saved.key] == [index]
        assert len(store.history(agent_id=agent, session_id=session)) == 2


def test_the_kind_of_state_and_the_codec_decide_the_extension(store: persist.Store) -> None:
    assert store.save(b"bytes").key == "default_agent/default_session/0.zst"
    assert store.save([], codec="gzip").key == "default_agent/default_session/1.json.gz"
    assert store.save([], snapshot_index=7).key == "default_agent/default_session/7.json.zst"
    with pytest.raises(persist.PersistConflictError):
        store.save([], snapshot_index=7)
    for argument in ({"if_exists": "replace"}, {"if_match": "x"}):
        with pytest.raises(persist.PersistTypeError, match="never replaces anything"):
            store.save([], **argument)  # type: ignore[arg-type]
    with pytest.raises(persist.PersistTypeError, match="agent_id must be a str"):
        store.save([], agent_id=7)  # type: ignore[arg-type]


def test_concurrent_saves_get_different_indexes(store: persist.Store) -> None:
    threads = [threading.Thread(target=store.save, args=([],)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found.snapshot_index for found in store.history()] == list(range(6))


def test_saves_get_the_next_index_without_preconditions_too() -> None:
    store = persist.Store(DictStorage())
    assert [store.save([step]).snapshot_index for step in range(3)] == [0, 1, 2]
    assert store.restore(store.history()[1]) == [1]
    assert store.delete_prefix("default_agent/") == 3


def test_history_is_ordered_and_latest_is_its_end(store: persist.Store) -> None:
    for index in (10, 9, 2):
        store.save([index], session_id="a", snapshot_index=index)
    store.save(["b"], session_id="b", snapshot_index=1)
    assert [found.snapshot_index for found in store.history(session_id="a")] == [2, 9, 10]
    latest = store.latest()
    assert latest is not None
    assert latest.session_id == "b", "of several sessions, the last in time"
    assert store.latest(session_id="none") is None


def test_lists_are_filtered_and_sorted_for_people(store: persist.Store) -> None:
    for index in (1, 2, 10):
        store.snapshot([], f"run-{index}.gz", snapshot_index=index, timestamp=f"2026-01-{index:02}T00:00:00Z")
    assert [found.key for found in store.list()] == ["run-1.gz", "run-2.gz", "run-10.gz"]
    assert [found.key for found in store.list(limit=2)] == ["run-1.gz", "run-2.gz"]
    since: list[Any] = [
        date(2026, 1, 2),
        "2026-01-02",
        "2026-01-02T01:00:00+01:00",
        datetime(2026, 1, 2, tzinfo=timezone.utc),
    ]
    for moment in since:
        assert [found.snapshot_index for found in store.list(since=moment)] == [2, 10], moment
        assert [found.snapshot_index for found in store.list(until=moment)] == [1], moment
    assert persist.list_snapshots(str(store.location) + "/", since="2026-01-03")[0].snapshot_index == 10
    for wrong in ("yesterday", 7, datetime(2026, 1, 2)):
        with pytest.raises(persist.PersistError, match="since"):
            store.list(since=wrong)  # type: ignore[arg-type]
    with pytest.raises(persist.PersistTypeError, match="limit"):
        store.list(limit=-1)
    with pytest.raises(persist.PersistTypeError, match="unknown argument 'after'") as caught:
        store.list(after="7d")  # type: ignore[call-arg]
    assert caught.value.hint == "did you mean since?"


def test_a_store_is_a_mapping(store: persist.Store) -> None:
    assert store, "an empty store is true"
    store["a.gz"] = {"step": 1}
    store["b/c.gz"] = [1]
    assert store["a.gz"] == {"step": 1}
    assert list(store) == ["a.gz", "b/c.gz"]
    assert len(store) == 2
    assert "a.gz" in store
    assert "x" not in store
    assert 7 not in store
    assert "" not in store
    del store["a.gz"]
    for missing in (lambda: store["a.gz"], lambda: store.__delitem__("a.gz")):
        with pytest.raises(KeyError) as caught:
            missing()
        assert isinstance(caught.value, persist.PersistNotFoundError)
        assert caught.value.location is not None
        assert type(pickle.loads(pickle.dumps(caught.value))) is persist.PersistKeyError
    assert store.restore("a.gz", default=None) is None
    store.delete("a.gz", missing_ok=True)
    persist.delete_snapshot(Path(store.location) / "a.gz", missing_ok=True)
    with pytest.raises(persist.PersistNotFoundError):
        store.delete("a.gz")


def test_load_returns_value_and_metadata(store: persist.Store) -> None:
    store.snapshot({"step": 1}, "a.gz", session_id="s", timestamp=datetime(2026, 1, 31, 12, tzinfo=timezone.utc))
    value, metadata = store.load("a.gz")
    assert value == {"step": 1}
    assert metadata == store.metadata("a.gz")
    assert metadata.time == datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    with pytest.raises(persist.PersistConfigurationError, match="without a time zone"):
        store.snapshot([], "b.gz", timestamp=datetime(2026, 1, 31))


def test_copies_are_verified(store: persist.Store, tmp_path: Path) -> None:
    other = persist.Store(tmp_path / "other")
    store["a.gz"] = list(range(1000))
    copied = store.copy("a.gz", other)
    assert copied.key == "a.gz"
    assert copied.digest == store.metadata("a.gz").digest
    assert store.copy(store.metadata("a.gz"), store, "b/a.gz").key == "b/a.gz"
    store["c.gz"] = [2]
    with pytest.raises(persist.PersistConflictError):
        store.copy("c.gz", other, "a.gz", if_exists="fail")
    path = tmp_path / "agents/a.gz"
    data = bytearray(path.read_bytes())
    data[14] ^= 1
    path.write_bytes(data)
    with pytest.raises(persist.PersistIntegrityError):
        store.copy("a.gz", other, "damaged.gz")
    assert "damaged.gz" not in other
    state, report = store.salvage("a.gz")
    assert report["verified"] is False
    assert report["complete"] is False
    assert len(state) == report["salvaged_size"]


def test_a_prefix_is_deleted(store: persist.Store, tmp_path: Path) -> None:
    for index in range(5):
        store[f"a/b/{index}.gz"] = index
    store["ab.gz"] = 1
    (tmp_path / "agents/a/notes.txt").write_text("no snapshot")
    assert store.delete_prefix("a/") == 5
    assert not (tmp_path / "agents/a/b").exists()
    assert (tmp_path / "agents/a/notes.txt").exists()
    assert store.delete_prefix("a/", force=True) == 1
    assert not (tmp_path / "agents/a").exists()
    assert list(store) == ["ab.gz"]
    with pytest.raises(persist.PersistTypeError, match="empty prefix"):
        store.delete_prefix("")


def test_snapshots_can_be_bytes_and_files() -> None:
    data = persist.dumps({"step": 1}, session_id="s", codec="zstd")
    assert persist.loads(data) == {"step": 1} == persist.loads(bytearray(data)) == persist.loads(memoryview(data))
    file = io.BytesIO()
    persist.dump([1], file)
    file.seek(0)
    assert persist.load(file) == [1]
    with pytest.raises(persist.PersistIntegrityError):
        persist.loads(data[:-1])
    with pytest.raises(persist.PersistTypeError, match="data must be bytes"):
        persist.loads("text")  # type: ignore[call-overload]
    import gzip

    assert json.loads(gzip.decompress(persist.dumps([1, 2]))) == [1, 2]


def test_progress_true_shows_a_bar_or_a_line(
    store: persist.Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.snapshot([], "a.gz", progress=True)
    shown = capsys.readouterr().err
    assert "saving" in shown
    monkeypatch.setitem(__import__("sys").modules, "tqdm.auto", None)
    store.snapshot([], "a.gz", progress=True)
    assert capsys.readouterr().err == "saving: 2 of 2 bytes\n"
    assert store.restore("a.gz", progress=True) == []
    assert capsys.readouterr().err == "restoring: 2 of 2 bytes\n"
    with pytest.raises(persist.PersistTypeError, match="progress must be a callable or a bool"):
        store.verify("a.gz", progress=7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("overwrite", "if_exists"), ("compression", "codec"), ("thread_id", "session_id"), ("lables", "labels")],
)
def test_the_hint_names_the_argument_that_is_meant(store: persist.Store, wrong: str, right: str) -> None:
    for call in (store.snapshot, persist.snapshot):
        with pytest.raises(TypeError) as caught:
            cast("Any", call)([], "a.gz", **{wrong: True})
        assert f"did you mean {right}?" in getattr(caught.value, "hint", "")


def test_an_async_store_does_the_same(store: persist.Store) -> None:
    async def work() -> None:
        own = store.to_async()
        saved = await own.save({"step": 1}, session_id="s")
        assert saved.key == "default_agent/s/0.json.zst"
        found = await own.latest(session_id="s")
        assert found == saved
        assert await own.restore(saved) == {"step": 1}
        assert [metadata.key for metadata in await own.history()] == [saved.key]
        assert (await own.load(saved))[0] == {"step": 1}
        assert await own.restore("missing", default=7) == 7
        assert (await own.copy(saved, own, "copy.gz")).key == "copy.gz"
        assert (await own.salvage("copy.gz"))[1]["complete"] is True
        assert len(await own.list(since="1d", limit=1)) == 1
        assert await own.delete_prefix("default_agent/") == 1
        await own.delete(saved, missing_ok=True)

    asyncio.run(work())


def test_a_list_becomes_a_data_frame(store: persist.Store) -> None:
    pandas: Any = importlib.import_module("pandas")

    store.save([], labels={"a": "b"})
    store.save([1])
    table = pandas.DataFrame(store.list())
    assert list(table["snapshot_index"]) == [0, 1]
    assert table.loc[0, "labels"] == {"a": "b"}
    assert len(table.columns) >= 20
    assert pandas.to_datetime(table["timestamp"]).dt.tz is not None


def test_an_invalid_key_is_a_missing_key(store: persist.Store) -> None:
    saved = store.save([1])
    assert saved in store
    for key in ("../x", "x" * 2000, "a\n", "some/"):
        assert key not in store
        with pytest.raises(KeyError):
            store[key]
        with pytest.raises(KeyError):
            del store[key]
    with pytest.raises(KeyError):
        store[""]


@pytest.mark.parametrize(
    "arguments",
    [
        {"snapshot_index": -1},
        {"snapshot_index": 1 << 64},
        {"snapshot_index": "3"},
        {"snapshot_index": 1.5},
        {"codec": 5},
        {"codec": "lz4"},
        {"agent_id": "\ud800"},
        {"session_id": 7},
    ],
)
def test_wrong_arguments_of_save_are_refused(store: persist.Store, arguments: dict[str, Any]) -> None:
    with pytest.raises(persist.PersistError):
        store.save([], **arguments)


def test_wrong_locations_and_times_are_refused(store: persist.Store) -> None:
    for wrong in (
        lambda: store.delete_prefix("\ud800"),
        lambda: store.list(since=timedelta(days=999999)),
        lambda: store.list(limit=1 << 70),
        lambda: store.copy("a", "folder"),  # type: ignore[arg-type]
    ):
        with pytest.raises(persist.PersistError):
            wrong()


def test_a_damaged_snapshot_does_not_stop_the_deletion_of_others(store: persist.Store, tmp_path: Path) -> None:
    for name in ("a/1.gz", "a/2.gz", "a/3.gz"):
        store[name] = name
    path = tmp_path / "agents/a/2.gz"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(persist.PersistIntegrityError, match="other snapshots deleted: 2"):
        store.delete_prefix("a/")
    assert [entry.name for entry in (tmp_path / "agents/a").iterdir()] == ["2.gz"]


def test_a_save_succeeds_while_its_folder_is_deleted(store: persist.Store) -> None:
    stop = threading.Event()

    def clear() -> None:
        while not stop.is_set():
            store.delete_prefix("default_agent/", force=True)

    clearing = threading.Thread(target=clear)
    clearing.start()
    try:
        for step in range(100):
            store.save(step)
    finally:
        stop.set()
        clearing.join()
