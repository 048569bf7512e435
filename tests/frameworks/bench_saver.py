"""Measures a checkpointer of LangGraph: ``bench_saver.py SAVER CHANNEL TURNS LOCATION``. An agent
answers with real text, so that the state grows to about 2 KB a turn. Prints the time of the whole
run, those of each ``put`` and the size of all files as JSON. ``bench_package.py`` runs this program
in the environments of the checkpointers.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

BOOKS = ["book", "reference", "rust-by-example"]
QUESTION, ANSWER = 300, 1300
THREAD: Any = {"configurable": {"thread_id": "1"}}

os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")


def sentences() -> list[str]:
    """Returns the sentences of the books of the toolchain, which is in ``PERSIST_TOOLCHAIN``."""
    books = Path(os.environ["PERSIST_TOOLCHAIN"]) / "share/doc/rust/html"
    found: list[str] = []
    for book in BOOKS:
        for page in sorted((books / book).rglob("*.html")):
            plain = re.sub(r"\s+", " ", re.sub(r"<script.*?</script>|<[^>]+>", " ", page.read_text(), flags=re.DOTALL))
            found += [each for each in plain.split(". ") if 40 < len(each) < 900]
    if not found:
        raise SystemExit(f"{books} has no books: install them with 'rustup component add rust-docs'")
    return found


def said(source: Iterator[str], size: int) -> str:
    """Returns some sentences."""
    found = ""
    while len(found) < size:
        found += next(source) + ". "
    return found


def added(state: Any, writes: Any) -> list[Any]:
    """Adds messages to those that are there."""
    messages = [message for each in writes for message in (each if isinstance(each, list) else [each])]
    return [*(state or []), *messages]


class Whole(TypedDict):
    """Each checkpoint has all messages."""

    messages: Annotated[list[Any], add_messages]


class Changes(TypedDict):
    """Of 100 checkpoints, one has all messages."""

    messages: Annotated[list[Any], DeltaChannel(added, snapshot_frequency=100)]


def saver(name: str, location: str, stack: ExitStack) -> Any:
    """Returns a checkpointer."""
    if name == "sqlite":
        from langgraph.checkpoint.sqlite import SqliteSaver

        connection = sqlite3.connect(f"{location}/checkpoints.db", check_same_thread=False)
        stack.callback(connection.close)
        return SqliteSaver(connection)
    if name == "objectstorage":
        from langgraph_checkpoint_objectstorage import ObjectStorageSaver

        return ObjectStorageSaver.from_conn_string(location, endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"])
    from persist.langgraph import PersistSaver

    return stack.enter_context(PersistSaver(location))


def agent(channel: str, source: Iterator[str]) -> Any:
    """Returns an agent that answers with sentences, not compiled yet."""

    def answers(state: Any) -> Any:
        return {"messages": [AIMessage(said(source, ANSWER))]}

    builder = StateGraph(Whole if channel == "whole" else Changes)
    builder.add_node("agent", answers)
    builder.add_edge(START, "agent")
    return builder


def talk(graph: Any, turns: int, source: Iterator[str]) -> float:
    """Asks an agent so many questions in one thread. Returns the time, in seconds."""
    begun = time.perf_counter()
    for _ in range(turns):
        graph.invoke({"messages": [HumanMessage(said(source, QUESTION))]}, THREAD)
    return time.perf_counter() - begun


def main() -> None:
    """Runs the agent."""
    name, channel, turns, location = sys.argv[1:]
    source, puts = itertools.cycle(sentences()), []
    with ExitStack() as stack:
        made = saver(name, location, stack)
        put = made.put

        def timed(*arguments: Any) -> Any:
            begun = time.perf_counter()
            stored = put(*arguments)
            puts.append(1000 * (time.perf_counter() - begun))
            return stored

        made.put = timed
        seconds = talk(agent(channel, source).compile(checkpointer=made), int(turns), source)
    size = sum(path.stat().st_size for path in Path(location).rglob("*") if path.is_file())
    puts.sort()
    p50, p99 = puts[len(puts) // 2], puts[len(puts) * 99 // 100]
    print(json.dumps({"seconds": seconds, "puts": len(puts), "p50": p50, "p99": p99, "size": size}))


if __name__ == "__main__":
    main()
