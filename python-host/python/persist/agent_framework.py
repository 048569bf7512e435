"""For Microsoft Agent Framework: a storage for the checkpoints of workflows, in files or a bucket."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterable
from datetime import datetime
from threading import RLock
from typing import Any

from agent_framework import CheckpointID, WorkflowCheckpoint, WorkflowCheckpointException
from agent_framework._workflows._checkpoint_encoding import decode_checkpoint_value, encode_checkpoint_value

from persist import _persist
from persist._keys import store_at
from persist._live.copies import differs, other
from persist._live.items import CONTENT_TYPE, text_of
from persist._live.sessions import Sessions
from persist._store import Store
from persist._store_base import StoreBase
from persist._threads import in_thread
from persist._timeline import Timeline
from persist.errors import PersistIntegrityError, PersistNotFoundError, PersistWarning

__all__ = ["PersistCheckpointStorage", "copy"]

AGENT = "agent-framework"
"""The agent of the workflows, unless another is given."""

_ID, _TIME = "checkpoint", "checkpoint-time"
"""The labels of a checkpoint."""

_CHANGED = "the checkpoint was changed all the same"
_log = logging.getLogger("persist")

Token = _persist.CancelToken | None


async def copy(source: Any, target: PersistCheckpointStorage, *, workflow_name: str) -> int:
    """Copies the checkpoints of a workflow from a storage of any class, such as a ``FileCheckpointStorage``, and
    reads them back. Those that the target has are left out.

    Returns:
        How many checkpoints were copied.

    Raises:
        PersistConflictError: The target has another checkpoint with the same ID.
        PersistIntegrityError: What was read back is something else.
    """
    found, copied = await source.list_checkpoints(workflow_name=workflow_name), 0
    into = target._workflow(workflow_name)
    for checkpoint in sorted(found, key=lambda checkpoint: datetime.fromisoformat(checkpoint.timestamp)):
        there = await in_thread(into.load, checkpoint.checkpoint_id)
        if there is None:
            await target.save(checkpoint)
            there = await in_thread(into.load, checkpoint.checkpoint_id)
            copied += 1
            problem: Callable[[str], Exception] = differs
        else:
            problem = other
        # A set may be pickled in another order, and NaN is not equal to itself.
        encoded = encode_checkpoint_value(checkpoint.to_dict())
        if text_of(there) != text_of(encoded) and target._decoded(there) != checkpoint:
            raise problem(into.timeline.location)
    return copied


class PersistCheckpointStorage:
    """Keeps the checkpoints of workflows in files or a bucket. Each is a step of the timeline of its workflow,
    which stores only what is new.

    Args:
        location: A folder or ``s3://bucket/prefix``, or a :class:`persist.Store`.
        agent_id: The agent whose workflows these are.
        allowed_checkpoint_types: More types that checkpoints may contain, as ``"module:qualname"``, as for a
            ``FileCheckpointStorage``.

    The framework pickles values that JSON lacks. Load checkpoints only from writers that you trust.

    Example::

        workflow = WorkflowBuilder(..., checkpoint_storage=PersistCheckpointStorage("s3://bucket/agents")).build()
    """

    def __init__(
        self,
        location: str | os.PathLike[str] | Store,
        *,
        agent_id: str = AGENT,
        allowed_checkpoint_types: Iterable[str] | None = None,
    ) -> None:
        store = store_at(location)._twin(StoreBase)
        self._allowed = frozenset(allowed_checkpoint_types or ())

        def opened(folder: str, workflow: str, _: str | None) -> _Workflow:
            timeline = Timeline.__new__(Timeline)
            timeline._set(store, folder, agent_id, workflow)
            return _Workflow(timeline)

        # A workflow has no parts.
        self._workflows: Sessions[_Workflow] = Sessions(store, agent_id, "", opened, lambda _, name: name)

    async def save(self, checkpoint: WorkflowCheckpoint) -> CheckpointID:
        """Stores a checkpoint, and returns its ID. One with the same ID is replaced.

        Raises:
            WorkflowCheckpointException: It can't be encoded, or could not be loaded again.
        """
        name = checkpoint.checkpoint_id
        try:
            encoded = encode_checkpoint_value(checkpoint.to_dict())
            decode_checkpoint_value(encoded, allowed_types=self._allowed)
        except WorkflowCheckpointException:
            raise
        except Exception as error:
            raise WorkflowCheckpointException(
                f"checkpoint {name} can't be encoded, or could not be loaded with the allowed types"
            ) from error
        labels = {_ID: name, _TIME: checkpoint.timestamp}
        await in_thread(self._workflow(checkpoint.workflow_name).save, encoded, labels, changed=_CHANGED)
        return name

    async def load(self, checkpoint_id: CheckpointID) -> WorkflowCheckpoint:
        """Returns a checkpoint.

        Raises:
            WorkflowCheckpointException: There is none with this ID, or it contains a type that is not allowed.
        """
        found = await in_thread(self._find, checkpoint_id)
        if found is None:
            raise WorkflowCheckpointException(f"No checkpoint found with ID {checkpoint_id}")
        return self._decoded(found[1])

    async def list_checkpoints(self, *, workflow_name: str) -> list[WorkflowCheckpoint]:
        """Returns the checkpoints of a workflow. One with a type that is not allowed is left out, and logged; one that
        is damaged is left out, and a ``PersistWarning`` names it.
        """
        found = []
        for state in await in_thread(self._workflow(workflow_name).load_all):
            try:
                found.append(self._decoded(state))
            except WorkflowCheckpointException as error:
                _log.warning("a checkpoint of %s is left out: %s", workflow_name, error)
        return found

    async def list_checkpoint_ids(self, *, workflow_name: str) -> list[CheckpointID]:
        """Returns the IDs of what :meth:`list_checkpoints` returns."""
        return [each.checkpoint_id for each in await self.list_checkpoints(workflow_name=workflow_name)]

    async def get_latest(self, *, workflow_name: str) -> WorkflowCheckpoint | None:
        """Returns the checkpoint of a workflow with the latest time, or ``None`` if there is none."""
        workflow = self._workflow(workflow_name)
        ids: dict[str, str] = await in_thread(workflow.times)
        for name in sorted(ids, key=lambda name: datetime.fromisoformat(ids[name]), reverse=True):
            state = await in_thread(workflow.load, name)
            try:
                if state is not None:
                    return self._decoded(state)
            except WorkflowCheckpointException as error:
                _log.warning("a checkpoint of %s is left out: %s", workflow_name, error)
        return None

    async def delete(self, checkpoint_id: CheckpointID) -> bool:
        """Deletes a checkpoint. Returns whether there was one."""
        deleted: bool = await in_thread(self._delete, checkpoint_id, changed=_CHANGED)
        return deleted

    def close(self) -> None:
        """Records which steps are the newest, so that their loss would be noticed."""
        self._workflows.close()

    def _workflow(self, name: str) -> _Workflow:
        return self._workflows.get(name)

    def _decoded(self, state: Any) -> WorkflowCheckpoint:
        return WorkflowCheckpoint.from_dict(decode_checkpoint_value(state, allowed_types=self._allowed))

    def _find(self, checkpoint: str, token: Token) -> tuple[_Workflow, Any] | None:
        """Returns a checkpoint with its workflow. An ID does not say which that is."""
        workflows = [self._workflow(name) for name in self._workflows.ids()]
        found = [(workflow.times(token).get(checkpoint), workflow) for workflow in workflows]
        # The same ID in two workflows is that of the later one, as in files that are named by the ID.
        several = [(time, workflow) for time, workflow in found if time is not None]
        for _, workflow in sorted(several, key=lambda each: each[0], reverse=True):
            state = workflow.load(checkpoint, token)
            if state is not None:
                return workflow, state
        return None

    def _delete(self, checkpoint: str, token: Token) -> bool:
        deleted = [self._workflow(name).delete(checkpoint, token) for name in self._workflows.ids()]
        return any(deleted)


class _Workflow:
    """The timeline of one workflow, and which of its steps are checkpoints."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._lock = RLock()
        self._newest = 0
        self._steps: dict[str, tuple[int, str]] = {}
        """The number and the time of each checkpoint."""

    def save(self, state: Any, labels: dict[str, str], token: Token = None) -> None:
        with self._lock:
            before = self._known().get(labels[_ID])
            # Not as an agent: the framework writes values such as those of an enumeration as plain JSON.
            text = text_of(state).encode()
            self.timeline.append_bytes(text, content_type=CONTENT_TYPE, labels=labels, on_conflict="rebase")
            if before is not None:
                # In its place comes the new one, which is there by now.
                self._remove([before[0]], token)

    def load(self, checkpoint: str, token: Token = None) -> Any:
        """Returns the state of a checkpoint, or nothing if it is not there."""
        with self._lock:
            found = self._known().get(checkpoint)
        if found is None:
            return None
        try:
            return json.loads(self.timeline.load_bytes(at=found[0]))
        except PersistNotFoundError:  # It was deleted meanwhile.
            with self._lock:
                self._newest, self._steps = 0, {}
                found = self._known().get(checkpoint)
            return None if found is None else json.loads(self.timeline.load_bytes(at=found[0]))

    def load_all(self, token: Token = None) -> list[Any]:
        """Returns the states of all checkpoints. A damaged one is left out, and a warning names it."""
        states = []
        for checkpoint in self.times():
            try:
                states.append(self.load(checkpoint, token))
            except PersistIntegrityError as error:
                warnings.warn(f"checkpoint {checkpoint} is left out: {error}", PersistWarning, stacklevel=2)
        return [state for state in states if state is not None]

    def times(self, token: Token = None) -> dict[str, str]:
        """Returns the time of each checkpoint, as the framework writes it."""
        with self._lock:
            return {checkpoint: time for checkpoint, (_, time) in self._known().items()}

    def delete(self, checkpoint: str, token: Token = None) -> bool:
        with self._lock:
            found = self._known().get(checkpoint)
            if found is None or not self._is_there(found[0]):
                return False
            if found[0] == self._newest:
                # The newest step can't be removed.
                self.timeline.append(None, on_conflict="rebase")
            self._remove([found[0]], token)
            self._steps.pop(checkpoint, None)
            return True

    def close(self) -> None:
        self.timeline.close()

    def _is_there(self, number: int) -> bool:
        """Returns whether a step is there, even if it is damaged: another object may have deleted it."""
        try:
            self.timeline.at(number)
        except PersistNotFoundError:
            return False
        except PersistIntegrityError:
            return True
        return True

    def _remove(self, numbers: list[int], token: Token) -> None:
        self.timeline.close()
        self.timeline._opened().native.remove(numbers, token)

    def _known(self) -> dict[str, tuple[int, str]]:
        """Returns the checkpoints, after a look at what is new."""
        if not self._newest or not self.timeline._is_newest(self._newest):
            new = []
            try:
                # One that is damaged is no reason to lose the others: a warning names it.
                for step in self.timeline.history(errors="warn"):
                    if step.number <= self._newest:
                        break
                    new.append(step)
            except PersistNotFoundError:
                self._newest, self._steps = 0, {}
            for step in reversed(new):
                self._newest = step.number
                if step.error is None and _ID in step.labels:
                    self._steps.pop(step.labels[_ID], None)
                    self._steps[step.labels[_ID]] = step.number, step.labels[_TIME]
        return self._steps
