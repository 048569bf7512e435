"""Snapshots in S3 from Python, on servers that the tests start. If RUN_S3_TESTS is 1, the
classes with ``S3Real`` in their names also run, in the bucket TEST_S3_BUCKET with the
credentials of the user.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import persist
import pytest

AGENT = {"messages": [{"role": "user", "content": "Grüße"}], "score": 0.1, "step": 3}


class TestS3Local:
    """Tests on a server on this machine."""

    def test_one_snapshot_from_end_to_end(self, s3: Any) -> None:
        place: Any = {"storage_mode": "s3", "s3_bucket": "my-bucket", "s3_region": "us-east-1"}
        saved = persist.snapshot(AGENT, "agents/1.json.gz", agent_id="a", session_id="s", description="first", **place)
        assert (saved.location, saved.key) == ("s3://my-bucket/agents/1.json.gz", "agents/1.json.gz")
        assert persist.restore("agents/1.json.gz", **place) == AGENT
        assert persist.restore("s3://my-bucket/agents/1.json.gz") == AGENT
        assert persist.verify_snapshot("agents/1.json.gz", **place) is True
        found = persist.get_metadata("agents/1.json.gz", **place)
        assert (found.agent_id, found.session_id, found.description) == ("a", "s", "first")
        assert [one.location for one in persist.list_snapshots("s3://my-bucket/agents/")] == [saved.location]
        # Another client sees what zcat can read.
        stored = s3.get("my-bucket", "agents/1.json.gz")
        assert len(stored) == saved.stored_size
        zcat = subprocess.run(["gzip", "-dc"], input=stored, capture_output=True, check=True)
        assert zcat.stdout.decode() == '{"messages":[{"role":"user","content":"Grüße"}],"score":0.1,"step":3}'
        persist.delete_snapshot("agents/1.json.gz", **place)
        assert persist.snapshot_exists("agents/1.json.gz", **place) is False
        with pytest.raises(persist.PersistNotFoundError):
            persist.restore("agents/1.json.gz", **place)

    def test_preconditions_hold(self, s3: Any) -> None:
        store = persist.Store("s3://my-bucket/agents")
        first = store.snapshot({"n": 1}, "x", if_exists="fail")
        with pytest.raises(persist.PersistConflictError):
            store.snapshot({"n": 2}, "x", if_exists="fail")
        store.snapshot({"n": 3}, "x", if_match=first.etag)
        with pytest.raises(FileExistsError):
            store.snapshot({"n": 4}, "x", if_match=first.etag)
        assert store.restore("x") == {"n": 3}

    def test_a_store_lists_streams_and_pickles(self, s3: Any) -> None:
        store = persist.Store("s3://my-bucket/agents", s3_options={"max_attempts": 2})
        for n in range(3):
            store.snapshot({"n": n}, f"{n}.json.zst")
        assert [found.key for found in store.list()] == ["0.json.zst", "1.json.zst", "2.json.zst"]
        noise = os.urandom(20_000_000)
        with store.open("large", "wb") as file:
            file.write(noise)
        with pickle.loads(pickle.dumps(store)).open("large") as reader:
            assert reader.read() == noise
        assert b"your-secret-key" not in pickle.dumps(store)
        with pytest.raises(ZeroDivisionError), store.open("none", "wb") as file:
            file.write(noise)
            raise ZeroDivisionError
        assert not store.exists("none")
        assert s3.unfinished("my-bucket") == []

    def test_the_asyncio_twins_work(self, s3: Any) -> None:
        async def run() -> None:
            async with persist.AsyncStore("s3://my-bucket/agents") as store:
                await asyncio.gather(*(store.snapshot({"n": n}, str(n)) for n in range(8)))
                assert [(await store.restore(str(n)))["n"] for n in range(8)] == list(range(8))
                task = asyncio.ensure_future(store.save_bytes(os.urandom(1 << 20) * 100, "cancelled"))
                await asyncio.sleep(0.7)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert not await store.exists("cancelled")

        asyncio.run(run())
        assert s3.unfinished("my-bucket") == []

    def test_a_changed_environment_takes_effect_at_the_next_call(
        self, s3: Any, answering: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = persist.Store("s3://my-bucket")
        store.snapshot({}, "x")
        with answering(403, "AccessDenied") as endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
            with pytest.raises(PermissionError):
                store.restore("x")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
        assert store.restore("x") == {}

    def test_a_fork_after_use_works(self, s3: Any) -> None:
        store = persist.Store("s3://my-bucket")
        store.snapshot({"a": 1}, "x")
        child = os.fork()
        if child == 0:
            os._exit(0 if store.restore("x") == {"a": 1} else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert store.restore("x") == {"a": 1}


def save_as_the_guide_does(**arguments: Any) -> str:
    """Runs the guide's example of error handling. Returns the branch that was taken."""
    try:
        persist.snapshot({"a": 1}, "key", storage_mode="s3", s3_bucket="my-bucket", **arguments)
    except IOError as e:  # noqa: UP024 - as users write it
        if "credentials" in str(e):
            return "credentials"
        if "bucket" in str(e):
            return "bucket"
        if "network" in str(e):
            return "network"
        return f"other: {e}"
    return "saved"


