"""The OpenAI Agents SDK: a session, a run that waits for an approval, and a session in a store."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import persist
from agents import (
    Agent,
    GuardrailFunctionOutput,
    Model,
    ModelResponse,
    Runner,
    SQLiteSession,
    Usage,
    function_tool,
    input_guardrail,
    set_tracing_disabled,
)
from agents.extensions.memory import AdvancedSQLiteSession
from agents.memory import OpenAIResponsesCompactionSession, SessionSettings
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from persist.openai_agents import PersistSession
from turns import FIRST, SECOND, THIRD, answer, check, main, raises

set_tracing_disabled(True)


class Told(Model):
    """A model that calls its tools, and then answers with what it was told."""

    def __init__(self, *tools: str) -> None:
        self.tools = tools

    async def get_response(self, *rest: Any, **others: Any) -> ModelResponse:
        told: Any = others["input"] if "input" in others else rest[1]
        items = [{"role": "user", "content": told}] if isinstance(told, str) else told
        called = {item.get("name") for item in items}
        output: list[Any] = [
            ResponseFunctionToolCall(arguments="{}", call_id=name, name=name, type="function_call")
            for name in self.tools
            if name not in called
        ]
        if not output:
            told = answer(item["content"] for item in items if item.get("role") == "user")
            text = ResponseOutputText(text=told, type="output_text", annotations=[])
            said = ResponseOutputMessage(id="1", content=[text], role="assistant", status="completed", type="message")
            output = [said]
        return ModelResponse(output=output, usage=Usage(), response_id=None)

    def stream_response(self, *rest: Any, **others: Any) -> AsyncIterator[Any]:
        raise AssertionError("no program here streams a run")


async def ask(session: Any, text: str) -> str:
    result = await Runner.run(Agent(name="a", model=Told()), text, session=session)
    return str(result.final_output)


def waiting(done: list[str]) -> Agent[Any]:
    @function_tool(needs_approval=True)
    def work() -> str:
        """Works."""
        done.append("work")
        return "worked"

    return Agent(name="waits", model=Told("work"), tools=[work])


async def unkept() -> None:
    """Checks that what the SDK could not read again, or would silently leave out, is refused."""
    when = datetime.datetime(2026, 7, 1, tzinfo=datetime.timezone.utc)
    for context, says in (
        ({"when": when}, "state['run']['context']['context']['when'] is a datetime"),
        ({"case": {1: "a"}}, "state['run']['context']['context']['case'] has the key 1"),
        (collections.OrderedDict(a=1), "the context of a run must be a dict, not an OrderedDict"),
    ):
        result = await Runner.run(waiting([]), "work!", context=context)
        await refused(result.to_state(), says)
    # Decisions of agents that look the same.
    waits, other = waiting([]), waiting([])
    other.tools = waits.tools
    middle = Agent(name="middle", handoffs=[other])
    first = Agent(name="first", model=Told("transfer_to_waits"), handoffs=[waits, middle])
    state = (await Runner.run(first, "work!")).to_state()
    await persist.asnapshot(state, "memory://unkept/undecided")
    state.reject(state.get_interruptions()[0])
    await refused(state, "approvals or rejections would be lost")


@dataclasses.dataclass
class Place:
    name: str
    at: tuple[float, float] = (45.1, 7.7)


async def gave() -> None:
    """Checks that outputs of tools and guardrails come back, models and dataclasses as data, and
    that outputs that the SDK would turn into text are refused.
    """

    async def stopped(value: Any, noted: Any = None) -> tuple[Agent[Any], Any]:
        @function_tool
        def find() -> Any:
            return value

        @input_guardrail
        async def guard(context: Any, agent: Any, said: Any) -> GuardrailFunctionOutput:
            return GuardrailFunctionOutput(output_info=noted, tripwire_triggered=False)

        agent = waiting([])
        agent = agent.clone(model=Told("work", "find"), tools=[*agent.tools, find], input_guardrails=[guard])
        return agent, (await Runner.run(agent, "work!", context={})).to_state()

    for value, data in (("text", "text"), ({"a": [1, None]}, {"a": [1, None]})):
        agent, state = await stopped(value, value)
        await persist.asnapshot(state, "memory://gave/run")
        again: Any = await persist.arestore("memory://gave/run", into=agent)
        assert [item.output for item in again._generated_items if hasattr(item, "output")] == [data]
        assert again._input_guardrail_results[0].output.output_info == data
    agent, state = await stopped([Place("Turin")])
    await persist.asnapshot(state, "memory://gave/run")
    again = await persist.arestore("memory://gave/run", into=agent)
    (output,) = [item.output for item in again._generated_items if hasattr(item, "output")]
    assert output == [{"name": "Turin", "at": [45.1, 7.7]}]
    for odd, kind in (((1, 2), "tuple"), ({1}, "set"), (b"x", "bytes"), ({1: 2}, "dict")):
        await refused((await stopped(odd))[1], f"['output'], which is a {kind}")
        await refused((await stopped("", odd))[1], f"['outputInfo'], which is a {kind}")
    for options in ({"previous_response_id": "resp-1"}, {"conversation_id": "conv-1"}):
        result = await Runner.run(waiting([]), "work!", max_turns=7, **options)
        await persist.asnapshot(result.to_state(), "memory://gave/other")
        kept = await persist.arestore("memory://gave/other", into=waiting([]))
        known = {"previous_response_id": kept._previous_response_id, "conversation_id": kept._conversation_id}
        assert {name: known[name] for name in options} == options
        assert kept._max_turns == 7
    # An agent other than the one that the run began with.
    try:
        await persist.arestore("memory://gave/run", into=Agent(name="other", model=Told()))
    except persist.PersistTypeError as error:
        assert error.hint is not None
        assert "the agent 'waits'" in error.hint, error.hint
        assert error.__cause__ is not None
    else:
        raise AssertionError("another agent has to be refused")


async def half() -> None:
    """Checks that a session that fails to take the items has none, so that a retry works."""

    class Failing(Limited):
        fails = True

        async def add_items(self, items: list[Any]) -> None:
            for item in items:
                if self.items and self.fails:
                    self.fails = False
                    raise ConnectionError("db gone")
                self.items.append(item)

    session, into = SQLiteSession("half"), Failing([])
    await session.add_items([{"role": "user", "content": str(number)} for number in range(3)])
    await persist.asnapshot(session, "memory://half/session")
    with raises(persist.PersistConnectionError, "db gone", or_else="the restore has to fail"):
        await persist.arestore("memory://half/session", into=into)
    assert into.items == []
    await persist.arestore("memory://half/session", into=into)
    assert len(into.items) == 3


async def advanced() -> None:
    """Checks that the usage of a session is restored into a session that keeps it."""

    def session() -> Any:
        return AdvancedSQLiteSession(session_id="usage", create_tables=True)

    live, again = session(), session()
    for text in (FIRST, SECOND):
        result = await Runner.run(Agent(name="a", model=Told()), text, session=live)
        result.context_wrapper.usage.add(Usage(requests=2, input_tokens=7, output_tokens=3, total_tokens=10))
        await live.store_run_usage(result)
    await persist.asnapshot(live, "memory://usage/session", check=True)
    await persist.arestore("memory://usage/session", into=again)
    assert await again.get_session_usage() is not None
    assert await again.get_session_usage() == await live.get_session_usage()
    assert await again.get_turn_usage() == await live.get_turn_usage()
    assert await again.get_items() == await live.get_items()
    for other, says in ((None, "is an AdvancedSQLiteSession"), (SQLiteSession("usage"), "has usage per turn")):
        with raises(persist.PersistConfigurationError, says, or_else="the usage would be lost"):
            await persist.arestore("memory://usage/session", into=other)


async def refused(state: Any, says: str) -> None:
    with raises(persist.PersistTypeError, says):
        await persist.asnapshot(state, "memory://unkept/run")


async def save(location: str) -> None:
    session = SQLiteSession("a-session")
    await ask(session, FIRST)
    await ask(session, SECOND)
    saved = await persist.asnapshot(session, location, check=True)
    assert saved.adapter is not None
    assert saved.adapter["name"] == "openai-agents"
    with raises(persist.PersistConfigurationError, hint="asnapshot", or_else="a loop was running"):
        persist.snapshot(session, location)
    done: list[str] = []
    result = await Runner.run(waiting(done), "work!")
    assert result.interruptions
    await persist.asnapshot(result.to_state(), location + ".run")
    assert done == []
    folder = os.path.dirname(location)
    limited = SQLiteSession("limited", session_settings=SessionSettings(limit=2))
    await limited.add_items([{"role": "user", "content": str(number)} for number in range(6)])
    await persist.asnapshot(limited, location + ".limited")
    noting = Noting("noting")
    noting.customer = "Ada"
    await noting.add_items([{"role": "user", "content": "Hello"}])
    await persist.asnapshot(noting, location + ".noting")
    stored = PersistSession(folder, "in a store")
    await ask(stored, FIRST)
    await ask(stored, SECOND)


class Noting(SQLiteSession):
    """The program's own session class."""

    customer = "nobody"


