"""What callers of a checkpointer pass."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint

from persist._langgraph.asking import thread_of
from persist.errors import PersistTypeError

IDs = TypeVar("IDs", "Sequence[str]", "Sequence[str] | None")


def several(ids: IDs) -> IDs:
    """Returns IDs. A text is refused: it would be taken for those that its letters are."""
    if isinstance(ids, str):
        raise PersistTypeError(f"the IDs must be a list, not {ids!r}", "invalid-argument", hint=f"pass [{ids!r}]")
    return ids


def names_of(config: RunnableConfig) -> tuple[str, str]:
    """Returns the thread and the namespace that a config names."""
    return thread_of(config), config["configurable"].get("checkpoint_ns") or ""


def config_of(thread: str, name: str, checkpoint_id: str) -> RunnableConfig:
    """Returns the config that names a checkpoint."""
    return {"configurable": {"thread_id": thread, "checkpoint_ns": name, "checkpoint_id": checkpoint_id}}


def time_of(checkpoint: Checkpoint) -> str | None:
    """Returns when a checkpoint was made, if it says so in a form that can be stored."""
    try:
        time = datetime.fromisoformat(str(checkpoint.get("ts")))
    except ValueError:
        return None
    return time.isoformat() if time.tzinfo is not None else None
