"""Every host writes the same bytes, reads what every other wrote, and refuses what is damaged."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from .hosts import RESTORED, Host, record
from .in_process import PythonComposed, Tools
from .matrix import print_matrix

ENDINGS = ("gz", "zst")
OPERATIONS = ("save", "restore", "verify", "show", "exists", "list", "delete")


def save_with_each(hosts: list[Host], state: Path, folder: Path, saved: Path) -> dict[str, bool]:
    """Saves a state with each host, and copies all snapshots to ``saved``. Returns for each host whether it wrote the
    same bytes as the first, the native one.
    """
    native: dict[str, bytes] = {}
    is_same = dict.fromkeys((host.name for host in hosts), True)
    for number, host in enumerate(hosts):
        for ending in ENDINGS:
            own = folder / host.name / ending
            own.mkdir(parents=True)
            host.save(own, state, f"x.json.{ending}")
            data = (own / f"x.json.{ending}").read_bytes()
            is_same[host.name] &= data == native.setdefault(ending, data)
            (saved / f"{number}.json.{ending}").write_bytes(data)
    return is_same


def read_with(host: Host, folder: Path, keys: list[str], content: bytes) -> dict[str, bool]:
    """Returns for each operation whether a host gets it right on the snapshots in a folder. Deletes the first."""
    content_hash = hashlib.sha256(content).hexdigest()
    done = {
        "restore": host.restore(folder, keys) == [content] * len(keys),
        "verify": host.verify(folder, keys) == [content_hash] * len(keys),
        "show": host.show(folder, keys) == [content_hash] * len(keys),
        "exists": host.exists(folder, keys[0]) and not host.exists(folder, "none"),
    }
    for path in folder.glob(f"*{RESTORED}"):
        path.unlink()
    done["list"] = host.keys(folder) == keys
    host.delete(folder, keys[0])
    done["delete"] = host.keys(folder) == keys[1:] and not (folder / keys[0]).exists()
    return done


def test_every_host_reads_what_every_other_wrote(
    hosts: list[Host], state_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = state_file.read_bytes()
    saved = tmp_path / "saved"
    saved.mkdir()
    is_same = save_with_each(hosts, state_file, tmp_path, saved)
    keys = sorted(path.name for path in saved.iterdir())
    done: dict[str, dict[str, bool]] = {}
    for host in hosts:
        folder = tmp_path / host.name / "read"
        shutil.copytree(saved, folder)
        done[host.name] = {"save": is_same[host.name], **read_with(host, folder, keys, content)}
    with capsys.disabled():
        print_matrix(OPERATIONS, done)
        print(f"on {len(keys)} snapshots of {len(content)} bytes of state; save: the same bytes as the native host")
    assert len(keys) == len(hosts) * len(ENDINGS)
    assert all(done[host.name][operation] for host in hosts for operation in OPERATIONS)


def forge(folder: Path, key: str) -> None:
    """Saves a snapshot whose content hash is not that of its state, though every frame is whole."""
    from wasmtime.component import Variant

    unset = ("description", "content-type", "extra", "codec", "level", "snapshot-id", "timestamp", "state-size-hint")
    named = {"agent-id": "a", "session-id": "s", "snapshot-index": 0, "labels": [], "attributes": []}
    options = {**named, **dict.fromkeys(unset), "precondition": Variant("none"), "host-hashes": True}
    with PythonComposed().opened(folder) as persist, persist.instance() as call_instance:

        def call(name: str, *arguments: object) -> object:
            return call_instance("persist:snapshot/snapshots@0.1.0", name, *arguments)

        saver = call("open-saver", key, record(options))
        # Over 4 KiB, the component does not compute the hash itself but trusts its host.
        call("[method]saver.write", saver, b"0123456789" * 7000)
        call("[method]saver.set-content-hash", saver, bytes(32))
        call("[static]saver.commit", saver)


def test_a_state_with_another_hash_comes_out_nowhere(hosts: list[Host], tmp_path: Path) -> None:
    """No host returns it as a value or leaves it in a file, and each says why."""
    for ending in ENDINGS:
        key = f"forged.json.{ending}"
        forge(tmp_path, key)
        for host in hosts:
            # The metadata itself is intact, and shows the hash that the host gave.
            assert host.show(tmp_path, [key]) == ["0" * 64], host.name
            if isinstance(host, Tools):
                for name in ("restore", "verify"):
                    assert host.call(tmp_path, name, key).code == "integrity"
            else:
                for operation in (host.restore, host.verify):
                    with pytest.raises(OSError, match=r"(?i)integrity"):
                        operation(tmp_path, [key])
            assert not [path.name for path in tmp_path.iterdir() if path.name.split(".")[-1] not in ENDINGS]