class Limited:
    """A session to which items can only be added, like many sessions."""

    session_settings = None

    def __init__(self, items: list[Any]) -> None:
        self.session_id, self.items = "limited", items

    async def get_items(self, limit: int | None = None) -> list[Any]:
        return self.items

    async def add_items(self, items: list[Any]) -> None:
        self.items.extend(items)

    async def pop_item(self) -> Any:
        return self.items.pop()

    async def clear_session(self) -> None:
        self.items.clear()


async def whole_or_not(location: str) -> None:
    for wrong, name in (("abc", "x"), ([1, 2], "x"), ({"a": 1}, "x"), ([], {"a": 1})):
        place, key = persist._persist.locate("memory://wrong/x", {})
        extra = '{"value_encoding": 1, "adapter": {"name": "openai-agents", "version": "1", "type": "x"}}'
        state = json.dumps({"kind": "session", "session_id": name, "items": wrong}).encode()
        place.save_bytes(key, state, {"content_type": "application/json", "extra": extra})
        kept = SQLiteSession("kept")
        await kept.add_items([{"role": "user", "content": "old"}])
        try:
            await persist.arestore("memory://wrong/x", into=kept)
        except persist.PersistIntegrityError:
            assert len(await kept.get_items()) == 1
        else:
            raise AssertionError(wrong)
    limited = Limited([])
    await persist.arestore(location, into=limited)
    assert len(limited.items) == 4
    full = Limited([{"role": "user", "content": "old"}])
    try:
        await persist.arestore(location, into=full)
    except persist.PersistConflictError as error:
        assert len(full.items) == 1, error
        assert error.hint, error
    else:
        raise AssertionError("a failure could leave some of the items")
    # A process that dies during a restore leaves the old or the new items.
    with tempfile.TemporaryDirectory() as folder:
        database = f"{folder}/items.db"
        await SQLiteSession("case-1", database).add_items([{"role": "user", "content": "old"}] * 50)
        code = "import asyncio, os, sys, persist; from agents import SQLiteSession\n"
        code += "SQLiteSession._insert_items = lambda *_: os._exit(9)\n"
        code += "asyncio.run(persist.arestore(sys.argv[1], into=SQLiteSession('case-1', sys.argv[2])))\n"
        assert subprocess.run([sys.executable, "-c", code, location, database]).returncode == 9
        assert len(await SQLiteSession("case-1", database).get_items()) == 50


