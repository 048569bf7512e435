"""LangGraph: the thread of a compiled graph, by its checkpointer.

What is saved are the checkpoints that the thread needs to go on, with metadata and
the writes that are pending, so that the graph goes on in the middle of a step;
``update_state`` would run a finished node again.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.pregel import Pregel
from langgraph.types import Interrupt, Overwrite, Send, TimeoutPolicy

from persist._adapter import Adapter, PartAdapter
from persist.adapters._langgraph_threads import (
    BEFORE,
    NAMES,
    STATE,
    Asking,
    Wanted,
    anames_at_hand,
    at_namespace,
    copy_of,
    names_at_hand,
    namespace_of,
    of_thread,
    puts_of,
    thread_of,
)
from persist.errors import (
    PersistConfigurationError,
    PersistIntegrityError,
    PersistTypeError,
)


class LangGraphAdapter(Adapter):
    """Threads of graphs."""

    name = "langgraph"
    package = "langgraph"
    module = "langgraph"

    def accepts(self, agent: Any) -> bool:
        """Whether it is a compiled graph."""
        return isinstance(agent, Pregel)

    def classes(self, agent: Any) -> Iterable[Any]:
        """The types of its state's fields, and of those of the graphs in it."""
        for graph in [agent, *(inner for _, inner in agent.get_subgraphs(recurse=True))]:
            yield from getattr(getattr(graph, "builder", None), "schemas", ())
            for channel in graph.channels.values():
                yield from (getattr(channel, name, None) for name in ("ValueType", "UpdateType"))

    def copied(self, agent: Any, *, config: Mapping[str, Any] | None = None) -> Any:
        """The graph with what its checkpointer has of the thread, where that is in memory,
        and would read it while all tasks wait.
        """
        twin = copy_of(agent.checkpointer, thread_of(config))
        return None if twin is None else agent.copy({"checkpointer": twin})

    def save(self, agent: Any, *, config: Mapping[str, Any] | None = None) -> Any:
        """The thread that the config names."""
        saver = _saver(agent, is_async=False)
        _refuse_plain_text(saver, config)
        asking = Asking(Wanted(agent, config).taken())
        while asking.question is not None:
            asking.answer(_answer(agent, saver, *asking.question))
        return asking.outcome

    async def asave(self, agent: Any, *, config: Mapping[str, Any] | None = None) -> Any:
        """As :meth:`save`."""
        saver = _saver(agent, is_async=True)
        _refuse_plain_text(saver, config)
        asking = Asking(Wanted(agent, config).taken())
        try:
            while asking.question is not None:
                asking.answer(await _aanswer(agent, saver, *asking.question))
        except NotImplementedError:
            # What a checkpointer raises that is for code that does not wait.
            return self.save(agent, config=config)
        return asking.outcome

    def restore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """The graph, whose checkpointer has the thread: a new one to it."""
        saver = _saver(_target(into), is_async=False)
        thread, puts = puts_of(state, config)
        for put in puts:
            put.refuse_other(saver.get_tuple(at_namespace(thread, put.namespace)), is_root=put is puts[-1])
        has_paths = "task_path" in inspect.signature(saver.put_writes).parameters
        for put in puts:
            for arguments in put.writes(has_paths):
                saver.put_writes(*arguments)
        for put in puts:
            saver.put(*put.checkpoint)
        return into

    async def arestore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """As :meth:`restore`."""
        saver = _saver(_target(into), is_async=True)
        thread, puts = puts_of(state, config)
        try:
            for put in puts:
                put.refuse_other(await saver.aget_tuple(at_namespace(thread, put.namespace)), is_root=put is puts[-1])
        except NotImplementedError:
            return self.restore(state, into, config=config)
        has_paths = "task_path" in inspect.signature(saver.aput_writes).parameters
        for put in puts:
            for arguments in put.writes(has_paths):
                await saver.aput_writes(*arguments)
        for put in puts:
            await saver.aput(*put.checkpoint)
        return into


def _answer(graph: Any, saver: Any, method: str, *arguments: Any) -> Any:
    """What a graph or its checkpointer says to one of the questions of ``Wanted``."""
    if method is NAMES:
        names = names_at_hand(saver, *arguments)
        return names if names is not None else {namespace_of(found) for found in saver.list(of_thread(*arguments))}
    if method is BEFORE:
        where, before = arguments
        return next(iter(saver.list(where, before=before, limit=1)), None)
    return getattr(graph if method is STATE else saver, method)(*arguments)


