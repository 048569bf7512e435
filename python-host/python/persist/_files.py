"""States that do not fit in memory: files over snapshots."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from persist import _persist
from persist._metadata import SnapshotMetadata
from persist._operations import STORED, to_the_end
from persist.errors import PersistConfigurationError, PersistError

if TYPE_CHECKING:
    import asyncio

F = TypeVar("F")
T = TypeVar("T")
Describe = Callable[[str], SnapshotMetadata]


class SnapshotWriter(io.BufferedIOBase):
    """A snapshot that is being written, as a binary file.

    Nothing is stored until it is closed; in a ``with`` block that ends with an
    exception, and where it is forgotten, nothing is stored at all. Do not wrap
    it: what closes it, as ``io.TextIOWrapper`` does at an exception and when it
    is forgotten, stores it. For text, write ``text.encode()``.
    """

    metadata: SnapshotMetadata | None = None
    """What was written down about it, once it is closed."""

    def __init__(self, writer: _persist.Writer, describe: Describe) -> None:
        super().__init__()
        self._writer: _persist.Writer | None = writer
        self._describe = describe

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any, /) -> int:
        """Appends to the state.

        Args:
            data: Bytes, or what gives its bytes, as a ``memoryview``.

        Returns:
            How many bytes it was: all of them.
        """
        if self._writer is None:
            raise ValueError("the snapshot is closed")
        data = data if isinstance(data, bytes) else bytes(memoryview(data))
        self._writer.write(data)
        return len(data)

    def close(self) -> None:
        """Makes the snapshot visible, all of it at once."""
        writer, self._writer = self._writer, None
        super().close()
        if writer is not None:
            self.metadata = self._describe(writer.commit())

    def abort(self) -> None:
        """Leaves it: nothing is stored."""
        writer, self._writer = self._writer, None
        super().close()
        if writer is not None:
            writer.abort()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close() if kind is None else self.abort()

    def __del__(self) -> None:
        # Not closed: whoever wrote it did not come to the end.
        self.abort()


class _Chunks(io.RawIOBase):
    def __init__(self, reader: _persist.Reader) -> None:
        super().__init__()
        self._reader = reader
        self._chunk = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._chunk:
            self._chunk = memoryview(self._reader.read())
        count = min(len(buffer), len(self._chunk))
        buffer[:count] = self._chunk[:count]
        self._chunk = self._chunk[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()


class SnapshotReader(io.BufferedReader):
    """A snapshot's state as a binary file. Every byte it gives was checked, and
    the last ones come only after the state was checked as a whole.
    """

    metadata: SnapshotMetadata
    """What the snapshot says of itself."""

    def __init__(self, reader: _persist.Reader, describe: Describe) -> None:
        super().__init__(_Chunks(reader), 1 << 20)
        self.metadata = describe(reader.metadata)


class AsyncSnapshotWriter:
    """A :class:`SnapshotWriter` for asyncio; opened by ``async with``."""

    def __init__(self, open_file: Callable[[_persist.CancelToken], SnapshotWriter]) -> None:
        self._token = _persist.CancelToken()
        self._open = open_file
        self._file: SnapshotWriter | None = None
        self._turns = _Turns()

    @property
    def metadata(self) -> SnapshotMetadata | None:
        """What was written down about it, once it is closed."""
        return None if self._file is None else self._file.metadata

    async def __aenter__(self) -> AsyncSnapshotWriter:
        import asyncio

        self._file = await asyncio.to_thread(self._open, self._token)
        return self

    async def write(self, data: Any, /) -> int:
        """Appends to the state."""
        return await self._turns.take(lambda: _opened(self._file).write(data))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        file, has_begun = _opened(self._file), False
        # Not all that was to be written may have been.
        if kind is None and self._turns.is_broken:
            await asyncio.shield(_later(lambda: file.__exit__(asyncio.CancelledError, None, None)))
            raise self._turns.broken("nothing was stored")

        def leave() -> None:
            nonlocal has_begun
            has_begun = True
            file.__exit__(kind, error, traceback)

        # A task that is cancelled now has to be told what became of the snapshot.
        try:
            await to_the_end(self._token, leave, STORED if kind is None else None)
        except asyncio.CancelledError:
            if not has_begun:
                _later(lambda: file.__exit__(asyncio.CancelledError, None, None))
            raise


class AsyncSnapshotReader:
    """A :class:`SnapshotReader` for asyncio; opened by ``async with``."""

    def __init__(self, open_file: Callable[[], SnapshotReader]) -> None:
        self._open = open_file
        self._file: SnapshotReader | None = None
        self._turns = _Turns()

    @property
    def metadata(self) -> SnapshotMetadata:
        """What the snapshot says of itself."""
        return _opened(self._file).metadata

    async def __aenter__(self) -> AsyncSnapshotReader:
        import asyncio

        self._file = await asyncio.to_thread(self._open)
        return self

    async def read(self, size: int = -1, /) -> bytes:
        """The next bytes: ``size``, or all; fewer only at the end."""
        return await self._turns.take(lambda: _opened(self._file).read(size))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        # A reading that was cancelled may go on in its thread, and is waited for there.
        closing = _later(_opened(self._file).close)
        if kind is None or not issubclass(kind, asyncio.CancelledError):
            await asyncio.shield(closing)


class _Turns:
    """One call after the other on a file, until one is cancelled: nobody knows then
    how far it came.
    """

    def __init__(self) -> None:
        self.is_broken = False
        self._turn: asyncio.Lock | None = None

    async def take(self, work: Callable[[], T]) -> T:
        """Does something in a thread."""
        import asyncio

        if self._turn is None:
            self._turn = asyncio.Lock()
        try:
            async with self._turn:
                if self.is_broken:
                    raise self.broken("nobody knows how far it came")
                return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            self.is_broken = True
            raise

    @staticmethod
    def broken(outcome: str) -> PersistError:
        """What is said of a file after a call that was cancelled."""
        return PersistError(
            f"an earlier call on this file was cancelled, and {outcome}",
            "cancelled",
            hint="open the file again and start over",
        )


def _later(work: Callable[[], object]) -> asyncio.Future[object]:
    """Does something in a thread, whoever waits for it."""
    import asyncio

    running = asyncio.get_running_loop().run_in_executor(None, work)
    running.add_done_callback(lambda done: done.cancelled() or done.exception())
    return running


def _opened(file: F | None) -> F:
    if file is None:
        raise ValueError("the file is opened by 'async with'")
    return file


def check_mode(mode: str) -> None:
    """Raises for what is not a mode of these files."""
    if mode not in ("rb", "wb"):
        hint = "it is 'rb' or 'wb': write text.encode(), and read with io.TextIOWrapper"
        raise PersistConfigurationError(f"{mode!r} is not a valid mode", "invalid-argument", hint=hint)
