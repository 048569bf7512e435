"""LangChain: the messages of a conversation with a model."""

from __future__ import annotations

import asyncio
import copy
import json
import os
from collections.abc import Iterator
from typing import Any

import persist
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.load.serializable import Serializable
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate, SystemMessagePromptTemplate
from persist import _persist
from persist.adapters import langchain
from persist.adapters.langchain import LangChainAdapter
from pydantic import Field, PrivateAttr, field_validator
from turns import FIRST, SECOND, THIRD, answer, check, main, raises


class Told(Iterator[AIMessage]):
    """Answers of a fake model, made from what it was told."""

    def __init__(self) -> None:
        self.messages: list[BaseMessage] = []

    def __next__(self) -> AIMessage:
        return AIMessage(answer(str(message.content) for message in self.messages if message.type == "human"))


def ask(messages: list[BaseMessage], text: str) -> str:
    told = Told()
    model = GenericFakeChatModel(messages=told)
    messages.append(HumanMessage(text))
    told.messages = messages
    messages.append(model.invoke(messages))
    return str(messages[-1].content)


def save(location: str) -> None:
    messages: list[BaseMessage] = []
    ask(messages, FIRST)
    ask(messages, SECOND)
    saved = persist.snapshot(messages, location, check=True)
    assert saved.adapter is not None
    assert saved.adapter["name"] == "langchain"
    # Messages anywhere in a state.
    nested: dict[str, Any] = {"runs": [(messages, {"last": messages[-1]})]}
    persist.snapshot(nested, location + ".nested", check=True)
    # Messages that LangChain itself would store as text, or change.
    persist.snapshot([odd(), ChatMessage("x", role="critic")], location + ".odd", check=True)
    persist.snapshot(changed(), location + ".changed", check=True)
    persist.snapshot([login()], location + ".login", check={"allowed_objects": [Login]})
    refused_at_save(location)
    one_by_one(location)
    asyncio.run(beside_the_loop(location))
    made = {"prompt": prompt(), "client": Client(api_key="very secret")}
    # A plain restore refuses it, so check has to fail.
    with raises(persist.PersistTypeError, "is not allowed", or_else="a plain restore refuses it"):
        persist.snapshot(made, location + ".made", check=True)
    allowed = {"allowed_objects": CLASSES, "secrets": {"CLIENT_KEY": "very secret"}}
    persist.snapshot(made, location + ".made", check=allowed)


def odd() -> HumanMessage:
    extras = {
        "raw": bytes(range(256)),
        "score": float("-inf"),
        "seen": {1, 2},
        "lc": 1,
        "type": "secret",
        "id": ["PATH"],
    }
    more: Any = {"of_its_own": 3}
    return HumanMessage([{"type": "text", "text": "x", "extras": extras}], additional_kwargs=extras, id="1", **more)


def every() -> list[Any]:
    """Returns usual and unusual messages and documents."""
    call: Any = {"name": "pay", "args": {"euros": 5}, "id": "1", "type": "tool_call"}
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    noted = HumanMessage("x")
    noted.__dict__["note"] = "an attribute"
    more: Any = {"of_its_own": 3}
    unset = AIMessage("x", name="a")
    unset.model_fields_set.discard("name")
    unset.model_fields_set.add("tool_calls")
    return [
        HumanMessage("a", id="1"),
        AIMessage("b", tool_calls=[call], usage_metadata=usage, response_metadata={"at": [1.5, None]}),
        ToolMessage("5", tool_call_id="1", artifact={"raw": b"x", "seen": {1}}),
        SystemMessage([{"type": "text", "text": "c"}], additional_kwargs={"$persist": 1, "x": (1, 2)}),
        AIMessageChunk("d", tool_call_chunks=[{"name": "a", "args": "{", "id": "1", "index": 0}]),
        ChatMessage("e", role="critic"),
        Document("f", metadata={"page": 1}),
        HumanMessage("g", **more),
        HumanMessage(HumanMessage("h").text),
        noted,
        unset,
        odd(),
        *changed(),
    ]


def one_by_one(location: str) -> None:
    """Checks that messages that are written without a call for each are written the same."""
    looked_at: list[str] = []
    look, form, make = LangChainAdapter.save_part, LangChainAdapter.form, langchain._made_of_fields

    def noting(self: Any, value: Any) -> Any:
        looked_at.append(type(value).__name__)
        return look(self, value)

    LangChainAdapter.save_part = noting  # type: ignore[method-assign]
    try:
        many = [kind(f"{number}", id=str(number)) for number in range(1000) for kind in (HumanMessage, AIMessage)]
        for value in (many, {"messages": many}, {"documents": [Document("a", metadata={"page": 1})] * 1000}):
            persist.snapshot(value, location + ".many")
        assert not looked_at, looked_at[:3]
        at_once = [_persist.encode([message]) for message in every()]
        assert 0 < len(looked_at) < len(at_once), looked_at
        LangChainAdapter.form = lambda self, cls: None  # type: ignore[method-assign, assignment, misc]
        assert at_once == [_persist.encode([message]) for message in every()]
        assert len(looked_at) > len(at_once)
    finally:
        LangChainAdapter.save_part, LangChainAdapter.form = look, form  # type: ignore[method-assign]
    allowed: Any = {"allowed_objects": [Document]}
    persist.snapshot(every(), location + ".every", check=allowed)
    back = persist.restore(location + ".every", **allowed)
    langchain._made_of_fields = lambda cls, fields: None
    try:
        assert [held(one) for one in back] == [held(one) for one in persist.restore(location + ".every", **allowed)]
    finally:
        langchain._made_of_fields = make
    assert [held(one) for one in back] == [held(one) for one in every()]


