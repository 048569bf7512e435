"""The steps of a timeline: they are selected, listed, pruned, checked and repaired."""

from __future__ import annotations

import itertools
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import persist
import pytest
from timelines import day, filled, numbers, timeline

__all__ = ["timeline"]  # A fixture.


SELECTORS: list[tuple[dict[str, Any], int]] = [
    ({}, 5),
    ({"at": 1}, 1),
    ({"at": "3"}, 3),
    ({"at": -1}, 5),
    ({"at": -5}, 1),
    ({"at": "-2"}, 4),
    ({"at": "latest"}, 5),
    ({"at": day(3)}, 3),
    ({"at": day(3).astimezone(timezone(timedelta(hours=-9)))}, 3),
    ({"at": date(2026, 1, 3)}, 2),
    ({"at": "2026-01-04T12:00Z"}, 4),
    ({"at": "2026-01-04T11:59Z"}, 3),
    ({"at": "1d"}, 5),
    ({"at": timedelta(hours=2)}, 5),
    ({"label": "rating"}, 4),
    ({"label": ("rating", "good")}, 2),
    ({"label": ("rating", None)}, 4),
    ({"at": "rating=good"}, 2),
]


@pytest.mark.parametrize(("where", "number"), SELECTORS, ids=str)
def test_steps_are_selected(timeline: persist.Timeline, where: dict[str, Any], number: int) -> None:
    filled(timeline, 5)
    timeline.label(2, "rating", "good")
    timeline.label(4, "rating", "poor")
    assert timeline.at(**where).number == number
    assert timeline.load(**where) == {"step": number}
    assert timeline.load_bytes(**where) == b'{"step":%d}' % number
    assert timeline.load(at=timeline.at(**where)) == {"step": number}


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"at": 0}, persist.PersistConfigurationError, "steps are numbered from 1"),
    ({"at": "0"}, persist.PersistConfigurationError, "'0' does not select a step"),
    ({"at": "x"}, persist.PersistConfigurationError, "'x' does not select a step"),
    ({"at": 1.0}, persist.PersistTypeError, "not float"),
    ({"at": True}, persist.PersistTypeError, "not bool"),
    ({"at": 10**40}, persist.PersistTypeError, "that large"),
    ({"at": datetime(2026, 1, 1)}, persist.PersistTypeError, "without a time zone"),
    ({"label": 1}, persist.PersistTypeError, "label must be a str or a tuple of two, not 1"),
    ({"label": ("a", 1)}, persist.PersistTypeError, "label must be a str or a tuple of two"),
    ({"at": 1, "label": "a"}, persist.PersistTypeError, "can't be used together"),
]


@pytest.mark.parametrize(("where", "kind", "message"), WRONG, ids=str)
def test_what_selects_no_step_is_refused(
    timeline: persist.Timeline, where: dict[str, Any], kind: type[Exception], message: str
) -> None:
    timeline.append(1)
    for use in (timeline.at, timeline.load, timeline.load_bytes):
        with pytest.raises(kind, match=message) as wrong:
            use(**where)
        assert isinstance(wrong.value, persist.PersistError)
        assert wrong.value.hint


def test_a_missing_step_is_an_error_or_the_default(timeline: persist.Timeline) -> None:
    assert timeline.load(default={"messages": []}) == {"messages": []}
    filled(timeline, 2)
    missing: list[dict[str, Any]] = [{"at": 3}, {"at": -3}, {"at": day(1) - timedelta(1)}, {"label": "x"}]
    for where in missing:
        for use in (timeline.at, timeline.load, timeline.load_bytes):
            with pytest.raises(persist.PersistNotFoundError):
                use(**where)
        assert timeline.load(**where, default=7) == 7


def test_the_history_is_filtered(timeline: persist.Timeline) -> None:
    filled(timeline, 5).label(4, "rating", "good")
    timeline.label(2, "rating", "good")
    assert numbers(timeline.history()) == [5, 4, 3, 2, 1]
    assert numbers(timeline.history(limit=2)) == [5, 4]
    assert numbers(timeline.history(limit=0)) == []
    assert numbers(timeline.history(labels={"rating": "good"}, limit=1)) == [4]
    assert numbers(timeline.history(since=day(3), until="2026-01-04T12:01Z")) == [4, 3]
    assert numbers(itertools.islice(timeline, 1)) == [5]
    wrong: list[dict[str, Any]] = [{"limit": -1}, {"limit": "x"}, {"errors": "x"}, {"befor": day(1)}]
    for arguments in wrong:
        with pytest.raises((persist.PersistTypeError, persist.PersistConfigurationError)):
            timeline.history(**arguments)


def test_labels_are_set_and_taken_away(timeline: persist.Timeline) -> None:
    step = timeline.append(1, labels={"a": "1", "b": "2"})
    timeline.label(step, "c", "3")
    timeline.label(1, "a", "one")
    timeline.unlabel(1, "b")
    timeline.unlabel(1, "nothing")
    assert timeline.at(1).labels == {"a": "one", "c": "3"}
    with pytest.raises(persist.PersistNotFoundError):
        timeline.label(2, "a", "x")
    for number in (0, -1, True, "1"):
        with pytest.raises(persist.PersistTypeError, match="must be a Step or a number of at least 1"):
            timeline.label(number, "a", "x")  # type: ignore[arg-type]
    with pytest.raises(persist.PersistTypeError, match="must be str, not int"):
        timeline.label(1, "a", 1)  # type: ignore[arg-type]


