"""``PersistCheckpointStorage`` does what the framework's own ``FileCheckpointStorage`` does, step by step, and loses
nothing when processes are killed or work on one workflow at the same time.

Run as a program, this saves checkpoints until it is killed: ``sessions_agent_framework.py LOCATION NAME COUNT``.
"""

from __future__ import annotations

import asyncio
import datetime
import enum
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import persist
import pytest
from agent_framework import (
    Executor,
    FileCheckpointStorage,
    WorkflowBuilder,
    WorkflowCheckpoint,
    WorkflowCheckpointException,
    WorkflowContext,
    handler,
)
from persist.agent_framework import AGENT, PersistCheckpointStorage, copy
from writers import SEEDS, add_until_killed, check_kills, check_two_processes

WORKFLOWS = ["case", "other/é"]
START = datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc)


class Odd:
    """A class that no storage allows."""


def checkpoint(source: random.Random, number: int, name: str) -> WorkflowCheckpoint:
    moment = START + datetime.timedelta(seconds=source.randrange(1000), microseconds=number)
    state = {"n": number, "at": moment, "bytes": b"\0\xff", "tuple": (1, 2), "é": None, "said": ["hello"] * number}
    return WorkflowCheckpoint(
        workflow_name=source.choice(WORKFLOWS),
        graph_signature_hash="hash",
        checkpoint_id=name,
        timestamp=moment.isoformat(),
        state={**state, "odd": Odd()} if source.random() < 0.1 else state,
        iteration_count=number,
    )


async def outcome(call: Awaitable[Any]) -> Any:
    try:
        found = await call
    except WorkflowCheckpointException:
        return "refused"
    # A FileCheckpointStorage has no order.
    return sorted(found, key=str) if isinstance(found, list) else found


