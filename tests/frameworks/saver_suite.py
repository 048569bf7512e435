"""What ``PersistSaver`` promises, apart from what LangGraph's own suite checks."""

from __future__ import annotations

import asyncio
import copy as copying
import datetime
import sqlite3
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import persist
import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from persist.langgraph import PersistSaver, acopy, copy
from saver_calls import checkpoint, id_of, ids, location, put, saver, thread

__all__ = ["location", "saver"]  # Fixtures.


def test_the_latest_is_the_last_that_was_stored(saver: PersistSaver) -> None:
    # IDs and times that go backwards, as after a change of the clock.
    for number in (3, 2, 1):
        made = checkpoint(number, n=number)
        made["id"], made["ts"] = f"00000000-0000-0000-0000-00000000000{number}", f"2026-01-0{number}T00:00:00+00:00"
        saver.put(thread(), made, {"step": number}, made["channel_versions"])
    found = saver.get_tuple(thread())
    assert found is not None
    assert found.checkpoint["channel_values"] == {"n": 1}
    assert [each[-1] for each in ids(saver, thread())] == ["1", "2", "3"]
    before = ids(saver, thread(), before=thread(checkpoint_id="00000000-0000-0000-0000-000000000002"))
    assert [each[-1] for each in before] == ["3"]


def test_ids_may_be_any_text(saver: PersistSaver) -> None:
    for number, name in enumerate(["1", "no/uuid,at all", "é"]):
        made = checkpoint(number, n=number)
        made["id"] = name
        config = saver.put(thread("thread/../x"), made, {}, made["channel_versions"])
        saver.put_writes(config, [("n", name)], "task,1", "path")
    for number, name in enumerate(["1", "no/uuid,at all", "é"]):
        found = saver.get_tuple(thread("thread/../x", name))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"n": number}
        assert found.pending_writes == [("task,1", "n", name)]
    assert saver.threads() == ["thread/../x"]


def test_writes_are_folded_into_the_next_step(saver: PersistSaver) -> None:
    config = thread()
    for number in range(40):
        config = put(saver, config, number, n=number)
        saver.put_writes(config, [("n", f"write {number}")], "task")
    saver.close()
    store = persist.Store(saver._threads.store._location)
    loose = [found.key for found in store.list("langgraph/1/w/")]
    # Those of the newest checkpoint; the others were deleted.
    assert len(loose) == 1
    for found in saver.list(thread()):
        number = found.metadata["step"]
        assert found.pending_writes == [("task", "n", f"write {number}")]


def test_the_first_write_counts_and_of_special_ones_the_last(saver: PersistSaver, location: str) -> None:
    config = put(saver, thread(), 1, n=1)
    with PersistSaver(location) as other:
        assert other.get_tuple(thread()) is not None
        for each, text in ((saver, "first"), (other, "second")):
            each.put_writes(config, [("n", text), ("__error__", text)], "task")
    for each in (PersistSaver(location), PersistSaver(location)):
        found = each.get_tuple(config)
        assert found is not None
        assert found.pending_writes == [("task", "__error__", "second"), ("task", "n", "first")]
        # Folded, it is the same.
        put(each, config, 2, n=2)
        found = each.get_tuple(config)
        assert found is not None
        assert found.pending_writes == [("task", "__error__", "second"), ("task", "n", "first")]


def test_pending_writes_have_the_order_of_the_tasks(saver: PersistSaver) -> None:
    config = put(saver, thread(), 1, n=1)
    for task, path in (("a", "3"), ("c", "1"), ("b", "2"), ("d", "")):
        saver.put_writes(config, [("n", task), ("m", task)], task, path)
    found = saver.get_tuple(thread())
    assert found is not None
    expected = [(task, channel, task) for task in "dcba" for channel in ("n", "m")]
    assert found.pending_writes == expected


