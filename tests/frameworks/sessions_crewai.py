"""``PersistFlows`` does what CrewAI's own ``SQLiteFlowPersistence`` does, step by step, and loses nothing when
processes are killed.

Run as a program, this saves states until it is killed: ``sessions_crewai.py LOCATION NAME COUNT``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import persist
import pytest
from crewai.flow.async_feedback.types import PendingFeedbackContext
from crewai.flow.flow import Flow, listen, start
from crewai.flow.persistence.sqlite import SQLiteFlowPersistence
from persist.crewai import AGENT, PersistFlows, copy
from pydantic import BaseModel
from writers import SEEDS, SESSION, acknowledged, add_until_killed, check_kills, writer


class Case(BaseModel):
    id: str = SESSION
    when: datetime = datetime(2026, 1, 31, 12)
    said: list[str] = []


def state(source: random.Random, number: int) -> Any:
    odd = {"at": datetime(2026, 1, 31), "set": {number}, "tuple": (1, 2), "id": UUID(int=number), "é": "\ud83d"}
    return source.choice([Case(said=[str(number)]), {"id": SESSION, "n": number}, odd])


def waiting(number: int) -> PendingFeedbackContext:
    return PendingFeedbackContext(
        flow_id=SESSION,
        flow_class="x.Flow",
        method_name=f"review {number}",
        method_output={"draft": number},
        message="Is it good?",
        emit=["yes", "no"],
        requested_at=datetime(2026, 1, 31, 12),
    )


def shown(found: Any) -> Any:
    return found if found is None or isinstance(found, dict) else (found[0], found[1].to_dict())


@pytest.mark.parametrize("seed", SEEDS)
def test_it_does_what_the_store_of_crewai_does(location: str, tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    own, lasting = SQLiteFlowPersistence(str(tmp_path / "flows.db")), PersistFlows(location)
    for number in range(60):
        flow, kind, value = f"flow {source.randrange(3)}", source.randrange(4), state(source, number)
        for each in (own, lasting):
            if kind == 0:
                each.save_pending_feedback(flow, waiting(number), value)
            elif kind == 1:
                each.clear_pending_feedback(flow)
            else:
                each.save_state(flow, "method", value)
        for each in (lasting, PersistFlows(location)):
            assert each.load_state(flow) == own.load_state(flow), number
            assert shown(each.load_pending_feedback(flow)) == shown(own.load_pending_feedback(flow)), number


def test_flows_move_in(location: str, tmp_path: Path) -> None:
    own, target = SQLiteFlowPersistence(str(tmp_path / "flows.db")), PersistFlows(location)
    own.save_state("one", "a", {"n": 1})
    own.save_state("one", "b", {"n": 2})
    own.save_pending_feedback("two", waiting(1), {"n": 3})
    own.save_pending_feedback("three", waiting(2), {"n": 4})
    own.save_state("three", "b", {"n": 5})
    names = ["one", "two", "three", "none"]
    assert copy(own, target, names) == 3
    assert copy(own, target, names) == 0
    target.save_state("one", "c", {"n": 9})
    with pytest.raises(persist.PersistConflictError, match="something else"):
        copy(own, target, names)
    assert target.load_state("one") == {"n": 9}
    target.save_state("one", "c", {"n": 2})
    fresh = PersistFlows(location)
    for name in names:
        assert fresh.load_state(name) == own.load_state(name)
        assert shown(fresh.load_pending_feedback(name)) == shown(own.load_pending_feedback(name))


def test_a_wrong_argument_is_refused(location: str) -> None:
    with pytest.raises(TypeError, match="needs a location"):
        PersistFlows()
    for odd in ([1], None, "x"):
        with pytest.raises(ValueError, match="Pydantic BaseModel or dict"):
            PersistFlows(location).save_state(SESSION, "method", odd)
    assert PersistFlows(location).load_state(SESSION) is None


def test_each_method_is_a_step(location: str) -> None:
    flows = PersistFlows(location)
    flows.save_state(SESSION, "first", {"n": 1})
    flows.save_pending_feedback(SESSION, waiting(1), {"n": 2})
    flows.clear_pending_feedback(SESSION)
    flows.close()
    steps = [*persist.Timeline(location, agent_id=AGENT, session_id=SESSION)][::-1]
    assert [step.description for step in steps] == ["first", "review 1", None]
    assert [step.load()[0] for step in steps] == [{"n": 1}, {"n": 2}, {"n": 2}]
    assert PersistFlows(location, agent_id="another").load_state(SESSION) is None
    assert PersistFlows(**flows.model_dump()).load_state(SESSION) == {"n": 2}


class Talk(Flow[Case]):
    @start()
    def first(self) -> None:
        self.state.said.append("first")

    @listen(first)
    def second(self) -> None:
        self.state.said.append("second")


def test_a_flow_goes_on(location: str) -> None:
    flow = Talk(persistence=PersistFlows(location), suppress_flow_events=True)
    flow.kickoff({"id": SESSION})
    PersistFlows(location).save_state(SESSION, "second", flow.state)
    again = Talk(persistence=PersistFlows(location), suppress_flow_events=True)
    again.kickoff({"id": SESSION})
    assert again.state.said == ["first", "second"] * 2


def contents(location: str) -> list[str]:
    found = PersistFlows(location).load_state(SESSION) or {"said": []}
    return [str(text) for text in found["said"]]


def test_what_was_acknowledged_survives_a_kill(location: str) -> None:
    check_kills(__file__, location, contents)


def test_two_processes_lose_no_step(location: str) -> None:
    """The last one to save decides, as with the store of CrewAI, and every state can be read again."""
    processes = [writer(__file__, location, name, 20) for name in ("a", "b")]
    told = {text for process in processes for text in acknowledged(process)}
    steps = [*persist.Timeline(location, agent_id=AGENT, session_id=SESSION)]
    assert len(steps) == len(told) == 40
    assert {step.load()[0]["said"][-1] for step in steps} == told


def adding(location: str) -> Callable[[str], object]:
    flows = PersistFlows(location)
    case = Case(said=contents(location))

    def add(text: str) -> None:
        case.said.append(text)
        flows.save_state(SESSION, "add", json.loads(case.model_dump_json()))

    return add


if __name__ == "__main__":
    add_until_killed(adding)
