"""The package works with threads, in child processes, and with failing log handlers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import persist
import pytest
from forks import IN_CHILD


def test_threads_save_at_the_same_time() -> None:
    store = persist.Store("agents", fsync=False)
    threads = [threading.Thread(target=store.snapshot, args=({"n": n}, f"{n}")) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.restore(f"{n}")["n"] for n in range(16)] == list(range(16))


FORKS = (
    IN_CHILD
    + """
import persist

state = os.urandom(3_000_000)
store = persist.Store("agents", fsync=False)
store.save_bytes(state, "before")
assert store.load_bytes("before") == state
reader = store.open("before")
assert reader.read(1_500_000) == state[:1_500_000]
writer = store.open("during", "wb")
writer.write(state[:2_500_000])

def goes_on():
    assert store.load_bytes("before") == state
    store.save_bytes(state, "in a child")
    assert store.load_bytes("in a child") == state
    # And in a child of its own.
    in_child(lambda: store.verify("in a child"))

def refuses(use):
    def child():
        try:
            use()
        except persist.PersistConfigurationError as error:
            assert "parent" in str(error), error
        else:
            raise AssertionError("it worked")
    return child

def leaves():
    global reader, writer
    reader.close()
    writer.abort()
    del reader, writer

in_child(goes_on)
in_child(refuses(lambda: [reader.read(1_000_000) for _ in range(4)]))
in_child(refuses(lambda: writer.write(state)))
in_child(refuses(lambda: writer.close()))
in_child(leaves)
# The files of the parent are unaffected.
assert reader.read() == state[1_500_000:]
writer.write(state[2_500_000:])
writer.close()
assert store.load_bytes("during") == state
print("all worked")
"""
)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_child_processes_work_and_leave_open_files_alone(workers: str) -> None:
    environment = {**os.environ, "PERSIST_WORKERS": workers}
    done = subprocess.run([sys.executable, "-c", FORKS], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "all worked\n"), done.stderr


EARLY_FORK = """
import os, signal, sys, threading, time, persist

store = persist.Store("agents", fsync=False)
first = threading.Thread(target=store.snapshot, args=({"n": 1}, "parent"))
first.start()
time.sleep(float(sys.argv[1]))
child = os.fork()
if child == 0:
    signal.alarm(60)
    store.snapshot({"n": 2}, "child")
    os._exit(0 if store.restore("child") == {"n": 2} else 1)
first.join()
assert os.waitpid(child, 0)[1] == 0
assert store.restore("parent") == {"n": 1}
print("both worked")
"""


def test_a_fork_during_the_first_load_works() -> None:
    for step in range(20):
        command = [sys.executable, "-c", EARLY_FORK, str(step * 0.0002)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (0, "both worked\n"), (step, done.stderr)


LOGS = """
import logging, sys, persist

class Handler(logging.Handler):
    def emit(self, record):
        if "stopped" in record.getMessage():
            raise LookupError("from a handler")

unraisable, raised = [], []
sys.unraisablehook = lambda found: unraisable.append(found.exc_value)
logging.getLogger("persist_host").addHandler(Handler())
try:
    persist.Store("agents").save_bytes(b"0123456789abcdef" * 1_000_000, "x.zst")
except Exception as error:
    raised.append(error)
found = [error for error in raised + (unraisable if sys.argv[1] != "1" else []) if isinstance(error, LookupError)]
assert found, (raised, unraisable)
print("it was reported")
"""


@pytest.mark.parametrize("workers", ["1", "3"])
def test_an_error_of_a_log_handler_is_reported(workers: str) -> None:
    """The operation raises it if it runs on the same thread."""
    environment = {**os.environ, "PERSIST_WORKERS": workers, "PERSIST_MEMORY_LIMIT": "4000000"}
    done = subprocess.run(
        [sys.executable, "-c", LOGS, workers], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "it was reported\n"), done.stderr