async def encrypted(location: str) -> None:
    try:
        from agents.extensions.memory import EncryptedSession
    except ImportError:
        raise AssertionError("the tests need openai-agents[encrypt]") from None

    def session(name: str = "secret-1", key: str = "a key for this test alone, 0123456789", within: Any = None) -> Any:
        return EncryptedSession(name, within or SQLiteSession(name), encryption_key=key)

    live, again = session(), session()
    await live.add_items([{"role": "user", "content": "My account is 4711-0815"}])
    await persist.asnapshot(live, "memory://secret/session.json.gz")
    assert b"4711" not in persist.Store("memory://secret").load_bytes("session.json.gz")
    await persist.arestore("memory://secret/session.json.gz", into=again)
    assert await again.get_items() == await live.get_items()
    for other in (None, SQLiteSession("secret-1"), session("secret-2")):
        with raises(persist.PersistConfigurationError, "encrypted", or_else="nobody could read it"):
            await persist.arestore("memory://secret/session.json.gz", into=other)
    # A session with another key keeps its items.
    other = session(key="another key for this test alone, 0123456789")
    await other.add_items([{"role": "user", "content": "mine"}])
    try:
        await persist.arestore("memory://secret/session.json.gz", into=other)
    except persist.PersistConfigurationError as error:
        assert "encrypted" in str(error), error
        assert len(await other.get_items()) == 1
    else:
        raise AssertionError("the session can't read the items")

    # Another session may wrap it, which returns its items in plain text.
    def wrapped() -> Any:
        return OpenAIResponsesCompactionSession("secret-1", underlying_session=session())

    outer, again = wrapped(), wrapped()
    await outer.add_items([{"role": "user", "content": "My account is 4711-0815"}])
    await again.clear_session()
    await persist.asnapshot(outer, "memory://secret/outer")
    assert b"4711" not in persist.Store("memory://secret").load_bytes("outer")
    await persist.arestore("memory://secret/outer", into=again)
    assert await again.get_items() == await outer.get_items()
    assert (await again._ensure_compaction_candidates())[1], "the wrapping session still has old items cached"
    # Items that were saved in plain text are encrypted when they are restored.
    plain, stored = SQLiteSession("plain"), PersistSession("memory://secret", "stored")
    await plain.add_items([{"role": "user", "content": "My account is 4711-0815"}])
    await persist.asnapshot(plain, "memory://secret/plain")
    kept = await persist.arestore("memory://secret/plain", into=session(within=stored))
    assert await kept.get_items() == await plain.get_items()
    assert "4711" not in str(await stored.get_items())


