"""LangGraph: an agent of ``create_agent``, a graph that waits in the middle of a step, and a
graph with another graph in it.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import persist
from graphs_langgraph import (
    Changes,
    Counting,
    Step,
    calling,
    changing,
    knowing,
    logging,
    paying,
    waiting,
    with_inner,
)
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Interrupt, Send, TimeoutPolicy
from turns import FIRST, SECOND, THIRD, answer, check, main, raises

CONFIG: Any = {"configurable": {"thread_id": "a-thread"}}


class Model(GenericFakeChatModel):
    """A model that answers with what it was told."""

    def _generate(self, messages: list[BaseMessage], *rest: Any, **others: Any) -> Any:
        told = answer(str(message.content) for message in messages if message.type == "human")
        self.messages = iter([AIMessage(told)])
        return super()._generate(messages, *rest, **others)


def agent() -> Any:
    return create_agent(Model(messages=iter([])), tools=[], checkpointer=InMemorySaver())


def ask(graph: Any, text: str) -> str:
    return str(graph.invoke({"messages": [("user", text)]}, CONFIG)["messages"][-1].content)


def in_sqlite(location: str) -> None:
    """Checks that LangGraph's checkpointers for SQLite are not read beyond what is needed."""
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    listed: list[Any] = []

    class Listing(SqliteSaver):
        def list(self, *arguments: Any, **options: Any) -> Any:
            listed.append(arguments)
            return super().list(*arguments, **options)

    class AsyncListing(AsyncSqliteSaver):
        def alist(self, *arguments: Any, **options: Any) -> Any:
            listed.append(arguments)
            return super().alist(*arguments, **options)

    live = with_inner(InMemorySaver(), True)
    live.invoke({"seen": ["a"]}, CONFIG)
    expected = live.invoke({"seen": ["b"]}, CONFIG)
    with Listing.from_conn_string(":memory:") as saver, Listing.from_conn_string(":memory:") as other:
        graph, again = with_inner(saver, True), with_inner(other, True)
        graph.invoke({"seen": ["a"]}, CONFIG)
        persist.snapshot(graph, location + ".sqlite", config=CONFIG, check=True)
        persist.restore(location + ".sqlite", into=again)
        assert again.invoke({"seen": ["b"]}, CONFIG) == expected

    async def asynchronously() -> None:
        one, two = AsyncListing.from_conn_string(":memory:"), AsyncListing.from_conn_string(":memory:")
        async with one as saver, two as other:
            graph, again = with_inner(saver, True), with_inner(other, True)
            await graph.ainvoke({"seen": ["a"]}, CONFIG)
            await persist.asnapshot(graph, location + ".sqlite", config=CONFIG, check=True)
            await persist.arestore(location + ".sqlite", into=again)
            assert await again.ainvoke({"seen": ["b"]}, CONFIG) == expected

    asyncio.run(asynchronously())
    assert not listed


