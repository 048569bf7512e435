"""Encodes the names that frameworks use as keys of a store."""

from __future__ import annotations

import os
from urllib.parse import quote, unquote

from persist._store import Store

_EMPTY = "%"
"""The encoding of an empty part. Percent-encoding never produces a percent sign alone."""

_SUFFIX = ".gz"
"""The end of every key. Parts of names never end with it, because dots are encoded, so a
file never has the name of a folder.
"""


def key_of(name: str) -> str:
    """Returns the key for any text, with everything except slashes percent-encoded."""
    return "/".join(_part(part) or _EMPTY for part in name.split("/")) + _SUFFIX


def prefix_of(start: str) -> str:
    """Returns the prefix of the keys whose names begin with a text."""
    *parts, last = start.split("/")
    return "/".join([*(_part(part) or _EMPTY for part in parts), _part(last)])


def name_of(key: str) -> str:
    """Returns the name that a key encodes."""
    parts = key.removesuffix(_SUFFIX).split("/")
    return "/".join("" if part == _EMPTY else unquote(part, errors="surrogatepass") for part in parts)


def _part(part: str) -> str:
    # Letters of all languages are kept for readable file names.
    encoded = "".join(
        char if char.isalnum() and ord(char) > 127 else quote(char, safe=" @:+=,", errors="surrogatepass")
        for char in part
    )
    return encoded.replace(".", "%2E")


def store_at(store: Store | str | os.PathLike[str]) -> Store:
    """Returns a store, or the store at a location."""
    return store if isinstance(store, Store) else Store(store)