def held(value: Any) -> Any:
    extra, private = value.__pydantic_extra__, value.__pydantic_private__
    return type(value), value.__dict__, list(value.__dict__), extra, private, value.model_fields_set


async def beside_the_loop(location: str) -> None:
    """Checks that the messages are saved as they were, while other tasks change them."""
    messages: list[Any] = [HumanMessage(f"{number}", additional_kwargs={"a": [number]}) for number in range(1000)]
    before = copy.deepcopy(messages)
    for value in (messages, {"messages": messages, "last": messages[-1]}):
        saving = asyncio.ensure_future(persist.asnapshot(value, location + ".loop"))
        await asyncio.sleep(0)
        messages[0].content = "changed"
        messages[1].additional_kwargs["a"].append(2)
        messages[2:] = []
        await saving
        back = await persist.arestore(location + ".loop")
        assert (back if isinstance(value, list) else back["messages"]) == before
        messages[:] = copy.deepcopy(before)


def changed() -> list[BaseMessage]:
    """Returns messages that LangChain's validators would change or refuse."""
    call = {"id": "1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
    taken_out = AIMessage("no", additional_kwargs={"tool_calls": [call]})
    taken_out.tool_calls = []
    mutated = HumanMessage("x")
    mutated.content = 5  # type: ignore[assignment]
    chunk = AIMessageChunk("", tool_call_chunks=[{"name": "pay", "args": '{"euros": 5', "id": "2", "index": 0}])
    chunk.tool_calls = []
    return [taken_out, mutated, chunk]


def prompt() -> ChatPromptTemplate:
    return ChatPromptTemplate([("system", "You are {name}"), MessagesPlaceholder("history")])


class Client(Serializable):
    """A class with a secret."""

    api_key: str
    model: str = "a"

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"api_key": "CLIENT_KEY"}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True


def refused(says: str, location: str, **arguments: Any) -> None:
    with raises(persist.PersistError, says):
        persist.restore(location, **arguments)


def restore(location: str) -> None:
    messages = persist.restore(location)
    nested = persist.restore(location + ".nested")
    assert nested == {"runs": [(messages, {"last": messages[-1]})]}
    check(ask(messages, THIRD))
    assert persist.restore(location + ".odd") == [odd(), ChatMessage("x", role="critic")]
    assert persist.restore(location + ".odd")[0].of_its_own == 3
    back = persist.restore(location + ".changed")
    assert [(type(one), one.__dict__, one.model_fields_set) for one in back] == [
        (type(one), one.__dict__, one.model_fields_set) for one in changed()
    ]
    # The name means the class of LangChain, whatever is allowed.
    namesake = type("HumanMessage", (HumanMessage,), {"__module__": __name__})
    assert {type(one) for one in persist.restore(location, allowed_objects=[namesake])} == {HumanMessage, AIMessage}
    (again,) = persist.restore(location + ".login", allowed_objects=[Login])
    assert again == login()
    assert (again.note, again.retries, again._seen) == ("n", 5, [1])
    made = location + ".made"
    refused("which is not allowed", made)
    refused("needs the secret CLIENT_KEY", made, allowed_objects="all")
    os.environ["CLIENT_KEY"] = "not to be asked"
    refused("needs the secret CLIENT_KEY", made, allowed_objects=CLASSES)
    restored = persist.restore(made, allowed_objects=CLASSES, secrets={"CLIENT_KEY": "given"})
    assert restored == {"prompt": prompt(), "client": Client(api_key="given")}
    assert b"very secret" not in persist.Store(os.path.dirname(made)).load_bytes(os.path.basename(made))
    # A crafted message that would show a secret.
    human = {"$persist": "part", "adapter": "langchain", "class": list(HumanMessage("").lc_id()), "value": {}}
    place, key = _persist.locate(location + ".says", {})
    extra = json.dumps({"value_encoding": 1})
    says = json.dumps({**human, "secrets": {"content": "CLIENT_KEY"}}).encode()
    place.save_bytes(key, says, {"content_type": "application/json", "extra": extra})
    refused("with secrets in fields that are not secret", location + ".says", secrets={"CLIENT_KEY": "given"})
    plain = persist.restore(location, plain=True)
    assert [message["type"] for message in plain[:2]] == ["human", "ai"]


class Login(Serializable):
    """A class whose constructor would change or lose fields."""

    password: str
    note: str = Field(default="", exclude=True)
    retries: int = Field(default=1, alias="tries")
    _seen: list[int] = PrivateAttr(default_factory=list)

    @field_validator("password")
    @classmethod
    def hashed(cls, value: str) -> str:
        return f"hash({value})"

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True


def login() -> Login:
    made = Login(password="a", note="n", tries=5)
    made._seen.append(1)
    return made


def refused_at_save(location: str) -> None:
    """Checks that objects that would come back as something else are refused."""
    namesake = type("HumanMessage", (HumanMessage,), {"__module__": __name__})
    other = type("Document", (Document,), {"__module__": __name__})
    mutated = PromptTemplate.from_template("a {x}")
    mutated.template = "b {x} {y}"
    for value, says in [
        (namesake("a"), "the name of langchain_core.messages.human.HumanMessage"),
        (other("a"), "the name of langchain_core.documents.base.Document"),
        (mutated, "PromptTemplate.input_variables would be restored differently"),
    ]:
        with raises(persist.PersistTypeError, says):
            persist.snapshot([value], location + ".refused")


CLASSES = [ChatPromptTemplate, MessagesPlaceholder, SystemMessagePromptTemplate, PromptTemplate, Client]


if __name__ == "__main__":
    main(save, restore)
