"""Agents of frameworks: a module here for each, which is imported only where its
framework is.

A snapshot says in its metadata which adapter made it. That chooses among these
adapters and those that were registered, and only among those whose framework the
program has imported itself: it never imports anything.
"""

from __future__ import annotations

from persist._adapter import Adapter
from persist._registry import register_adapter

__all__ = ["Adapter", "register_adapter"]
