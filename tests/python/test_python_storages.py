"""Storages that are written in Python, and the errors for their exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import persist
import pytest
from persist import errors
from storages import DictStorage, is_done, write_to


class Broken(DictStorage):
    """A storage whose calls raise errors."""

    def open_write(self, key: str) -> Any:
        raise ZeroDivisionError("while writing")

    def open_read(self, key: str) -> Any:
        raise ConnectionResetError("while reading")


def test_a_storage_in_python_works() -> None:
    store = persist.Store(DictStorage())
    store.snapshot({"a": 1}, "x/1.gz")
    store.snapshot({"a": 2}, "x/0.gz")
    assert store.restore("x/1.gz") == {"a": 1}
    assert [found.key for found in store.list("x/")] == ["x/0.gz", "x/1.gz"]
    assert store.verify("x/1.gz")
    with pytest.raises(persist.PersistNotFoundError):
        store.restore("x/2.gz")
    with pytest.raises(persist.PersistStorageError, match="does not support preconditions"):
        store.snapshot({}, "x/2.gz", if_exists="fail")
    with pytest.raises(persist.PersistTypeError):
        persist.Store(object())  # type: ignore[arg-type]


def test_the_error_of_a_storage_is_the_cause() -> None:
    places = Broken()
    places.objects["x"] = b""
    store = persist.Store(places)
    with pytest.raises(persist.PersistError, match="while writing") as raised:
        store.snapshot({"a": 1}, "x")
    assert type(raised.value.__cause__) is ZeroDivisionError
    assert raised.value.location == "x"
    assert raised.value.facts == {}
    with pytest.raises(persist.PersistConnectionError, match="while reading") as raised:
        store.restore("x")
    assert type(raised.value.__cause__) is ConnectionResetError
    with pytest.raises(persist.PersistConnectionError) as raised:
        store.list()
    assert type(raised.value.__cause__) is ConnectionResetError


def test_an_exit_within_a_storage_ends_the_program() -> None:
    class Ending(DictStorage):
        def open_write(self, key: str) -> Any:
            raise SystemExit(3)

        def list(self, prefix: str) -> Any:
            raise KeyboardInterrupt

    store = persist.Store(Ending())
    with pytest.raises(SystemExit):
        store.snapshot({}, "x")
    with pytest.raises(KeyboardInterrupt):
        store.list()


def test_an_interrupt_within_a_storage_is_raised_by_every_operation() -> None:
    class Ending(DictStorage):
        ending: type[BaseException] | None = None

        def open_read(self, key: str) -> Any:
            if self.ending is not None:
                raise self.ending
            return super().open_read(key)

        def open_write(self, key: str) -> Any:
            if self.ending is not None:
                raise self.ending
            return super().open_write(key)

    places = Ending()
    store = persist.Store(places)
    store.save_bytes(b"state", "x")
    for kind in (KeyboardInterrupt, SystemExit):
        places.ending = kind
        for operation in (
            lambda: store.save_bytes(b"state", "y"),
            lambda: store.load_bytes("x"),
            lambda: store.restore("x"),
            lambda: store.verify("x"),
            lambda: store.metadata("x"),
        ):
            with pytest.raises(kind):
                operation()
    places.ending = None
    assert store.load_bytes("x") == b"state"


def raising(error: BaseException | type[BaseException]) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


def changes(folder: DictStorage) -> dict[str, Callable[[], Any]]:
    """Returns all ways to change a storage."""
    store, twin = persist.Store(folder), persist.AsyncStore(folder)
    return {
        "snapshot": lambda: store.snapshot({"a": 1}, "x"),
        "save_bytes": lambda: store.save_bytes(b"state", "x"),
        "open": lambda: write_to(store),
        "AsyncStore.snapshot": lambda: asyncio.run(twin.snapshot({"a": 1}, "x")),
        "delete": lambda: store.delete("there"),
        "AsyncStore.delete": lambda: asyncio.run(twin.delete("there")),
    }


WAYS = list(changes(DictStorage()))


@pytest.mark.parametrize("way", WAYS)
def test_a_storage_can_report_the_outcome(way: str) -> None:
    for kind, code in [
        (persist.PersistNotDurableError, "not-durable"),
        (persist.PersistOutcomeUnknownError, "outcome-unknown"),
    ]:
        folder = DictStorage()
        folder.objects["there"] = b"object"
        folder.after = raising(kind("The disk says no."))
        with pytest.raises(kind, match="The disk says no") as raised:
            changes(folder)[way]()
        assert raised.value.code == code
        assert type(raised.value.__cause__) is kind
        assert is_done(folder, way)
        # A stored object stays, and is aborted only if it may not have been stored.
        assert folder.aborted == (1 if kind is persist.PersistOutcomeUnknownError and "delete" not in way else 0)


@pytest.mark.parametrize("way", WAYS)
def test_any_other_error_of_a_storage_means_that_nothing_was_done(way: str) -> None:
    for error, kind in [(OSError("no"), persist.PersistStorageError), (TimeoutError(), persist.PersistTimeoutError)]:
        folder = DictStorage()
        folder.objects["there"] = b"object"
        folder.before = raising(error)
        with pytest.raises(kind) as raised:
            changes(folder)[way]()
        assert not isinstance(raised.value, (persist.PersistNotDurableError, persist.PersistOutcomeUnknownError))
        assert not is_done(folder, way)
        assert folder.aborted == (0 if "delete" in way else 1)


HOST_ALONE = {"memory-limit", "deadline", "cancelled"}


@pytest.mark.parametrize("code", [code for code in errors._CODES if code not in {"other", *HOST_ALONE}])
def test_the_code_of_a_storage_error_is_kept(code: str) -> None:
    kind = errors._CODES[code][0]
    for way in WAYS:
        folder = DictStorage()
        folder.objects["there"] = b"object"
        folder.before = raising(kind("The disk says no.", code, retryable=True, hint="ask the disk"))
        with pytest.raises(kind) as raised:
            changes(folder)[way]()
        error = raised.value
        assert (error.code, error.retryable, error.hint) == (code, True, "ask the disk"), way


def test_an_error_class_with_one_code_implies_it() -> None:
    cases: list[tuple[type[persist.PersistError], str]] = [
        (persist.PersistUntrustedError, "untrusted"),
        (persist.PersistNoKeyError, "no-key"),
        (persist.PersistConflictError, "already-exists"),
        (persist.PersistAccessError, "access-denied"),
        (persist.PersistStorageError, "io"),
    ]
    for kind, code in cases:
        folder = DictStorage()
        folder.before = raising(kind("The disk says no."))
        with pytest.raises(persist.PersistError) as raised:
            changes(folder)["save_bytes"]()
        assert (type(raised.value), raised.value.code) == (kind, code)


@pytest.mark.parametrize("way", [way for way in WAYS if "Async" not in way])
@pytest.mark.parametrize("is_late", [True, False])
def test_an_interrupt_within_a_change_has_an_unknown_outcome(way: str, is_late: bool) -> None:
    folder = DictStorage()
    folder.objects["there"] = b"object"
    setattr(folder, "after" if is_late else "before", raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt) as interrupted:
        changes(folder)[way]()
    cause = interrupted.value.__cause__
    assert isinstance(cause, persist.PersistOutcomeUnknownError)
    assert "interrupted" in str(cause)
    assert cause.location == ("there" if "delete" in way else "x")
    # Either may be the case.
    assert is_done(folder, way) == is_late
