"""Measures what the package costs, as ratios within one run: ``cargo xtask bench package``.

``--check`` fails if a goal is missed. ``--json FILE`` writes the rows in the same form as the
Rust benchmarks.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import logging
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import environments
import persist

WORDS = [
    one + other for one in ("a", "be", "the ", "or", "in", "it") for other in ("s", "n", "for", "ter", "ing", "ed")
]
"""Enough different words that their text compresses four to five times, like conversations."""


def agent(size: int) -> dict[str, Any]:
    """Returns a conversation of about ``size`` bytes of JSON."""
    source = random.Random(7)
    messages: list[dict[str, Any]] = []
    written = 0
    while written < size:
        text = " ".join(source.choice(WORDS) for _ in range(source.randrange(10, 120)))
        messages.append({"id": len(messages), "role": "user", "content": text, "score": source.random()})
        written += len(text) + 70
    return {"messages": messages}


class Table:
    """The measurements, and their goals."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(
        self, what: str, found: float, detail: str, *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        met = (at_least is None or found >= at_least) and (at_most is None or found <= at_most)
        goal = (
            f"at least {at_least:.4g}" if at_least is not None else f"at most {at_most}" if at_most is not None else ""
        )
        print(f"{what:<62} {found:>8.2f}  {goal:<14} {'' if met else 'MISSED':<7} {detail}", flush=True)
        row = {"what": what, "found": found, "at_least": at_least, "at_most": at_most, "met": met, "detail": detail}
        self.rows.append(row)

    def missed(self) -> int:
        return sum(not row["met"] for row in self.rows)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def importing(table: Table) -> None:
    """Compares a process that imports the package with one that does not, in turn."""
    times: dict[str, list[float]] = {"pass": [], "import persist": []}
    for _ in range(20):
        for code, taken in times.items():
            taken.append(seconds(partial(subprocess.run, [sys.executable, "-c", code], check=True)))
    plain, imported = (statistics.median(taken) * 1000 for taken in times.values())
    detail = f"{plain:.0f} ms for pass"
    table.add("Python: import persist, ms more than pass", imported - plain, detail, at_most=60)


def small(table: Table) -> None:
    """Compares a snapshot of 10 KB without fsync with what people write by hand."""
    value = agent(10_000)

    def by_hand(number: int) -> None:
        data = gzip.compress(json.dumps(value).encode())
        with open(f"hand-{number}.tmp", "wb") as file:
            file.write(data)
        os.rename(f"hand-{number}.tmp", f"hand-{number}.json.gz")

    ways: dict[Callable[[int], object], list[float]] = {
        by_hand: [],
        lambda number: persist.snapshot(value, f"ours-{number}.json.gz", fsync=False): [],
        lambda number: persist.snapshot(value, f"ours-{number}.json.zst", fsync=False): [],
    }
    for number in range(620):
        for way, taken in ways.items():
            took = seconds(partial(way, number % 20))
            if number >= 20:  # After warming up.
                taken.append(took)
    hand, gz, zst = (statistics.median(taken) * 1e6 for taken in ways.values())
    size = len(json.dumps(value))
    for ending, ours, goal in (("gz", gz, 2), ("zst", zst, None)):
        what = f"Python: 10 KB as .json.{ending} / json, gzip, write, rename, time"
        table.add(what, ours / hand, f"{ours:.0f} and {hand:.0f} us, {size} bytes", at_most=goal)


