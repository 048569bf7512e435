"""The package as its users see it, on local files and in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import errno
import io
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import persist
import pydantic
import pytest


@dataclasses.dataclass
class Step:
    number: int
    parts: list[Step] = dataclasses.field(default_factory=list)


class Counter:
    def __init__(self, count: int) -> None:
        self.count = count

    def __persist_state__(self) -> dict[str, int]:
        return {"count": self.count}

    @classmethod
    def __persist_restore__(cls, state: dict[str, int]) -> Counter:
        return cls(state["count"])


def test_one_snapshot_from_end_to_end(folder: Path) -> None:
    agent = {"messages": ["Hello", "\u00e9"], "score": 0.1}
    saved = persist.snapshot(agent, Path("agents/1.json.gz"), agent_id="a", snapshot_index=2, labels={"env": "prod"})
    assert (saved.agent_id, saved["snapshot_index"], saved.labels) == ("a", 2, {"env": "prod"})
    assert persist.restore("agents/1.json.gz") == agent
    assert persist.verify_snapshot("agents/1.json.gz") is True
    found = persist.get_metadata("agents/1.json.gz")
    assert dict(found) == {**saved, "etag": found.etag}
    assert [metadata.location for metadata in persist.list_snapshots("agents/")] == ["agents/1.json.gz"]
    assert [metadata.key for metadata in persist.list_snapshots("agents/1")] == ["1.json.gz"]
    assert [metadata.key for metadata in persist.list_snapshots(Path("agents"))] == ["1.json.gz"]
    (listed,) = persist.list_snapshots("age")
    assert persist.restore(listed.location) == agent
    assert persist.list_snapshots("agents/2") == []
    # For every other program, the file is the compressed state.
    zcat = subprocess.run(["gzip", "-dc", "agents/1.json.gz"], capture_output=True, check=True)
    assert zcat.stdout.decode() == '{"messages":["Hello","\u00e9"],"score":0.1}'
    persist.delete_snapshot("agents/1.json.gz")
    assert persist.snapshot_exists("agents/1.json.gz") is False
    with pytest.raises(FileNotFoundError) as missing:
        persist.restore("agents/1.json.gz")
    assert isinstance(missing.value, persist.PersistNotFoundError)
    found_by_others: OSError = missing.value
    assert (found_by_others.errno, found_by_others.filename) == (errno.ENOENT, "agents/1.json.gz")
    assert (missing.value.code, missing.value.location) == ("not-found", "agents/1.json.gz")
    assert pickle.loads(pickle.dumps(missing.value)).__dict__ == missing.value.__dict__


def test_classes_come_from_the_caller() -> None:
    step = Step(1, [Step(2)])
    persist.snapshot(step, "step")
    assert persist.restore("step") == {"number": 1, "parts": [{"number": 2, "parts": []}]}
    assert persist.restore("step", into=Step) == step
    into = Step(0)
    assert persist.restore("step", into=into) is into
    assert into == step
    # Nobody names the class of a value within the state.
    with pytest.raises(
        persist.PersistTypeError, match=r"would be restored as plain data, at state\['a'\]\[0\]"
    ) as refused:
        persist.snapshot({"a": [Counter(3)]}, "counter")
    assert refused.value.hint == "register its class: persist.register(Counter)"
    persist.register(Counter)
    persist.snapshot([Counter(3)], "counter")
    assert persist.restore("counter")[0].count == 3
    assert persist.restore("counter", plain=True) == [{"count": 3}]
    with pytest.raises(persist.PersistTypeError, match="does not match"):
        persist.restore("counter", into=Step)


class Role(enum.Enum):
    USER = "user"
    AGENT = "agent"


class Message(pydantic.BaseModel):
    role: Role
    text: str = pydantic.Field(alias="content", default="")
    score: float = float("inf")


class Agent(pydantic.BaseModel):
    messages: list[Message]
    client: Any = pydantic.Field(default=None, exclude=True)


def test_pydantic_models_come_back() -> None:
    agent = Agent(messages=[Message(role=Role.AGENT, content="Hello"), Message(role=Role.USER)], client=object())
    with pytest.raises(persist.PersistTypeError, match=r"object can't be saved, at state\.client"):
        persist.snapshot(agent, "agent")
    agent.client = "a name"
    persist.snapshot(agent, "agent")
    restored = persist.restore("agent", into=Agent)
    assert restored == agent
    assert restored.messages[1].model_fields_set == {"role"}
    plain = persist.restore("agent")
    assert plain["messages"][0] == {"role": "agent", "text": "Hello", "score": float("inf")}
    # Without a class that names it, a member would be restored as text.
    with pytest.raises(persist.PersistTypeError, match="Role") as refused:
        persist.snapshot([Role.USER], "enum")
    assert refused.value.hint == "register its class: persist.register(Role)"
    persist.register(Role)
    persist.snapshot([Role.USER], "enum")
    assert persist.restore("enum") == [Role.USER]


class Pair:
    def __init__(self, left: int, right: int) -> None:
        self.left, self.right = left, right


def test_any_class_can_be_registered() -> None:
    with pytest.raises(persist.PersistTypeError, match="Pair"):
        persist.snapshot({"pairs": [Pair(1, 2)]}, "pairs")
    persist.register(
        Pair,
        save=lambda pair: (pair.left, {"right": pair.right}),
        restore=lambda state: Pair(state[0], state[1]["right"]),
    )
    persist.snapshot({"pairs": [Pair(1, 2)]}, "pairs")
    (restored,) = persist.restore("pairs")["pairs"]
    assert type(restored) is Pair
    assert (restored.left, restored.right) == (1, 2)
    # A program that has not registered the class gets an error.
    code = "import persist; print(persist.restore('pairs', plain=True)); persist.restore('pairs')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "{'pairs': [(1, {'right': 2})]}\n"
    assert "PersistTypeError: the state holds an instance of test_package.Pair" in done.stderr
    persist.snapshot(Pair(3, 4), "pair")
    assert persist.restore("pair", into=Pair).right == 4


@pytest.mark.parametrize("path", ["/".join(["n" * 200] * 6), "odd\x07/x.gz", ".persist-1.tmp/x.gz"])
def test_a_snapshot_that_could_not_be_listed_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(persist.PersistConfigurationError, match="would not be listable") as refused:
        persist.snapshot({"a": 1}, tmp_path / path)
    assert refused.value.code == "invalid-key"
    assert refused.value.hint
    assert not list(tmp_path.iterdir())
    # A reader finds nothing there.
    assert not persist.snapshot_exists(tmp_path / path)


def test_logs_arrive_in_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="persist_host"):
        persist.snapshot({"a-secret": 1}, "x.json.gz", agent_id="a")
        with pytest.raises(persist.PersistNotFoundError):
            persist.restore("none")
    assert {record.name.partition(".")[0] for record in caplog.records} == {"persist_host"}
    saved = [record.getMessage() for record in caplog.records if 'operation="snapshot"' in record.getMessage()]
    assert len(saved) == 1
    assert "x.json.gz" in saved[0]
    assert "state_bytes=14" in saved[0]
    assert any('code="not-found"' in record.getMessage() for record in caplog.records)
    assert "a-secret" not in caplog.text


def test_wrong_arguments_fail_at_once() -> None:
    for arguments, says in [
        ({"storage_mode": "ftp"}, "the storage 'ftp' is not known"),
        ({"storage_mode": "s3"}, "needs a bucket"),
        ({"if_exists": "skip"}, "'skip' is not a valid value for if_exists"),
        ({"if_exists": "fail", "if_match": "x"}, "cannot be used together"),
        ({"codec": "bzip2"}, "'bzip2' is not a valid codec"),
        ({"snapshot_index": -1}, "snapshot_index is out of range"),
    ]:
        with pytest.raises(persist.PersistConfigurationError, match=says) as wrong:
            persist.snapshot({}, "x", **arguments)  # type: ignore[arg-type]
        assert wrong.value.hint
    for path, arguments in [
        ("s3://one/x", {"s3_bucket": "two"}),
        ("s3://one/x", {"storage_mode": "local"}),
        (Path("s3://one/x"), {}),
    ]:
        with pytest.raises(persist.PersistConfigurationError):
            persist.snapshot({}, path, **arguments)  # type: ignore[arg-type]
    for path, arguments in [(1, {}), (b"x", {}), ("x", {"agent_id": 1}), ("x", {"fsync": 1}), ("x", {"labels": ["a"]})]:
        with pytest.raises(persist.PersistTypeError):
            persist.snapshot({}, path, **arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        persist.Store(".").snapshot({}, "x", agent="a")  # type: ignore[misc]
    assert os.listdir() == []
    persist.snapshot({}, "x", storage_mode="local", s3_bucket="a-bucket")
    with pytest.raises(FileExistsError):
        persist.snapshot({}, "x", if_exists="fail")


def test_a_misspelt_argument_is_refused(folder: Path) -> None:
    persist.snapshot({"a": 1}, "x")
    store, twin = persist.Store("."), persist.AsyncStore(".")
    wrong: dict[str, Any] = {"storage_mod": "s3"}
    for call in (
        lambda: persist.asnapshot({}, "x", **wrong),
        lambda: persist.arestore("x", **wrong),
        lambda: persist.averify_snapshot("x", **wrong),
        lambda: persist.aget_metadata("x", **wrong),
        lambda: persist.asnapshot_exists("x", **wrong),
        lambda: persist.adelete_snapshot("x", **wrong),
        lambda: persist.alist_snapshots(**wrong),
        lambda: persist.averify_snapshot("x", fsync=True),  # type: ignore[call-arg]
        lambda: twin.snapshot({}, "x", **wrong),
        lambda: twin.restore("x", **wrong),
        lambda: twin.save_bytes(b"", "x", **wrong),
    ):
        with pytest.raises(persist.PersistTypeError, match="unknown argument") as refused:
            asyncio.run(call())
        assert refused.value.hint
    for at_once in (
        lambda: persist.restore("x", **wrong),
        lambda: store.restore("x", **wrong),
        lambda: store.snapshot({}, "x", **wrong),
        lambda: store.snapshot({}, "x", content_type="a/b"),  # type: ignore[call-arg]
        lambda: store.save_bytes(b"", "x", extra="{}"),  # type: ignore[call-arg]
        lambda: store.open("x", "rb", agent_id="a"),  # type: ignore[call-overload]
    ):
        with pytest.raises(TypeError):
            at_once()
    for odd in (
        lambda: persist.restore("x", progress=3),  # type: ignore[call-overload]
        lambda: persist.restore("x", plain="no"),  # type: ignore[call-overload]
        lambda: persist.Store("s3://abc", s3_options=["a"]),  # type: ignore[arg-type]
        lambda: persist.register(Step, name=3),  # type: ignore[call-overload]
    ):
        with pytest.raises(persist.PersistTypeError):
            odd()
    for place in ("s3:/bucket/x", "file:/x"):
        with pytest.raises(persist.PersistConfigurationError, match="must be followed by //"):
            persist.snapshot({}, place)
    assert os.listdir() == ["x"]


def test_functions_take_locations_below_a_base_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSIST_LOCAL_PATH", str(folder / "base"))
    saved = persist.snapshot({"a": 1}, "x/y.gz")
    assert persist.restore(saved.location) == {"a": 1}
    assert [found.location for found in persist.list_snapshots("x/")] == [saved.location]
    with pytest.raises(persist.PersistConfigurationError):
        persist.restore(str(folder / "elsewhere"))
    persist.delete_snapshot(saved.location)


def test_a_damaged_snapshot_is_an_error_and_left_out_of_lists(folder: Path) -> None:
    persist.snapshot({"a": 1}, "good.gz")
    persist.snapshot({"a": 1}, "bad.gz")
    damaged = bytearray((folder / "bad.gz").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / "bad.gz").write_bytes(damaged)
    (folder / "other.txt").write_text("no snapshot")
    calls: list[Callable[[str], Any]] = [persist.restore, persist.verify_snapshot]
    for call in calls:
        with pytest.raises(ValueError, match="Integrity error") as wrong:
            call("bad.gz")
        assert isinstance(wrong.value, persist.PersistIntegrityError)
    with pytest.warns(persist.PersistWarning, match="bad.gz"):
        assert [found.key for found in persist.list_snapshots()] == ["good.gz"]
    with pytest.raises(persist.PersistIntegrityError):
        persist.list_snapshots(errors="raise")


def test_a_store_streams_and_pickles() -> None:
    store = persist.Store("agents", fsync=False)
    with store.open("big.zst", "wb", agent_id="a") as file:
        for _ in range(100):
            file.write(b"line\n" * 10_000)
    assert file.metadata is not None
    assert (file.metadata.uncompressed_size, file.metadata.key) == (5_000_000, "big.zst")
    with store.open("big.zst") as reader:
        assert reader.metadata.agent_id == "a"
        assert io.TextIOWrapper(reader).readline() == "line\n"
    with pytest.raises(ZeroDivisionError), store.open("none", "wb") as file:
        file.write(b"x")
        raise ZeroDivisionError
    forgotten = store.open("none", "wb")
    forgotten.write(b"x")
    del forgotten
    assert not store.exists("none")
    assert store.save_bytes(b'{"a": 1}', "foreign", content_type="application/json").key == "foreign"
    assert store.restore("foreign") == {"a": 1}
    again = pickle.loads(pickle.dumps(store))
    assert again == store
    assert again.load_bytes("foreign") == b'{"a": 1}'
    assert repr(again) == "Store('agents', fsync=False)"
    assert "agents" in again._repr_html_()
    assert sorted(found.key for found in store.list()) == ["big.zst", "foreign"]
    with pytest.raises(persist.PersistConfigurationError):
        store.restore("../x")


def test_progress_is_reported_and_can_stop_a_save() -> None:
    told: list[tuple[int, int | None]] = []
    store = persist.Store("memory://progress")
    store.save_bytes(bytes(3_000_000), "x", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3_000_000, 3_000_000)

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.save_bytes(bytes(3_000_000), "y", progress=stop)
    with pytest.raises(KeyboardInterrupt):
        store.snapshot({"a": "x" * 1_000_000}, "y", progress=stop)
    assert not store.exists("y")


def test_the_asyncio_twins_work() -> None:
    async def run() -> None:
        state = {"a": [1]}
        saving = asyncio.ensure_future(persist.asnapshot(state, "x", agent_id="a"))
        await asyncio.sleep(0)
        state["a"].append(2)
        assert (await saving).agent_id == "a"
        assert await persist.arestore("x") == {"a": [1]}
        assert await persist.averify_snapshot("x")
        assert (await persist.aget_metadata("x")).agent_id == "a"
        assert [found.key for found in await persist.alist_snapshots()] == ["x"]
        await persist.adelete_snapshot("x")
        assert not await persist.asnapshot_exists("x")
        store = persist.AsyncStore("agents")
        async with store.open("x", "wb") as file:
            await file.write(b"state")
        async with store.open("x") as reader:
            assert await reader.read() == b"state"
        noise = os.urandom(1 << 20) * 200
        task = asyncio.ensure_future(store.save_bytes(noise, "cancelled"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert os.listdir("agents") == ["x"]

    asyncio.run(run())


def test_the_command_runs() -> None:
    persist.snapshot({"a": 1}, "x.json.gz")
    for command in [[sys.executable, "-m", "persist"], [str(Path(sys.executable).with_name("persist"))]]:
        done = subprocess.run([*command, "restore", "x.json.gz"], capture_output=True, text=True, check=True)
        assert done.stdout == '{"a":1}'
        assert subprocess.run([*command, "restore", "none"], capture_output=True).returncode == 3


@pytest.mark.parametrize("document", ["README.md", "docs/python.md", "python-host/README.md"])
def test_the_examples_in_documents_run(document: str, s3: Any) -> None:
    text = (Path(__file__).parents[2] / document).read_text()
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    assert blocks
    for number, block in enumerate(blocks):
        exec(compile(block, f"{document}, block {number + 1}", "exec", dont_inherit=True), {"__name__": "__main__"})
