"""Exceptions. Each is a :class:`PersistError` and the built-in exception that
people already catch: a missing snapshot is also a :class:`FileNotFoundError`.
"""

from __future__ import annotations

import errno
import struct
import sys
import zlib
from typing import Any, NoReturn

__all__ = [
    "PersistAccessError",
    "PersistConfigurationError",
    "PersistConflictError",
    "PersistConnectionError",
    "PersistDeadlineError",
    "PersistError",
    "PersistIntegrityError",
    "PersistKeyError",
    "PersistMemoryLimitError",
    "PersistNoKeyError",
    "PersistNotDurableError",
    "PersistNotFoundError",
    "PersistOutcomeUnknownError",
    "PersistStorageError",
    "PersistTimeoutError",
    "PersistTypeError",
    "PersistUntrustedError",
    "PersistWarning",
    "PersistWrongKindError",
]


class PersistError(Exception):
    """What every operation of this package fails with.

    ``str(error)`` is one sentence. Location and advice are attributes, and are
    shown below a traceback (from Python 3.11 on).

    What saves or deletes and raises this has changed nothing, with two
    exceptions: :class:`PersistNotDurableError` says that it is done, and
    :class:`PersistOutcomeUnknownError` that nobody knows.
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
            _, number = _CODES.get(code, (PersistError, None))
            for name, value in (("filename", location), ("errno", number)):
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
        new = type(self)(f"{self.message}, at {place}", self.code, self.location, self.retryable, self.hint, self.facts)
        new.__cause__, new.__suppress_context__ = self.__cause__, self.__suppress_context__
        return new

    def _at(self, location: str) -> None:
        """Says which snapshot it is about, unless that was said."""
        if self.location is None:
            self.location = location
            if isinstance(self, OSError):
                # As the constructor does.
                setattr(self, "filename", location)  # noqa: B010
            if sys.version_info >= (3, 11):
                self.add_note(f"location: {location}")


class PersistConfigurationError(PersistError, ValueError):
    """An argument, a key or a setting is wrong."""


class PersistTypeError(PersistError, TypeError):
    """An argument has the wrong type, or a value is of a type that can't be saved."""


class PersistNotFoundError(PersistError, FileNotFoundError):
    """There is no such snapshot."""


class PersistKeyError(PersistNotFoundError, KeyError):
    """``store[key]`` where there is no such snapshot."""


class PersistConflictError(PersistError, FileExistsError):
    """The snapshot exists already, somebody else changed it, or somebody else is
    writing it at this moment. Nothing was stored.
    """


class PersistIntegrityError(PersistError, ValueError):
    """The snapshot is damaged, is none, or is of a format that is not known."""


class PersistWrongKindError(PersistIntegrityError):
    """It is an object of Persist's, but not a snapshot: the message names its kind."""


class PersistNoKeyError(PersistError, PermissionError):
    """The snapshot is encrypted, and none of the keys at hand opens it."""


class PersistUntrustedError(PersistError, PermissionError):
    """The snapshot is not sealed by anybody who is trusted, and that was asked for."""


class PersistAccessError(PersistError, PermissionError):
    """Credentials are missing or wrong, or do not allow this."""


class PersistStorageError(PersistError, OSError):
    """The bucket is missing, the service refused, or the disk failed."""


class PersistNotDurableError(PersistStorageError):
    """The snapshot is stored, but was not synced: a power cut may lose it. Or it
    is deleted, and a power cut may bring it back.
    """


class PersistOutcomeUnknownError(PersistStorageError):
    """It is not known whether the snapshot was stored, or deleted: the answer was
    lost, and nobody could be asked. Look at what is there before doing it again.
    """


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


