"""Calls of a checkpointer that the tests of ``PersistSaver`` share."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from persist.langgraph import PersistSaver


@pytest.fixture
def location() -> str:
    return f"{os.environ['PERSIST_TEST_LOCATION']}/{uuid.uuid4()}"


@pytest.fixture
def saver(location: str) -> Iterator[PersistSaver]:
    with PersistSaver(location) as made:
        yield made


def thread(name: str = "1", checkpoint_id: str | None = None, namespace: str = "") -> RunnableConfig:
    configurable: dict[str, Any] = {"thread_id": name, "checkpoint_ns": namespace}
    return {"configurable": configurable | ({} if checkpoint_id is None else {"checkpoint_id": checkpoint_id})}


def checkpoint(number: int, **values: Any) -> Checkpoint:
    made = empty_checkpoint()
    made["channel_values"] = values
    made["channel_versions"] = dict.fromkeys(values, f"{number:032}.0")
    return made


def put(saver: Any, config: RunnableConfig, number: int, **values: Any) -> RunnableConfig:
    made = checkpoint(number, **values)
    stored: RunnableConfig = saver.put(config, made, {"source": "loop", "step": number}, made["channel_versions"])
    return stored


def ids(saver: Any, config: RunnableConfig, **options: Any) -> list[str]:
    return [found.config["configurable"]["checkpoint_id"] for found in saver.list(config, **options)]


def id_of(config: RunnableConfig) -> str:
    return str(config["configurable"]["checkpoint_id"])
