"""LangGraph: an agent of ``create_agent``, a graph that waits in the middle of a
step, and one with a graph in it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import operator
import threading
from typing import Annotated, Any, TypedDict

import persist
import pydantic
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Interrupt, Send, TimeoutPolicy, interrupt
from turns import FIRST, SECOND, THIRD, answer, check, main, raises

CONFIG: Any = {"configurable": {"thread_id": "a-thread"}}


class Model(GenericFakeChatModel):
    """Answers with what it was told."""

    def _generate(self, messages: list[BaseMessage], *rest: Any, **others: Any) -> Any:
        told = answer(str(message.content) for message in messages if message.type == "human")
        self.messages = iter([AIMessage(told)])
        return super()._generate(messages, *rest, **others)


def agent() -> Any:
    return create_agent(Model(messages=iter([])), tools=[], checkpointer=InMemorySaver())


def ask(graph: Any, text: str) -> str:
    return str(graph.invoke({"messages": [("user", text)]}, CONFIG)["messages"][-1].content)


class State(TypedDict):
    seen: Annotated[list[str], operator.add]


def waiting(runs: list[str]) -> Any:
    """Two nodes side by side: one finishes, one waits for a person; then tasks
    are sent out.
    """

    def finishes(state: State) -> State:
        runs.append("finishes")
        return {"seen": ["finished"]}

    def waits(state: State) -> State:
        return {"seen": [interrupt("may I?")]}

    def each(state: Any) -> State:
        return {"seen": [f"sent {state['number']}"]}

    inner = StateGraph(State)
    inner.add_node("waits", waits)
    inner.add_edge(START, "waits")
    builder = StateGraph(State)
    builder.add_node("finishes", finishes)
    builder.add_node("inner", inner.compile())
    builder.add_node("each", each)
    builder.add_edge(START, "finishes")
    builder.add_edge(START, "inner")
    builder.add_conditional_edges("inner", lambda _: [Send("each", {"number": n}) for n in range(2)], ["each"])
    builder.add_edge("each", END)
    return builder.compile(checkpointer=InMemorySaver())


class Changes(TypedDict):
    """Of which checkpoints hold the changes alone."""

    seen: Annotated[list[str], DeltaChannel(lambda state, writes: sum(writes, list(state or [])))]


def changing(side_by_side: bool) -> Any:
    """Changes within a graph in a graph, or side by side with a node that waits."""
    inner = StateGraph(Changes)
    inner.add_node("a", lambda _: {"seen": ["a"]})
    inner.add_node("b", lambda _: {"seen": [interrupt("may I?")]})
    inner.add_edge(START, "a")
    inner.add_edge(*((START, "b") if side_by_side else ("a", "b")))
    if side_by_side:
        return inner.compile(checkpointer=InMemorySaver())
    outer = StateGraph(Changes)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    return outer.compile(checkpointer=InMemorySaver())


@dataclasses.dataclass
class Profile:
    name: str


class Plan(pydantic.BaseModel):
    steps: list[str] = []


class Known(TypedDict):
    """A state whose types the graph names."""

    profile: Profile
    plans: list[Plan]
    found: list[Document]


def knowing() -> Any:
    builder = StateGraph(Known)
    found: Any = {"profile": Profile("a"), "plans": [Plan(steps=["b"])], "found": [Document("c", metadata={"page": 1})]}
    builder.add_node("node", lambda _: found)
    builder.add_edge(START, "node")
    return builder.compile(checkpointer=InMemorySaver())


class Counting(InMemorySaver):
    """Counts the checkpoints that it gives out; fails when it is told to."""

    read, fails_at = 0, -1

    def get_tuple(self, config: Any) -> Any:
        self.read += 1
        return super().get_tuple(config)

    def list(self, *arguments: Any, **options: Any) -> Any:
        for found in super().list(*arguments, **options):
            self.read += 1
            yield found

    def put(self, *arguments: Any) -> Any:
        self.fails_at -= 1
        if self.fails_at == 0:
            raise ConnectionError("db gone")
        return super().put(*arguments)


def with_inner(checkpointer: Any, inner_keeps: bool) -> Any:
    """A graph whose inner one ends at every turn, and may keep a state of its own."""
    inner = StateGraph(State)
    inner.add_node("write", lambda state: {"seen": ["x" * 100]})
    inner.add_edge(START, "write")
    outer = StateGraph(State)
    outer.add_node("inner", inner.compile(checkpointer=True if inner_keeps else None))
    outer.add_edge(START, "inner")
    return outer.compile(checkpointer=checkpointer)


def in_sqlite(location: str) -> None:
    """LangGraph's checkpointers for SQLite, read through no more than is needed."""
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
    # A graph that keeps a state of its own goes on with it.
    live, again = with_inner(InMemorySaver(), True), with_inner(InMemorySaver(), True)
    live.invoke({"seen": ["a"]}, CONFIG)
    persist.snapshot(live, location + ".keeps", config=CONFIG, check=True)
    persist.restore(location + ".keeps", into=again)
    assert live.invoke({"seen": ["b"]}, CONFIG) == again.invoke({"seen": ["b"]}, CONFIG)
    inner_of: Any = {"configurable": {"thread_id": "a-thread", "checkpoint_ns": "inner"}}
    assert again.checkpointer.get_tuple(inner_of) is not None
    # All or nothing, and again after a failure half way.
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
            raise AssertionError("the checkpointer is gone")
        assert saver.get_tuple(CONFIG) is None
        persist.restore(location + ".keeps", into=into)
        assert into.get_state(CONFIG).values == with_values(location)


