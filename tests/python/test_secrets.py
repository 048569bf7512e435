"""Keys and tokens are not stored in plain text."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import persist
import pydantic
import pytest
from persist import _persist, _secrets

KEY = "sk-example-4711"


@dataclasses.dataclass
class Client:
    model: str
    api_key: str | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


class Settings(pydantic.BaseModel):
    name: str = "helper"
    token: pydantic.SecretStr = pydantic.SecretStr("")
    extra_headers: dict[str, str] = {}


persist.register(Client)
persist.register(Settings)


@pytest.fixture
def store(tmp_path: Path) -> persist.Store:
    return persist.Store(tmp_path)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (Client("m", KEY), "'api_key'"),
        (Client("m", headers={"Authorization": f"Bearer {KEY}"}), "headers['Authorization']"),
        (Client("m", headers={"x-api-key": KEY}), "headers['x-api-key']"),
        (Settings(token=pydantic.SecretStr(KEY)), "'token'"),
        (Settings(extra_headers={"PROXY-AUTHORIZATION": KEY}), "extra_headers['PROXY-AUTHORIZATION']"),
    ],
)
def test_an_instance_that_holds_a_key_is_refused(store: persist.Store, value: Any, place: str) -> None:
    for state in (value, {"agents": [value]}):
        with pytest.raises(persist.PersistTypeError, match="holds a secret") as caught:
            store.snapshot(state, "a.gz", redact=None if state is value else ["other"])
        assert place in str(caught.value)
        assert KEY not in str(caught.value)
        if state is not value:
            assert "state['agents'][0]" in str(caught.value)
    assert "a.gz" not in store


def test_an_instance_without_a_key_is_saved(store: persist.Store) -> None:
    for value in (Client("m"), Client("m", ""), Client("m", headers={"Accept": "text/plain"})):
        store.snapshot(value, "a.gz")
        assert store.restore("a.gz", into=Client) == value
    # Plain data is not checked: it is the program's decision.
    store.snapshot({"api_key": KEY}, "a.gz")
    assert store["a.gz"] == {"api_key": KEY}


def test_redact_leaves_out_what_it_names(store: persist.Store) -> None:
    state = {"Api_Key": KEY, "list": [{"my_token": KEY, "tokens": 7}, ("a", {"api_key": KEY})], 7: KEY}
    store.snapshot(state, "a.gz", redact=["api_key", "*_token"])
    assert store["a.gz"] == {
        "Api_Key": "[redacted]",
        "list": [{"my_token": "[redacted]", "tokens": 7}, ("a", {"api_key": "[redacted]"})],
        7: KEY,
    }
    assert state["Api_Key"] == KEY, "the value itself is not changed"
    store.snapshot(Client("m", KEY, {"Authorization": KEY}), "b.gz", redact=["api_key", re.compile("Auth.*")])
    assert store.restore("b.gz", into=Client) == Client("m", "[redacted]", {"Authorization": "[redacted]"})
    assert KEY.encode() not in store.load_bytes("b.gz")
    assert persist.loads(persist.dumps({"password": 1}, redact="password")) == {"password": "[redacted]"}
    saved = store.save({"step": 1, "secret": KEY}, redact=["secret"])
    assert store[saved.key] == {"step": 1, "secret": "[redacted]"}
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(persist.PersistTypeError, match="contains itself"):
        store.snapshot(circle, "c.gz", redact=["x"])
    for wrong in (7, [7], [re.compile(b"x")]):
        with pytest.raises(persist.PersistTypeError, match="redact can't contain"):
            store.snapshot({}, "c.gz", redact=wrong)  # type: ignore[arg-type]


def test_lists_made_while_writing_are_redacted() -> None:
    parts: list[list[Any]] = [[{"api_key": KEY}], [{"step": 1}]]
    items = _persist.Items(iter(parts))
    redacted = _secrets.redacted(items, _secrets.patterns(["api_key"]))
    assert json.loads(_persist.encode(redacted)) == [{"api_key": "[redacted]"}, {"step": 1}]


def test_secrets_are_refused_and_redacted_for_asyncio(store: persist.Store) -> None:
    import asyncio

    async def work() -> None:
        own = store.to_async()
        await own.snapshot({"key": KEY}, "a.gz", redact=["key"])
        assert await own.restore("a.gz") == {"key": "[redacted]"}
        with pytest.raises(persist.PersistTypeError, match="holds a secret"):
            await persist.asnapshot(Client("m", KEY), Path(store.location) / "b.gz")

    asyncio.run(work())


def test_a_registered_save_decides_about_secrets(store: persist.Store) -> None:
    class Own:
        api_key = KEY

    persist.register(Own, name="test_secrets.Own", save=lambda _: {"api_key": KEY}, restore=lambda _: Own())
    store.snapshot([Own()], "a.gz")
