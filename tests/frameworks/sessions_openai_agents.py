"""``PersistSession`` does what the SDK's own ``AdvancedSQLiteSession`` does, step by step, and loses
nothing when processes are killed or work on one session at the same time.

Run as a program, this adds items until it is killed: ``sessions_openai_agents.py LOCATION NAME COUNT``.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import persist
import pytest
from agents.extensions.memory import AdvancedSQLiteSession
from agents.memory import Session, SessionSettings, SQLiteSession
from persist.openai_agents import AGENT, PersistSession, copy
from turns import FIRST, SECOND, answer
from with_openai_agents import ask
from writers import IS_S3, SEEDS, SESSION, add_until_killed, check_kills, check_two_processes


def item(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


async def outcome(call: Awaitable[Any]) -> tuple[str, Any]:
    """Returns what a call returns or raises."""
    try:
        return "returned", await call
    except ValueError as error:
        return "raised", str(error)


def calls(random: random.Random, number: int, names: list[str]) -> tuple[str, tuple[Any, ...]]:
    """Returns one call of a session, and its arguments."""
    kind = random.randrange(12)
    if kind < 5:
        added = [
            item(f"question {number} é \ud83d", random.choice(["user", "assistant"])),
            {"type": "reasoning", "id": str(number)},
        ]
        return "add_items", (added[: random.randint(0, 2)],)
    if kind == 5:
        return "pop_item", ()
    if kind == 6:
        return (
            ("clear_session", ()) if random.random() < 0.2 else ("get_items", (random.choice([None, 0, 1, 3, -1, 99]),))
        )
    name = random.choice([*names, "main", " ", f"branch {number}"])
    if kind in (7, 8):
        return "create_branch_from_turn", (random.randint(0, 5), name)
    if kind == 9:
        return "create_branch_from_content", (f"QUESTION {random.randrange(number + 1)}", f"found {number}")
    return ("switch_to_branch", (name,)) if kind == 10 else ("delete_branch", (name, random.random() < 0.5))


async def branches(session: Any) -> list[str]:
    return sorted(str({**branch, "created_at": len(branch["created_at"])}) for branch in await session.list_branches())


@pytest.mark.parametrize("seed", SEEDS)
async def test_it_does_what_the_session_of_the_sdk_does(location: str, tmp_path: Path, seed: int) -> None:
    source, names = random.Random(seed), list[str]()
    own = AdvancedSQLiteSession(session_id=SESSION, db_path=tmp_path / "sessions.db", create_tables=True)
    # One goes on, the other one is opened each time.
    lasting = PersistSession(location, SESSION)
    for number in range(80):
        name, arguments = calls(source, number, names)
        names += [str(arguments[1])] if name.startswith("create") else []
        expected = await outcome(getattr(own, name)(*arguments))
        assert await outcome(getattr(lasting, name)(*arguments)) == expected, (number, name, arguments)
        assert await lasting.get_items() == await own.get_items(), (number, name, arguments)
        assert await branches(lasting) == await branches(own), (number, name, arguments)
    fresh = PersistSession(location, SESSION)
    assert [b.replace("'is_current': True", "'is_current': False") for b in await branches(fresh)] == [
        b.replace("'is_current': True", "'is_current': False") for b in await branches(lasting)
    ]


async def test_it_is_a_session(location: str) -> None:
    session = PersistSession(location, SESSION, session_settings=SessionSettings(limit=2))
    assert isinstance(session, Session)
    await session.add_items([item(str(number)) for number in range(4)])
    assert [each["content"] for each in await session.get_items()] == ["2", "3"]
    assert len(await session.get_items(3)) == 3
    other = PersistSession(location, SESSION, agent_id="another")
    assert await other.get_items() == []
    for odd in ({"role": "user", "content": {1, 2}}, {"x": object()}):
        with pytest.raises(TypeError):
            await session.add_items([odd])
    assert len(await session.get_items(10)) == 4


async def test_other_tools_read_it_as_a_timeline(location: str) -> None:
    session = PersistSession(location, SESSION)
    await session.add_items([item("one")])
    await session.add_items([item("two")])
    await session.pop_item()
    session.close()
    timeline = persist.Timeline(location, agent_id=AGENT, session_id=SESSION)
    states = [step.load() for step in timeline]
    assert states == [[item("one")], [item("one"), item("two")], [item("one")]]
    # What another program appends is part of the session.
    timeline.append([item("mended")])
    assert await session.get_items() == [item("mended")]
    timeline.append({"not": "a session"})
    with pytest.raises(persist.PersistIntegrityError, match="not a session") as refused:
        await session.get_items()
    assert refused.value.location == f"{timeline.location}@5"


async def test_a_step_stores_only_what_is_new(location: str) -> None:
    session = PersistSession(location, SESSION)
    for _ in range(50):
        await session.add_items([item(os.urandom(500).hex())])
    steps = [*persist.Timeline(location, agent_id=AGENT, session_id=SESSION)]
    assert len(steps) == 50
    assert sum(step.stored_size for step in steps) < 50 * 2000


async def test_many_writers_lose_nothing(location: str) -> None:
    sessions = [PersistSession(location, SESSION) for _ in range(4)]
    count = 10 if IS_S3 else 25

    async def adds(writer: int) -> None:
        for number in range(count):
            await sessions[writer % 4].add_items([item(f"{writer} {number}")])

    await asyncio.gather(*map(adds, range(8)))
    found = [each["content"] for each in await PersistSession(location, SESSION).get_items()]
    assert sorted(found) == sorted(f"{writer} {number}" for writer in range(8) for number in range(count))
    for writer in range(8):
        assert [text for text in found if text.startswith(f"{writer} ")] == [
            f"{writer} {number}" for number in range(count)
        ]


async def test_a_branch_that_somebody_else_clears_is_gone(location: str) -> None:
    one, other = PersistSession(location, SESSION), PersistSession(location, SESSION)
    await one.add_items([item("first"), item("second")])
    await one.create_branch_from_turn(2, "b")
    await one.add_items([item("in the branch")])
    await other.clear_session()
    await one.add_items([item("after")])
    assert await one.get_items() == await other.get_items() == [item("after")]
    assert [branch["branch_id"] for branch in await one.list_branches()] == ["main"]


async def test_a_branch_that_somebody_else_deletes_is_empty(location: str, tmp_path: Path) -> None:
    def pair(kind: str) -> list[Any]:
        path = tmp_path / "sessions.db"
        if kind == "own":
            return [AdvancedSQLiteSession(session_id=SESSION, db_path=path, create_tables=True) for _ in range(2)]
        return [PersistSession(location, SESSION) for _ in range(2)]

    found = []
    for kind in ("own", "persist"):
        one, other = pair(kind)
        await one.add_items([item("1"), item("2", "assistant"), item("3")])
        await one.create_branch_from_turn(2, "x")
        await one.add_items([item("in x")])
        await other.delete_branch("x")
        popped = await one.pop_item()
        await one.add_items([item("more in x")])
        taken = await outcome(other.create_branch_from_turn(1, "x"))
        found.append(
            [popped, await one.get_items(), await other.get_items(), await one.get_items(branch_id="main"), taken]
        )
    assert found[0] == found[1]


async def test_a_branch_begins_at_a_text(location: str, tmp_path: Path) -> None:
    own = AdvancedSQLiteSession(session_id=SESSION, db_path=tmp_path / "sessions.db", create_tables=True)
    session = PersistSession(location, SESSION)
    parts = [{"type": "input_text", "text": "50% of É_1"}, {"type": "input_image"}]
    for each in (own, session):
        await each.add_items([item("plain"), {"role": "user", "content": parts}, item("50x É11")])
    for number, text in enumerate(["PLAIN", "É_1", "é_1", "50%", "%", "input", ""]):
        found = [await outcome(each.create_branch_from_content(text, f"b{number}")) for each in (own, session)]
        assert found[0] == found[1], text
        assert await own.get_items() == await session.get_items(), text
        await own.switch_to_branch("main")
        await session.switch_to_branch("main")


async def test_a_long_name_of_a_session_or_a_branch_comes_back(location: str) -> None:
    name = "long " * 60
    session = PersistSession(location, name)
    await session.add_items([item("first"), item("second")])
    assert await session.create_branch_from_turn(2, name + "b") == name + "b"
    assert sorted(branch["branch_id"] for branch in await session.list_branches()) == [name + "b", "main"]


def contents(location: str) -> list[str]:
    return [each["content"] for each in asyncio.run(PersistSession(location, SESSION).get_items())]


def test_two_processes_lose_nothing(location: str) -> None:
    check_two_processes(__file__, location, contents)


def test_what_was_acknowledged_survives_a_kill(location: str) -> None:
    check_kills(__file__, location, contents)


async def test_a_session_moves_in(location: str, tmp_path: Path) -> None:
    own = SQLiteSession(SESSION, tmp_path / "old.db", session_settings=SessionSettings(limit=1))
    items = [item(f"{number} é") for number in range(30)]
    await own.add_items(items)
    target = PersistSession(location, SESSION, session_settings=SessionSettings(limit=1))
    # An interrupted copy goes on.
    await target.add_items(items[:7])
    assert await copy(own, target) == 23
    assert await copy(own, target) == 0
    assert await PersistSession(location, SESSION).get_items() == items
    await target.add_items([item("more")])
    with pytest.raises(persist.PersistConflictError, match="something else") as refused:
        await copy(own, target)
    assert SESSION in str(refused.value.location)
    assert len(await PersistSession(location, SESSION).get_items()) == 31


async def test_an_agent_goes_on(location: str) -> None:
    assert await ask(PersistSession(location, SESSION), FIRST) == answer([FIRST])
    assert await ask(PersistSession(location, SESSION), SECOND) == answer([FIRST, SECOND])


def adding(location: str) -> Callable[[str], object]:
    session, loop = PersistSession(location, SESSION), asyncio.new_event_loop()
    return lambda text: loop.run_until_complete(session.add_items([item(text)]))


if __name__ == "__main__":
    add_until_killed(adding)