def with_values(location: str) -> Any:
    again = persist.restore(location + ".keeps", into=with_inner(InMemorySaver(), True))
    return again.get_state(CONFIG).values


class Step(TypedDict):
    text: str


def joined(log: Any, updates: Any) -> Any:
    for update in updates:
        log = None if update == ["clear"] else [*(log or []), *update]
    return log


class Log(TypedDict):
    log: Annotated[list[Any], DeltaChannel(joined, snapshot_frequency=3)]


def logging(nodes: int) -> Any:
    """Nodes side by side that write into a channel of changes, while one waits."""
    builder = StateGraph(Log)
    for number in range(nodes):
        builder.add_node(f"n{number}", lambda state, number=number: {"log": [f"n{number}"]})
        builder.add_edge(START, f"n{number}")
    builder.add_node("ask", lambda state: {"log": [interrupt("Go on?")] if nodes else []})
    builder.add_edge(START, "ask")
    return builder.compile(checkpointer=InMemorySaver())


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
    # At every turn, also those whose checkpoint has the whole value.
    live = logging(0)
    for turn in ([1], [2], ["clear"], [4], [5], ["clear"], [7]):
        live.invoke({"log": turn}, CONFIG)
        persist.snapshot(live, location + ".turn", config=CONFIG, check=True)
        again = persist.restore(location + ".turn", into=logging(0))
        assert again.get_state(CONFIG).values == live.get_state(CONFIG).values, turn


def calling(keeps: bool, waits: bool, calls: int, schema: Any = State, runs: list[str] | None = None) -> Any:
    """A graph whose code calls another, which LangGraph does not find: it is in a dict.
    That one has one more in it, as a node.
    """
    key = next(iter(schema.__annotations__))

    def begins(state: Any) -> Any:
        if runs is not None:
            runs.append("begins")
        return {key: [f"begins {len(state[key])}"]}

    innermost = StateGraph(schema)
    innermost.add_node("begins", begins)
    innermost.add_node("ends", lambda _: {key: [interrupt("may I?") if waits else "ended"]})
    innermost.add_edge(START, "begins")
    innermost.add_edge("begins", "ends")
    inner = StateGraph(schema)
    inner.add_node("innermost", innermost.compile())
    inner.add_edge(START, "innermost")
    helpers = {"one": inner.compile(checkpointer=True if keeps else None)}

    def calls_it(_: State) -> State:
        return {"seen": [said for _ in range(calls) for said in helpers["one"].invoke({key: ["in"]})[key]]}

    outer = StateGraph(State)
    outer.add_node("calls", calls_it)
    outer.add_edge(START, "calls")
    return outer.compile(checkpointer=Counting())


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
    # What they left in earlier turns is neither read nor saved.
    reads = []
    for turns in (3, 9):
        live = calling(True, False, 1)
        for _ in range(turns):
            live.invoke({"seen": []}, CONFIG)
        live.checkpointer.read = 0
        persist.snapshot(live, location + ".calls", config=CONFIG)
        reads.append(live.checkpointer.read)
    assert reads[1] <= reads[0], reads
    # The changes of a graph that is not found can't be applied.
    live = calling(False, True, 1, Changes)
    live.invoke({"seen": []}, CONFIG)
    with raises(persist.PersistTypeError, "keeps the changes of its channel 'seen' alone", or_else="changes are lost"):
        persist.snapshot(live, location + ".calls", config=CONFIG)


