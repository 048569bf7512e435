"""``PersistSessionManager`` does what the ``FileSessionManager`` of Strands does, step by step, and loses
nothing when processes are killed or work on one session at the same time.

Run as a program, this adds messages until it is killed: ``sessions_strands.py LOCATION NAME COUNT``.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import persist
import pytest
from persist.strands import AGENT, PersistSessionManager, copy
from strands import Agent
from strands.multiagent import GraphBuilder
from strands.session.file_session_manager import FileSessionManager
from strands.types.content import Message
from strands.types.exceptions import SessionException
from strands.types.session import Session, SessionAgent, SessionMessage, SessionType
from turns import FIRST, SECOND, answer
from with_strands import Told
from writers import SEEDS, SESSION, add_until_killed, check_kills, check_two_processes

Manager = Any
NAMES = ["a", "b", "c"]


def message(text: str) -> Message:
    return {"role": "user", "content": [{"text": text}, {"image": {"format": "png", "source": {"bytes": b"\0\xff"}}}]}


def agent(name: str, number: int) -> SessionAgent:
    return SessionAgent(name, {"n": number, "é": [None]}, {"removed_message_count": 0}, {"x": b"bytes"})


def outcome(call: Callable[[], Any]) -> Any:
    """Returns what a call returns or raises, without the times of the call."""
    try:
        found = call()
    except (SessionException, ValueError) as error:
        return type(error), str(error)
    for each in found if isinstance(found, list) else [found]:
        for name in ("created_at", "updated_at"):
            if hasattr(each, name):
                setattr(each, name, "")
    return found


def step(source: random.Random, number: int, next_ids: dict[str, int]) -> Callable[[Manager], Any]:
    """Returns a call of a session manager."""
    name, kind, place = source.choice(NAMES), source.randrange(12), source.randrange(5)
    if kind == 0:
        return lambda manager: manager.create_agent(SESSION, agent(name, number))
    if kind == 1:
        return lambda manager: manager.update_agent(SESSION, agent(name, number))
    if kind == 2:
        return lambda manager: manager.read_agent(SESSION, name)
    if kind == 3:
        return lambda manager: manager.read_message(SESSION, name, place)
    if kind == 4:
        redacted = SessionMessage(message(f"{number}"), place, redact_message=message("redacted"))
        return lambda manager: manager.update_message(SESSION, name, redacted)
    if kind == 5:
        limit = source.choice([None, 0, 1, 3])
        return lambda manager: manager.list_messages(SESSION, name, limit=limit, offset=place)
    if kind == 6 and source.random() < 0.3:
        next_ids.clear()
        return lambda manager: (manager.delete_session(SESSION), manager.create_session(new_session()))[0]
    if kind == 7:
        return lambda manager: manager.create_session(new_session())

    def add(manager: Manager) -> Any:
        if manager.read_agent(SESSION, name) is None:
            return None
        taken = manager.list_messages(SESSION, name)
        at = taken[-1].message_id + 1 if taken else 0
        return manager.create_message(SESSION, name, SessionMessage(message(f"{number} é"), at))

    return add


def new_session() -> Session:
    return Session(SESSION, SessionType.AGENT, "2026-01-01", "2026-01-01")


@pytest.mark.parametrize("seed", SEEDS)
def test_it_does_what_the_manager_of_strands_does(location: str, tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    own = FileSessionManager(SESSION, str(tmp_path / "own"))
    lasting = PersistSessionManager(location, SESSION)
    for number in range(150):
        call = step(random.Random(source.random()), number, {})
        expected, found = outcome(lambda: call(own)), outcome(lambda: call(lasting))  # noqa: B023
        if isinstance(expected, tuple) and "Messages directory missing" in str(expected[1]):
            assert "does not exist" in str(found[1])
        else:
            assert found == expected, number
    fresh = PersistSessionManager(location, SESSION)
    for name in NAMES:
        expected = outcome(lambda: own.read_agent(SESSION, name))  # noqa: B023
        assert outcome(lambda: fresh.read_agent(SESSION, name)) == expected  # noqa: B023
        if expected is not None:
            expected = outcome(lambda: own.list_messages(SESSION, name))  # noqa: B023
            assert outcome(lambda: fresh.list_messages(SESSION, name)) == expected  # noqa: B023


def ask(location: str, text: str, **options: Any) -> str:
    manager = PersistSessionManager(location, SESSION, **options)
    return str(Agent(model=Told(), callback_handler=None, agent_id="one", session_manager=manager)(text)).strip()


def test_an_agent_goes_on(location: str) -> None:
    assert ask(location, FIRST) == answer([FIRST])
    assert ask(location, SECOND) == answer([FIRST, SECOND])
    assert ask(location, SECOND, agent_id="another") == answer([SECOND])


def test_a_graph_of_agents_goes_on(location: str) -> None:
    def graph() -> Any:
        builder = GraphBuilder()
        builder.add_node(Agent(model=Told(), callback_handler=None, name="first"), "first")
        builder.set_session_manager(PersistSessionManager(location, SESSION))
        builder.set_graph_id("group")
        return builder.build()

    one = graph()
    one("hello")
    stored = PersistSessionManager(location, SESSION).read_multi_agent(SESSION, "group")
    assert stored is not None
    assert stored["status"] == "completed"
    assert PersistSessionManager(location, SESSION).read_multi_agent(SESSION, "another") is None
    with pytest.raises(SessionException, match="does not exist"):
        PersistSessionManager(location, "other").update_multi_agent("other", one)


def test_other_tools_read_it_as_a_timeline(location: str) -> None:
    ask(location, FIRST)
    store = persist.Store(location)
    timelines = {timeline.location.removeprefix(store.location).strip("/") for timeline in store.timelines()}
    assert timelines == {f"{AGENT}/{SESSION}", f"{AGENT}/{SESSION}/agents/one"}
    newest = persist.Timeline(f"{location}/{AGENT}/{SESSION}/agents/one").load()
    assert [each["message"]["role"] for each in newest[:-1]] == ["user", "assistant"]
    assert newest[-1]["agent_id"] == "one"


def test_a_step_stores_only_what_is_new(location: str) -> None:
    add = adding(location)
    for _ in range(50):
        add(os.urandom(500).hex())
    steps = [*persist.Timeline(f"{location}/{AGENT}/{SESSION}/agents/one")]
    assert sum(step.stored_size for step in steps) < 50 * 2000


def test_a_session_moves_in(location: str, tmp_path: Path) -> None:
    own = FileSessionManager(SESSION, str(tmp_path / "own"))
    for name in NAMES[:2]:
        own.create_agent(SESSION, agent(name, 1))
        for number in range(10):
            own.create_message(SESSION, name, SessionMessage(message(f"{name} {number}"), number))
    target = PersistSessionManager(location, SESSION)
    first = own.list_messages(SESSION, "a")[0]
    target.create_agent(SESSION, agent("a", 0))
    target.create_message(SESSION, "a", first)
    assert copy(own, target, NAMES) == 19
    assert copy(own, target, NAMES) == 0
    fresh = PersistSessionManager(location, SESSION)
    for name in NAMES[:2]:
        assert fresh.read_agent(SESSION, name) == own.read_agent(SESSION, name)
        assert fresh.list_messages(SESSION, name) == own.list_messages(SESSION, name)
    assert fresh.read_agent(SESSION, "c") is None
    changed = agent("b", 2)
    fresh.update_agent(SESSION, changed)
    with pytest.raises(persist.PersistConflictError, match="something else"):
        copy(own, target, ["b"])
    assert fresh.read_agent(SESSION, "b") == changed
    fresh.create_message(SESSION, "a", SessionMessage(message("more"), 10))
    with pytest.raises(persist.PersistConflictError, match="something else"):
        copy(own, target, NAMES)


def test_what_another_object_has_made_is_seen(location: str) -> None:
    one, other = PersistSessionManager(location, SESSION), PersistSessionManager(location, SESSION)
    assert one.read_agent(SESSION, "a") is None
    other.create_agent(SESSION, agent("a", 1))
    one.create_message(SESSION, "a", SessionMessage(message("1"), 0))
    other.create_message(SESSION, "a", SessionMessage(message("2"), 0))
    one.update_message(SESSION, "a", SessionMessage(message("mended"), 1))
    assert [each.message["content"][0]["text"] for each in other.list_messages(SESSION, "a")] == ["1", "mended"]
    other.delete_session(SESSION)
    one.create_session(new_session())


def test_a_session_that_two_start_at_once(location: str) -> None:
    for number in range(5):
        both, barrier, failed = [], threading.Barrier(2), list[BaseException]()

        def start(name: str = f"s{number}", barrier: Any = barrier, failed: Any = failed) -> None:
            barrier.wait()
            try:
                PersistSessionManager(location, name)
            except BaseException as error:
                failed.append(error)

        both = [threading.Thread(target=start) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert failed == []


def test_half_a_character_comes_back(location: str) -> None:
    """The manager of Strands refuses it."""
    adding(location)("half \ud83d")
    assert contents(location) == ["half \ud83d"]


def test_a_long_name_comes_back(location: str) -> None:
    name = "long " * 60
    manager = PersistSessionManager(location, name)
    manager.create_agent(name, agent(name + "b", 1))
    assert outcome(lambda: PersistSessionManager(location, name).read_agent(name, name + "b")) == outcome(
        lambda: agent(name + "b", 1)
    )
    manager.delete_session(name)
    assert manager.read_agent(name, name + "b") is None


def contents(location: str) -> list[str]:
    found = PersistSessionManager(location, SESSION).list_messages(SESSION, "one")
    assert [each.message_id for each in found] == [*range(len(found))]
    return [each.message["content"][0]["text"] for each in found]


def test_two_processes_lose_nothing(location: str) -> None:
    adding(location)
    check_two_processes(__file__, location, contents)


def test_what_was_acknowledged_survives_a_kill(location: str) -> None:
    adding(location)
    check_kills(__file__, location, contents)


def adding(location: str) -> Callable[[str], object]:
    try:
        manager = PersistSessionManager(location, SESSION)
    except SessionException:  # Another process was faster.
        manager = PersistSessionManager(location, SESSION)
    one = Agent(model=Told(), callback_handler=None, agent_id="one", session_manager=manager)
    return lambda text: manager.append_message(message(text), one)


if __name__ == "__main__":
    add_until_killed(adding)