def test_pruning_says_first_what_it_would_do(timeline: persist.Timeline) -> None:
    filled(timeline, 5).label(1, "pinned", "yes")
    planned = timeline.prune(keep_last=2, keep_labels=["pinned"], dry_run=True)
    assert numbers(iter(timeline)) == [5, 4, 3, 2, 1]
    done = timeline.prune(keep_last=2, keep_labels=["pinned"])
    assert (planned.dry_run, done.dry_run) == (True, False)
    assert planned.steps == done.steps
    assert done.kept == [5, 4, 1]
    assert sorted(done.hidden + done.removed) == [2, 3]
    assert done.steps[0].reasons == ("last",)
    assert done.steps[-1].reasons == ("label pinned",)
    assert done.steps[0].timestamp == "2026-01-05T12:00:00.000000Z"
    assert 0 < done.left <= sum(file.stat().st_size for file in Path(timeline.location).iterdir())
    assert [step.load()["step"] for step in timeline] == [5, 4, 1]
    assert timeline.check(read_data=True) == []
    assert repr(planned).startswith("<PruneReport: 3 kept, ")
    assert repr(planned).endswith("dry_run=True>")
    # Pruning may have appended a step that restates the newest. The next append comes after it.
    assert timeline.append({"step": 6}).load() == {"step": 6}


def test_pruning_keeps_by_time(timeline: persist.Timeline) -> None:
    filled(timeline, 14)
    assert timeline.prune(keep_within="2d", dry_run=True).kept == [14, 13, 12]
    assert timeline.prune(keep_within=timedelta(days=2), dry_run=True).kept == [14, 13, 12]
    # The fifth and the twelfth are Mondays.
    assert timeline.prune(keep_weekly=2, dry_run=True).kept == [14, 11]
    assert timeline.prune(keep_within_weekly="1m", keep_hourly=2, dry_run=True).kept == [14, 13, 11, 4]
    assert timeline.prune(keep_monthly=5, keep_yearly=1, keep_daily=0, dry_run=True).kept == [14]


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"keep_last": 0},
        {"keep_last": None, "keep_labels": []},
        {"keep_last": -1},
        {"keep_last": "x"},
        {"keep_within": "30"},
        {"keep_within": 30},
        {"keep_within": timedelta(minutes=90)},
        {"keep_within_daily": 5},
        {"keep_labels": "pinned"},
        {"keep_labels": [1]},
        {"keep_lats": 1},
    ],
    ids=str,
)
def test_wrong_rules_remove_nothing(timeline: persist.Timeline, rules: dict[str, Any]) -> None:
    filled(timeline, 3)
    with pytest.raises((persist.PersistTypeError, persist.PersistConfigurationError)) as wrong:
        timeline.prune(**rules)
    assert wrong.value.hint
    assert numbers(iter(timeline)) == [3, 2, 1]


def flip(step: persist.Step) -> None:
    """Damages a step."""
    path = Path(step.location)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_damage_is_found_and_forgotten(timeline: persist.Timeline) -> None:
    filled(timeline, 5)
    flip(timeline.at(4))
    (damage, *others) = [found for found in timeline.check() if found.number is not None]
    assert damage.number == 4
    assert damage.key == "support/+case%2f1/000000000004.step"
    assert isinstance(damage.error, persist.PersistIntegrityError)
    with pytest.raises(persist.PersistIntegrityError):
        timeline.load(at=4)
    assert timeline.load(at=2) == {"step": 2}
    with pytest.warns(persist.PersistWarning, match="step 4 of agents/support/.* can't be read"):
        (step,) = [step for step in timeline if step.number == 4]
    assert isinstance(step.error, persist.PersistIntegrityError)
    assert repr(step).startswith("Step(number=4, error=PersistIntegrityError(")
    with pytest.raises(persist.PersistIntegrityError):
        print(step.labels)
    assert 4 not in numbers(timeline.history(errors="ignore"))
    assert len(numbers(timeline.history(errors="ignore", limit=2))) == 2
    with pytest.raises(persist.PersistIntegrityError):
        list(timeline.history(errors="raise"))
    assert timeline.repair(forget_damaged=True) > 0
    assert {found.number for found in others} <= {5}
    assert 4 not in numbers(iter(timeline))
    assert timeline.check(read_data=True) == []
    assert timeline.append({"step": 6}).load() == {"step": 6}


def test_a_damaged_newest_step_is_never_replaced_by_an_older_one(timeline: persist.Timeline) -> None:
    filled(timeline, 3)
    flip(timeline.at(3))
    for use in (timeline.at, timeline.load, timeline.load_bytes):
        with pytest.raises(persist.PersistIntegrityError):
            use()
    with pytest.raises(persist.PersistIntegrityError):
        timeline.repair()
    timeline.repair(forget_damaged=True)
    assert timeline.load() == {"step": 2}
    assert timeline.at().restates == 2


def test_check_tells_how_far_it_is(timeline: persist.Timeline, capsys: pytest.CaptureFixture[str]) -> None:
    filled(timeline, 3)
    seen: list[tuple[int, int | None]] = []
    timeline.check(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)
    timeline.append_bytes(b"x" * 3_000_000, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3_000_000, 3_000_000)
    timeline.load_bytes(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3_000_000, 3_000_000)
    with pytest.raises(ZeroDivisionError):
        timeline.append_bytes(b"y" * 3_000_000, progress=lambda done, total: 1 // 0)
    assert timeline.at().number == 4
    assert timeline.append(5).number == 5
