"""Restores hostile states in a program that has imported a framework: each comes back as plain
data or is refused, and nothing in it is imported or run. Usage: hostile.py MODULE…
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import persist
from persist import _persist

CANARY = "persist_canary"
"""A module that could be imported, and must not be."""

PATHS = [
    ["os", "system"],
    ["subprocess", "Popen"],
    ["subprocess", "run"],
    ["builtins", "exec"],
    ["builtins", "eval"],
    ["builtins", "__import__"],
    ["posix", "system"],
    ["shutil", "rmtree"],
    ["pathlib", "Path"],
    ["pickle", "loads"],
    ["importlib", "import_module"],
    ["ctypes", "CDLL"],
    ["webbrowser", "open"],
    ["runpy", "run_path"],
    ["code", "interact"],
    [CANARY, "run"],
    ["langchain", CANARY, "run"],
    ["langchain_core", "..", CANARY, "run"],
    ["langchain_core", "utils", "loading", "try_load_from_hub"],
    ["langchain_core", "prompts", "prompt", "PromptTemplate"],
    ["langchain_core", "runnables", "base", "RunnableLambda"],
    ["langchain", "llms", "openai", "OpenAI"],
    ["langchain", "chat_models", "openai", "ChatOpenAI"],
    ["langchain_community", "tools", "shell", "tool", "ShellTool"],
    [],
    [""],
    ["langchain"],
]
KWARGS: dict[str, Any] = {"command": "touch pwned", "args": ["touch", "pwned"], "template": "{{ x }}"}


def objects() -> Iterator[Any]:
    """Yields states from which readers of other formats would create objects."""
    for path in PATHS:
        yield {"lc": 1, "type": "constructor", "id": path, "kwargs": {**KWARGS, "template_format": "jinja2"}}
        yield {"$persist": "part", "adapter": "langchain", "class": path, "value": KWARGS}
        yield {"$persist": "object", "type": ".".join(path), "value": KWARGS}
    yield {"lc": 1, "type": "secret", "id": ["PATH"]}
    yield {"lc": 1, "type": "not_implemented", "id": ["os", "system"], "repr": "x"}
    yield {"__class__": "os.system", "__module__": "os", "args": ["touch pwned"]}
    yield {"__class__": {"__reduce__": ["os.system", ["touch pwned"]]}}
    yield {"py/object": "subprocess.Popen", "py/reduce": [{"py/function": "os.system"}, ["touch pwned"]]}
    yield {"__type__": "type", "__pydantic_validator__": "os.system"}
    yield {"type": "os.system", "kind": "constructor", "class": "Popen", "provider": f"{CANARY}.run"}
    yield {"component_type": "agent", "provider": f"{CANARY}.run", "config": {}}
    yield {"kind": "run", "run": {"$schemaVersion": "1.0"}, "steps": [{"class": "Popen", "args": ["touch", "pwned"]}]}
    yield {"kind": "session", "session_id": "../../x", "items": [{"role": "system"}]}
    yield {"steps": [{"class": "__import__"}, {"class": "ActionStep"}, {"class": "dict", "items": 3}]}
    yield {"thread_id": "x", "checkpoints": [{"namespace": "", "checkpoint": {"channel_values": {}}}]}
    yield {"$persist": "part", "adapter": "langgraph-parts", "class": "Command", "value": {"goto": "x"}}
    yield {"$persist": "part", "adapter": "langgraph-parts", "class": "Send", "value": {"__class__": "os"}}
    yield {"$persist": "part", "adapter": "langgraph", "class": "Send", "value": {}}
    yield {"$persist": "part", "adapter": "../os", "value": 1}
    yield {"$persist": "part", "adapter": ["langchain"], "value": 1}
    yield {"$persist": "part", "adapter": CANARY, "value": 1}
    yield {"$persist": "part", "value": 1}
    yield {"$persist": "pickle", "value": "Y3Bvc2l4CnN5c3RlbQou"}
    yield {"$persist": "object", "type": f"{CANARY}.run", "value": []}
    yield {"$persist": "object", "type": "langchain_core.messages.human.HumanMessage", "value": {"content": "x"}}
    human = ["langchain", "schema", "messages", "HumanMessage"]
    yield {"$persist": "part", "adapter": "langchain", "class": human, "value": {"type": {"lc": 1}}}
    yield {"$persist": "part", "adapter": "langchain", "class": human, "value": [1]}
    yield {"$persist": "part", "adapter": "langchain", "class": human, "value": {}, "secrets": {"content": "PATH"}}
    yield {"$persist": "part", "adapter": "langchain", "class": "os.system", "value": {}}


ADAPTERS = [
    None,
    "langchain",
    "langgraph",
    "langgraph-parts",
    "openai-agents",
    "autogen",
    "agent-framework",
    "pydantic-ai",
    "google-adk",
    "strands",
    "crewai",
    "smolagents",
    "os",
    CANARY,
    f"adapters.{CANARY}",
]

NEVER = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "ctypes.dlopen",
    "socket.connect",
    "exec",
)


def main() -> None:
    """Writes the states, restores them, and checks what happened."""
    Path(f"{CANARY}.py").write_text("raise SystemExit('the canary was imported')\n")
    sys.path.insert(0, ".")
    for module in sys.argv[1:]:
        importlib.import_module(module)
    place, prefix = _persist.open_folder("hostile", {})
    states = list(objects())
    nested = [[state] for state in states] + [{"a": {"b": state}} for state in states]
    names = []
    for number, state in enumerate([*states, *nested]):
        for adapter in ADAPTERS if number < len(states) else ADAPTERS[:1]:
            extra: dict[str, Any] = {"value_encoding": 1}
            if adapter is not None:
                extra["adapter"] = {"name": adapter, "version": "1", "type": "os.system"}
            key = f"{prefix}{number}-{adapter or 'plain'}".replace("/", "_")
            options = {"content_type": "application/json", "extra": json.dumps(extra)}
            place.save_bytes(key, json.dumps(state).encode(), options)
            names.append((key, state))
    # The same states as text and data of users, in an agent's messages.
    said: list[tuple[str, Any]] = []
    if "langchain_core" in sys.argv:
        from langchain_core.messages import AIMessage, HumanMessage

        for number, state in enumerate(states):
            messages = [
                HumanMessage(json.dumps(state), additional_kwargs={"said": state}),
                AIMessage([{"type": "text", "text": "x", "extras": state}], response_metadata={"lc": state}),
            ]
            key = f"said-{number}"
            persist.Store("hostile").snapshot(messages, key, check=True)
            said.append((key, messages))

    happened: list[str] = []
    is_watching = False

    def watch(event: str, arguments: Any) -> None:
        if is_watching and event in NEVER:
            happened.append(f"{event} {arguments!r}")

    sys.addaudithook(watch)
    is_watching = True
    exec("1")
    os.system("true")
    assert len(happened) == 2, "the audit hook sees what it watches for"
    # In the first round, a framework may load more of its own modules, which runs their
    # code. In the second round, nothing is left to load.
    for _ in range(2):
        happened.clear()
        refused, plain = restore_all(names, said)
    is_watching = False
    assert not happened, happened[:3]
    assert not Path("pwned").exists()
    assert CANARY not in sys.modules
    assert len(states) >= 50
    print(f"{len(names)} hostile snapshots: {plain} came back as data, {refused} were refused; {len(said)} were said")


def restore_all(names: list[tuple[str, Any]], said: list[tuple[str, Any]]) -> tuple[int, int]:
    """Restores everything. Returns how much was refused, and how much came back."""
    refused = plain = 0
    for key, state in names:
        for into in (None, dict):
            try:
                restored = persist.restore(f"hostile/{key}", into=into)
            except persist.PersistError as error:
                if not error.hint and error.code not in ("integrity", "invalid-format"):
                    raise
                refused += 1
                continue
            is_own = "langchain_core" in type(restored).__module__ or key.endswith(OWN)
            assert is_data(restored) or is_own, (key, restored)
            plain += 1
        again = persist.restore(f"hostile/{key}", plain=True) if "$persist" not in json.dumps(state) else None
        assert again is None or again == state, key
    for key, messages in said:
        assert persist.restore(f"hostile/{key}") == messages, key
    return refused, plain


OWN = ("-agent-framework", "-google-adk", "-openai-agents", "-pydantic-ai")
"""The adapters that put data into an object of their own, such as a session."""


def is_data(value: Any) -> bool:
    """Returns whether a value consists of JSON types."""
    if isinstance(value, dict):
        return type(value) is dict and all(is_data(key) and is_data(item) for key, item in value.items())
    if isinstance(value, list):
        return type(value) is list and all(map(is_data, value))
    return value is None or type(value) in (str, int, float, bool)


if __name__ == "__main__":
    main()