def paying(paid: list[str]) -> Any:
    def pay(state: State) -> State:
        paid.append("paid")
        return {"seen": ["paid"]}

    builder = StateGraph(State)
    builder.add_node("ask", lambda _: {"seen": [interrupt("may I?")]})
    builder.add_node("pay", pay)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "pay")
    return builder.compile(checkpointer=InMemorySaver())


def before_it_was_allowed(location: str) -> None:
    """What is allowed later is not allowed at a checkpoint that is named."""
    live, paid = paying([]), list[str]()
    live.invoke({"seen": []}, CONFIG)
    named = live.get_state(CONFIG).config
    # The latest may be named as well: there, all goes on.
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
    """What a checkpointer encrypts is saved as text only if the caller says so."""
    graph = with_inner(InMemorySaver(serde=EncryptedSerializer(Cipher())), False)
    graph.invoke({"seen": ["secret"]}, CONFIG)
    with raises(persist.PersistConfigurationError, "plain text", hint="plaintext", or_else="it was encrypted"):
        persist.snapshot(graph, location + ".encrypted", config=CONFIG)
    persist.snapshot(graph, location + ".encrypted", config={**CONFIG, "plaintext": True}, check=True)
    again = persist.restore(location + ".encrypted", into=with_inner(InMemorySaver(), False))
    assert again.get_state(CONFIG).values == graph.get_state(CONFIG).values


def of_one_name(location: str) -> None:
    """A class that has the name of one of LangChain's does not take its place."""
    type("HumanMessage", (HumanMessage,), {"__module__": __name__})
    graph = agent()
    ask(graph, FIRST)
    persist.snapshot(graph, location + ".name", config=CONFIG, check=True)
    again = persist.restore(location + ".name", into=agent())
    kinds = [[type(one) for one in of.get_state(CONFIG).values["messages"]] for of in (graph, again)]
    assert kinds[0] == kinds[1], kinds


class Noting(JsonPlusSerializer):
    """Notes whose thread reads what a checkpointer keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def loads_typed(self, data: Any) -> Any:
        self.threads.add(threading.get_ident())
        return super().loads_typed(data)


async def beside_the_loop(location: str) -> None:
    """A thread in memory is read beside the loop, as it was; and so is a question in it."""
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
        # Others go on with it meanwhile.
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
        (graph, {}, "names no thread"),
        (create_agent(Model(messages=iter([])), tools=[]), {"config": CONFIG}, "no checkpointer"),
        (graph, {"config": {"configurable": {"thread_id": "another"}}}, "no checkpoint"),
        ({}, {"config": CONFIG}, "for agents of frameworks"),
        (graph, {"config": "1"}, "names no thread"),
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
    with raises(persist.PersistConflictError, or_else="the thread is there already"):
        persist.restore(location, into=graph)
    with raises(persist.PersistConfigurationError, "names no thread", or_else="no thread is named"):
        persist.restore(location, into=graph, config={})
    # In another thread.
    other: Any = {"configurable": {"thread_id": "another"}}
    persist.restore(location, into=graph, config=other)
    assert len(graph.get_state(other).values["messages"]) == 4
    plain = persist.restore(location, plain=True)
    assert plain["thread_id"] == "a-thread"


if __name__ == "__main__":
    main(save, restore)
