"""Measures an append to a session that has 5,000 items: ``bench_sessions.py FRAMEWORK STORE FOLDER``, where STORE is
``persist`` or ``sqlite``, the framework's own. Prints the times of 100 appends in seconds, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ITEMS, APPENDS, WARM = 5000, 100, 5
TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 3

Append = Callable[[int], Awaitable[Any]]


def item(number: int) -> dict[str, str]:
    return {"role": "assistant" if number % 2 else "user", "content": f"{number}: {TEXT}"}


async def openai_agents(is_ours: bool, folder: Path) -> Append:
    from agents.memory import SQLiteSession
    from persist.openai_agents import PersistSession

    session: Any = PersistSession(folder, "case-1") if is_ours else SQLiteSession("case-1", folder / "sessions.db")
    await session.add_items([item(number) for number in range(ITEMS)])
    return lambda number: session.add_items([item(number)])


async def google_adk(is_ours: bool, folder: Path) -> Append:
    from google.adk.events import Event
    from google.adk.sessions.sqlite_session_service import SqliteSessionService
    from google.genai import types
    from persist.google_adk import PersistSessionService, copy

    names = {"app_name": "app", "user_id": "u", "session_id": "case-1"}

    def event(number: int) -> Any:
        content = types.Content(role="user", parts=[types.Part(text=item(number)["content"])])
        return Event(author="user", invocation_id=str(number), content=content)

    # Both begin with the same events.
    begun = SqliteSessionService(str(folder / "sessions.db"))
    session = await begun.create_session(**names)
    for number in range(ITEMS):
        await begun.append_event(session, event(number))
    service: Any = begun
    if is_ours:
        service = PersistSessionService(folder / "agents")
        await copy(begun, service, app_name="app")
    held = await service.get_session(**names)
    return lambda number: service.append_event(held, event(number))


async def crewai(is_ours: bool, folder: Path) -> Append:
    from crewai.flow.persistence.sqlite import SQLiteFlowPersistence
    from persist.crewai import PersistFlows

    flows: Any = PersistFlows(folder) if is_ours else SQLiteFlowPersistence(str(folder / "flows.db"))
    state = {"id": "case-1", "said": [item(number) for number in range(ITEMS)]}

    async def append(number: int) -> None:
        state["said"].append(item(number))  # type: ignore[attr-defined]
        flows.save_state("case-1", "method", state)

    return append


async def main(framework: str, store: str, folder: Path) -> list[float]:
    append = await {"openai_agents": openai_agents, "google_adk": google_adk, "crewai": crewai}[framework](
        store == "persist", folder
    )
    times = []
    for number in range(WARM + APPENDS):
        began = time.perf_counter()
        await append(ITEMS + number)
        times.append(time.perf_counter() - began)
    return times[WARM:]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))))
