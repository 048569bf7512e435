"""Runs LangChain's own test suites for stores, in the location PERSIST_TEST_LOCATION."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, Generator

import pytest
from langchain_tests.integration_tests.base_store import BaseStoreAsyncTests, BaseStoreSyncTests
from persist.langchain import ByteStore


def store() -> ByteStore:
    return ByteStore(f"{os.environ['PERSIST_TEST_LOCATION']}/{uuid.uuid4()}")


class TestSync(BaseStoreSyncTests[bytes]):
    @pytest.fixture
    def kv_store(self) -> Generator[ByteStore, None, None]:
        yield store()

    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return b"", b"\x00\xff", "ü".encode()


class TestAsync(BaseStoreAsyncTests[bytes]):
    @pytest.fixture
    async def kv_store(self) -> AsyncGenerator[ByteStore, None]:
        yield store()

    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return b"", b"\x00\xff", "ü".encode()


def test_keys_can_be_any_text() -> None:
    kept = store()
    keys = [
        "a",
        "a/b",
        "/",
        "//",
        "a//b",
        ".",
        "..",
        "../x",
        ".x",
        "a.gz",
        "a.gz/b",
        "%",
        "%2E",
        "ü\n\0",
        "x" * 150,
        " ",
    ]
    kept.mset([(key, key.encode()) for key in keys])
    assert kept.mget(keys) == [key.encode() for key in keys]
    assert sorted(kept.yield_keys()) == sorted(keys)
    assert sorted(kept.yield_keys(prefix="a")) == sorted(key for key in keys if key.startswith("a"))
    assert list(kept.yield_keys(prefix="..")) == ["..", "../x"]

    async def also() -> None:
        assert await kept.amget(keys) == [key.encode() for key in keys]
        assert sorted([key async for key in kept.ayield_keys(prefix="a/")]) == ["a//b", "a/b"]
        await kept.amdelete([*keys, "none"])

    asyncio.run(also())
    assert list(kept.yield_keys()) == []
