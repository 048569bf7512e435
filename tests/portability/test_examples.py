"""What the hosts of examples/ do beyond saving and restoring."""

from __future__ import annotations

import gc
import hashlib
import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .programs import EXAMPLE_HOST, NODE, NODE_PROGRAM, ROOT, STATE, component, example, run

SNAPSHOTS = "persist:snapshot/snapshots@0.1.0"
TIMELINES = "persist:snapshot/timelines@0.1.0"


def python_host(**limits: object) -> Any:
    return example("host").Host(component("persist.wasm"), **limits)


def test_the_rust_example_keeps_what_it_did_before_a_failure(tmp_path: Path) -> None:
    """It handles the keys before the one that fails, and its exit code says that one failed."""
    (tmp_path / "state.json").write_text(STATE)
    (tmp_path / "stored/folder").mkdir(parents=True)

    def ended(*arguments: str) -> tuple[int, str]:
        command = [EXAMPLE_HOST, component("persist.wasm"), "stored", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout + done.stderr

    code, said = ended("save", "state.json", "1.gz", "2.gz", "3.gz.restored")
    assert code == 1
    assert "'3.gz.restored' can't be the name of a file here" in said
    assert ended("delete", "1.gz", "none", "2.gz")[0] == 1
    assert ended("list") == (0, "2.gz\n")
    assert ended("forget", "2.gz")[0] == 1
    for name in ("folder", "a.restored", "2.gz/x"):
        code, said = ended("save", "state.json", name)
        assert code == 1, said
    # Keys of several parts are files in subfolders, but a symlink may lead out of the folder.
    (tmp_path / "outside").mkdir()
    (tmp_path / "stored/file").symlink_to("../outside/file")
    (tmp_path / "stored/link").symlink_to("../outside")
    for name in ("file", "link", "link/x", "link/folder/x"):
        assert ended("save", "state.json", name)[0] == 1
    assert list((tmp_path / "outside").iterdir()) == []
    assert ended("save", "state.json", "folder/sub/3") == (0, f"{hashlib.sha256(STATE.encode()).hexdigest()}\n")
    assert ended("list") == (0, "2.gz\nfolder/sub/3\n")
    (tmp_path / "stored/2.gz.restored").mkdir()
    assert ended("restore", "2.gz")[0] == 1
    assert sorted(path.name for path in tmp_path.rglob("*.gz")) == ["2.gz"]


def test_the_python_example_says_what_went_wrong() -> None:
    """It raises an exception, and stores nothing."""
    host = python_host(max_written_bytes=500)
    with pytest.raises(OSError, match=r"no-space: this call may not write any more"):
        host.save(STATE, "large.gz")
    with pytest.raises(OSError, match="not-found"):
        host.restore("none.gz")
    for key in ("", "../x", "/etc/x", "a//b", "a/./b", "a\nb", "\u00e9" * 513):
        with pytest.raises(OSError, match="invalid-key"):
            host.save("{}", key)
    assert host.storage.objects == {}


def test_the_python_example_takes_calls_from_many_threads() -> None:
    """They run one at a time, each with its own handles and budget."""
    host = python_host()
    keys = [f"{number}.gz" for number in range(24)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: host.save(STATE, key), keys))
    assert sorted(host.storage.objects) == sorted(keys)
    assert host.storage.handles == {}


def test_the_python_examples_leave_no_threads() -> None:
    before = threading.active_count()
    for _ in range(3):
        example("composed").Persist(component("persist-fs.wasm"), ".")
        python_host().save("{}", "x.gz")
    gc.collect()
    ended = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < ended:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_the_bare_examples_replace_nothing_if_absent(transpiled: dict[str, str]) -> None:
    """This is what timelines rely on: of two writers of one key, one gets it."""
    from wasmtime.component import Variant

    host = python_host()
    host.save("first", "a.gz", precondition=Variant("if-absent"))
    with pytest.raises(OSError, match="already-exists"):
        host.save("second", "a.gz", precondition=Variant("if-absent"))
    assert host.restore("a.gz") == "first"
    host.save("third", "a.gz")
    assert host.restore("a.gz") == "third"
    # The component may also hold two writers at once.
    options = host.options(precondition=Variant("if-absent"))
    with host.instance() as call:
        savers = [call(SNAPSHOTS, "open-saver", "b.gz", options) for _ in range(2)]
        call(SNAPSHOTS, "[static]saver.commit", savers[0])
        with pytest.raises(OSError, match="already-exists"):
            call(SNAPSHOTS, "[static]saver.commit", savers[1])
    with pytest.raises(OSError, match="unsupported"):
        host.save("fourth", "a.gz", precondition=Variant("if-match", "x"))
    assert run([NODE_PROGRAM, str(NODE / "taken.mjs"), transpiled["persist"]], NODE) == "already-exists first\n"


def test_the_python_example_keeps_a_timeline_open(tmp_path: Path) -> None:
    """As ``timelines.py`` advises: in one instance, an append goes on from the last, and notices another writer."""
    append = "[method]timeline.append"
    host = python_host()
    with host.instance() as call:
        opened = [call(TIMELINES, "[constructor]timeline", "a/") for _ in range(2)]
        for number in (1, 2):
            assert call(TIMELINES, append, opened[0], b"state", host.options(), "fail", None).number == number
        assert call(TIMELINES, append, opened[1], b"other", host.options(), "fail", None).number == 3
        with pytest.raises(OSError, match="already-exists: another writer has appended step 3"):
            call(TIMELINES, append, opened[0], b"state", host.options(), "fail", None)
        assert call(TIMELINES, append, opened[0], b"state", host.options(), "rebase", None).number == 4


def test_calls_in_node_do_not_lose_each_others_work(transpiled: dict[str, str]) -> None:
    """Concurrent calls run one at a time, and each keeps what the others changed."""
    keys = [f"{number}.gz" for number in range(4)]
    done = run([NODE_PROGRAM, str(NODE / "at_once.mjs"), transpiled["persist"], *keys], NODE)
    assert json.loads(done) == [*keys, "by hand"]


def test_the_page_has_the_example() -> None:
    example = (ROOT / "examples/python/composed.py").read_text().split("if __name__")[0].strip()
    assert example[example.index("import sys") :] in (ROOT / "docs/embedding.md").read_text()
