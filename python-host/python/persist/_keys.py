"""Names that frameworks give things, as keys of a store."""

from __future__ import annotations

from urllib.parse import quote, unquote

from persist._store import Store

_EMPTY = "%"
"""Stands for an empty part; percent-encoding never gives a percent sign alone."""


_SUFFIX = ".gz"
"""What every key ends with, and no part of a name does: dots are encoded. A file
that is called as a folder is so never in its way.
"""


def key_of(name: str) -> str:
    """The key for any text: percent-encoded but for its slashes."""
    return "/".join(_part(part) or _EMPTY for part in name.split("/")) + _SUFFIX


def prefix_of(start: str) -> str:
    """What the keys of names begin with that begin with this text."""
    *parts, last = start.split("/")
    return "/".join([*(_part(part) or _EMPTY for part in parts), _part(last)])


def name_of(key: str) -> str:
    """The text that a key is for."""
    parts = key.removesuffix(_SUFFIX).split("/")
    return "/".join("" if part == _EMPTY else unquote(part, errors="surrogatepass") for part in parts)


def _part(part: str) -> str:
    # Letters of all languages stay, as far as a file may be called so.
    encoded = "".join(
        char if char.isalnum() and ord(char) > 127 else quote(char, safe=" @:+=,", errors="surrogatepass")
        for char in part
    )
    return encoded.replace(".", "%2E")


def store_at(store: Store | str) -> Store:
    """A store, or the one at a location."""
    return store if isinstance(store, Store) else Store(store)
