"""Snapshots as files, for states that do not fit in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from persist import _persist
from persist._metadata import SnapshotMetadata
from persist._threads import STORED, to_the_end
from persist.errors import PersistConfigurationError, PersistError

if TYPE_CHECKING:
    import asyncio

F = TypeVar("F")
T = TypeVar("T")
Describe = Callable[[str], SnapshotMetadata]


class SnapshotWriter(io.BufferedIOBase):
    """A binary file that writes a snapshot.

    The snapshot is stored when the file is closed. Nothing is stored if its ``with``
    block ends with an exception, or if the file is never closed. Do not wrap it:
    closing stores the snapshot, and ``io.TextIOWrapper`` closes the file after an
    exception and when the wrapper is garbage-collected. To write text, write
    ``text.encode()``.
    """

    metadata: SnapshotMetadata | None = None
    """The metadata of the snapshot, once the file is closed."""

    def __init__(self, writer: _persist.Writer, describe: Describe) -> None:
        super().__init__()
        self._writer: _persist.Writer | None = writer
        self._describe = describe

    def writable(self) -> bool:
        """Returns ``True``."""
        return True

    def write(self, data: Any, /) -> int:
        """Appends to the state.

        Args:
            data: Bytes, or another object that supports the buffer protocol, such as a
                ``memoryview``.

        Returns:
            The number of bytes, all of which are written.
        """
        if self._writer is None:
            raise ValueError("the snapshot is closed")
        data = data if isinstance(data, bytes) else bytes(memoryview(data))
        self._writer.write(data)
        return len(data)

    def close(self) -> None:
        """Stores the snapshot, which becomes visible as a whole."""
        writer, self._writer = self._writer, None
        super().close()
        if writer is not None:
            self.metadata = self._describe(writer.commit())

    def abort(self) -> None:
        """Discards the snapshot: nothing is stored."""
        writer, self._writer = self._writer, None
        super().close()
        if writer is not None:
            writer.abort()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close() if kind is None else self.abort()

    def __del__(self) -> None:
        # It was never closed, so the state may be incomplete.
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
    """A binary file that reads the state of a snapshot. Every byte is checked before it
    is returned, and the last bytes are returned only after the whole state has been checked.
    """

    metadata: SnapshotMetadata
    """The metadata of the snapshot."""

    def __init__(self, reader: _persist.Reader, describe: Describe) -> None:
        super().__init__(_Chunks(reader), 1 << 20)
        self.metadata = describe(reader.metadata)


class AsyncSnapshotWriter:
    """A :class:`SnapshotWriter` for asyncio. ``async with`` opens it."""

    def __init__(self, open_file: Callable[[_persist.CancelToken], SnapshotWriter]) -> None:
        self._token = _persist.CancelToken()
        self._open = open_file
        self._file: SnapshotWriter | None = None
        self._turns = _Turns()

    @property
    def metadata(self) -> SnapshotMetadata | None:
        """The metadata of the snapshot, once the file is closed."""
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
        # A write was cancelled, so the state may be incomplete.
        if kind is None and self._turns.is_broken:
            await asyncio.shield(_later(lambda: file.__exit__(asyncio.CancelledError, None, None)))
            raise self._turns.broken("nothing was stored")

        def leave() -> None:
            nonlocal has_begun
            has_begun = True
            file.__exit__(kind, error, traceback)

        # If the task is cancelled from here on, its exception says whether the snapshot was stored.
        try:
            await to_the_end(self._token, leave, STORED if kind is None else None)
        except asyncio.CancelledError:
            if not has_begun:
                _later(lambda: file.__exit__(asyncio.CancelledError, None, None))
            raise


class AsyncSnapshotReader:
    """A :class:`SnapshotReader` for asyncio. ``async with`` opens it."""

    def __init__(self, open_file: Callable[[], SnapshotReader]) -> None:
        self._open = open_file
        self._file: SnapshotReader | None = None
        self._turns = _Turns()

    @property
    def metadata(self) -> SnapshotMetadata:
        """The metadata of the snapshot."""
        return _opened(self._file).metadata

    async def __aenter__(self) -> AsyncSnapshotReader:
        import asyncio

        self._file = await asyncio.to_thread(self._open)
        return self

    async def read(self, size: int = -1, /) -> bytes:
        """Returns the next ``size`` bytes, or all that are left. It returns fewer only at
        the end.
        """
        return await self._turns.take(lambda: _opened(self._file).read(size))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        # A cancelled read may still run in its thread. Closing waits for it there.
        closing = _later(_opened(self._file).close)
        if kind is None or not issubclass(kind, asyncio.CancelledError):
            await asyncio.shield(closing)


class _Turns:
    """Runs the calls on a file one after another. After a call was cancelled, all others
    are refused, because the position in the file is unknown.
    """

    def __init__(self) -> None:
        self.is_broken = False
        self._turn: asyncio.Lock | None = None

    async def take(self, work: Callable[[], T]) -> T:
        """Runs work in a thread when it is its turn."""
        import asyncio

        if self._turn is None:
            self._turn = asyncio.Lock()
        try:
            async with self._turn:
                if self.is_broken:
                    raise self.broken("the position in the file is unknown")
                return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            self.is_broken = True
            raise

    @staticmethod
    def broken(outcome: str) -> PersistError:
        """Returns the error for a file one of whose calls was cancelled."""
        return PersistError(
            f"an earlier call on this file was cancelled, and {outcome}",
            "cancelled",
            hint="open the file again and start over",
        )


def _later(work: Callable[[], object]) -> asyncio.Future[object]:
    """Runs work in a thread, even if nobody waits for it."""
    import asyncio

    running = asyncio.get_running_loop().run_in_executor(None, work)
    running.add_done_callback(lambda done: done.cancelled() or done.exception())
    return running


def _opened(file: F | None) -> F:
    if file is None:
        raise ValueError("the file is not open: open it with 'async with'")
    return file


def check_mode(mode: str) -> None:
    """Refuses a mode other than ``rb`` and ``wb``."""
    if mode not in ("rb", "wb"):
        hint = "use 'rb' or 'wb'; for text, write text.encode(), and read with io.TextIOWrapper"
        raise PersistConfigurationError(f"{mode!r} is not a valid mode", "invalid-argument", hint=hint)
