"""Google ADK: a session, into a service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import warnings
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import persist
from google.adk.agents import LlmAgent
from google.adk.events import Event, EventActions
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService, Session
from google.genai import types
from turns import FIRST, SECOND, THIRD, answer, check, main, raises


class Told(BaseLlm):
    """A model that answers with what it was told."""

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        users = [content for content in llm_request.contents if content.role == "user"]
        told = answer(part.text for content in users for part in content.parts or [] if part.text)
        yield LlmResponse(content=types.Content(role="model", parts=[types.Part(text=told)]))


async def ask(service: Any, session_id: str, text: str) -> str:
    agent = LlmAgent(name="a", model=Told(model="told"), output_key="last")
    runner = Runner(app_name="app", agent=agent, session_service=service)
    said = types.Content(role="user", parts=[types.Part(text=text)])
    last = ""
    async for event in runner.run_async(user_id="u", session_id=session_id, new_message=said):
        if event.is_final_response() and event.content:
            last = event.content.parts[0].text
    return last


async def save(location: str) -> None:
    service = InMemorySessionService()
    session = await service.create_session(app_name="app", user_id="u", session_id="s", state={"user:name": "Ada"})
    await ask(service, session.id, FIRST)
    await ask(service, session.id, SECOND)
    session = await service.get_session(app_name="app", user_id="u", session_id="s")
    saved = await persist.asnapshot(session, location, check=True)
    assert saved.adapter is not None
    assert saved.adapter["name"] == "google-adk"


async def restore(location: str) -> None:
    service = InMemorySessionService()
    session = await persist.arestore(location, into=service)
    # The shared state is not restored, unless the config asks for it.
    assert "user:name" not in session.state
    asked = await persist.arestore(location, into=InMemorySessionService(), config={"state": ["user:"]})
    assert asked.state["user:name"] == "Ada"
    assert asked.state["last"] == session.state["last"]
    assert [event.actions.state_delta for event in session.events if event.actions.state_delta]
    await live(location)
    await changed(location)
    await half(location)
    await whole(location)
    await beside_the_loop(location)
    assert session.state["last"] == answer([FIRST, SECOND])
    check(await ask(service, "s", THIRD))
    assert await persist.arestore(location) == persist_of(session, await persist.arestore(location))
    with raises(persist.PersistError, "already", or_else="the service already has the session"):
        await persist.arestore(location, into=service)


async def live(location: str) -> None:
    service = InMemorySessionService()
    names = {"app_name": "app", "user_id": "u"}

    async def changed(session_id: str, delta: dict[str, Any]) -> Any:
        session = await service.create_session(**names, session_id=session_id)
        event = Event(author="user", invocation_id="1", actions=EventActions(state_delta=delta))
        await service.append_event(session, event)
        return await service.get_session(**names, session_id=session_id)

    await changed("A", {"app:limit": 10, "step": 1})
    await changed("B", {"app:limit": 99})
    saved = await service.get_session(**names, session_id="A")
    # No event changes this key: the current value counts, and not what the events give.
    saved.state["step"] = 2
    await persist.asnapshot(saved, location + ".live")
    await service.delete_session(**names, session_id="A")
    back = await persist.arestore(location + ".live", into=service)
    assert back.state == {"step": 2, "app:limit": 99}, back.state
    with raises(
        persist.PersistTypeError,
        "google-adk can't be saved, at state['session']",
        or_else="a session within a dict became a dict",
    ):
        await persist.asnapshot({"session": saved}, location + ".nested")

    class Gone(InMemorySessionService):
        async def append_event(self, session: Any, event: Any) -> Any:
            raise ConnectionError("db gone")

    gone = Gone()
    try:
        await persist.arestore(location + ".live", into=gone)
    except persist.PersistConnectionError as error:
        assert error.retryable, error
        assert "db gone" in str(error), error
        assert await gone.get_session(**names, session_id="A") is None
    # A failed restore does not change the shared state either.
    other = await gone.create_session(**names, session_id="B", state={"app:limit": 99})
    try:
        await persist.arestore(location + ".live", into=gone, config={"state": ["app:"]})
    except persist.PersistConnectionError:
        other = await gone.get_session(**names, session_id="B")
        assert other.state == {"app:limit": 99}, other.state
    else:
        raise AssertionError("the restore has to fail")


async def beside_the_loop(location: str) -> None:
    """Checks that events are saved as they were and are restored in a thread, a few at a time, and
    that an in-memory service does not compare each of them with all others.
    """

    def event(number: int) -> Event:
        said = types.Content(role="user", parts=[types.Part(text=f"{number}")])
        return Event(author="user", invocation_id="1", timestamp=float(number), content=said)

    session = Session(app_name="app", user_id="u", id="loop", state={"a": [1]})
    session.events = [event(number) for number in range(500)]
    before = session.model_copy(deep=True)
    asked = Asked(Session)
    with asked.of():
        saving = asyncio.ensure_future(persist.asnapshot(session, location + ".loop"))
        await asyncio.sleep(0)
        session.state["a"].append(2)
        session.events[0].content.parts[0].text = "changed"
        session.events[1].actions.state_delta["b"] = 1
        session.events[2:] = []
        await saving
        assert await persist.arestore(location + ".loop") == before
    assert max(asked.lengths) <= 100, asked.lengths
    assert threading.get_ident() not in asked.threads
    service = InMemorySessionService()
    compared = 0

    def same_as(one: Any, other: Any) -> bool:
        nonlocal compared
        compared += 1
        return bool(one.__dict__ == other.__dict__)

    Event.__eq__ = same_as  # type: ignore[assignment, method-assign]
    try:
        restored = await persist.arestore(location + ".loop", into=service)
    finally:
        del Event.__eq__
    assert compared <= 500, compared
    assert restored.events == before.events
    kept = await service.get_session(app_name="app", user_id="u", session_id="loop")
    assert (kept.events, kept.state, kept.last_update_time) == (before.events, {"a": [1]}, 499.0)
    assert restored.events[0] is not service.sessions["app"]["u"]["loop"].events[0]
    # The service continues with the session as with its own.
    await service.append_event(restored, event(500))
    assert len((await service.get_session(app_name="app", user_id="u", session_id="loop")).events) == 501
    # A service keeps only one of two equal events.
    before.events = [event(1), event(1)]
    before.events[1].id = before.events[0].id
    await persist.asnapshot(before, location + ".twice")
    with raises(persist.PersistTypeError, "would change the number of events"):
        await persist.arestore(location + ".twice", into=InMemorySessionService())
    # The error names the wrong event.
    before.events = [event(number) for number in range(200)]
    before.events[123].content.parts[0].text = 5  # type: ignore[assignment, index, union-attr]
    with raises(persist.PersistError, or_else="text is not a number"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await persist.asnapshot(before, location + ".number")


class Asked:
    """A session class that records the threads and the number of events when it is validated."""

    def __init__(self, made: Any) -> None:
        self.made, self.lengths, self.threads = made, list[int](), set[int]()

    @contextlib.contextmanager
    def of(self) -> Iterator[None]:
        """Records validations within the block."""
        asked, validate = self, self.made.model_validate

        def model_validate(data: Any) -> Any:
            asked.lengths.append(len(data["events"]))
            asked.threads.add(threading.get_ident())
            return validate(data)

        self.made.model_validate = model_validate
        try:
            yield
        finally:
            del self.made.model_validate


class Flaky(InMemorySessionService):
    """A service that fails where a test tells it to."""

    def __init__(self, creates: int = 0, deletes: bool = True) -> None:
        super().__init__()
        self.creates, self.deletes = creates, deletes

    async def create_session(self, **names: Any) -> Any:
        self.creates -= 1
        if self.creates == 0:
            raise ConnectionError("db gone")
        return await super().create_session(**names)

    async def delete_session(self, **names: Any) -> None:
        if not self.deletes:
            raise TimeoutError("db slow")
        await super().delete_session(**names)

    async def ids(self) -> list[str]:
        return [session.id for session in (await self.list_sessions(app_name="app", user_id="u")).sessions]


async def whole(location: str) -> None:
    """Checks that all fields of a session and its events come back, without a service."""
    said = types.Content(role="model", parts=[types.Part(text="Hel")])
    event = Event(author="a", invocation_id="1", content=said, branch="a.b", partial=True, turn_complete=False)
    session = Session(app_name="app", user_id="u", id="whole", events=[event], last_update_time=12.5)
    await persist.asnapshot(session, location + ".whole", check=True)
    again = await persist.arestore(location + ".whole")
    assert again == session
    assert (again.last_update_time, again.events[0].branch, again.events[0].partial) == (12.5, "a.b", True)
    assert again.events[0].turn_complete is False


async def half(location: str) -> None:
    """Checks that a restore that fails at the shared state leaves nothing, and that the error names
    what could not be undone.
    """
    shared = {"config": {"state": ["user:"]}}
    flaky = Flaky(creates=2)
    try:
        await persist.arestore(location, into=flaky, **shared)
    except persist.PersistConnectionError as error:
        assert error.retryable, error
        assert await flaky.ids() == []
    else:
        raise AssertionError("it failed")
    again = await persist.arestore(location, into=flaky, **shared)
    assert again.state["user:name"] == "Ada"
    assert await flaky.ids() == ["s"]
    flaky = Flaky(creates=2, deletes=False)
    try:
        await persist.arestore(location, into=flaky, **shared)
    except persist.PersistConnectionError as error:
        assert "db gone" in str(error), error
        assert error.hint is not None
        assert "delete 's', which the restore left in the service" in error.hint, error.hint
        assert not error.retryable
    else:
        raise AssertionError("it failed")


async def changed(location: str) -> None:
    """Checks that a session that would come back changed is refused, and that the error says where."""
    names = {"app_name": "app", "user_id": "u"}
    service = InMemorySessionService()
    odd = await service.create_session(**names, session_id="odd", state={"ok": 1, "place": types.Part(text="x")})
    await refused(persist.asnapshot(odd, location + ".odd"), "would change session.state['place']")
    said = Event(author="user", invocation_id="1", output=types.Part(text="x"))
    odd = await service.create_session(**names, session_id="event")
    await service.append_event(odd, said)
    await refused(persist.asnapshot(odd, location + ".odd"), "would change session.events[0]")

    # An event may have the same value with another type, or a value that is not equal to itself.
    session = await service.create_session(**names, session_id="A")
    delta = {"is_done": 1, "missing": float("nan"), "pair": (1, 2)}
    await service.append_event(
        session, Event(author="user", invocation_id="1", actions=EventActions(state_delta=delta))
    )
    session.state.update({"is_done": True, "live": (3, 4)})
    await persist.asnapshot(session, location + ".types")
    back = await persist.arestore(location + ".types", into=InMemorySessionService())
    assert back.state["is_done"] is True
    assert back.events[0].actions.state_delta.keys() == {"missing", "pair"}

    class Lists(InMemorySessionService):
        async def create_session(self, *, state: Any = None, **names: Any) -> Any:
            return await super().create_session(state=json.loads(json.dumps(state)), **names)

    class Short(InMemorySessionService):
        async def append_event(self, session: Any, event: Any) -> Any:
            return event

    for lossy, says in ((Lists(), "Lists would change session.state['live']"), (Short(), "the number of events")):
        await refused(persist.arestore(location + ".types", into=lossy), says)
        assert await lossy.get_session(**names, session_id="A") is None


async def refused(work: Any, says: str) -> None:
    with raises(persist.PersistTypeError, says):
        await work


def persist_of(kept: Any, alone: Any) -> Any:
    """Checks that a session without a service has the events of the one in a service."""
    assert [event.id for event in alone.events] == [event.id for event in kept.events]
    return alone


if __name__ == "__main__":
    main(save, restore)