def only_what_is_needed(location: str) -> None:
    sizes, reads = [], []
    for turns in (5, 40):
        saver = Counting()
        builder = StateGraph(Step)
        inner = StateGraph(Step)
        inner.add_node("write", lambda state: {"text": "x" * 1000})
        inner.add_edge(START, "write")
        builder.add_node("inner", inner.compile())
        builder.add_edge(START, "inner")
        graph = builder.compile(checkpointer=saver)
        for _ in range(turns):
            graph.invoke({"text": "Hello"}, CONFIG)
        saver.read = 0
        sizes.append(persist.snapshot(graph, location + ".turns", config=CONFIG).uncompressed_size)
        reads.append(saver.read)
    assert sizes[1] < 1.2 * sizes[0], sizes
    assert reads[1] <= reads[0], reads
    # A graph that keeps a state of its own continues with it.
    live, again = with_inner(InMemorySaver(), True), with_inner(InMemorySaver(), True)
    live.invoke({"seen": ["a"]}, CONFIG)
    persist.snapshot(live, location + ".keeps", config=CONFIG, check=True)
    persist.restore(location + ".keeps", into=again)
    assert live.invoke({"seen": ["b"]}, CONFIG) == again.invoke({"seen": ["b"]}, CONFIG)
    inner_of: Any = {"configurable": {"thread_id": "a-thread", "checkpoint_ns": "inner"}}
    assert again.checkpointer.get_tuple(inner_of) is not None
    # A restore works fully or not at all, and can be repeated after a failure.
    for fails_at in (1, 2):
        saver = Counting()
        saver.fails_at = fails_at
        into = with_inner(saver, True)
        try:
            persist.restore(location + ".keeps", into=into)
        except persist.PersistConnectionError as error:
            assert error.retryable
            assert "db gone" in str(error)
        else:
            raise AssertionError("the restore has to fail")
        assert saver.get_tuple(CONFIG) is None
        persist.restore(location + ".keeps", into=into)
        assert into.get_state(CONFIG).values == with_values(location)


def with_values(location: str) -> Any:
    again = persist.restore(location + ".keeps", into=with_inner(InMemorySaver(), True))
    return again.get_state(CONFIG).values


def in_the_order_of_life(location: str) -> None:
    live, again = logging(8), logging(8)
    live.invoke({"log": []}, CONFIG)
    persist.snapshot(live, location + ".log", config=CONFIG, check=True)
    persist.restore(location + ".log", into=again)
    logs = []
    for graph in (live, again):
        graph.invoke(Command(resume="yes"), CONFIG)
        logs.append(graph.get_state(CONFIG).values["log"])
    assert logs[0] == logs[1], logs
    # At every turn, including those whose checkpoint has the whole value.
    live = logging(0)
    for turn in ([1], [2], ["clear"], [4], [5], ["clear"], [7]):
        live.invoke({"log": turn}, CONFIG)
        persist.snapshot(live, location + ".turn", config=CONFIG, check=True)
        again = persist.restore(location + ".turn", into=logging(0))
        assert again.get_state(CONFIG).values == live.get_state(CONFIG).values, turn


def graphs_that_code_calls(location: str) -> None:
    for keeps, waits, calls in [(True, False, 1), (True, True, 1), (False, True, 1), (False, True, 2), (True, True, 2)]:
        runs: list[str] = []
        live, again = (calling(keeps, waits, calls, runs=runs) for _ in range(2))
        live.invoke({"seen": []}, CONFIG)
        live.invoke(Command(resume="first") if calls == 2 else {"seen": []}, CONFIG)
        persist.snapshot(live, location + ".calls", config=CONFIG, check=True)
        persist.restore(location + ".calls", into=again)
        outcomes = []
        for graph in (live, again):
            runs.clear()
            done = graph.invoke(Command(resume="yes") if waits else {"seen": []}, CONFIG)
            outcomes.append((done["seen"], list(runs)))
        assert outcomes[0] == outcomes[1], (keeps, waits, calls, outcomes)
    # Their checkpoints of earlier turns are neither read nor saved.
    reads = []
    for turns in (3, 9):
        live = calling(True, False, 1)
        for _ in range(turns):
            live.invoke({"seen": []}, CONFIG)
        live.checkpointer.read = 0
        persist.snapshot(live, location + ".calls", config=CONFIG)
        reads.append(live.checkpointer.read)
    assert reads[1] <= reads[0], reads
    # The changes of a graph that LangGraph does not find can't be applied.
    live = calling(False, True, 1, Changes)
    live.invoke({"seen": []}, CONFIG)
    with raises(persist.PersistTypeError, "keeps only the changes to its channel 'seen'", or_else="changes are lost"):
        persist.snapshot(live, location + ".calls", config=CONFIG)