def silent() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class TestErrorChain:
    """Tests of ``except IOError`` with words in the message, as in the guide."""

    def test_missing_credentials_are_a_credentials_issue(self, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert save_as_the_guide_does() == "credentials"
        with pytest.raises(PermissionError, match=r"^Storage error: AWS credentials not found") as raised:
            persist.restore("s3://my-bucket/key")
        assert isinstance(raised.value, persist.PersistAccessError)
        assert raised.value.hint

    @pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
    def test_refused_credentials_are_a_credentials_issue(
        self, s3: Any, answering: Any, code: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with answering(403, code) as endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
            assert save_as_the_guide_does() == "credentials"

    def test_denied_access_is_a_bucket_issue(self, s3: Any, answering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        with answering(403, "AccessDenied") as endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
            assert save_as_the_guide_does() == "bucket"
            with pytest.raises(PermissionError, match=r"^Storage error: Access denied to S3 bucket"):
                persist.snapshot_exists("s3://my-bucket/key")

    def test_a_missing_bucket_is_a_bucket_issue(self, s3: Any) -> None:
        s3.client.delete_bucket(Bucket="my-bucket")
        assert save_as_the_guide_does() == "bucket"
        for call in (persist.restore, persist.get_metadata, persist.verify_snapshot, persist.delete_snapshot):
            with pytest.raises(OSError, match=r"^Storage error: Bucket 'my-bucket' not found") as raised:
                call("s3://my-bucket/key")
            assert isinstance(raised.value, persist.PersistStorageError)
            assert (raised.value.code, raised.value.location) == ("no-such-bucket", "s3://my-bucket/key")

    def test_a_closed_port_is_a_network_issue(self, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        # A port that nobody listens on, and that nobody else can take.
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{taken.getsockname()[1]}")
            assert save_as_the_guide_does() == "network"
            with pytest.raises(ConnectionError) as raised:
                persist.restore("s3://my-bucket/key")
        assert raised.value.retryable  # type: ignore[attr-defined]

    def test_a_silent_server_is_a_network_issue(self, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PERSIST_S3_TIMEOUT", "0.3")
        for endpoint in silent():
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
            assert save_as_the_guide_does() == "network"
            with pytest.raises(TimeoutError, match=r"^Storage I/O error: Request timeout"):
                persist.snapshot_exists("s3://my-bucket/key")

    @pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
    def test_a_failing_server_is_a_network_issue(
        self, s3: Any, answering: Any, status: int, code: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with answering(status, code) as endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
            assert save_as_the_guide_does() == "network"

    def test_other_errors_keep_their_message(self, s3: Any) -> None:
        assert save_as_the_guide_does() == "saved"
        exists = "other: Already exists: an object with this key already exists"
        assert save_as_the_guide_does(if_exists="fail") == exists
        assert save_as_the_guide_does(if_match="x") == "other: Conflict: the object does not have the expected etag"


INTERRUPTED = """
import os, signal, sys
import persist

# It may be ignored when the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
noise = os.urandom(1 << 20) * 1000
try:
    print("ready", flush=True)
    {work}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def interrupt(work: str, progressed: Callable[[], bool], wait: float = 0.0) -> None:
    """Runs work in a process and interrupts it when it is under way, after waiting a little
    longer.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(work=work)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 60
    while not progressed() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert progressed()
    time.sleep(wait)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    output, errors = process.communicate(timeout=60)
    assert (output, errors) == ("interrupted\n", "")
    assert time.monotonic() - asked < 20


class TestInterrupt:
    """Tests of Ctrl-C while a transfer runs."""

    @pytest.mark.parametrize(
        "work",
        [
            'persist.Store("s3://my-bucket").save_bytes(noise, "x.json.gz")',
            'persist.snapshot({"noise": noise}, "s3://my-bucket/x.json.gz")',
        ],
    )
    def test_a_save_to_s3_leaves_nothing(self, s3: Any, work: str) -> None:
        interrupt(work, lambda: s3.unfinished("my-bucket") != [])
        assert s3.keys("my-bucket") == []
        assert s3.unfinished("my-bucket") == []

    @pytest.mark.parametrize(
        "work",
        [
            'persist.Store("agents").save_bytes(noise, "x.json.gz")',
            'persist.snapshot({"noise": noise}, "agents/x.json.gz")',
        ],
    )
    def test_a_save_to_a_folder_leaves_what_was_there(self, folder: Path, work: str) -> None:
        persist.snapshot({"old": True}, "agents/x.json.gz")
        interrupt(work, lambda: len(os.listdir("agents")) > 1)
        assert os.listdir("agents") == ["x.json.gz"]
        assert persist.restore("agents/x.json.gz") == {"old": True}

    def test_a_restore_stops_at_once(self, folder: Path) -> None:
        persist.Store("agents").save_bytes(bytes(1 << 30), "x.gz")
        interrupt(
            'persist.Store("agents").load_bytes("x.gz", progress=lambda *_: open("going", "w").close())',
            lambda: os.path.exists("going"),
        )
        # At any moment, even while the first lines are logged.
        for wait in (0.0, 0.0, 0.0, 0.001, 0.002, 0.005, 0.01, 0.02):
            interrupt('persist.Store("agents").load_bytes("x.gz")', lambda: True, wait)


class TestS3RealBucket:
    """Tests in a real bucket."""

    @pytest.fixture
    def store(self) -> Iterator[persist.Store]:
        bucket = os.environ.get("TEST_S3_BUCKET")
        assert bucket, "TEST_S3_BUCKET must name a bucket"
        store = persist.Store(f"s3://{bucket}/persist-tests/{uuid.uuid4()}")
        yield store
        for found in store.list():
            store.delete(found.key)

    def test_one_snapshot_from_end_to_end(self, store: persist.Store) -> None:
        saved = store.snapshot(AGENT, "agents/1.json.gz", agent_id="a")
        assert store.restore("agents/1.json.gz") == AGENT
        assert store.verify("agents/1.json.gz")
        assert store.metadata("agents/1.json.gz").digest == saved.digest
        assert [found.key for found in store.list()] == ["agents/1.json.gz"]
        with pytest.raises(persist.PersistConflictError):
            store.snapshot({}, "agents/1.json.gz", if_exists="fail")
        store.delete("agents/1.json.gz")
        assert not store.exists("agents/1.json.gz")
        with pytest.raises(FileNotFoundError):
            store.restore("agents/1.json.gz")

    def test_a_state_of_many_parts_comes_back(self, store: persist.Store) -> None:
        noise = os.urandom(20_000_000)
        store.save_bytes(noise, "large")
        assert store.load_bytes("large") == noise

    def test_many_threads_save_at_once(self, store: persist.Store) -> None:
        threads = [threading.Thread(target=store.snapshot, args=({"n": n}, f"{n}")) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [store.restore(f"{n}")["n"] for n in range(16)] == list(range(16))
