"""A storage in Python, like one that a user may write."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import persist


class DictStorage:
    """A storage that keeps its objects in a dict. A test can make it fail."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.aborted = 0
        self.before: Callable[[], object] = bool
        """Runs before a change."""
        self.after: Callable[[], object] = bool
        """Runs after a change."""

    def open_write(self, key: str) -> Any:
        storage = self

        class Writer(io.BytesIO):
            def commit(self) -> None:
                storage.before()
                storage.objects[key] = self.getvalue()
                storage.after()

            def abort(self) -> None:
                storage.aborted += 1

        return Writer()

    def open_read(self, key: str) -> Any:
        return io.BytesIO(self.objects[key])

    def stat(self, key: str) -> persist.ObjectInfo:
        if key not in self.objects:
            raise FileNotFoundError(key)
        return persist.ObjectInfo(key, len(self.objects[key]))

    def delete(self, key: str) -> None:
        self.before()
        del self.objects[key]
        self.after()

    def list(self, prefix: str) -> list[persist.ObjectInfo]:
        return [self.stat(key) for key in self.objects if key.startswith(prefix)]


def write_to(store: persist.Store) -> None:
    """Saves a state through a file."""
    with store.open("x", "wb") as file:
        file.write(b"state")


def is_done(folder: DictStorage, way: str) -> bool:
    """Whether a change of ``x`` or a delete of ``there`` was done."""
    return "there" not in folder.objects if "delete" in way else "x" in folder.objects
