"""Threads on ``PersistSaver``: their names, many at once, long ones, and how they are removed."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from graph_turns import (
    State,
    answers,
    asking_in_parallel,
    asking_in_sequence,
    at,
    begins,
    chain,
    changing,
    goes_on,
    in_each_life,
    resumes,
    says,
    updates,
    with_inner,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from persist.langgraph import PersistSaver
from same_graphs import CONFIG, Build, assert_same, new_location, same, view


@in_each_life
@pytest.mark.parametrize("thread", ["../..", "a/b", "", "CON", "x" * 300, "é\u00a0 ", "a~b", "."])
def test_threads_whose_names_are_special(life: str, thread: str) -> None:
    config: Any = {"configurable": {"thread_id": thread}}
    same(with_inner(True, 1, True), begins("in"), resumes("1"), life=life, config=config)


@pytest.mark.parametrize("life", ["kept", "closed"])
def test_a_long_thread(life: str) -> None:
    """More checkpoints than a saver remembers the writes of."""

    def many(graph: Any, config: Any) -> Any:
        for number in range(25):
            graph.invoke({"seen": [number]}, config)

    same(
        chain("a", schema=changing(50)), many, at(60, updates("forked", "a")), goes_on, at(30, goes_on), says, life=life
    )


@pytest.mark.parametrize("schema", [State, changing(500)], ids=["plain", "changes"])
def test_a_node_that_reads_the_history(schema: Any) -> None:
    """A run loses nothing if somebody reads a long history meanwhile."""
    location = new_location()

    def build(saver: Any) -> Any:
        def reads(state: Any) -> Any:
            # What its neighbour wrote is stored by now.
            for _ in range(500):
                if any(write[2] == ["beside"] for write in saver.get_tuple(CONFIG).pending_writes):
                    break
                time.sleep(0.02)
            return {"seen": [len(list(saver.list(CONFIG)))]}

        builder = StateGraph(schema)
        builder.add_node("reads", reads)
        builder.add_node("beside", lambda state: {"seen": ["beside"]})
        builder.add_edge(START, "reads")
        builder.add_edge(START, "beside")
        return builder.compile(checkpointer=saver)

    seen = []
    for saver in (InMemorySaver(), PersistSaver(location)):
        graph = build(saver)
        for number in range(70):
            graph.update_state(CONFIG, {"seen": [number]}, as_node="beside")
        graph.invoke({"seen": ["in"]}, CONFIG)
        seen.append(graph.get_state(CONFIG).values["seen"])
    saver.close()
    seen.append(build(PersistSaver(location)).get_state(CONFIG).values["seen"])
    assert seen[0] == seen[1] == seen[2] == [*range(70), "in", "beside", 72]


def test_fifty_threads_at_once() -> None:
    memory, location = InMemorySaver(), new_location()
    builds = [asking_in_parallel(changing(3)), with_inner(True, 2, True), with_inner(None, 1, True), asking_in_sequence]

    def run(number: int, graph: Any) -> Any:
        config: Any = {"configurable": {"thread_id": f"thread {number}"}}
        graph.invoke({"seen": [number]}, config)
        while interrupts := graph.get_state(config).interrupts:
            graph.invoke(Command(resume={interrupts[0].id: f"{number}"}), config)
        return graph.invoke({"seen": ["more"]}, config)

    with PersistSaver(location) as saver:
        with ThreadPoolExecutor(50) as pool:
            all(pool.map(lambda number: run(number, builds[number % 4](saver)), range(50)))
        for number in range(50):
            run(number, builds[number % 4](memory))
        compare_threads(builds, memory, saver)
    with PersistSaver(location) as again:
        compare_threads(builds, memory, again)


def compare_threads(builds: Sequence[Build], expected: Any, found: Any, count: int = 50) -> None:
    """Compares all threads of two savers."""
    for number in range(count):
        config: Any = {"configurable": {"thread_id": f"thread {number}"}}
        one, other = (view(builds[number % len(builds)](saver), config)[0] for saver in (found, expected))
        assert_same(one, other, config["configurable"]["thread_id"])


@pytest.mark.parametrize("frequency", [2, 50])
async def test_asyncio_and_threads_on_one_saver(frequency: int) -> None:
    location, memory = new_location(), InMemorySaver()
    builds = [asking_in_parallel(changing(frequency)), with_inner(True, 2, True)]

    def config_of(number: int) -> Any:
        return {"configurable": {"thread_id": f"thread {number}"}}

    async def begin(number: int, graph: Any) -> Any:
        if number % 3:
            return await graph.ainvoke({"seen": [number]}, config_of(number))
        return await asyncio.to_thread(graph.invoke, {"seen": [number]}, config_of(number))

    async def finish(number: int, graph: Any) -> Any:
        while interrupts := (await graph.aget_state(config_of(number))).interrupts:
            command = Command(resume={interrupts[0].id: f"{number}"})
            if number % 2:
                await graph.ainvoke(command, config_of(number))
            else:
                await asyncio.to_thread(graph.invoke, command, config_of(number))
        return [each async for each in graph.aget_state_history(config_of(number))]

    async with PersistSaver(location) as saver:
        for turn in (begin, finish):
            await asyncio.gather(*(turn(number, builds[number % 2](saver)) for number in range(12)))
            for number in range(12):
                await turn(number, builds[number % 2](memory))
            await asyncio.to_thread(compare_threads, builds, memory, saver, 12)
            await asyncio.to_thread(compare_threads, builds, memory, PersistSaver(location), 12)


async def test_async_streams() -> None:
    saver, memory = PersistSaver(new_location()), InMemorySaver()
    outs = []
    for each in (saver, memory):
        graph = with_inner(True, 2, True)(each)
        for given in ({"seen": ["in"]}, Command(resume="1"), {"seen": ["more"]}, Command(resume="2")):
            async for event in graph.astream(given, CONFIG, stream_mode=["values", "updates"], subgraphs=True):
                outs.append((each is saver, event))
    found, expected = ([event for mine, event in outs if mine is which] for which in (True, False))
    (one, names), (other, others) = (view(with_inner(True, 2, True)(each), CONFIG) for each in (saver, memory))
    assert_same(one, other, "after the streams")
    assert_same(names.plain(found), others.plain(expected), "what came out")
    saver.close()


@pytest.mark.parametrize("schema", [State, changing(50), changing(2)], ids=["plain", "50", "2"])
@pytest.mark.parametrize("opens", [False, True], ids=["same saver", "new saver"])
def test_pruning_between_interrupts_runs_no_tool_twice(schema: Any, opens: bool) -> None:
    location, used = new_location(), []

    def tool(name: str, *, asks: bool) -> Any:
        def run(state: Any) -> Any:
            answer = interrupt(name) if asks else ""
            used.append(name)
            return {"seen": [f"{name}{answer}"]}

        return run

    def build(saver: Any) -> Any:
        builder = StateGraph(schema)
        for name, is_asked in (("search", False), ("pay", True), ("write", True), ("send", True), ("report", False)):
            builder.add_node(name, tool(name, asks=is_asked))
        for name in ("search", "pay", "write"):
            builder.add_edge(START, name)
        builder.add_edge(["search", "pay", "write"], "send")
        builder.add_edge("send", "report")
        return builder.compile(checkpointer=saver)

    saver = PersistSaver(location)
    for turn in (begins("in"), answers(pay=" 1"), answers(write=" 2"), answers(send=" 3"), begins("more"), says):
        turn(build(saver), CONFIG)
        saver.prune(["a-thread"])
        if opens:
            saver.close()
            saver = PersistSaver(location)
    assert sorted(used) == ["pay", "report", "search", "search", "send", "write"]
    seen = build(saver).get_state(CONFIG).values["seen"]
    assert seen[0] == "in"
    assert sorted(seen[1:4]) == ["pay 1", "search", "write 2"]
    # The tools that wait have not written yet.
    assert seen[4:] == ["send 3", "report", "more", "search"]
    saver.close()


@pytest.mark.parametrize("schema", [State, changing(50), changing(2)], ids=["plain", "50", "2"])
def test_a_pruned_thread_goes_on(schema: Any) -> None:
    """A thread of which only the latest checkpoint is kept has the same state, and goes on."""
    location, build = new_location(), asking_in_parallel(schema)
    memory = InMemorySaver()
    with PersistSaver(location) as saver:
        for each in (memory, saver):
            begins("in")(build(each), CONFIG)
            answers(a="1", b="2")(build(each), CONFIG)
            begins("more")(build(each), CONFIG)
            answers(a="3")(build(each), CONFIG)
        before = build(saver).get_state(CONFIG)
        saver.prune(["a-thread"])
        assert len(list(saver.list(CONFIG))) == 1
        for reader in (saver, PersistSaver(location)):
            assert build(reader).get_state(CONFIG).values == before.values
            assert build(reader).get_state(CONFIG).interrupts == before.interrupts
        done = [answers(b="4")(build(each), CONFIG)["seen"] for each in (saver, memory)]
        assert done[0] == done[1]
        assert len(done[0]) == 10
        assert build(PersistSaver(location)).get_state(CONFIG).values["seen"] == done[1]


def test_the_runs_of_one_id_are_deleted() -> None:
    location, build, run = new_location(), chain(*"abc", schema=changing(50)), uuid.UUID(int=7)
    with PersistSaver(location) as saver:
        graph = build(saver)
        graph.invoke({"seen": ["in"]}, CONFIG)
        before = graph.get_state(CONFIG).values
        count = len(list(saver.list(CONFIG)))
        graph.invoke({"seen": ["deleted"]}, {**CONFIG, "run_id": run, "metadata": {"run_id": str(run)}})
        saver.delete_for_runs([str(run)])
        for reader in (saver, PersistSaver(location)):
            assert len(list(reader.list(CONFIG))) == count
            assert build(reader).get_state(CONFIG).values == before
        again = graph.invoke({"seen": ["more"]}, CONFIG)
        assert again["seen"] == [*before["seen"], "more", "a 5", "b 6", "c 7"]


@pytest.mark.parametrize("schema", [State, changing(50)], ids=["plain", "changes"])
def test_a_copied_thread_goes_on(schema: Any) -> None:
    location, build = new_location(), asking_in_parallel(schema)
    other: Any = {"configurable": {"thread_id": "another"}}
    with PersistSaver(location) as saver:
        begins("in")(build(saver), CONFIG)
        answers(a="1")(build(saver), CONFIG)
        saver.copy_thread("a-thread", "another")
        done = [answers(b="2")(build(PersistSaver(location)), config)["seen"] for config in (CONFIG, other)]
        assert done[0] == done[1] == ["in", "a: 1", "b: 2", "worked", 4]
        for config in (CONFIG, other):
            assert build(saver).get_state(config).values["seen"] == done[0]
        saver.delete_thread("a-thread")
        assert build(PersistSaver(location)).get_state(CONFIG).values == {}
        assert build(PersistSaver(location)).get_state(other).values["seen"] == done[0]