_CODES: dict[str, tuple[type[PersistError], int | None]] = {
    "invalid-argument": (PersistConfigurationError, None),
    "invalid-key": (PersistConfigurationError, None),
    "not-found": (PersistNotFoundError, errno.ENOENT),
    "already-exists": (PersistConflictError, errno.EEXIST),
    "precondition-failed": (PersistConflictError, errno.EEXIST),
    # Not EEXIST, which says that there is a snapshot, and not EAGAIN, which event
    # loops take for a file that is not ready: it is in use by somebody else.
    "conflict": (PersistConflictError, errno.EBUSY),
    "integrity": (PersistIntegrityError, None),
    "not-a-snapshot": (PersistIntegrityError, None),
    "wrong-kind": (PersistWrongKindError, None),
    "invalid-format": (PersistIntegrityError, None),
    "unsupported-format": (PersistIntegrityError, None),
    "limit-exceeded": (PersistMemoryLimitError, None),
    "no-key": (PersistNoKeyError, errno.EACCES),
    "untrusted": (PersistUntrustedError, errno.EACCES),
    "credentials": (PersistAccessError, errno.EACCES),
    "access-denied": (PersistAccessError, errno.EACCES),
    "no-such-bucket": (PersistStorageError, None),
    "unsupported": (PersistStorageError, None),
    "refused": (PersistStorageError, None),
    "unavailable": (PersistConnectionError, None),
    "timeout": (PersistTimeoutError, errno.ETIMEDOUT),
    "no-space": (PersistStorageError, errno.ENOSPC),
    "io": (PersistStorageError, None),
    "not-durable": (PersistNotDurableError, errno.EIO),
    "outcome-unknown": (PersistOutcomeUnknownError, None),
    "other": (PersistError, None),
    "memory-limit": (PersistMemoryLimitError, None),
    "deadline": (PersistDeadlineError, None),
    "cancelled": (PersistError, None),
}
"""All codes of the host, in its order: the class of each, and the ``errno`` that
others look at.
"""


def _from_host(
    code: str, message: str, location: str | None, retryable: bool, hint: str | None, facts: list[tuple[str, str]]
) -> PersistError:
    """The exception for an error of the host."""
    return _CODES[code][0](message, code, location, retryable, hint, facts)


def not_a_value(problem: str, hint: str = "get its bytes with Store.load_bytes(key)") -> PersistIntegrityError:
    """The error for bytes that are no value."""
    message = f"Format error: the state is not a valid value: {problem}"
    return PersistIntegrityError(message, "invalid-format", hint=hint)


def invalid(what: str) -> PersistIntegrityError:
    """The error for a part of a state that is not what it should be; ``what`` ends in
    "is" or "are".
    """
    return PersistIntegrityError(
        f"Format error: {what} not valid", "invalid-format", hint="restore with plain=True to see what it holds"
    )


def within(error: BaseException, place: str) -> BaseException:
    """An error that says where in a state it is."""
    if isinstance(error, PersistError):
        return error._within(place)
    if sys.version_info >= (3, 11):
        error.add_note(f"at {place}")
    return error


def raise_foreign(error: Exception, problem: str, hint: str) -> NoReturn:
    """Raises where code of somebody else failed with an error: a framework, or a
    class of the user's.

    What a value that does not fit makes Python raise becomes a
    :class:`PersistTypeError`. A plain ``ConnectionError`` or ``TimeoutError`` becomes
    the error of this package that is the same built-in class. All others keep their
    class: they are raised as they are.
    """
    new = _foreign(error, problem, hint)
    if new is error:
        raise error
    raise new from error


def _foreign(error: Exception, problem: str, hint: str) -> Exception:
    if isinstance(error, PersistError):
        return error
    message = f"{problem}: {type(error).__name__}: {error}"
    if type(error) is ConnectionError:
        return PersistConnectionError(message, "unavailable", retryable=True, hint="try again later")
    if type(error) is TimeoutError:
        return PersistTimeoutError(message, "timeout", retryable=True, hint="try again later")
    if isinstance(error, _MISFITS):
        return PersistTypeError(message, "invalid-argument", hint=hint)
    if sys.version_info >= (3, 11):
        error.add_note(problem)
        error.add_note(f"hint: {hint}")
    return error


_MISFITS = (
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    AssertionError,
    RecursionError,
    struct.error,
    zlib.error,
)


def _code_of(error: BaseException) -> str | None:
    """The code of an error that a storage raises: its own, or that of a class that
    stands for one code alone.
    """
    if not isinstance(error, PersistError):
        return None
    if error.code != "other":
        return error.code
    for kind in type(error).__mro__:
        codes = [code for code, (of_code, _) in _CODES.items() if of_code is kind]
        if len(codes) == 1:
            return codes[0]
    return None