def before_it_was_allowed(location: str) -> None:
    """Checks that a later approval does not count at an earlier checkpoint."""
    live, paid = paying([]), list[str]()
    live.invoke({"seen": []}, CONFIG)
    named = live.get_state(CONFIG).config
    # The config may also name the latest checkpoint, from which everything continues.
    persist.snapshot(live, location + ".named", config=named, check=True)
    again = persist.restore(location + ".named", into=paying([]))
    assert again.invoke(Command(resume="yes"), CONFIG)["seen"] == ["yes", "paid"]
    live.invoke(Command(resume="yes"), CONFIG)
    persist.snapshot(live, location + ".named", config=named, check=True)
    again = persist.restore(location + ".named", into=paying(paid))
    assert again.get_state(CONFIG).next == live.get_state(named).next == ("ask",)
    assert again.get_state(CONFIG).interrupts == live.get_state(named).interrupts
    assert again.invoke(None, CONFIG)["__interrupt__"]
    assert paid == []
    assert again.invoke(Command(resume="yes"), CONFIG)["seen"] == ["yes", "paid"]


class Cipher:
    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "xor", bytes(byte ^ 0x55 for byte in plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        return bytes(byte ^ 0x55 for byte in ciphertext)


def encrypted(location: str) -> None:
    """Checks that encrypted checkpoints are saved in plain text only if the caller permits it."""
    graph = with_inner(InMemorySaver(serde=EncryptedSerializer(Cipher())), False)
    graph.invoke({"seen": ["secret"]}, CONFIG)
    with raises(persist.PersistConfigurationError, "plain text", hint="plaintext", or_else="it was encrypted"):
        persist.snapshot(graph, location + ".encrypted", config=CONFIG)
    persist.snapshot(graph, location + ".encrypted", config={**CONFIG, "plaintext": True}, check=True)
    again = persist.restore(location + ".encrypted", into=with_inner(InMemorySaver(), False))
    assert again.get_state(CONFIG).values == graph.get_state(CONFIG).values


def of_one_name(location: str) -> None:
    """Checks that a class with the name of a LangChain class does not replace it."""
    type("HumanMessage", (HumanMessage,), {"__module__": __name__})
    graph = agent()
    ask(graph, FIRST)
    persist.snapshot(graph, location + ".name", config=CONFIG, check=True)
    again = persist.restore(location + ".name", into=agent())
    kinds = [[type(one) for one in of.get_state(CONFIG).values["messages"]] for of in (graph, again)]
    assert kinds[0] == kinds[1], kinds


class Noting(JsonPlusSerializer):
    """A serializer that records the threads that read checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def loads_typed(self, data: Any) -> Any:
        self.threads.add(threading.get_ident())
        return super().loads_typed(data)


async def beside_the_loop(location: str) -> None:
    """Checks that a thread in memory is read outside the event loop's thread, as it was, including
    a pending question.
    """
    for build, state, more in (
        (lambda: waiting([]), {"seen": []}, Command(resume="yes")),
        (lambda: changing(False), {"seen": ["in"]}, Command(resume="yes")),
    ):
        graph: Any = build()
        noting = graph.checkpointer.serde = Noting()
        await graph.ainvoke(state, CONFIG)
        before = (await graph.aget_state(CONFIG)).values
        other: Any = {"configurable": {"thread_id": "another"}}
        await graph.ainvoke(state, other)
        persist.snapshot(graph, location + ".plainly", config=CONFIG)
        noting.threads.clear()
        saving = asyncio.ensure_future(persist.asnapshot(graph, location + ".loop", config=CONFIG, check=True))
        await asyncio.sleep(0)
        assert threading.get_ident() not in noting.threads
        # Other tasks continue with the thread meanwhile.
        await graph.ainvoke(more, CONFIG)
        await graph.checkpointer.adelete_thread("another")
        await saving
        assert len(noting.threads) >= 2
        assert persist.restore(location + ".loop", plain=True) == persist.restore(location + ".plainly", plain=True)
        again = await persist.arestore(location + ".loop", into=build())
        assert (await again.aget_state(CONFIG)).values == before
        assert (await again.ainvoke(more, CONFIG)) == (await graph.aget_state(CONFIG)).values


def save(location: str) -> None:
    graph = agent()
    ask(graph, FIRST)
    ask(graph, SECOND)
    saved = persist.snapshot(graph, location, config=CONFIG, check=True)
    assert saved.adapter is not None
    assert saved.adapter["name"] == "langgraph"
    runs: list[str] = []
    stopped = waiting(runs)
    stopped.invoke({"seen": []}, CONFIG)
    assert runs == ["finishes"]
    persist.snapshot(stopped, location + ".waiting", config=CONFIG, check=True)
    for side_by_side in (False, True):
        graph_of_changes = changing(side_by_side)
        graph_of_changes.invoke({"seen": ["in"]}, CONFIG)
        persist.snapshot(graph_of_changes, f"{location}.{side_by_side}", config=CONFIG, check=True)
    known = knowing()
    known.invoke({}, CONFIG)
    persist.snapshot(known, location + ".known", config=CONFIG, check=True)
    only_what_is_needed(location)
    in_sqlite(location)
    in_the_order_of_life(location)
    graphs_that_code_calls(location)
    before_it_was_allowed(location)
    encrypted(location)
    asyncio.run(beside_the_loop(location))
    of_one_name(location)
    sent = [Send("a", 1, timeout=TimeoutPolicy(run_timeout=3)), Interrupt("why?", response_schema={"type": "string"})]
    persist.snapshot(sent, location + ".sent", check=True)
    for wrong, arguments, says in [
        (graph, {}, "does not name a thread"),
        (create_agent(Model(messages=iter([])), tools=[]), {"config": CONFIG}, "no checkpointer"),
        (graph, {"config": {"configurable": {"thread_id": "another"}}}, "no checkpoint"),
        ({}, {"config": CONFIG}, "can only be used with framework agents"),
        (graph, {"config": "1"}, "does not name a thread"),
    ]:
        with raises(persist.PersistError, says):
            persist.snapshot(wrong, location + ".wrong", **arguments)


def restore(location: str) -> None:
    graph = persist.restore(location, into=agent())
    check(ask(graph, THIRD))
    runs: list[str] = []
    stopped = persist.restore(location + ".waiting", into=waiting(runs))
    done = stopped.invoke(Command(resume="you may"), CONFIG)
    assert done["seen"] == ["finished", "you may", "sent 0", "sent 1"], done
    assert runs == [], "a finished node ran again"
    for side_by_side in (False, True):
        again = persist.restore(f"{location}.{side_by_side}", into=changing(side_by_side))
        once = changing(side_by_side)
        once.invoke({"seen": ["in"]}, CONFIG)
        assert again.invoke(Command(resume="r"), CONFIG) == once.invoke(Command(resume="r"), CONFIG)
    known, once = persist.restore(location + ".known", into=knowing()), knowing()
    once.invoke({}, CONFIG)
    assert known.get_state(CONFIG).values == once.get_state(CONFIG).values
    send, stop = persist.restore(location + ".sent")
    assert (send, stop.response_schema) == (Send("a", 1, timeout=3.0), {"type": "string"})
    # A later checkpoint would win over the one that is restored.
    with raises(persist.PersistConflictError, or_else="the checkpointer already has the thread"):
        persist.restore(location, into=graph)
    with raises(persist.PersistConfigurationError, "does not name a thread", or_else="no thread is named"):
        persist.restore(location, into=graph, config={})
    # It can be restored into another thread.
    other: Any = {"configurable": {"thread_id": "another"}}
    persist.restore(location, into=graph, config=other)
    assert len(graph.get_state(other).values["messages"]) == 4
    plain = persist.restore(location, plain=True)
    assert plain["thread_id"] == "a-thread"


if __name__ == "__main__":
    main(save, restore)