async def restore(location: str) -> None:
    session = await persist.arestore(location)
    check(await ask(session, THIRD))
    into = SQLiteSession("another")
    await into.add_items([{"role": "user", "content": "old"}])
    assert await persist.arestore(location, into=into) is into
    assert len(await into.get_items()) == 4
    await whole_or_not(location)
    await encrypted(location)
    await unkept()
    await gave()
    await half()
    await advanced()
    limited = await persist.arestore(location + ".limited")
    assert (limited.session_settings.limit, len(await limited.get_items(100))) == (2, 6)
    noting = Noting("noting")
    noting.of_old = True  # type: ignore[attr-defined]
    assert await persist.arestore(location + ".noting", into=noting) is noting
    assert (noting.customer, hasattr(noting, "of_old"), len(await noting.get_items())) == ("Ada", False, 1)
    with raises(persist.PersistConfigurationError, "is a Noting", or_else="the customer would be lost"):
        await persist.arestore(location + ".noting")
    done: list[str] = []
    agent = waiting(done)
    state = await persist.arestore(location + ".run", into=agent)
    state.approve(state.get_interruptions()[0])
    result = await Runner.run(agent, state)
    assert done == ["work"]
    assert result.final_output == answer(["work!"])
    stored = PersistSession(os.path.dirname(location), "in a store")
    check(await ask(stored, THIRD))
    assert len(await stored.get_items(2)) == 2
    assert len((await persist.asnapshot(stored, location + ".copy")).adapter or {}) == 3
    folder = os.path.dirname(location)
    many = [PersistSession(folder, "many") for _ in range(3)]
    await asyncio.gather(*(many[n % 3].add_items([{"role": "user", "content": str(n)}]) for n in range(15)))
    assert len(await many[0].get_items()) == 15
    assert (await stored.pop_item()) is not None
    assert len(await stored.get_items()) == 5
    await stored.clear_session()
    assert await stored.get_items() == []
    assert await stored.pop_item() is None


if __name__ == "__main__":
    main(save, restore)
