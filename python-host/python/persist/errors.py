"""The exceptions. Each is a :class:`PersistError` and also the built-in exception that
people already catch: a missing snapshot is a :class:`FileNotFoundError`.
"""

from __future__ import annotations

import errno
import struct
import sys
import zlib
from typing import Any, NoReturn

from persist import _installation

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

# Also if the other package has replaced __init__.py.
_installation.check()


class PersistError(Exception):
    """The base class of all errors of this package.

    ``str(error)`` is one sentence. The location and the hint are attributes, and are
    shown below a traceback (since Python 3.11).

    An operation that raises this error has changed nothing, with two exceptions:
    :class:`PersistNotDurableError` means that the change was made, and
    :class:`PersistOutcomeUnknownError` that this is not known.
    """

    message: str
    """One sentence that says what failed. It never contains secrets."""
    code: str
    """The kind of failure, as the command prints it: ``not-found``."""
    location: str | None
    """Where it failed: a path or ``s3://bucket/key``."""
    retryable: bool
    """Whether the same call may succeed later, with nothing else changed."""
    hint: str | None
    """What to do about it."""
    facts: dict[str, str]
    """More facts, such as the ID of a request or the expected hash."""

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
            # Other code looks at these. ``str(error)`` stays one sentence.
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
        """Returns the same error with its place in the state."""
        new = type(self)(f"{self.message}, at {place}", self.code, self.location, self.retryable, self.hint, self.facts)
        new.__cause__, new.__suppress_context__ = self.__cause__, self.__suppress_context__
        return new

    def _at(self, location: str) -> None:
        """Sets the location, unless it is already set."""
        if self.location is None:
            self.location = location
            if isinstance(self, OSError):
                # The constructor does the same.
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
    """Raised by ``store[key]`` if there is no such snapshot."""


class PersistConflictError(PersistError, FileExistsError):
    """The snapshot already exists, somebody else changed it, or somebody else is
    writing it right now; or somebody else has appended to the timeline. Nothing was stored.
    """


class PersistIntegrityError(PersistError, ValueError):
    """The snapshot is damaged, is not a snapshot, or has an unsupported format."""


class PersistWrongKindError(PersistIntegrityError):
    """It is another kind of Persist object, and not a snapshot. The message names the kind."""


class PersistNoKeyError(PersistError, PermissionError):
    """The snapshot is encrypted, and none of the given keys opens it."""


class PersistUntrustedError(PersistError, PermissionError):
    """A seal from a trusted signer is required, and the snapshot has none."""


class PersistAccessError(PersistError, PermissionError):
    """Credentials are missing or wrong, or do not permit the operation."""


class PersistStorageError(PersistError, OSError):
    """The bucket is missing, the service refused the request, or the disk failed."""


class PersistNotDurableError(PersistStorageError):
    """The snapshot was stored or deleted, but the change was not synced to disk: a power
    cut may undo it.
    """


class PersistOutcomeUnknownError(PersistStorageError):
    """It is not known whether the snapshot was stored or deleted: the service's answer
    was lost, and the outcome could not be determined. Check what is stored before you
    try again.
    """


class PersistConnectionError(PersistStorageError, ConnectionError):
    """The storage could not be reached."""


class PersistTimeoutError(PersistStorageError, TimeoutError):
    """The storage took too long."""


class PersistMemoryLimitError(PersistError, MemoryError):
    """The operation needs more memory than there is, or than is allowed."""


class PersistDeadlineError(PersistError, TimeoutError):
    """The component ran longer than it is allowed to."""


class PersistWarning(UserWarning):
    """A snapshot was left out of a list, or autosave could not save a state and had no way to raise
    the error, because the program was already ending with an exception or a signal.
    """


_CODES: dict[str, tuple[type[PersistError], int | None]] = {
    "invalid-argument": (PersistConfigurationError, None),
    "invalid-key": (PersistConfigurationError, None),
    "not-found": (PersistNotFoundError, errno.ENOENT),
    "already-exists": (PersistConflictError, errno.EEXIST),
    "precondition-failed": (PersistConflictError, errno.EEXIST),
    # EEXIST would mean that there is a snapshot, and event loops take EAGAIN for a file
    # that is not ready. EBUSY: somebody else is using it.
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
"""All error codes of the host, in the host's order, with the class and the ``errno`` of each."""


def _from_host(
    code: str, message: str, location: str | None, retryable: bool, hint: str | None, facts: list[tuple[str, str]]
) -> PersistError:
    """Returns the exception for an error of the host."""
    return _CODES[code][0](message, code, location, retryable, hint, facts)


def not_a_value(problem: str, hint: str = "get its bytes with Store.load_bytes(key)") -> PersistIntegrityError:
    """Returns the error for bytes that are not a valid value."""
    message = f"Format error: the state is not a valid value: {problem}"
    return PersistIntegrityError(message, "invalid-format", hint=hint)


def invalid(what: str) -> PersistIntegrityError:
    """Returns the error for a part of a state that is not valid. ``what`` ends in "is" or
    "are".
    """
    return PersistIntegrityError(
        f"Format error: {what} not valid", "invalid-format", hint="restore with plain=True to see what it holds"
    )


def within(error: BaseException, place: str) -> BaseException:
    """Returns an error with its place in the state."""
    if isinstance(error, PersistError):
        return error._within(place)
    if sys.version_info >= (3, 11):
        error.add_note(f"at {place}")
    return error


def raise_foreign(error: Exception, problem: str, hint: str) -> NoReturn:
    """Raises the error for code of a framework or of the program that failed.

    Errors that Python raises for unsuitable values become a :class:`PersistTypeError`. A
    plain ``ConnectionError`` or ``TimeoutError`` becomes the error of this package with the
    same built-in base class. All other errors are raised unchanged.
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
    """Returns the code of an error that a storage raised: its own, or that of its class, if
    the class has only one code.
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