@pytest.mark.parametrize("seed", SEEDS)
async def test_it_does_what_the_storage_of_the_framework_does(location: str, tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    own = FileCheckpointStorage(tmp_path / "own")
    services = [PersistCheckpointStorage(location), PersistCheckpointStorage(location)]
    of = dict[str, str]()
    for number in range(60):
        kind, name = source.randrange(10), f"c{source.randrange(12)}"
        made, workflow = checkpoint(source, number, name), source.choice(WORKFLOWS)
        # The file of the framework is named by the ID alone, so an ID belongs to one workflow.
        made.workflow_name = of.setdefault(name, made.workflow_name)
        expected, found = [
            await outcome(
                each.save(made)
                if kind < 5
                else each.load(name)
                if kind == 5
                else each.delete(name)
                if kind == 6
                else each.list_checkpoints(workflow_name=workflow)
                if kind == 7
                else each.get_latest(workflow_name=workflow)
                if kind == 8
                else each.list_checkpoint_ids(workflow_name=workflow)
            )
            for each in (own, source.choice(services))
        ]
        assert found == expected, (number, kind, name)
    fresh = PersistCheckpointStorage(location)
    for workflow in WORKFLOWS:
        listed = [await outcome(each.list_checkpoints(workflow_name=workflow)) for each in (own, fresh)]
        assert listed[0] == listed[1]


class Count(Executor):
    @handler
    async def count(self, number: int, context: WorkflowContext[int, int]) -> None:
        if number < 5:
            await context.send_message(number + 1)
        else:
            await context.yield_output(number)


class Again(Executor):
    @handler
    async def again(self, number: int, context: WorkflowContext[int]) -> None:
        await context.send_message(number)


def workflow(storage: Any) -> Any:
    count, again = Count(id="count"), Again(id="again")
    builder = WorkflowBuilder(name="counting", start_executor=count, checkpoint_storage=storage, output_from=[count])
    return builder.add_edge(count, again).add_edge(again, count).build()


async def test_a_workflow_goes_on(location: str) -> None:
    ran = await workflow(PersistCheckpointStorage(location)).run(1)
    assert ran.get_outputs() == [5]
    storage = PersistCheckpointStorage(location)
    stored = await storage.list_checkpoints(workflow_name="counting")
    assert len(stored) > 5
    by_lineage = {each.previous_checkpoint_id for each in stored}
    (last,) = [each for each in stored if each.checkpoint_id not in by_lineage]
    latest = await storage.get_latest(workflow_name="counting")
    assert latest is not None
    assert latest.checkpoint_id == last.checkpoint_id
    # From the middle, in a new process as it were.
    again = await workflow(PersistCheckpointStorage(location)).run(checkpoint_id=stored[3].checkpoint_id)
    assert again.get_outputs() == [5]


async def test_checkpoints_move_in(location: str, tmp_path: Path) -> None:
    own, source = FileCheckpointStorage(tmp_path / "own"), random.Random(3)
    for number in range(12):
        made = checkpoint(source, number, f"c{number}")
        made.state.pop("odd", None)
        made.workflow_name = "case"
        await own.save(made)
    target = PersistCheckpointStorage(location)
    await target.save(await own.load("c3"))
    assert await copy(own, target, workflow_name="case") == 11
    assert await copy(own, target, workflow_name="case") == 0
    fresh = PersistCheckpointStorage(location)
    both = [await outcome(each.list_checkpoints(workflow_name="case")) for each in (own, fresh)]
    assert both[0] == both[1]


async def test_another_checkpoint_with_the_same_id_is_not_taken_for_a_copy(location: str, tmp_path: Path) -> None:
    own, target = FileCheckpointStorage(tmp_path / "own"), PersistCheckpointStorage(location)
    values: dict[str, Any] = {"nan": float("nan"), "set": {"a", "b", "cc", "ddd"}}
    made = WorkflowCheckpoint(workflow_name="case", graph_signature_hash="h", checkpoint_id="c", state=values)
    await own.save(made)
    assert await copy(own, target, workflow_name="case") == 1
    assert await copy(own, target, workflow_name="case") == 0
    made.state = {"n": 2}
    await target.save(made)
    with pytest.raises(persist.PersistConflictError, match="something else"):
        await copy(own, target, workflow_name="case")


class Status(str, enum.Enum):
    OPEN = "open"


async def test_values_are_those_of_the_framework(location: str, tmp_path: Path) -> None:
    states = []
    for each in (FileCheckpointStorage(tmp_path / "own"), PersistCheckpointStorage(location)):
        state = {"status": Status.OPEN, "keys": {"$type": "x", "__persist__": 1}, "big": 10**30}
        await each.save(
            WorkflowCheckpoint(workflow_name="w1", graph_signature_hash="h", checkpoint_id="c", state=state)
        )
        await each.save(
            WorkflowCheckpoint(workflow_name="w2", graph_signature_hash="h", checkpoint_id="d", state=state)
        )
        states.append((await each.load("c")).state)
    assert states[0] == states[1]


async def test_a_damaged_checkpoint_does_not_lose_the_others(location: str, tmp_path: Path) -> None:
    storage = PersistCheckpointStorage(tmp_path / "agents")
    for name in ("a", "b", "c"):
        await storage.save(WorkflowCheckpoint(workflow_name="case", graph_signature_hash="h", checkpoint_id=name))
    first = min((tmp_path / "agents").rglob("*.step"))
    first.write_bytes(b"garbage")
    fresh = PersistCheckpointStorage(tmp_path / "agents")
    with pytest.warns(persist.PersistWarning, match="step 1 of"):
        await fresh.save(WorkflowCheckpoint(workflow_name="case", graph_signature_hash="h", checkpoint_id="d"))
    with pytest.warns(persist.PersistWarning, match="is left out"):
        assert "d" in await fresh.list_checkpoint_ids(workflow_name="case")
    with pytest.raises(persist.PersistIntegrityError):
        await fresh.load("b")
    assert await fresh.delete("b")
    assert not await fresh.delete("b")


async def test_a_step_stores_only_what_is_new(location: str) -> None:
    add = adder(location)
    for _ in range(30):
        await add(os.urandom(500).hex())
    steps = [*persist.Timeline(location, agent_id=AGENT, session_id="case")]
    assert sum(step.stored_size for step in steps) < 30 * 2500


async def test_only_the_allowed_types_are_loaded(location: str) -> None:
    made = WorkflowCheckpoint(workflow_name="case", graph_signature_hash="h", state={"odd": Odd()})
    with pytest.raises(WorkflowCheckpointException):
        await PersistCheckpointStorage(location).save(made)
    allowing = PersistCheckpointStorage(location, allowed_checkpoint_types=[f"{Odd.__module__}:Odd"])
    await allowing.save(made)
    assert isinstance((await allowing.load(made.checkpoint_id)).state["odd"], Odd)
    with pytest.raises(WorkflowCheckpointException):
        await PersistCheckpointStorage(location).load(made.checkpoint_id)
    assert await PersistCheckpointStorage(location).list_checkpoints(workflow_name="case") == []


def contents(location: str) -> list[str]:
    stored = asyncio.run(PersistCheckpointStorage(location).list_checkpoints(workflow_name="case"))
    return [each.state["said"] for each in stored]


def test_two_processes_lose_nothing(location: str) -> None:
    check_two_processes(__file__, location, contents)


def test_what_was_acknowledged_survives_a_kill(location: str) -> None:
    check_kills(__file__, location, contents)


def adder(location: str) -> Callable[[str], Awaitable[Any]]:
    storage, said = PersistCheckpointStorage(location), list[str]()

    async def add(text: str) -> None:
        said.append(text)
        state = {"said": text, "all": list(said)}
        await storage.save(WorkflowCheckpoint(workflow_name="case", graph_signature_hash="h", state=state))

    return add


def adding(location: str) -> Callable[[str], object]:
    loop, add = asyncio.new_event_loop(), adder(location)
    return lambda text: loop.run_until_complete(add(text))


if __name__ == "__main__":
    add_until_killed(adding)
