"""Moving in from a framework's own store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from persist.errors import PersistConflictError, PersistIntegrityError


def missing(there: Sequence[Any], wanted: Sequence[Any], location: str) -> Sequence[Any]:
    """Returns what has yet to be copied, if the beginning is there already.

    Raises:
        PersistConflictError: Something else is there.
    """
    if [*there] != [*wanted[: len(there)]]:
        raise PersistConflictError(
            "the target has something else than the source",
            "already-exists",
            location,
            hint="copy to another session, or delete what is there first",
        )
    return wanted[len(there) :]


def check(there: Any, wanted: Any, location: str) -> None:
    """Fails unless a copy, which was read again, is what it should be.

    Raises:
        PersistIntegrityError: It is not.
    """
    if there != wanted:
        raise PersistIntegrityError(
            "the copy differs from its source",
            "integrity",
            location,
            hint="check whether somebody changes the source or the target meanwhile, and copy again",
        )
