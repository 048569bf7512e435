"""``PersistSessionService`` does what ADK's own ``SqliteSessionService`` does, step by step, and loses nothing
when processes are killed or work on one session at the same time.

Run as a program, this appends events until it is killed: ``sessions_google_adk.py LOCATION NAME COUNT``.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import persist
import pytest
from google.adk.agents import LlmAgent
from google.adk.errors._stale_session_error import StaleSessionError
from google.adk.events import Event, EventActions
from google.adk.runners import Runner
from google.adk.sessions import Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.genai import types
from persist.google_adk import AGENT, PersistSessionService, copy
from pydantic import BaseModel
from turns import FIRST, SECOND, answer
from with_google_adk import Told, ask
from writers import SEEDS, SESSION, add_until_killed, check_kills, check_two_processes

APPS, USERS, IDS = ["app", "app/2"], ["u", "u/s é"], ["s", "s 2", " s ", "a/b", "%2F"]


class Model(BaseModel):
    n: int


def event(source: random.Random, number: int, start: float) -> Event:
    values = [number, "é", None, {"x": [1.5, True]}, Model(n=number)]
    keys = source.sample(["a", "b", "app:a", "user:a", "app:b", "temp:t"], source.randrange(4))
    parts = source.choice(
        [[types.Part(text=f"text {number}")], [types.Part.from_bytes(data=b"\0\xff", mime_type="x/y")]]
    )
    return Event(
        id=f"e{number}",
        author=source.choice(["user", "model"]),
        invocation_id=f"i{number}",
        # Some at the same time, and some before the last one.
        timestamp=start + number + source.choice([0, 0, 1, -2]),
        content=types.Content(role="user", parts=parts),
        partial=source.random() < 0.1,
        actions=EventActions(state_delta={key: source.choice(values) for key in keys}),
    )


def shown(found: Any) -> Any:
    """Returns what a call returned, without the time at which a session was made."""
    if isinstance(found, Session):
        late = found.last_update_time if found.events else 0
        return {**found.model_dump(), "last_update_time": late}
    if hasattr(found, "sessions"):
        both = [
            (each.app_name, each.user_id, each.id, str(sorted(each.state.items(), key=str))) for each in found.sessions
        ]
        return sorted(both)
    return found.model_dump() if isinstance(found, Event) else found


async def outcome(call: Awaitable[Any]) -> Any:
    try:
        return shown(await call)
    except Exception as error:  # Each store has to raise the same.
        return type(error).__name__


async def steps(own: Any, services: list[Any], source: random.Random) -> None:
    start, known = time.time() + 10, dict[Any, list[Session]]()
    for number in range(100):
        names = {"app_name": source.choice(APPS), "user_id": source.choice(USERS), "session_id": source.choice(IDS)}
        kind, place = source.randrange(12), tuple(names.values())
        every = [own, source.choice(services)]
        if kind < 2:
            state = {"n": number, "user:u": number, "app:p": {"x": number}, "temp:t": 1}
            found = [await outcome(s.create_session(**names, state=state)) for s in every]
        elif kind == 2 and source.random() < 0.5:
            found = [await outcome(s.delete_session(**names)) for s in every]
        elif kind == 3:
            user = source.choice([None, names["user_id"]])
            found = [await outcome(s.list_sessions(app_name=names["app_name"], user_id=user)) for s in every]
        elif kind == 4:
            only = {name: names[name] for name in ("app_name", "user_id")}
            found = [await outcome(s.get_user_state(**only)) for s in every]
        elif kind == 5:
            config = GetSessionConfig(
                num_recent_events=source.choice([None, 0, 1, 5]),
                after_timestamp=source.choice([None, start + number - 10]),
            )
            found = [await outcome(s.get_session(**names, config=config)) for s in every]
        else:
            sessions = known.get(place) if source.random() < 0.3 else None
            if sessions is None:
                sessions = [await s.get_session(**names) for s in every]
            if None in sessions:
                assert sessions == [None, None], number
                continue
            if source.random() < 0.3:
                # One that is stale when it is used later.
                known[place] = [session.model_copy(deep=True) for session in sessions]
            said = event(source, number, start)
            found = [
                await outcome(s.append_event(session, said.model_copy(deep=True)))
                for s, session in zip(every, sessions, strict=True)
            ]
            assert shown(sessions[0]) == shown(sessions[1]), number
        assert found[0] == found[1], (number, kind, names)


@pytest.mark.parametrize("seed", SEEDS)
async def test_it_does_what_the_service_of_adk_does(location: str, tmp_path: Path, seed: int) -> None:
    own = SqliteSessionService(str(tmp_path / "sessions.db"))
    await steps(own, [PersistSessionService(location), PersistSessionService(location)], random.Random(seed))


async def test_sessions_move_in(location: str, tmp_path: Path) -> None:
    own, source, start = SqliteSessionService(str(tmp_path / "sessions.db")), random.Random(1), time.time()
    for user, name in (("u", "s"), ("u", "t"), ("u/s é", "s")):
        session = await own.create_session(
            app_name="app", user_id=user, session_id=name, state={"n": 1, "user:b": user}
        )
        for number in range(10):
            await own.append_event(session, event(source, number, start + 10 * number))
    target = PersistSessionService(location)
    count = sum([len((await own.get_session(app_name="app", user_id="u", session_id=name)).events) for name in "st"])
    assert await copy(own, target, app_name="app", user_id="u") == count
    assert await copy(own, target, app_name="app", user_id="u") == 0
    rest = await copy(own, target, app_name="app")
    assert 0 < rest <= 10
    fresh = PersistSessionService(location)
    assert await copy(own, fresh, app_name="app") == 0
    assert shown(await fresh.list_sessions(app_name="app")) == shown(await own.list_sessions(app_name="app"))
    # What is new in the source follows.
    session = await own.get_session(app_name="app", user_id="u", session_id="s")
    await own.append_event(session, Event(author="user", invocation_id="i", timestamp=start + 500))
    assert await copy(own, fresh, app_name="app") == 1
    names = {"app_name": "app", "user_id": "u", "session_id": "s"}
    assert await fresh.get_session(**names) == await own.get_session(**names)
    session = await fresh.get_session(**names)
    await fresh.append_event(session, Event(author="user", invocation_id="i", timestamp=start + 501))
    with pytest.raises(persist.PersistConflictError, match="something else"):
        await copy(own, fresh, app_name="app")


async def test_an_agent_goes_on_and_rewinds(location: str) -> None:
    service = PersistSessionService(location)
    await service.create_session(app_name="app", user_id="u", session_id=SESSION, state={"user:name": "Ada"})
    assert await ask(service, SESSION, FIRST) == answer([FIRST])
    service = PersistSessionService(location)
    assert await ask(service, SESSION, SECOND) == answer([FIRST, SECOND])
    session = await service.get_session(app_name="app", user_id="u", session_id=SESSION)
    assert session is not None
    assert session.state["user:name"] == "Ada"
    rewound = session.events[-1].invocation_id
    one = Runner(app_name="app", agent=LlmAgent(name="a", model=Told(model="told")), session_service=service)
    await one.rewind_async(user_id="u", session_id=SESSION, rewind_before_invocation_id=rewound)
    assert await ask(PersistSessionService(location), SESSION, "again") == answer([FIRST, "again"])


async def test_of_two_that_read_the_same_only_one_appends(location: str) -> None:
    services = [PersistSessionService(location) for _ in range(4)]
    names = {"app_name": "app", "user_id": "u", "session_id": SESSION}
    await services[0].create_session(**names)
    sessions = [await service.get_session(**names) for service in services]
    now = time.time() + 5

    async def append(number: int) -> str:
        said = Event(id=f"e{number}", author="user", invocation_id="i", timestamp=now + number)
        try:
            await services[number].append_event(sessions[number], said)
        except StaleSessionError:
            return "stale"
        return "appended"

    assert sorted(await asyncio.gather(*map(append, range(4)))) == ["appended", "stale", "stale", "stale"]
    stored = await PersistSessionService(location).get_session(**names)
    assert stored is not None
    assert len(stored.events) == 1


async def test_an_event_that_is_refused_changes_no_state(location: str) -> None:
    one, other = PersistSessionService(location), PersistSessionService(location)
    for number in range(5):
        names = {"app_name": "app", "user_id": "u", "session_id": f"s{number}"}
        await one.create_session(**names)
        held = [(service, await service.get_session(**names), key) for service, key in ((one, "a"), (other, "b"))]

        async def append(service: Any, session: Any, key: str, number: int = number) -> str | None:
            delta = {f"app:{key}{number}": 1, f"user:{key}{number}": 1}
            said = Event(
                author="u", invocation_id="i", timestamp=time.time() + 5, actions=EventActions(state_delta=delta)
            )
            try:
                await service.append_event(session, said)
            except StaleSessionError:
                return key
            return None

        refused = [key for key in await asyncio.gather(*[append(*each) for each in held]) if key is not None]
        state = (await PersistSessionService(location).get_session(**names)).state
        assert len(refused) == 1
        assert f"app:{refused[0]}{number}" not in state
        assert f"user:{refused[0]}{number}" not in state


async def test_what_a_killed_program_has_yet_to_change_is_changed(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def killed(*_: Any) -> None:
        raise KilledError

    names = {"app_name": "app", "user_id": "u", "session_id": SESSION}
    service = PersistSessionService(location)
    monkeypatch.setattr(service, "_put", killed)
    with pytest.raises(KilledError):
        await service.create_session(**names, state={"app:limit": 1})
    session = await PersistSessionService(location).get_session(**names)
    assert session is not None
    assert session.state == {"app:limit": 1}
    delta = {"app:limit": 2, "user:name": "Ada", "n": 3}
    said = Event(author="u", invocation_id="i", timestamp=time.time() + 5, actions=EventActions(state_delta=delta))
    service = PersistSessionService(location)
    monkeypatch.setattr(service, "_put", killed)
    with pytest.raises(KilledError):
        await service.append_event(session, said)
    session = await PersistSessionService(location).get_session(**names)
    assert session is not None
    assert session.state == delta
    assert len(session.events) == 1
    assert await PersistSessionService(location).get_user_state(app_name="app", user_id="u") == {"name": "Ada"}


async def test_a_slow_writer_changes_no_newer_state(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, other = PersistSessionService(location), PersistSessionService(location)
    names = {"app_name": "app", "user_id": "u", "session_id": SESSION}
    await slow.create_session(**names)
    put, paused, go_on = slow._put, threading.Event(), threading.Event()

    def late(*arguments: Any) -> None:
        paused.set()
        assert go_on.wait(20)
        put(*arguments)

    async def append(service: PersistSessionService, value: int) -> None:
        session = await service.get_session(**names)
        actions = EventActions(state_delta={"app:x": value})
        moment = time.time() + 5 + value
        await service.append_event(session, Event(author="u", invocation_id="i", timestamp=moment, actions=actions))

    monkeypatch.setattr(slow, "_put", late)
    first = asyncio.create_task(append(slow, 1))
    await asyncio.to_thread(paused.wait, 20)
    await append(other, 2)
    go_on.set()
    await first
    assert (await PersistSessionService(location).get_session(**names)).state == {"app:x": 2}


async def test_events_of_one_session_follow_one_another(location: str) -> None:
    service = PersistSessionService(location)
    session = await service.create_session(app_name="app", user_id="u", session_id=SESSION)
    events = [Event(author="u", invocation_id=f"{number}") for number in range(10)]
    await asyncio.gather(*[service.append_event(session, event) for event in events])
    assert len(session.events) == 10
    stored = await PersistSessionService(location).get_session(app_name="app", user_id="u", session_id=SESSION)
    assert len(stored.events) == 10


async def test_a_later_copy_changes_no_state_back(location: str, tmp_path: Path) -> None:
    own, target = SqliteSessionService(str(tmp_path / "sessions.db")), PersistSessionService(location)
    names = {"app_name": "app", "user_id": "u", "session_id": "s"}
    session = await own.create_session(**names, state={"app:limit": 1, "x": float("nan")})
    for moment in (1e10 + 1, 1e10 + 3):
        await own.append_event(session, Event(author="u", invocation_id="i", timestamp=moment))
    assert await copy(own, target, app_name="app") == 2
    await target.create_session(app_name="app", user_id="u", session_id="t", state={"app:limit": 2})
    assert await copy(own, target, app_name="app") == 0
    found = await target.get_session(**names)
    assert found is not None
    assert found.state["app:limit"] == 2
    # One that is older than the last one.
    session = await own.get_session(**names)
    session.last_update_time = 1e10 + 3
    await own.append_event(session, Event(author="u", invocation_id="i", timestamp=1e10 + 2))
    assert await copy(own, target, app_name="app") == 1
    both = [await each.get_session(**names) for each in (own, PersistSessionService(location))]
    assert both[0].events == both[1].events


async def test_other_tools_read_it_as_a_timeline(location: str) -> None:
    service = PersistSessionService(location)
    await service.create_session(app_name="app", user_id="u", session_id=SESSION, state={"app:a": 1, "user:b": 2})
    service.close()
    store = persist.Store(location)
    places = {timeline.location.removeprefix(store.location).strip("/") for timeline in store.timelines()}
    assert places == {f"{AGENT}/app", f"{AGENT}/app/users/u", f"{AGENT}/app/sessions/u%2f{SESSION}"}
    assert persist.Timeline(f"{location}/{AGENT}/app").load()[0] == {"a": 1}
    assert persist.Timeline(f"{location}/{AGENT}/app/users/u").load()[0] == {"b": 2}


async def test_a_step_stores_only_what_is_new(location: str) -> None:
    add = await adder(location)
    for _ in range(50):
        await add(os.urandom(500).hex())
    steps = [*persist.Timeline(f"{location}/{AGENT}/app/sessions/u%2f{SESSION}")]
    assert sum(step.stored_size for step in steps) < 50 * 2500


async def test_a_long_name_comes_back(location: str) -> None:
    name = "long " * 60
    await PersistSessionService(location).create_session(app_name=name, user_id=name + "u", session_id=name + "s")
    found = await PersistSessionService(location).list_sessions(app_name=name)
    assert [(each.user_id, each.id) for each in found.sessions] == [(name + "u", (name + "s"))]


def contents(location: str) -> list[str]:
    names = {"app_name": "app", "user_id": "u", "session_id": SESSION}
    session = asyncio.run(PersistSessionService(location).get_session(**names))
    return [] if session is None else [str(each.content.parts[0].text) for each in session.events]


async def adder(location: str) -> Callable[[str], Any]:
    """Returns what appends an event, and reads the session again if it is stale."""
    service = PersistSessionService(location)
    names = {"app_name": "app", "user_id": "u", "session_id": SESSION}
    if await service.get_session(**names) is None:
        await service.create_session(**names)
    held = [await service.get_session(**names)]

    async def add(text: str) -> None:
        content = types.Content(role="user", parts=[types.Part(text=text)])
        while True:
            said = Event(author="user", invocation_id="i", content=content)
            try:
                await service.append_event(held[0], said)
            except StaleSessionError:
                held[0] = await service.get_session(**names)
            else:
                return

    return add


def test_two_processes_lose_nothing(location: str) -> None:
    asyncio.run(adder(location))
    check_two_processes(__file__, location, contents)


def test_what_was_acknowledged_survives_a_kill(location: str) -> None:
    check_kills(__file__, location, contents)


def adding(location: str) -> Callable[[str], object]:
    loop = asyncio.new_event_loop()
    add = loop.run_until_complete(adder(location))
    return lambda text: loop.run_until_complete(add(text))


if __name__ == "__main__":
    add_until_killed(adding)