def threads(table: Table) -> None:
    """Compares the same number of snapshots on one thread and on eight."""
    data = json.dumps(agent(1_000_000)).encode()[:1_000_000]
    store = persist.Store("threads", fsync=False)

    def save(thread: int, count: int) -> None:
        for number in range(count):
            store.save_bytes(data, f"{thread}/{number % 10}.json.gz")

    def on_eight() -> None:
        running = [threading.Thread(target=save, args=(thread, 200)) for thread in range(8)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    save(0, 20)
    one, eight = seconds(lambda: save(0, 1600)), seconds(on_eight)
    detail = f"{one:.1f} and {eight:.1f} s, {os.cpu_count()} cores"
    table.add("Python: 1600 states of 1 MB on eight threads / on one, speed", one / eight, detail, at_least=1.7)


def ticking(table: Table) -> None:
    """Measures how long another thread waits while 100 MB are saved."""
    value = agent(100_000_000)
    data = json.dumps(value).encode()
    ended = threading.Event()
    gaps: list[float] = []

    def tick() -> None:
        longest, last = 0.0, time.perf_counter()
        while not ended.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        gaps.append(longest)

    def during(work: Callable[[], object]) -> float:
        ended.clear()
        thread = threading.Thread(target=tick)
        thread.start()
        work()
        ended.set()
        thread.join()
        return gaps.pop() * 1000

    idle = during(lambda: time.sleep(5))
    saving = during(lambda: persist.snapshot(value, "large.json.gz"))
    bytes_saving = during(lambda: persist.Store(".").save_bytes(data, "large-bytes.json.gz"))
    detail = f"{bytes_saving:.0f} while its bytes are saved, {idle:.0f} while nothing is"
    what = f"Python: longest wait of a thread while {len(data) / 1e6:.0f} MB are saved, ms"
    table.add(what, saving, detail, at_most=50)


def composed(table: Table) -> None:
    """Compares 10 MB of text saved by persist-fs.wasm in the wasmtime package with the native host
    with one worker.
    """
    component = os.environ["PERSIST_COMPONENTS"]
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples/python"))
    persist_class = importlib.import_module("composed").Persist
    text = json.dumps(agent(10_000_000))
    foreign = persist_class(str(Path(component) / "persist-fs.wasm"), ".")
    for ending in ("gz", "zst"):
        Path("native").mkdir(exist_ok=True)
        times: dict[str, list[float]] = {"native": [], "composed": []}
        native = [sys.executable, "-c", NATIVE, f"native/x.json.{ending}"]
        with subprocess.Popen(
            native, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PERSIST_WORKERS": "1"}
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(text) + "\n")
            for _ in range(5):
                child.stdin.write("save\n")
                child.stdin.flush()
                times["native"].append(float(child.stdout.readline()))
                times["composed"].append(seconds(partial(foreign.save, text, f"x.json.{ending}")))
            child.stdin.close()
        one, other = (statistics.median(taken) for taken in times.values())
        what = f"Python: {len(text) / 1e6:.0f} MB as .json.{ending} by wasmtime / natively, speed"
        table.add(what, one / other, f"{other * 1000:.0f} and {one * 1000:.0f} ms, one worker", at_least=1 / 3)


NATIVE = """
import json, sys, time, persist
text, store = json.loads(sys.stdin.readline()), persist.Store(".")
for _ in sys.stdin:
    began = time.perf_counter()
    store.save_bytes(text.encode(), sys.argv[1])
    print(time.perf_counter() - began, flush=True)
"""


MESSAGES = {
    "langchain": ("langchain", "LangChain messages"),
    "langchain_in_dict": ("langchain", "LangChain messages in a dict"),
    "langgraph": ("langgraph", "messages of a LangGraph thread"),
    "pydantic_ai": ("pydantic_ai", "Pydantic AI messages"),
    "google_adk": ("google_adk", "events of Google ADK"),
}
"""The benchmarks in bench_messages.py by name: the environment, and what the messages are."""


def messages(table: Table) -> None:
    """Measures how long other tasks wait while 5,000 messages of frameworks are saved and restored,
    and how long the adapters take.
    """
    frameworks = Path(__file__).parents[1] / "frameworks"
    # Only this package, and nothing else from this environment.
    shutil.copytree(Path(persist.__file__).parent, "packages/persist")
    package = Path("packages").resolve()
    for name, (framework, what) in MESSAGES.items():
        python = environments.environment(frameworks / f"with_{framework}.txt")
        done = subprocess.run(
            [python, "-W", "ignore", frameworks / "bench_messages.py", name],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(package)},
        )
        found = json.loads(done.stdout.splitlines()[-1])
        for doing in ("saving", "restoring"):
            about = f"Python: longest wait of a task while {doing} 5,000 {what}, ms"
            table.add(about, found[doing], "", at_most=20)
        for doing in ("save", "restore"):
            if (own := found.get(f"own {doing}")) is not None:
                detail = f"{found[doing] * 1000:.0f} and {own * 1000:.0f} ms"
                about = f"Python: {doing} 5,000 {what} / the framework's JSON, time"
                table.add(about, found[doing] / own, detail, at_most=2)


