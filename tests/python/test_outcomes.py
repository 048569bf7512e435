"""The exceptions of saves and deletes tell the outcome: they read as if nothing had happened
only if nothing has.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.server
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import persist
import pytest
from cancelling import raised_in
from persist import _persist, errors
from storages import DictStorage, is_done, write_to

NEW = {
    "conflict": (persist.PersistConflictError, FileExistsError, errno.EBUSY),
    "wrong-kind": (persist.PersistWrongKindError, persist.PersistIntegrityError, None),
    "no-key": (persist.PersistNoKeyError, PermissionError, errno.EACCES),
    "untrusted": (persist.PersistUntrustedError, PermissionError, errno.EACCES),
    "not-durable": (persist.PersistNotDurableError, persist.PersistStorageError, errno.EIO),
    "outcome-unknown": (persist.PersistOutcomeUnknownError, persist.PersistStorageError, None),
}


BASES = {
    persist.PersistError: Exception,
    persist.PersistConfigurationError: ValueError,
    persist.PersistNotFoundError: FileNotFoundError,
    persist.PersistConflictError: FileExistsError,
    persist.PersistIntegrityError: ValueError,
    persist.PersistWrongKindError: persist.PersistIntegrityError,
    persist.PersistNoKeyError: PermissionError,
    persist.PersistUntrustedError: PermissionError,
    persist.PersistAccessError: PermissionError,
    persist.PersistStorageError: OSError,
    persist.PersistNotDurableError: persist.PersistStorageError,
    persist.PersistOutcomeUnknownError: persist.PersistStorageError,
    persist.PersistConnectionError: ConnectionError,
    persist.PersistTimeoutError: TimeoutError,
    persist.PersistMemoryLimitError: MemoryError,
    persist.PersistDeadlineError: TimeoutError,
}


def test_each_code_of_the_host_has_a_class() -> None:
    assert list(errors._CODES) == _persist.error_codes()
    assert {kind for kind, _ in errors._CODES.values()} == set(BASES)


def test_each_class_is_also_the_built_in_exception() -> None:
    for kind, base in BASES.items():
        assert issubclass(kind, base), kind
        assert issubclass(kind, persist.PersistError), kind
        assert kind.__name__ in errors.__all__
        assert getattr(persist, kind.__name__) is kind
    for code, (kind, base, number) in NEW.items():
        error = errors._from_host(code, "It failed.", "a/x", False, "a hint", [("a", "b")])
        assert type(error) is kind
        assert isinstance(error, base)
        assert (str(error), error.code, error.location, error.hint) == ("It failed.", code, "a/x", "a hint")
        assert pickle.loads(pickle.dumps(error)).__dict__ == error.__dict__
        if isinstance(error, OSError):
            # Neither means that the snapshot exists, so a check for EEXIST is not misled.
            assert (error.errno, error.filename) == (number, "a/x")


def use_server(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Makes a server of the test the S3 endpoint."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")


class Served:
    """A bucket that stores objects, but loses its answers."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, str]] = {}
        self.answers_head = True
        self.lost: list[str] = []
        self.conflicts = 0


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    served = Served()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def key(self) -> str:
            return urllib.parse.urlsplit(self.path).path

        def answer(self, status: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"content-length": "0", **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()

        def do_PUT(self) -> None:
            size = self.headers["content-length"]
            self.rfile.read(int(size))
            if "if-none-match" in self.headers and self.key() in served.objects:
                served.conflicts += 1
                return self.answer(412)
            own = {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}
            served.objects[self.key()] = {"etag": '"1"', "content-length": size, **own}
            if "probe" in self.key():
                return self.answer(200, {"etag": '"1"'})
            served.lost.append(self.key())
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None

        def do_HEAD(self) -> None:
            if not served.answers_head:
                return self.answer(403)
            found = served.objects.get(self.key())
            return self.answer(404) if found is None else self.answer(200, found)

        def do_DELETE(self) -> None:
            served.objects.pop(self.key(), None)
            self.answer(204)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    use_server(monkeypatch, server.server_port)
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("if_exists", ["replace", "fail"])
def test_a_save_does_not_conflict_with_itself(lossy: Served, if_exists: Any) -> None:
    place = "s3://my-bucket/x.json.gz"
    # The answer was lost, and the client asked the service what is stored.
    assert persist.snapshot({"a": 1}, place, if_exists=if_exists).key == "x.json.gz"
    assert lossy.lost
    # The service does not answer that, so the outcome is not known.
    lossy.objects.clear()
    lossy.answers_head = False
    for call in (
        lambda: persist.snapshot({"a": 1}, place, if_exists=if_exists),
        lambda: asyncio.run(persist.asnapshot({"a": 1}, place, if_exists=if_exists)),
        lambda: write(persist.Store("s3://my-bucket"), if_exists),
    ):
        lossy.objects.clear()
        with pytest.raises(persist.PersistOutcomeUnknownError, match="not known") as unknown:
            call()
        assert not isinstance(unknown.value, FileExistsError)
        assert (unknown.value.code, unknown.value.retryable) == ("outcome-unknown", False)
        assert unknown.value.location == place
        assert "check what is stored" in (unknown.value.hint or "")
        # In fact, it was stored.
        assert list(lossy.objects) == ["/my-bucket/x.json.gz"]
    # The service refused the second request of the same write.
    assert (lossy.conflicts > 0) == (if_exists == "fail")


def write(store: persist.Store, if_exists: Any) -> None:
    with store.open("x.json.gz", "wb", if_exists=if_exists) as file:
        file.write(b"{}")


class Held:
    """A server that takes requests and does not answer them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.held: list[socket.socket] = []
        use_server(monkeypatch, self.listener.getsockname()[1])
        threading.Thread(target=self.take, daemon=True).start()

    def take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.held.append(connection)
                if connection.recv(1):
                    self.asked.set()

    def close(self) -> None:
        # Wakes the thread that waits for the next connection.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.held:
            connection.close()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    server = Held(monkeypatch)
    yield server
    server.close()


@pytest.fixture
def handler() -> Iterator[Callable[[Any], Any]]:
    """Returns a function that sets what Ctrl-C does. It may be ignored when the tests start."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda wanted: signal.signal(signal.SIGINT, wanted)
    signal.signal(signal.SIGINT, before)


def is_unknown(cause: BaseException | None) -> persist.PersistOutcomeUnknownError:
    assert isinstance(cause, persist.PersistOutcomeUnknownError)
    assert cause.code == "outcome-unknown"
    assert "not known whether the object was stored" in str(cause)
    assert cause.location == "s3://my-bucket/x.json.gz"
    assert "check what is stored" in (cause.hint or "")
    return cause


def interrupt(held: Held) -> None:
    held.asked.wait()
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("way", ["snapshot", "save_bytes", "open"])
def test_an_interrupt_has_the_unknown_outcome_as_its_cause(way: str, held: Held, handler: Callable[[Any], Any]) -> None:
    """The service may have stored the object, but does not answer."""
    handler(signal.default_int_handler)
    store = persist.Store("s3://my-bucket")
    threading.Thread(target=interrupt, args=(held,)).start()
    with pytest.raises(KeyboardInterrupt) as interrupted:
        if way == "snapshot":
            persist.snapshot({"a": 1}, "s3://my-bucket/x.json.gz")
        elif way == "save_bytes":
            store.save_bytes(b"state", "x.json.gz")
        else:
            write(store, "replace")
    is_unknown(interrupted.value.__cause__)


def test_an_existing_cause_of_an_interrupt_is_kept(held: Held, handler: Callable[[Any], Any]) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt from LookupError("of the handler")

    handler(stop)
    threading.Thread(target=interrupt, args=(held,)).start()
    with pytest.raises(KeyboardInterrupt) as interrupted:
        persist.snapshot({"a": 1}, "s3://my-bucket/x.json.gz")
    assert type(is_unknown(interrupted.value.__cause__).__cause__) is LookupError


async def cancelled(work: Callable[[], Any], held: Held) -> BaseException:
    """Cancels a task while the service has its request. Returns what the task raises."""
    task = asyncio.ensure_future(work())
    await asyncio.get_running_loop().run_in_executor(None, held.asked.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    return raised_in(raised)


@pytest.mark.parametrize("way", ["asnapshot", "snapshot", "save_bytes", "open"])
def test_a_cancelled_task_has_the_unknown_outcome_as_its_cause(way: str, held: Held) -> None:
    async def opened(store: persist.AsyncStore) -> None:
        async with store.open("x.json.gz", "wb") as file:
            await file.write(b"state")

    async def run() -> BaseException:
        store = persist.AsyncStore("s3://my-bucket")
        ways: dict[str, Callable[[], Any]] = {
            "asnapshot": lambda: persist.asnapshot({"a": 1}, "s3://my-bucket/x.json.gz"),
            "snapshot": lambda: store.snapshot({"a": 1}, "x.json.gz"),
            "save_bytes": lambda: store.save_bytes(b"state", "x.json.gz"),
            "open": lambda: opened(store),
        }
        return await cancelled(ways[way], held)

    is_unknown(asyncio.run(run()).__cause__)


def notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


STORED = ["the snapshot was stored all the same"] if sys.version_info >= (3, 11) else []


DELETED = ["the snapshot was deleted all the same"] if sys.version_info >= (3, 11) else []


@pytest.mark.parametrize("way", ["snapshot", "save_bytes", "open"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, LookupError])
def test_an_exception_too_late_to_stop_a_save_says_so(way: str, kind: type[BaseException], folder: Path) -> None:
    """For example an error of a log handler, or an interrupt while it runs."""

    class Late(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if 'operation="snapshot"' in record.getMessage():
                raise kind

    store = persist.Store(".")
    ways: dict[str, Callable[[], Any]] = {
        "snapshot": lambda: store.snapshot({"a": 1}, "x"),
        "save_bytes": lambda: store.save_bytes(b"state", "x"),
        "open": lambda: write_to(store),
    }
    late, logger = Late(), logging.getLogger("persist_host")
    level = logger.level
    logger.addHandler(late)
    logger.setLevel(logging.DEBUG)
    try:
        with pytest.raises(kind) as raised:
            ways[way]()
    finally:
        logger.removeHandler(late)
        logger.setLevel(level)
    assert notes(raised.value) == STORED
    assert store.verify("x")


@pytest.mark.parametrize("way", ["snapshot", "save_bytes", "open", "delete"])
def test_a_task_that_was_cancelled_too_late_says_so(way: str) -> None:
    folder = DictStorage()
    folder.objects["there"] = b"object"
    store = persist.AsyncStore(folder)

    async def opened() -> None:
        async with store.open("x", "wb") as file:
            await file.write(b"state")

    ways: dict[str, Callable[[], Any]] = {
        "snapshot": lambda: store.snapshot({"a": 1}, "x"),
        "save_bytes": lambda: store.save_bytes(b"state", "x"),
        "open": opened,
        "delete": lambda: store.delete("there"),
    }

    async def run() -> BaseException:
        task = asyncio.ensure_future(ways[way]())
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            loop.call_soon_threadsafe(task.cancel)
            # Waits until the task has asked for the cancellation.
            time.sleep(0.3)

        folder.before = cancel
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        return raised_in(raised)

    raised = asyncio.run(run())
    assert raised.__cause__ is None
    assert notes(raised) == (DELETED if way == "delete" else STORED)
    assert is_done(folder, way)


def test_a_task_that_was_cancelled_in_time_says_nothing_more() -> None:
    async def run() -> BaseException:
        store = persist.AsyncStore("agents")
        task = asyncio.ensure_future(store.save_bytes(os.urandom(1 << 20) * 200, "x"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        assert not await store.exists("x")
        return raised.value

    raised = asyncio.run(run())
    assert (raised.__cause__, notes(raised)) == (None, [])
