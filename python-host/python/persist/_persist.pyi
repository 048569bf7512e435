"""The native module of the package, written in Rust."""

import builtins
import os
from collections.abc import Callable, Iterable
from typing import Any, Literal

from persist.errors import PersistError
from persist.storage import Storage

__version__: str
FORMAT_VERSION: int
COMPONENT_HASH: str

_Progress = Callable[[int, int | None], object]

class CancelToken:
    """Cancels operations from another thread."""

    def __init__(self) -> None: ...
    def cancel(self) -> None:
        """Cancels every operation that has this token."""

class Place:
    """A storage, for the duration of one or a few operations."""

    def summary(self) -> str:
        """Returns a description of the storage for people."""
    def location(self, key: str) -> str:
        """Returns the location of a key, as a user would write it."""
    def save(
        self,
        key: str,
        value: Any,
        reducer: Callable[[Any], tuple[str, dict[str, Any], bool]],
        arguments: dict[str, Any],
        progress: _Progress | None = None,
        token: CancelToken | None = None,
    ) -> str:
        """Saves a value. Returns the metadata as JSON."""
    def save_bytes(
        self,
        key: str,
        state: bytes,
        arguments: dict[str, Any],
        progress: _Progress | None = None,
        token: CancelToken | None = None,
    ) -> str:
        """Saves bytes. Returns the metadata as JSON."""
    def writer(self, key: str, arguments: dict[str, Any], token: CancelToken | None = None) -> Writer:
        """Starts a snapshot that is written piece by piece."""
    def load(
        self,
        key: str,
        max_size: int | None = None,
        progress: _Progress | None = None,
        token: CancelToken | None = None,
    ) -> tuple[bytes, str]:
        """Returns a state of at most ``max_size`` bytes, and the metadata as JSON."""
    def reader(self, key: str) -> Reader:
        """Starts to read a state piece by piece."""
    def metadata(self, key: str, token: CancelToken | None = None) -> str:
        """Returns the metadata of a snapshot as JSON."""
    def verify(self, key: str, progress: _Progress | None = None, token: CancelToken | None = None) -> str:
        """Checks every byte of a snapshot. Returns its metadata as JSON."""
    def exists(self, key: str, token: CancelToken | None = None) -> bool:
        """Returns whether there is an object with this key."""
    def delete(self, key: str, if_match: str | None = None, token: CancelToken | None = None) -> None:
        """Deletes an object."""
    def list(self, prefix: str, wanted: dict[str, Any], token: CancelToken | None = None) -> Listing:
        """Lists the wanted snapshots whose keys begin with the prefix, in natural order."""
    def keys(self, prefix: str, token: CancelToken | None = None) -> builtins.list[str]:
        """Returns all keys that begin with the prefix, whatever their objects hold."""
    def timeline(self, folder: str) -> Timeline:
        """Returns the timeline in a folder."""
    def timelines(self, prefix: str, token: CancelToken | None = None) -> builtins.list[str]:
        """Returns the folders of the timelines whose keys begin with the prefix."""
    def delete_many(
        self, keys: builtins.list[str], token: CancelToken | None = None
    ) -> builtins.list[tuple[str, PersistError]]:
        """Deletes objects, many at once. Missing objects are ignored. Returns the keys that
        could not be deleted, and the errors.
        """
    def remove_empty_folders(self, folder: str, keys: builtins.list[str]) -> None:
        """Removes the folders of these keys that are empty, up to but not including
        ``folder``, which ends with ``/`` or is empty.
        """
    def copy(
        self,
        key: str,
        target: tuple[Place, str],
        arguments: dict[str, Any],
        progress: _Progress | None = None,
        token: CancelToken | None = None,
    ) -> tuple[str, bool]:
        """Copies a snapshot and verifies it on the way. Returns its metadata as JSON, and
        whether it was not there before.
        """
    def salvage(self, key: str, max_size: int, token: CancelToken | None = None) -> tuple[bytes, str]:
        """Returns what can be recovered from a damaged snapshot, at most ``max_size`` bytes,
        and the report as JSON.
        """

class Listing:
    """The entries of a listing: the key, the metadata as JSON, and the error."""

    def __iter__(self) -> Listing: ...
    def __next__(self) -> tuple[str, str, PersistError | None]: ...

