"""URLs of pydantic come back equal and as the same classes, or are refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import persist
import pydantic
import pydantic.dataclasses
import pydantic_core
import pytest
from craft import crafted

URLS = [
    pydantic.HttpUrl("https://me:pa%40ss@example.com:8443/ä?q=1#f"),
    pydantic.AnyUrl("foo:bar"),
    pydantic.AnyHttpUrl("http://münchen.de"),
    pydantic.FileUrl("file:///a/b"),
    pydantic.FtpUrl("ftp://a/b"),
    pydantic.WebsocketUrl("wss://a"),
    pydantic.AnyWebsocketUrl("ws://a"),
    pydantic.PostgresDsn("postgres://me:pass@a:1,b:2/db"),
    pydantic.CockroachDsn("cockroachdb://a/db"),
    pydantic.AmqpDsn("amqp://a"),
    pydantic.RedisDsn("redis://"),
    pydantic.MongoDsn("mongodb://a,b/db"),
    pydantic.KafkaDsn("kafka://a"),
    pydantic.NatsDsn("nats://a"),
    pydantic.MySQLDsn("mysql://a"),
    pydantic.MariaDBDsn("mariadb://a"),
    pydantic.ClickHouseDsn("clickhouse+native://a"),
    pydantic.SnowflakeDsn("snowflake://a:b@c"),
    pydantic_core.Url("http://a.b/c"),
    pydantic_core.MultiHostUrl("http://a,b/c"),
]


@pytest.mark.parametrize("url", URLS, ids=lambda url: type(url).__name__)
def test_every_url_comes_back(url: Any) -> None:
    persist.snapshot({"a": [url], url: {url}}, "x", check=True)
    restored = persist.restore("x")
    assert restored == {"a": [url], url: {url}}
    assert (type(restored["a"][0]), str(restored["a"][0])) == (type(url), str(url))
    persist.snapshot(url, "x", check=True)
    assert persist.restore("x", into=type(url)) == url
    assert persist.restore("x", plain=True) == str(url)


class OwnUrl(pydantic.AnyUrl):
    pass


def test_a_url_whose_text_means_another_url_is_refused() -> None:
    class Keeping(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(url_preserve_empty_path=True)
        url: pydantic.HttpUrl

    kept = Keeping(url="http://example.com")  # type: ignore[arg-type]
    message = r"its text would be parsed as a different URL, at state.url(\n|$)"
    with pytest.raises(persist.PersistTypeError, match=message) as refused:
        persist.snapshot(kept, "x")
    assert refused.value.hint == "save its text: str(…)"
    persist.snapshot({"url": str(kept.url)}, "x", check=True)
    with pytest.raises(persist.PersistTypeError, match="OwnUrl can't be saved") as refused:
        persist.snapshot([OwnUrl("a:b")], "x")
    assert "persist.register(OwnUrl, save=…, restore=…)" in (refused.value.hint or "")
    persist.register(OwnUrl, save=str, restore=OwnUrl)
    persist.snapshot([OwnUrl("a:b")], "x", check=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "HttpUrl", "value": "ftp://a"},
        {"type": "HttpUrl", "value": "x" * 5000},
        {"type": "HttpUrl", "value": 1},
        {"type": "HttpUrl"},
        {"type": "BaseModel", "value": "http://a"},
        {"type": "create_model", "value": "http://a"},
        {"type": ["HttpUrl"], "value": "http://a"},
        {"value": "http://a"},
    ],
    ids=str,
)
def test_an_invalid_url_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(persist.PersistIntegrityError, match="url"):
        persist.restore(crafted([{"$persist": "url", **fields}]))


def test_restoring_never_imports_pydantic() -> None:
    persist.snapshot([pydantic.HttpUrl("http://a.b/")], "x")
    program = """
import sys
import persist
try:
    persist.restore("x")
except persist.PersistConfigurationError as error:
    assert "but this program has not imported pydantic" in str(error), error
    assert error.hint.startswith("import pydantic first"), error.hint
assert persist.restore("x", plain=True) == ["http://a.b/"]
assert "pydantic" not in sys.modules
import pydantic
assert persist.restore("x") == [pydantic.HttpUrl("http://a.b/")]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
