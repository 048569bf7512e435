"""Words for messages."""

from __future__ import annotations


def a(name: str) -> str:
    """Returns a name with its article: ``a dict``, ``an int``."""
    return f"{'an' if name[:1] in tuple('aeioAEIO') else 'a'} {name}"