def test_two_savers_of_one_thread_lose_nothing(location: str) -> None:
    first, second = PersistSaver(location), PersistSaver(location)
    start = put(first, thread(), 0, n=0)
    made: list[str] = []

    def works(saver: PersistSaver, name: str) -> None:
        config = start
        for number in range(1, 21):
            config = put(saver, config, number, n=[name, number])
            made.append(id_of(config))
            saver.put_writes(config, [("n", [name, number])], f"task {name}")

    workers = [threading.Thread(target=works, args=each) for each in ((first, "a"), (second, "b"))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    third = PersistSaver(location)
    stored = {id_of(found.config): found for found in third.list(thread())}
    assert set(made) < set(stored)
    assert len(stored) == 41
    for found in stored.values():
        if found.metadata["step"]:
            value = found.checkpoint["channel_values"]["n"]
            assert found.pending_writes == [(f"task {value[0]}", "n", value)]
    assert persist.Timeline(location, agent_id="langgraph", session_id="1").check(read_data=True) == []


def test_a_copy_with_other_classes_shares_everything(saver: PersistSaver) -> None:
    clone = saver.with_allowlist([("collections", "Counter")])
    assert clone is not saver
    config = put(clone, thread(), 1, n=1)
    saver.put_writes(config, [("n", 2)], "task")
    found = clone.get_tuple(thread())
    assert found is not None
    assert found.pending_writes == [("task", "n", 2)]
    assert copying.copy(saver).get_tuple(thread()) == found


def test_another_serializer_is_used(location: str) -> None:
    class Backwards:
        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "backwards", plaintext[::-1]

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            return ciphertext[::-1]

    serde = EncryptedSerializer(Backwards())
    config = put(PersistSaver(location, serde=serde), thread(), 1, secret="the secret")
    put(PersistSaver(location, serde=serde), config, 2, secret="the secret")
    assert "the secret" not in repr(persist.Timeline(location, agent_id="langgraph", session_id="1").load())
    found = PersistSaver(location, serde=serde).get_tuple(thread())
    assert found is not None
    assert found.checkpoint["channel_values"] == {"secret": "the secret"}


def test_threads_are_pruned_by_count_and_by_age(saver: PersistSaver) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    for number in range(100):
        made = checkpoint(1, n=number)
        made["ts"] = (now - datetime.timedelta(days=number)).isoformat()
        saver.put(thread(f"{number:02}"), made, {}, made["channel_versions"])
    with pytest.raises(persist.PersistConfigurationError, match="no rule"):
        saver.prune_threads()
    old = saver.prune_threads(older_than=datetime.timedelta(days=49.5), dry_run=True)
    assert sorted(old) == [f"{number:02}" for number in range(50, 100)]
    assert len(saver.threads()) == 100
    saver.prune_threads(older_than=datetime.timedelta(days=49.5))
    saver.prune_threads(keep_last=3)
    assert saver.threads() == ["00", "01", "02"]
    assert saver.get_tuple(thread("07")) is None


def test_a_thread_that_is_too_old_is_missing(location: str) -> None:
    saver = PersistSaver(location, ttl=datetime.timedelta(hours=1))
    made = checkpoint(1, n=1)
    made["ts"] = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=2)).isoformat()
    saver.put(thread("old"), made, {}, made["channel_versions"])
    put(saver, thread("new"), 1, n=1)
    assert saver.get_tuple(thread("old")) is None
    assert ids(saver, thread("old")) == []
    assert saver.get_tuple(thread("new")) is not None
    assert saver.prune_threads() == ["old"]
    assert saver.threads() == ["new"]
    with pytest.raises(persist.PersistTypeError, match="ttl must be a timedelta"):
        PersistSaver(location, ttl=3600)  # type: ignore[arg-type]


