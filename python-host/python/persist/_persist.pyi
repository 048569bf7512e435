"""Native parts of the package ``persist``."""

import builtins
import os
from collections.abc import Callable, Iterable
from typing import Any

from persist.errors import PersistError
from persist.storage import Storage

__version__: str
FORMAT_VERSION: int
COMPONENT_HASH: str

_Progress = Callable[[int, int | None], object]

class CancelToken:
    """Stops operations from another thread."""

    def __init__(self) -> None: ...
    def cancel(self) -> None:
        """Stops everything that has this token."""

class Place:
    """A storage, for the length of one operation or a few."""

    def summary(self) -> str:
        """What and where it is, for people."""
    def location(self, key: str) -> str:
        """The location of a key, as a user would write it."""
    def save(
        self,
        key: str,
        value: Any,
        reducer: Callable[[Any], tuple[str, dict[str, Any], bool]],
        arguments: dict[str, Any],
        progress: _Progress | None = None,
        token: CancelToken | None = None,
    ) -> str:
        """Saves a value; gives the metadata as JSON."""
    def save_bytes(
        self,
        key: str,
        state: bytes,
        arguments: dict[str, Any],
        progress: _Progress | None = None,
        token: CancelToken | None = None,
    ) -> str:
        """Saves bytes; gives the metadata as JSON."""
    def writer(self, key: str, arguments: dict[str, Any], token: CancelToken | None = None) -> Writer:
        """Begins a snapshot that is written piece by piece."""
    def load(
        self,
        key: str,
        max_size: int | None = None,
        progress: _Progress | None = None,
        token: CancelToken | None = None,
    ) -> tuple[bytes, str]:
        """A state of at most so many bytes, and the metadata as JSON."""
    def reader(self, key: str) -> Reader:
        """Begins to read a state piece by piece."""
    def metadata(self, key: str, token: CancelToken | None = None) -> str:
        """The metadata of a snapshot as JSON."""
    def verify(self, key: str, progress: _Progress | None = None, token: CancelToken | None = None) -> str:
        """Checks every byte of a snapshot; gives its metadata as JSON."""
    def exists(self, key: str, token: CancelToken | None = None) -> bool:
        """Whether there is an object with this key."""
    def delete(self, key: str, if_match: str | None = None, token: CancelToken | None = None) -> None:
        """Deletes an object."""
    def list(self, prefix: str, wanted: dict[str, Any], token: CancelToken | None = None) -> Listing:
        """The snapshots whose keys begin with the prefix, and that are wanted, in
        natural order.
        """
    def keys(self, prefix: str, token: CancelToken | None = None) -> builtins.list[str]:
        """All keys that begin with the prefix, whatever their objects hold."""
    def delete_many(
        self, keys: builtins.list[str], token: CancelToken | None = None
    ) -> builtins.list[tuple[str, PersistError]]:
        """Deletes objects, many at once; missing ones are ignored. Gives the keys of
        those that could not be deleted, and why.
        """
    def remove_empty_folders(self, folder: str, keys: builtins.list[str]) -> None:
        """Removes the folders of these keys that are empty, as far as ``folder``, which
        ends with ``/`` or is empty.
        """
    def copy(
        self,
        key: str,
        target: tuple[Place, str],
        arguments: dict[str, Any],
        progress: _Progress | None = None,
        token: CancelToken | None = None,
    ) -> tuple[str, bool]:
        """Copies a snapshot, and verifies it on the way. Gives its metadata as JSON, and
        whether it was not there before.
        """
    def salvage(self, key: str, max_size: int, token: CancelToken | None = None) -> tuple[bytes, str]:
        """What can be had of a damaged snapshot, of at most so many bytes, and the
        report as JSON.
        """

class Listing:
    """The entries of a listing: key, metadata as JSON, and what is wrong."""

    def __iter__(self) -> Listing: ...
    def __next__(self) -> tuple[str, str, PersistError | None]: ...

class Writer:
    """A snapshot that is being written. Without ``commit`` nothing is stored."""

    def write(self, state: bytes) -> None:
        """Appends to the state."""
    def commit(self) -> str:
        """Makes the snapshot visible; gives its metadata as JSON."""
    def abort(self) -> None:
        """Leaves it: nothing is stored."""

class Reader:
    """A snapshot that is being read."""

    metadata: str
    def read(self) -> bytes:
        """The next piece of the state, at most 8 MiB; empty only at the end. The
        last one comes only after the state was checked as a whole.
        """
    def close(self) -> None:
        """Gives back what the reading holds."""

def folder_name(text: str) -> str:
    """The name of the folder that an id's snapshots are in."""

def id_of(name: str) -> str | None:
    """The id whose name this is; ``None`` if it is that of no id, or was cut."""

def session_folder(agent_id: Any, session_id: Any) -> str:
    """The folder of a session's snapshots, with a ``/`` behind it."""

def file_name(index: Any, codec: Any, content_type: str) -> str:
    """The name of a snapshot in its session's folder."""

def next_index(names: list[str]) -> int:
    """The index behind those of all names in a session's folder."""

def moment(name: str, text: str) -> str:
    """The time that a text means, as times are stored."""

def locate(path: str | os.PathLike[str], settings: dict[str, Any], to_write: bool = False) -> tuple[Place, str]:
    """The place of one snapshot, and its key. What is to be written has to be one
    that can be listed.
    """

def open_folder(path: str | os.PathLike[str], settings: dict[str, Any]) -> tuple[Place, str]:
    """A folder, and what keys in it begin with."""

def open_object(storage: Storage) -> Place:
    """The place that an object of Python's is."""

def error_codes() -> list[str]:
    """The codes that errors may have."""

def encode(value: Any, reducer: Any = None, is_private: bool = False) -> bytes:
    """A value as JSON; other threads run meanwhile if it is private, so that none of
    them can change it.
    """

class Items:
    """A list whose items are made while it is written, and come in lists."""

    def __init__(self, parts: Iterable[list[Any]]) -> None: ...
    def parts(self) -> Iterable[list[Any]]:
        """The parts, which are given away."""

class Frozen:
    """A value as it was when it was frozen."""

    def thaw(self) -> Any:
        """The copy of the value; there is one."""

def freeze(value: Any) -> Frozen:
    """Keeps a value as it is now."""

class FrozenItems:
    """The items of a list as they were when it was frozen."""

    def take(self, count: int) -> list[Any]:
        """The copies of the next items, as many as there are; there is one of each."""

def freeze_each(items: list[Any]) -> FrozenItems:
    """Keeps each item of a list as it is now."""

def differing(one: list[Any], other: list[Any]) -> list[int]:
    """The numbers of the items of which it is not certain that they are the same: of the
    same classes, with the same in them. Integers and floats may be equal.
    """

def is_plain(value: Any) -> bool:
    """Whether a value has nothing but lists, dicts with names, text, bytes, numbers and
    times, all of exactly these types.
    """

def decode(json: bytes, rebuild: Callable[[str, dict[str, Any]], Any] | None = None) -> Any:
    """The value that JSON stands for."""

def forward_logs() -> None:
    """Has what the host logs arrive in ``logging``."""

def run_command(arguments: list[str]) -> int:
    """Runs the command ``persist``, and gives its exit code."""
