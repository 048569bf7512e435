"""What the package costs, as ratios within this run: ``cargo xtask bench``."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import persist

WORDS = [
    one + other for one in ("a", "be", "the ", "or", "in", "it") for other in ("s", "n", "for", "ter", "ing", "ed")
]
"""So many different ones that text of them compresses four to five times, as conversations do."""


def agent(size: int) -> dict[str, Any]:
    """A conversation, of about so many bytes of JSON."""
    source = random.Random(7)
    messages: list[dict[str, Any]] = []
    written = 0
    while written < size:
        text = " ".join(source.choice(WORDS) for _ in range(source.randrange(10, 120)))
        messages.append({"id": len(messages), "role": "user", "content": text, "score": source.random()})
        written += len(text) + 70
    return {"messages": messages}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def importing() -> None:
    """A process that imports the package, and one that does not, in turn."""
    times: dict[str, list[float]] = {"pass": [], "import persist": []}
    for _ in range(20):
        for code, taken in times.items():
            taken.append(seconds(partial(subprocess.run, [sys.executable, "-c", code], check=True)))
    plain, imported = (statistics.median(taken) * 1000 for taken in times.values())
    print(f"import persist: {imported - plain:.0f} ms more than pass, which takes {plain:.0f} ms (at most 60)")


def small() -> None:
    """A snapshot of 10 KB without fsync, and what people write by hand."""
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
            if number >= 20:  # Warm.
                taken.append(took)
    hand, gz, zst = (statistics.median(taken) * 1e6 for taken in ways.values())
    size = len(json.dumps(value))
    print(
        f"snapshot of {size} bytes without fsync: {gz / hand:.2f} times "
        "json.dumps + gzip.compress + write + rename (at most 2)"
    )
    print(f"    {gz:.0f} us as .json.gz, {zst:.0f} us as .json.zst, {hand:.0f} us by hand")


def threads() -> None:
    """As many snapshots on one thread, and on eight."""
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
    print(f"1600 snapshots of 1 MB: {one / eight:.2f} times as fast on 8 threads as on one (at least 1.7 on two cores)")
    print(f"    {one:.1f} s on one, {eight:.1f} s on eight, on {os.cpu_count()} cores")


def ticking() -> None:
    """The longest that another thread waits while 100 MB are saved."""
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
    print(
        f"longest gap of another thread while a value of {len(data) / 1e6:.0f} MB is saved: {saving:.0f} ms (under 50)"
    )
    print(f"    {bytes_saving:.0f} ms while its bytes are, {idle:.0f} ms while nothing is")


def composed() -> None:
    """10 MB as text by wasmtime's package and persist-fs.wasm, and by the native host with one worker."""
    component = os.environ.get("PERSIST_COMPONENTS")
    if component is None:
        print("the composed component: PERSIST_COMPONENTS does not say where it is")
        return
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
        print(
            f".json.{ending} of {len(text) / 1e6:.0f} MB by wasmtime's package: {one / other:.2f} of the native host's "
            f"speed with one worker (at least 0.33; {other * 1000:.0f} and {one * 1000:.0f} ms)"
        )


NATIVE = """
import json, sys, time, persist
text, store = json.loads(sys.stdin.readline()), persist.Store(".")
for _ in sys.stdin:
    began = time.perf_counter()
    store.save_bytes(text.encode(), sys.argv[1])
    print(time.perf_counter() - began, flush=True)
"""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for part in (importing, small, threads, ticking, composed):
            part()
            sys.stdout.flush()
        os.chdir("/")