class Timeline:
    """A timeline, for the duration of one or a few operations."""

    def location(self) -> str:
        """Returns where the timeline is, as a user would write it."""
    def find(
        self, at: str | None = None, label: tuple[str, str | None] | None = None, token: CancelToken | None = None
    ) -> tuple[int, str, int | None]:
        """Returns a step: its number, its metadata as JSON, and the step that it restates."""
    def load(
        self,
        at: str | None = None,
        label: tuple[str, str | None] | None = None,
        max_size: int | None = None,
        progress: _Progress | None = None,
        token: CancelToken | None = None,
    ) -> tuple[bytes, str]:
        """Returns the state of a step, of at most ``max_size`` bytes, and the metadata as JSON."""
    def copy(self, target: Timeline, token: CancelToken | None = None) -> int:
        """Copies the timeline, or what has come since an earlier copy, into another folder. Returns
        how many steps were copied.
        """
    def fork(
        self,
        target: Timeline,
        at: str | None = None,
        label: tuple[str, str | None] | None = None,
        token: CancelToken | None = None,
    ) -> int:
        """Copies the steps up to one of them into another folder. Returns the number of the last."""
    def diff(
        self,
        before: tuple[str | None, tuple[str, str | None] | None],
        after: tuple[str | None, tuple[str, str | None] | None],
        other: Timeline | None = None,
        token: CancelToken | None = None,
    ) -> tuple[Diff, int, int]:
        """Compares a step with one of this or another timeline. Returns their numbers, too."""
    def history(self, wanted: dict[str, Any], limit: int | None = None, token: CancelToken | None = None) -> History:
        """Starts to read the history, the newest step first."""
    def set_label(self, number: int, name: str, value: str | None, token: CancelToken | None = None) -> None:
        """Sets a label of a step, or removes it."""
    def prune(
        self, rules: dict[str, Any], dry_run: bool, token: CancelToken | None = None
    ) -> tuple[list[tuple[int, str, int, Literal["kept", "hidden", "removed"], list[str]]], int | None, int, int]:
        """Removes the steps that no rule keeps. Returns the number, time, size, outcome and
        rules of each step; the number of a step that restates the newest one; and how many bytes
        were freed and are left.
        """
    def remove(self, numbers: builtins.list[int], token: CancelToken | None = None) -> int:
        """Removes the steps with these numbers, but never the newest. Returns how many."""
    def check(
        self, read_data: bool, progress: _Progress | None = None, token: CancelToken | None = None
    ) -> list[tuple[int | None, str, PersistError]]:
        """Checks all steps. Returns the step's number, the key and the error of each damaged object."""
    def repair(self, forget_damaged: bool, token: CancelToken | None = None) -> int:
        """Rewrites what is derived from the steps. Returns how many objects were written."""
    def delete(self, after: int | None = None, token: CancelToken | None = None) -> int:
        """Deletes the timeline. Returns how many steps were removed."""

class Diff:
    """The differences between two states, which can be gone through once: operation, path, and
    the values before and after, each with its size if only its beginning is there.
    """

    def kind(self) -> Literal["equal", "json", "text", "binary"]:
        """Returns how the states are compared."""
    def __iter__(self) -> Diff: ...
    def __next__(
        self,
    ) -> tuple[
        Literal["add", "remove", "replace"], str, tuple[str, int | None] | None, tuple[str, int | None] | None
    ]: ...
    def read(self) -> bytes | None:
        """Returns the next part of the description of all differences; ``None`` at the end."""
    def summary(self) -> str:
        """Returns what changed in one line."""

class History:
    """The steps of a timeline, the newest first: the number, the metadata as JSON, the step
    that it restates, and the error.
    """

    def __iter__(self) -> History: ...
    def __next__(self) -> tuple[int, str, int | None, PersistError | None]: ...

class Appender:
    """Appends to one timeline. It keeps the newest state from one append to the next."""

    def __init__(self) -> None: ...
    def append(
        self,
        timeline: Timeline,
        state: bytes,
        arguments: dict[str, Any],
        on_conflict: str,
        progress: _Progress | None = None,
        token: CancelToken | None = None,
        grows: bool = False,
    ) -> tuple[int, str, int | None]:
        """Appends a state as the next step. Returns it as ``Timeline.find`` does. If it ``grows``, it is
        kept for ``grow``.
        """
    def grow(
        self,
        timeline: Timeline,
        after: int,
        size: int,
        tail: bytes,
        arguments: dict[str, Any],
        token: CancelToken | None = None,
    ) -> tuple[int, str, int | None] | None:
        """Appends the state of the step with the number ``after``, with ``tail`` in place of what is after
        its first ``size`` bytes. Returns nothing if that state is not kept.
        """
    def close(self, token: CancelToken | None = None) -> None:
        """Records which step is the newest, and closes the timeline."""