def checkpoints(table: Table) -> None:
    """Measures the checkpointer for LangGraph beside that for SQLite: an agent of 200 turns."""
    frameworks = Path(__file__).parents[1] / "frameworks"
    python = environments.environment(frameworks / "saver_langgraph.txt")
    for channel, what, smaller in (("whole", "add_messages", 120), ("changes", "DeltaChannel(100)", 2)):
        found = {}
        for name in ("sqlite", "persist"):
            folder = Path(f"{name}-{channel}")
            folder.mkdir()
            done = subprocess.run(
                [python, "-W", "ignore", frameworks / "bench_saver.py", name, channel, "200", folder],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(Path("packages").resolve())},
            )
            found[name] = json.loads(done.stdout.splitlines()[-1])
        ours, sqlite = found["persist"], found["sqlite"]
        about = f"LangGraph, 200 turns, {what}: "
        sizes = f"{sqlite['size'] / 1e6:.2f} and {ours['size'] / 1e6:.2f} MB"
        table.add(f"{about}SQLite / PersistSaver, size", sqlite["size"] / ours["size"], sizes, at_least=smaller)
        for key, shown, most in (("seconds", "time", 1), ("p50", "median of put", 2), ("p99", "p99 of put", 2)):
            unit = "s" if key == "seconds" else "ms"
            detail = f"{ours[key]:.2f} and {sqlite[key]:.2f} {unit}"
            table.add(f"{about}PersistSaver / SQLite, {shown}", ours[key] / sqlite[key], detail, at_most=most)


def checkpoints_in_bucket(table: Table) -> None:
    """Measures the checkpointer for LangGraph beside one for object storage, on the same server: an agent
    of 20 turns, and then its thread is read in a new checkpointer.
    """
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    frameworks = Path(__file__).parents[1] / "frameworks"
    python = environments.environment(frameworks / "saver_objectstorage.txt")
    found = {}
    for name in ("objectstorage", "persist"):
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/my-bucket", method="PUT")).close()
        credentials = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        done = subprocess.run(
            [python, "-W", "ignore", frameworks / "bench_saver_bucket.py", name, "20", "s3://my-bucket/threads"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                **credentials,
                "AWS_ENDPOINT_URL_S3": endpoint,
                "PYTHONPATH": str(Path("packages").resolve()),
            },
        )
        server.stop()
        found[name] = json.loads(done.stdout.splitlines()[-1])
    ours, other = found["persist"], found["objectstorage"]
    about = "LangGraph in a bucket, 50 ms an answer: PersistSaver / objectstorage, "
    for key, shown in (("requests", "requests"), ("written", "bytes written"), ("seconds", "time")):
        table.add(f"{about}{shown}", ours[key] / other[key], f"{ours[key]:.6g} and {other[key]:.6g}", at_most=1)
    times, rounds = ((ours["cold"][key], other["cold"][key]) for key in ("seconds", "rounds"))
    requests = f"{ours['cold']['requests']} and {other['cold']['requests']} requests"
    detail = f"{times[0]:.2f} and {times[1]:.2f} s, {rounds[0]} and {rounds[1]} one after the other, {requests}"
    table.add(f"{about}time of a cold get_tuple", times[0] / times[1], detail, at_most=1)


def sessions(table: Table) -> None:
    """Measures appends to sessions that have 5,000 items, beside those of the frameworks' own SQLite stores."""
    frameworks = Path(__file__).parents[1] / "frameworks"
    for framework, what in (("openai_agents", "OpenAI Agents"), ("google_adk", "Google ADK"), ("crewai", "CrewAI")):
        python = environments.environment(frameworks / f"with_{framework}.txt")
        medians = {}
        for store in ("sqlite", "persist"):
            folder = Path(f"sessions-{framework}-{store}")
            folder.mkdir()
            done = subprocess.run(
                [python, "-W", "ignore", frameworks / "bench_sessions.py", framework, store, folder],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={
                    **os.environ,
                    "CREWAI_DISABLE_TELEMETRY": "true",
                    "OTEL_SDK_DISABLED": "true",
                    "PYTHONPATH": str(Path("packages").resolve()),
                },
            )
            medians[store] = statistics.median(json.loads(done.stdout.splitlines()[-1])) * 1000
        detail = f"{medians['persist']:.2f} and {medians['sqlite']:.2f} ms"
        about = f"{what}, 5,000 items: append, Persist / SQLite, median"
        table.add(about, medians["persist"] / medians["sqlite"], detail, at_most=3)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what the package costs.")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--check", action="store_true", help="fail if a goal is missed")
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    options = parser.parse_args()
    table, here = Table(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for part in (importing, small, ticking, composed, messages, checkpoints, checkpoints_in_bucket, sessions):
            part(table)
        if not options.quick:
            threads(table)
        os.chdir(here)
    if options.json is not None:
        options.json.write_text("[\n" + ",\n".join(map(json.dumps, table.rows)) + "\n]\n")
    goals = sum(row["at_least"] is not None or row["at_most"] is not None for row in table.rows)
    print(f"\n{table.missed()} of {goals} goals missed" + (f"; as JSON: {options.json}" if options.json else ""))
    if options.check and table.missed():
        sys.exit(f"{table.missed()} goals were missed")


if __name__ == "__main__":
    main()
