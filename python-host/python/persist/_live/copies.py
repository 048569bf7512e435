"""Moving in from a framework's own store."""

from __future__ import annotations

from collections.abc import Sequence

from persist.errors import PersistConflictError, PersistIntegrityError


def missing(there: Sequence[str], wanted: Sequence[str], location: str) -> Sequence[str]:
    """Returns what has yet to be copied of some items as JSON, if the beginning is there already.

    Raises:
        PersistConflictError: Something else is there.
    """
    if [*there] != [*wanted[: len(there)]]:
        raise other(location)
    return wanted[len(there) :]


def other(location: str) -> PersistConflictError:
    """Returns the error for a target with something that the source lacks."""
    return PersistConflictError(
        "the target has something else than the source",
        "already-exists",
        location,
        hint="copy to another session, or delete what is there first",
    )


def check(there: object, wanted: object, location: str) -> None:
    """Fails unless a copy, which was read again, is what it should be. Both are JSON, in which NaN equals itself.

    Raises:
        PersistIntegrityError: It is not.
    """
    if there != wanted:
        raise differs(location)


def differs(location: str) -> PersistIntegrityError:
    """Returns the error for a copy that is not what it should be."""
    return PersistIntegrityError(
        "the copy differs from its source",
        "integrity",
        location,
        hint="check whether somebody changes the source or the target meanwhile, and copy again",
    )