def test_runs_are_deleted_wherever_they_are(saver: PersistSaver) -> None:
    config = thread()
    for number in range(6):
        made = checkpoint(number, n=number)
        config = saver.put(
            config, made, {"step": number, "run_id": "b" if number in (2, 3, 5) else "a"}, made["channel_versions"]
        )
        saver.put_writes(config, [("n", number)], "task")
    saver.delete_for_runs(["b", "none"])
    found = list(saver.list(thread()))
    assert [each.metadata["step"] for each in found] == [4, 1, 0]
    # Also those whose next step was deleted, which had their writes.
    assert [each.pending_writes for each in found] == [[("task", "n", number)] for number in (4, 1, 0)]
    latest = saver.get_tuple(thread())
    assert latest is not None
    assert latest.checkpoint["channel_values"] == {"n": 4}
    saver.delete_for_runs(["a"])
    assert saver.get_tuple(thread()) is None
    assert persist.Timeline(saver._threads.store._location, agent_id="langgraph", session_id="1").check() == []


def test_a_deleted_thread_begins_again(saver: PersistSaver) -> None:
    put(saver, thread(), 1, n=1)
    put(saver, thread(namespace="child:1"), 1, n=1)
    saver.delete_thread("1")
    saver.delete_thread("1")
    assert saver.get_tuple(thread()) is None
    assert saver.threads() == []
    put(saver, thread(), 1, n="new")
    assert len(ids(saver, thread())) == 1


def test_a_thread_is_copied_only_to_a_new_one(saver: PersistSaver) -> None:
    config = put(saver, thread(), 1, n=1)
    saver.put_writes(config, [("n", 1)], "task")
    put(saver, thread(namespace="child"), 1, n=1)
    saver.copy_thread("1", "2")
    found = list(saver.list({"configurable": {"thread_id": "2"}}))
    assert [each.pending_writes for each in found] == [[("task", "n", 1)], []]
    assert [each.config["configurable"]["checkpoint_ns"] for each in found] == ["", "child"]
    put(saver, thread("2", id_of(config)), 2, n=2)
    assert len(ids(saver, thread("1"))) == 1
    with pytest.raises(persist.PersistConflictError, match="the timeline here has later steps"):
        saver.copy_thread("1", "2")


def test_a_damaged_checkpoint_is_never_replaced_by_an_older_one(location: str) -> None:
    if location.startswith("s3://"):
        return
    saver = PersistSaver(location)
    config = thread()
    for number in range(5):
        config = put(saver, config, number, n=number)
    saver.close()
    step = Path(location) / "langgraph/1/000000000005.step"
    damaged = bytearray(step.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    step.write_bytes(damaged)
    with pytest.raises(persist.PersistIntegrityError):
        PersistSaver(location).get_tuple(thread())
    step.unlink()
    with pytest.raises(persist.PersistIntegrityError):
        PersistSaver(location).get_tuple(thread())


def made_by_sqlite() -> SqliteSaver:
    source = SqliteSaver(sqlite3.connect(":memory:", check_same_thread=False))
    for name in ("one", "two"):
        config = thread(name)
        for number in range(3):
            config = put(source, config, number, messages=[HumanMessage(str(number), id=str(number))])
            source.put_writes(config, [("messages", number), ("__interrupt__", number)], "b", "1")
            source.put_writes(config, [("messages", number)], "a", "2")
    return source


def test_threads_move_in_and_out(saver: PersistSaver) -> None:
    source, told = made_by_sqlite(), []
    assert copy(source, saver, progress=lambda done, total: told.append(done)) == 6
    assert told == [1, 2, 3, 4, 5, 6]
    assert copy(source, saver) == 0
    memory = InMemorySaver()
    assert copy(saver, memory, ["two"]) == 3
    for one, other in ((source, saver), (saver, memory)):
        expected, found = one.get_tuple(thread("two")), other.get_tuple(thread("two"))
        assert expected is not None
        assert found is not None
        assert (found.checkpoint, found.metadata) == (expected.checkpoint, expected.metadata)
        assert found.pending_writes == expected.pending_writes
    put(saver, thread("one"), 9, messages=[])
    with pytest.raises(persist.PersistConflictError, match="different checkpoints"):
        copy(source, saver)


def test_threads_are_copied_in_asyncio(saver: PersistSaver) -> None:
    async def run() -> int:
        memory = InMemorySaver()
        await acopy(memory, saver)
        put(memory, thread(), 1, n=1)
        return await acopy(memory, saver)

    assert asyncio.run(run()) == 1


def test_the_command_reads_a_thread(saver: PersistSaver, location: str) -> None:
    config, messages = thread(), []
    for number in range(3):
        messages.append(HumanMessage(f"Question {number}"))
        config = put(saver, config, number, messages=[*messages], **{"branch:to:agent": None})
    saver.close()

    def told(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "persist", *arguments], check=True, capture_output=True, text=True
        ).stdout

    at = f"{location}/langgraph/1"
    assert "+1 message" in told("log", at, "--changes")
    assert told("diff", f"{at}@2", "@3").splitlines()[2:] == ['+ /messages/2: human: "Question 2"', "1 value added"]
    assert '"Question 1"' in told("restore", f"{at}@2")
    assert "langgraph" in told("show", f"{at}@2")


