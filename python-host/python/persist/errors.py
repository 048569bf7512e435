"""Exceptions. Each is a :class:`PersistError` and the built-in exception that
people already catch: a missing snapshot is also a :class:`FileNotFoundError`.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

__all__ = [
    "PersistAccessError",
    "PersistConfigurationError",
    "PersistConflictError",
    "PersistConnectionError",
    "PersistDeadlineError",
    "PersistError",
    "PersistIntegrityError",
    "PersistMemoryLimitError",
    "PersistNotFoundError",
    "PersistStorageError",
    "PersistTimeoutError",
    "PersistTypeError",
    "PersistWarning",
]


_ERRNO = {
    "not-found": errno.ENOENT,
    "already-exists": errno.EEXIST,
    "precondition-failed": errno.EEXIST,
    "access-denied": errno.EACCES,
    "credentials": errno.EACCES,
    "no-space": errno.ENOSPC,
    "timeout": errno.ETIMEDOUT,
}


class PersistError(Exception):
    """What every operation of this package fails with.

    ``str(error)`` is one sentence. Location and advice are attributes, and are
    shown below a traceback (from Python 3.11 on).
    """

    message: str
    """One sentence: what failed. Never a secret."""
    code: str
    """The kind of failure, as the command prints it: ``not-found``."""
    location: str | None
    """Where: a path, ``s3://bucket/key``."""
    retryable: bool
    """Whether the same call may succeed later with nothing else changed."""
    hint: str | None
    """What to do about it."""
    facts: dict[str, str]
    """Further facts, as the id of a request or the hash that was expected."""

    def __init__(
        self,
        message: str = "",
        code: str = "other",
        location: str | None = None,
        retryable: bool = False,
        hint: str | None = None,
        facts: Any = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.location = location
        self.retryable = retryable
        self.hint = hint
        self.facts = dict(facts)
        if isinstance(self, OSError):
            # What others look at; ``str(error)`` stays one sentence.
            for name, value in (("filename", location), ("errno", _ERRNO.get(code))):
                setattr(self, name, value)
        if sys.version_info >= (3, 11):
            if location is not None:
                self.add_note(f"location: {location}")
            if hint is not None:
                self.add_note(f"hint: {hint}")

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        facts = tuple(self.facts.items())
        return type(self), (self.message, self.code, self.location, self.retryable, self.hint, facts)

    def _within(self, place: str) -> PersistError:
        """The same error, which says where in a state it is."""
        return type(self)(
            f"{self.message}, at {place}", self.code, self.location, self.retryable, self.hint, self.facts
        )


class PersistConfigurationError(PersistError, ValueError):
    """An argument, a key or a setting is wrong."""


class PersistTypeError(PersistError, TypeError):
    """An argument has the wrong type, or a value is of a type that can't be saved."""


class PersistNotFoundError(PersistError, FileNotFoundError):
    """There is no such snapshot."""


class PersistConflictError(PersistError, FileExistsError):
    """The snapshot exists already, or somebody else changed it."""


class PersistIntegrityError(PersistError, ValueError):
    """The snapshot is damaged, is none, or is of a format that is not known."""


class PersistAccessError(PersistError, PermissionError):
    """Credentials are missing or wrong, or do not allow this."""


class PersistStorageError(PersistError, OSError):
    """The bucket is missing, the service refused, or the disk failed."""


class PersistConnectionError(PersistStorageError, ConnectionError):
    """The storage could not be reached."""


class PersistTimeoutError(PersistStorageError, TimeoutError):
    """The storage took too long."""


class PersistMemoryLimitError(PersistError, MemoryError):
    """More memory was needed than there is, or than is allowed."""


class PersistDeadlineError(PersistError, TimeoutError):
    """The component computed for longer than it may."""


class PersistWarning(UserWarning):
    """Something was left out."""


_CLASSES: dict[str, type[PersistError]] = {
    "invalid-argument": PersistConfigurationError,
    "invalid-key": PersistConfigurationError,
    "not-found": PersistNotFoundError,
    "already-exists": PersistConflictError,
    "precondition-failed": PersistConflictError,
    "integrity": PersistIntegrityError,
    "not-a-snapshot": PersistIntegrityError,
    "invalid-format": PersistIntegrityError,
    "unsupported-format": PersistIntegrityError,
    "credentials": PersistAccessError,
    "access-denied": PersistAccessError,
    "no-such-bucket": PersistStorageError,
    "unsupported": PersistStorageError,
    "refused": PersistStorageError,
    "unavailable": PersistConnectionError,
    "timeout": PersistTimeoutError,
    "no-space": PersistStorageError,
    "io": PersistStorageError,
    "limit-exceeded": PersistMemoryLimitError,
    "memory-limit": PersistMemoryLimitError,
    "deadline": PersistDeadlineError,
}


def _from_host(
    code: str, message: str, location: str | None, retryable: bool, hint: str | None, facts: list[tuple[str, str]]
) -> PersistError:
    """The exception for an error of the host."""
    return _CLASSES.get(code, PersistError)(message, code, location, retryable, hint, facts)
