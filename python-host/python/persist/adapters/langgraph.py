"""LangGraph: a thread of a compiled graph, through its checkpointer.

The state consists of the checkpoints that the thread needs to continue, with their metadata
and pending writes, so that the graph continues in the middle of a step. ``update_state``
would run finished nodes again.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.pregel import Pregel
from langgraph.types import Interrupt, Overwrite, Send, TimeoutPolicy

from persist._adapter import Adapter, PartAdapter
from persist._langgraph.asking import Asking, thread_of
from persist.adapters._langgraph_threads import (
    BEFORE,
    NAMES,
    STATE,
    Wanted,
    anames_at_hand,
    at_namespace,
    copy_of,
    names_at_hand,
    namespace_of,
    of_thread,
    puts_of,
)
from persist.adapters._watching import replaced
from persist.errors import (
    PersistConfigurationError,
    PersistIntegrityError,
    PersistTypeError,
)

_in_aput: contextvars.ContextVar[bool] = contextvars.ContextVar("persist_in_aput", default=False)
"""Whether a checkpointer stores a checkpoint asynchronously."""


class LangGraphAdapter(Adapter):
    """Saves and restores threads of graphs."""

    name = "langgraph"
    package = "langgraph"
    module = "langgraph"

    def accepts(self, agent: Any) -> bool:
        """Returns whether a value is a compiled graph."""
        return isinstance(agent, Pregel)

    def classes(self, agent: Any) -> Iterable[Any]:
        """Returns the types of the fields of the graph's state, and of the graphs in it."""
        for graph in [agent, *(inner for _, inner in agent.get_subgraphs(recurse=True))]:
            yield from getattr(getattr(graph, "builder", None), "schemas", ())
            for channel in graph.channels.values():
                yield from (getattr(channel, name, None) for name in ("ValueType", "UpdateType"))

    def copied(self, agent: Any, *, config: Mapping[str, Any] | None = None) -> Any:
        """Returns the graph with a copy of its thread, if the checkpointer is in memory. Other
        tasks would wait while it reads the thread.
        """
        twin = copy_of(agent.checkpointer, thread_of(config))
        return None if twin is None else agent.copy({"checkpointer": twin})

    def save(self, agent: Any, *, config: Mapping[str, Any] | None = None) -> Any:
        """Returns the thread that the config names."""
        saver = _saver(agent, is_async=False)
        _refuse_plain_text(saver, config)
        asking = Asking(Wanted(agent, config).taken())
        while asking.question is not None:
            asking.answer(_answer(agent, saver, *asking.question))
        return asking.outcome

    async def asave(self, agent: Any, *, config: Mapping[str, Any] | None = None) -> Any:
        """Like :meth:`save`, for asyncio."""
        saver = _saver(agent, is_async=True)
        _refuse_plain_text(saver, config)
        asking = Asking(Wanted(agent, config).taken())
        try:
            while asking.question is not None:
                asking.answer(await _aanswer(agent, saver, *asking.question))
        except NotImplementedError:
            # Synchronous checkpointers raise it.
            return self.save(agent, config=config)
        return asking.outcome

    def watch(self, agent: Any, watcher: Any) -> Callable[[], object] | None:
        """Hears of each checkpoint that the graph's checkpointer has stored."""
        saver = agent.checkpointer
        if saver is None or not hasattr(saver, "__dict__"):
            return None

        def put(original: Any) -> Any:
            @functools.wraps(original)
            def wrapper(*arguments: Any, **options: Any) -> Any:
                stored = original(*arguments, **options)
                if not _in_aput.get():
                    watcher.step()
                return stored

            return wrapper

        def aput(original: Any) -> Any:
            @functools.wraps(original)
            async def wrapper(*arguments: Any, **options: Any) -> Any:
                # Some checkpointers call their own put.
                token = _in_aput.set(True)
                try:
                    stored = await original(*arguments, **options)
                finally:
                    _in_aput.reset(token)
                await watcher.astep()
                return stored

            return wrapper

        undo = [replaced(saver, "put", put), replaced(saver, "aput", aput)]
        return lambda: [each() for each in undo]

    def restore(self, state: Any, into: Any = None, *, config: Mapping[str, Any] | None = None) -> Any:
        """Puts the thread into the checkpointer of the graph, where it must be new. Returns the
        graph.
        """
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
        """Like :meth:`restore`, for asyncio."""
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
    """Returns the answer of a graph or its checkpointer to one of the questions of ``Wanted``."""
    if method is NAMES:
        names = names_at_hand(saver, *arguments)
        return names if names is not None else {namespace_of(found) for found in saver.list(of_thread(*arguments))}
    if method is BEFORE:
        where, before = arguments
        return next(iter(saver.list(where, before=before, limit=1)), None)
    return getattr(graph if method is STATE else saver, method)(*arguments)


