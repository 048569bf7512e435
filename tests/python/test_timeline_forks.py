"""Timelines that go on from a step of another."""

from __future__ import annotations

import asyncio

import persist
import pytest


@pytest.fixture
def timeline() -> persist.Timeline:
    timeline = persist.Timeline("agents", agent_id="support", session_id="case-1")
    for number in range(1, 8):
        timeline.append({"step": number}, labels={"good": "yes"} if number == 5 else None)
    return timeline


def test_a_fork_goes_on_from_any_step(timeline: persist.Timeline) -> None:
    fork = timeline.fork(at=5)
    assert isinstance(fork, persist.Timeline)
    assert fork.agent_id == "support"
    assert fork.session_id.startswith("case-1-5-")
    assert [step.number for step in fork] == [5, 4, 3, 2, 1]
    assert fork.load() == {"step": 5}
    assert fork.append({"step": "other"}).number == 6
    assert timeline.load(at=6) == {"step": 6}, "the other one did not change"
    assert fork.diff(5, 6).summary == "~step"
    timeline.delete()
    assert fork.load(at=3) == {"step": 3}
    assert fork.check(read_data=True) == []


def test_a_fork_goes_where_it_is_told(timeline: persist.Timeline) -> None:
    to = persist.Timeline("elsewhere", agent_id="support", session_id="copy")
    assert timeline.fork(label="good", to=to) is to
    assert to.load() == {"step": 5}
    assert timeline.fork(5, to=to) is to, "it is there already"
    to.append({"step": "other"})
    with pytest.raises(persist.PersistConflictError):
        timeline.fork(5, to=to)
    assert timeline.fork().load() == {"step": 7}


def test_what_can_not_be_forked_is_an_error(timeline: persist.Timeline) -> None:
    with pytest.raises(persist.PersistNotFoundError, match="no step 9"):
        timeline.fork(9)
    with pytest.raises(persist.PersistConfigurationError, match="onto itself"):
        timeline.fork(5, to=timeline)
    with pytest.raises(persist.PersistConfigurationError, match="needs a destination"):
        persist.Timeline("agents/support/case-1").fork(5)
    timeline.prune(keep_last=1)
    with pytest.raises(persist.PersistNotFoundError, match="was removed"):
        timeline.fork(1)


def test_a_fork_goes_to_a_timeline(timeline: persist.Timeline) -> None:
    for to in ("agents", timeline.to_async()):
        with pytest.raises(persist.PersistTypeError, match="to must be a Timeline, not"):
            timeline.fork(5, to=to)  # type: ignore[arg-type]


def test_two_timelines_are_compared_by_their_steps(timeline: persist.Timeline) -> None:
    fork = timeline.fork(5)
    other = fork.append({"step": "other"})
    diff = timeline.diff(6, other)
    assert diff.patch() == [{"op": "replace", "path": "/step", "value": "other"}]
    assert str(diff) == f"{timeline.location}, step 6 → {fork.location}, step 6: ~step"
    assert fork.diff(timeline.at(6), other).patch() == diff.patch()
    assert fork.diff(timeline.at(5), fork.at(5)).kind == "equal"


def test_a_step_of_another_timeline_is_not_taken_for_a_number(timeline: persist.Timeline) -> None:
    fork = timeline.fork(5)
    step = fork.append({"step": "other"})
    for use in (
        lambda: timeline.load(at=step),
        lambda: timeline.at(step),
        lambda: timeline.load_bytes(step),
        lambda: timeline.fork(step),
        lambda: timeline.label(step, "good", "yes"),
        lambda: timeline.unlabel(step, "good"),
    ):
        with pytest.raises(persist.PersistConfigurationError, match="a step of another timeline"):
            use()
    # The same folder, opened in other ways.
    assert persist.Timeline(fork.location).load(at=step) == {"step": "other"}
    assert step.load() == {"step": "other"}


def test_asyncio_programs_fork(timeline: persist.Timeline) -> None:
    async def fork() -> None:
        forked = await timeline.to_async().fork(5)
        assert isinstance(forked, persist.AsyncTimeline)
        assert await forked.load() == {"step": 5}

    asyncio.run(fork())


def test_a_copy_is_the_same_and_goes_on(timeline: persist.Timeline) -> None:
    backup = persist.Timeline("backup", agent_id="support", session_id="case-1")
    assert timeline.copy(backup) == 7
    assert [step.metadata.digest for step in backup] == [step.metadata.digest for step in timeline]
    timeline.append({"step": 8})
    assert timeline.copy(backup) == 1
    assert timeline.copy(backup) == 0
    assert backup.load() == {"step": 8}
    backup.append({"step": "other"})
    with pytest.raises(persist.PersistConflictError, match="later steps"):
        timeline.copy(backup)
    with pytest.raises(persist.PersistNotFoundError):
        persist.Timeline("nothing", session_id="1").copy(persist.Timeline("there", session_id="1"))
    with pytest.raises(persist.PersistTypeError, match="to must be a Timeline, not str"):
        timeline.copy("backup")  # type: ignore[arg-type]


def test_an_async_copy_is_the_same(timeline: persist.Timeline) -> None:
    async def run() -> tuple[int, object]:
        backup = persist.AsyncTimeline("backup", agent_id="support", session_id="case-1")
        return await timeline.to_async().copy(backup), await backup.load(at=3)

    assert asyncio.run(run()) == (7, {"step": 3})