class Writer:
    """A snapshot that is being written. Without ``commit`` nothing is stored."""

    def write(self, state: bytes) -> None:
        """Appends to the state."""
    def commit(self) -> str:
        """Makes the snapshot visible. Returns its metadata as JSON."""
    def abort(self) -> None:
        """Discards the snapshot: nothing is stored."""

class Reader:
    """A snapshot that is being read."""

    metadata: str
    def read(self) -> bytes:
        """Returns the next piece of the state, at most 8 MiB. It is empty only at the end.
        The last piece is returned only after the whole state has been checked.
        """
    def close(self) -> None:
        """Releases the resources of the reader."""

def folder_name(text: str) -> str:
    """Returns the name of the folder for the snapshots of an ID."""

def id_of(name: str) -> str | None:
    """Returns the ID of a folder name, or ``None`` if it is not the name of an ID or was
    shortened.
    """

def session_folder(agent_id: Any, session_id: Any) -> str:
    """Returns the folder of a session's snapshots, with a ``/`` at the end."""

def file_name(index: Any, codec: Any, content_type: str) -> str:
    """Returns the name of a snapshot in the folder of its session."""

def next_index(names: list[str]) -> int:
    """Returns the index after those of all names in the folder of a session."""

def step_of(key: str) -> tuple[str, int] | None:
    """Returns the folder and the number of the step that a key names, if it names one."""

def step_name(number: int) -> str:
    """Returns the name of the step with a number, in the folder of its timeline."""

def moment(name: str, text: str) -> str:
    """Returns the time that a text means, in the form that is stored."""

def locate(path: str | os.PathLike[str], settings: dict[str, Any], to_write: bool = False) -> tuple[Place, str]:
    """Returns the place of one snapshot, and its key. With ``to_write``, it refuses a key that
    could not be listed.
    """

def open_folder(path: str | os.PathLike[str], settings: dict[str, Any]) -> tuple[Place, str]:
    """Returns the place of a folder, and the start of the keys in it."""

def open_object(storage: Storage) -> Place:
    """Returns the place of a storage that is written in Python."""

def error_codes() -> list[str]:
    """Returns all error codes."""

def encode(value: Any, reducer: Any = None, is_private: bool = False) -> bytes:
    """Encodes a value as JSON. If the value is private, so that no other thread can change it,
    other threads run in the meantime.
    """

class Items:
    """A list whose items are made while it is written, several at a time."""

    def __init__(self, parts: Iterable[list[Any]]) -> None: ...
    def parts(self) -> Iterable[list[Any]]:
        """Returns the lists of items, which can be taken only once."""

class Frozen:
    """A value as it was when it was frozen."""

    def thaw(self) -> Any:
        """Returns the copy of the value, which can be taken only once."""

def freeze(value: Any) -> Frozen:
    """Freezes a value as it is now."""

class FrozenItems:
    """The items of a list as they were when it was frozen."""

    def take(self, count: int) -> list[Any]:
        """Returns the copies of the next items, at most ``count``. Each can be taken only once."""

def freeze_each(items: list[Any]) -> FrozenItems:
    """Freezes each item of a list as it is now."""

def differing(one: list[Any], other: list[Any]) -> list[int]:
    """Returns the numbers of the items that may differ. The others are certain to have the
    same classes and the same content, except that an integer may equal a float.
    """

def is_plain(value: Any) -> bool:
    """Returns whether a value consists only of lists, dicts with text keys, text, bytes,
    numbers and times, all of exactly these types.
    """

def decode(json: bytes, rebuild: Callable[[str, dict[str, Any]], Any] | None = None) -> Any:
    """Decodes JSON into a value."""

def forward_logs() -> None:
    """Forwards the logs of the host to ``logging``."""

def run_command(arguments: list[str]) -> int:
    """Runs the command ``persist``. Returns its exit code."""