async def _aanswer(graph: Any, saver: Any, method: str, *arguments: Any) -> Any:
    """Like :func:`_answer`, for asyncio."""
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
            "a thread can only be restored into a graph",
            "invalid-argument",
            hint="pass the graph: into=graph",
        )
    return into


def _saver(graph: Any, is_async: bool) -> Any:
    saver = graph.checkpointer
    if saver is None or isinstance(saver, bool):
        raise PersistConfigurationError(
            "the graph has no checkpointer, so it has no state",
            "invalid-argument",
            hint="give it one: builder.compile(checkpointer=…) or create_agent(…, checkpointer=…)",
        )
    loop = getattr(saver, "loop", None)
    if not is_async and isinstance(loop, asyncio.AbstractEventLoop) and (_is_current(loop) or not loop.is_running()):
        # It would wait for an event loop that waits for it, or that has ended.
        raise PersistConfigurationError(
            f"the graph's {type(saver).__name__} works in its own event loop",
            "invalid-argument",
            hint="await persist.asnapshot(…) and persist.arestore(…) in that event loop",
        )
    return saver


def _is_current(loop: Any) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _refuse_plain_text(saver: Any, config: Any) -> None:
    """Refuses to save what a checkpointer encrypts, unless the caller permits plain text."""
    if not isinstance(getattr(saver, "serde", None), EncryptedSerializer) or (
        isinstance(config, Mapping) and config.get("plaintext") is True
    ):
        return
    raise PersistConfigurationError(
        "the graph's checkpointer encrypts its data, and the snapshot would hold it in plain text",
        "invalid-argument",
        hint='to permit that, pass config={"configurable": …, "plaintext": True}, '
        "and save into a store that only you can read",
    )


class LangGraphPartsAdapter(PartAdapter):
    """Saves and restores what graphs keep in addition to values: tasks to be sent, interrupts."""

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
        """Returns whether a value is one of these."""
        return any(type(agent) is cls for cls, _ in self.known.values())

    def save_part(self, value: Any) -> dict[str, Any]:
        """Returns the short name of the class, and the fields."""
        name = type(value).__name__.lstrip("_")
        _cls, names = self.known[name]
        fields = {at: found for at in names if (found := getattr(value, at, None)) is not None}
        if isinstance(fields.get("response_schema"), type):
            raise PersistTypeError(
                "an interrupt's response_schema is a class, and classes can't be saved",
                "invalid-argument",
                hint="use a JSON schema",
            )
        return {"class": name, "value": fields}

    def restore_part(self, fields: dict[str, Any], options: Mapping[str, Any]) -> Any:
        """Returns the object."""
        cls, names = self.known[fields["class"]]
        given = fields["value"]
        if not isinstance(given, dict) or any(name not in names for name in given):
            raise PersistIntegrityError("Format error: the state holds an invalid LangGraph value", "invalid-format")
        if cls is Interrupt:
            return Interrupt(given.get("value"), **{name: item for name, item in given.items() if name != "value"})
        if cls is Send:
            return Send(given["node"], given.get("arg"), timeout=given.get("timeout"))
        return cls(**given) if cls is TimeoutPolicy else cls(given.get("value"))


ADAPTERS = (LangGraphAdapter(), LangGraphPartsAdapter())