async def _aanswer(graph: Any, saver: Any, method: str, *arguments: Any) -> Any:
    """As :func:`_answer`."""
    if method is NAMES:
        names = await anames_at_hand(saver, *arguments)
        if names is not None:
            return names
        return {namespace_of(found) async for found in saver.alist(of_thread(*arguments))}
    if method is BEFORE:
        where, before = arguments
        earlier = [found async for found in saver.alist(where, before=before, limit=1)]
        return earlier[0] if earlier else None
    return await getattr(graph if method is STATE else saver, f"a{method}")(*arguments)


def _target(into: Any) -> Any:
    if into is None or isinstance(into, type):
        raise PersistConfigurationError(
            "the thread of a graph can only be restored into a graph",
            "invalid-argument",
            hint="pass the graph: into=graph",
        )
    return into


def _saver(graph: Any, is_async: bool) -> Any:
    saver = graph.checkpointer
    if saver is None or isinstance(saver, bool):
        raise PersistConfigurationError(
            "the graph has no checkpointer, so that it keeps no state",
            "invalid-argument",
            hint="give it one: builder.compile(checkpointer=…), or create_agent(…, checkpointer=…)",
        )
    loop = getattr(saver, "loop", None)
    if not is_async and isinstance(loop, asyncio.AbstractEventLoop) and (_is_current(loop) or not loop.is_running()):
        # It would wait for the loop, which waits for it; or for one that is over.
        raise PersistConfigurationError(
            f"the graph's {type(saver).__name__} works in its own event loop",
            "invalid-argument",
            hint="there, await persist.asnapshot(…) and persist.arestore(…)",
        )
    return saver


def _is_current(loop: Any) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _refuse_plain_text(saver: Any, config: Any) -> None:
    """Refuses what a checkpointer keeps encrypted, unless the caller says that it may
    be saved as it is.
    """
    if not isinstance(getattr(saver, "serde", None), EncryptedSerializer) or (
        isinstance(config, Mapping) and config.get("plaintext") is True
    ):
        return
    raise PersistConfigurationError(
        "the graph's checkpointer encrypts what it keeps, and the snapshot would hold it in plain text",
        "invalid-argument",
        hint='if it may: config={"configurable": …, "plaintext": True}, into a store that only you can read',
    )


class LangGraphPartsAdapter(PartAdapter):
    """What graphs write down beside values: tasks to be sent, interrupts."""

    name = "langgraph-parts"
    package = "langgraph"
    module = "langgraph"
    known: ClassVar[dict[str, tuple[Any, tuple[str, ...]]]] = {
        "Send": (Send, ("node", "arg", "timeout")),
        "TimeoutPolicy": (TimeoutPolicy, ("run_timeout", "idle_timeout", "refresh_on")),
        "Interrupt": (Interrupt, ("value", "id", "response_schema")),
        "Overwrite": (Overwrite, ("value",)),
        "DeltaSnapshot": (_DeltaSnapshot, ("value",)),
    }

    def accepts(self, agent: Any) -> bool:
        """Whether it is one of these."""
        return any(type(agent) is cls for cls, _ in self.known.values())

    def save_part(self, value: Any) -> dict[str, Any]:
        """The class by its short name, and what it holds."""
        name = type(value).__name__.lstrip("_")
        _cls, names = self.known[name]
        fields = {at: found for at in names if (found := getattr(value, at, None)) is not None}
        if isinstance(fields.get("response_schema"), type):
            raise PersistTypeError(
                "an interrupt's response_schema is a class, and classes are not saved",
                "invalid-argument",
                hint="give it a JSON schema",
            )
        return {"class": name, "value": fields}

    def restore_part(self, fields: dict[str, Any], options: Mapping[str, Any]) -> Any:
        """The object."""
        cls, names = self.known[fields["class"]]
        given = fields["value"]
        if not isinstance(given, dict) or any(name not in names for name in given):
            raise PersistIntegrityError("Format error: the state holds an invalid value of LangGraph", "invalid-format")
        if cls is Interrupt:
            return Interrupt(given.get("value"), **{name: item for name, item in given.items() if name != "value"})
        if cls is Send:
            return Send(given["node"], given.get("arg"), timeout=given.get("timeout"))
        return cls(**given) if cls is TimeoutPolicy else cls(given.get("value"))


ADAPTERS = (LangGraphAdapter(), LangGraphPartsAdapter())
