"""For LangGraph: a checkpointer that keeps every step of every thread in files or a bucket."""

from __future__ import annotations

from persist._langgraph.copies import acopy, copy
from persist._langgraph.saver import PersistSaver

__all__ = ["PersistSaver", "acopy", "copy"]
