"""Persist saves the state of an AI agent and brings it back, byte for byte, from
a local folder or any S3-compatible bucket.

    import persist

    persist.snapshot({"messages": ["Hello"]}, "agents/0001.json.gz")
    persist.restore("agents/0001.json.gz")

:func:`snapshot` and :func:`restore` are all that most programs need;
:class:`Store` is for programs that keep many snapshots in one location, and
:class:`Timeline` for those that save after every step. :func:`autosave` does that automatically.
"""

from __future__ import annotations

import importlib
from typing import Any

from persist import _installation, _persist
from persist._adapter import Adapter
from persist._autosave import AsyncAutosaver, Autosaver, autosave
from persist._buffers import dump, dumps, load, loads
from persist._diffs import Change, Diff
from persist._files import SnapshotReader, SnapshotWriter
from persist._functions import (
    adelete_snapshot,
    aget_metadata,
    alist_snapshots,
    arestore,
    asnapshot,
    asnapshot_exists,
    averify_snapshot,
    delete_snapshot,
    get_metadata,
    list_snapshots,
    restore,
    snapshot,
    snapshot_exists,
    verify_snapshot,
)
from persist._metadata import SnapshotMetadata
from persist._registry import register, register_adapter
from persist._steps import AsyncStep, Damage, PrunedStep, PruneReport, Step
from persist._store import AsyncStore, Store
from persist._timeline import AsyncTimeline, Timeline
from persist.errors import (
    PersistAccessError,
    PersistConfigurationError,
    PersistConflictError,
    PersistConnectionError,
    PersistDeadlineError,
    PersistError,
    PersistIntegrityError,
    PersistKeyError,
    PersistMemoryLimitError,
    PersistNoKeyError,
    PersistNotDurableError,
    PersistNotFoundError,
    PersistOutcomeUnknownError,
    PersistStorageError,
    PersistTimeoutError,
    PersistTypeError,
    PersistUntrustedError,
    PersistWarning,
    PersistWrongKindError,
)
from persist.storage import ObjectInfo, Storage, StorageWriter

__version__: str = _persist.__version__

__all__ = [
    "Adapter",
    "AsyncAutosaver",
    "AsyncStep",
    "AsyncStore",
    "AsyncTimeline",
    "Autosaver",
    "Change",
    "Damage",
    "Diff",
    "ObjectInfo",
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
    "PruneReport",
    "PrunedStep",
    "SnapshotMetadata",
    "SnapshotReader",
    "SnapshotWriter",
    "Step",
    "Storage",
    "StorageWriter",
    "Store",
    "Timeline",
    "__version__",
    "adelete_snapshot",
    "aget_metadata",
    "alist_snapshots",
    "arestore",
    "asnapshot",
    "asnapshot_exists",
    "autosave",
    "averify_snapshot",
    "delete_snapshot",
    "dump",
    "dumps",
    "get_metadata",
    "list_snapshots",
    "load",
    "loads",
    "register",
    "register_adapter",
    "restore",
    "snapshot",
    "snapshot_exists",
    "verify_snapshot",
]


_FRAMEWORKS = {
    "agent_framework",
    "crewai",
    "google_adk",
    "langchain",
    "langgraph",
    "openai_agents",
    "pydantic_ai",
    "strands",
}


def __getattr__(name: str) -> Any:
    # Each of these imports its framework, so none is imported before it is used.
    if name in _FRAMEWORKS:
        return importlib.import_module(f"persist.{name}")
    raise AttributeError(f"module 'persist' has no attribute {name!r}")


_installation.check()
_persist.forward_logs()