def test_what_comes_while_a_thread_is_pruned_stays(saver: PersistSaver, location: str) -> None:
    config = thread()
    for number in range(5):
        config = put(saver, config, number, n=number)
    space = saver._threads.namespace("1", "")
    entries = space.entries

    def meanwhile(limit: int | None = None) -> Any:
        # Another process goes on, after the newest was looked for.
        with PersistSaver(location) as other:
            for number in (5, 6):
                put(other, config, number, n=number)
        space.entries = entries  # type: ignore[method-assign]
        return entries(limit)

    space.entries = meanwhile  # type: ignore[method-assign]
    saver.prune(["1"])
    assert [found.metadata["step"] for found in saver.list(thread())] == [6, 5, 4]


def test_what_has_expired_does_not_come_back(location: str) -> None:
    saver = PersistSaver(location, ttl=datetime.timedelta(hours=1))
    made = checkpoint(1, n="old")
    made["ts"] = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=2)).isoformat()
    config = saver.put(thread(), made, {}, made["channel_versions"])
    saver.put(thread(namespace="child"), {**made, "id": str(uuid.uuid4())}, {}, made["channel_versions"])
    saver.put_writes(config, [("n", 1)], "task")
    put(saver, thread(), 1, n="new")
    listed = list(saver.list({"configurable": {"thread_id": "1"}}))
    assert [found.checkpoint["channel_values"] for found in listed] == [{"n": "new"}]
    assert saver.get_tuple(config) is None


def test_a_checkpoint_may_be_stored_again_as_its_own_child(saver: PersistSaver) -> None:
    made = checkpoint(1, n=1)
    config = saver.put(thread(), made, {}, made["channel_versions"])
    saver.put_writes(config, [("m", 1)], "task")
    saver.put(config, made, {}, made["channel_versions"])
    history = saver.get_delta_channel_history(config=config, channels=["m"])
    assert history["m"]["writes"] == []


def test_a_config_without_a_thread_is_an_error(saver: PersistSaver) -> None:
    with pytest.raises(persist.PersistConfigurationError, match="does not name a thread"):
        saver.get_tuple({"configurable": {}})


def test_a_listing_may_end_before_a_checkpoint_of_another_namespace(saver: PersistSaver) -> None:
    configs = [put(saver, thread(), number, n=number) for number in range(3)]
    for number, config in enumerate(configs):
        made = checkpoint(number, n=number)
        metadata: Any = {"step": number, "parents": {"": id_of(config)}}
        saver.put(thread(namespace="child"), made, metadata, made["channel_versions"])
    before = ids(saver, thread(namespace="child"), before=configs[2])
    assert len(before) == 2
