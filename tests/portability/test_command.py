"""The component in wasmtime's command does what the native command does, within the folder that it is given."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from .hosts import IDENTITY_FLAGS, Command, Host
from .programs import STATE

TIMELINES = [
    ["append", "state.json", "runs/a/s", *IDENTITY_FLAGS, "--json"],
    ["append", "out/restored.json", "runs/a/s", "--label", "good=yes", "--description", "the second", *IDENTITY_FLAGS],
    ["append", "state.json", "runs", "--agent", "A", "--session", "s/1", *IDENTITY_FLAGS],
    ["append", "none.json", "runs/a/s"],
    ["append", "state.json", "runs/a/s@2"],
    ["append", "state.json", "runs/a/s", "--level", "99"],
    ["append", "state.json", "link/runs/b/s", *IDENTITY_FLAGS],
    ["append", "state.json", "state.json/x"],
    ["log", "runs/a/s", "-n", "1", "--json"],
    ["log", "runs/a/s", "--label", "good=yes"],
    ["log", "runs/a/s", "--since", "2020-01-01"],
    ["log", "runs/a/none"],
    ["log", "none"],
    ["restore", "runs/a/s@1", "--output", "out/first.json"],
    ["restore", "runs/a/s@3"],
    ["restore", "runs/a/s", "--at", "good=yes", "--output", "out/second.json"],
    ["restore", "runs/a/s", "--output", "out/second.json"],
    ["show", "runs/a/s@x"],
    ["exists", "runs/a/s"],
    ["exists", "runs/a/s@9"],
    ["verify", "runs/a/s@-2"],
    ["diff", "runs/a/s@1", "runs/a/s@2"],
    ["diff", "runs/a/s@1", "state.json", "--json"],
    ["check", "runs"],
    ["check", "runs/a/s", "--read-data", "--json"],
    ["check", "runs", "--repair"],
    ["check", "none"],
    ["check", "out"],
    ["list", "runs", "--json"],
    ["sessions", "runs", "--json"],
    ["prune", "runs"],
    ["prune", "runs", "--keep-last", "1", "--dry-run"],
    ["prune", "runs", "--keep-last", "1", "--dry-run", "--json"],
    ["prune", "runs", "--keep-last", "1"],
    ["prune", "runs", "--keep-last", "1", "--yes"],
    ["prune", "none", "--keep-last", "1", "--yes"],
    ["log", "runs/a/s", "--no-changes"],
    ["restore", "runs/a/s@1"],
    ["prune", "runs", "--keep-sessions", "1", "--yes"],
    ["delete", "runs/a/s/000000000002.step", "--yes"],
    ["delete", "runs", "--recursive", "--yes", "--dry-run"],
    ["delete", "runs", "--recursive", "--yes"],
    ["append", "state.json", "runs/a/s", *IDENTITY_FLAGS],
    ["log", "runs/b/s"],
]
"""Commands on timelines."""

COMMANDS = [
    ["snapshot", "state.json", "out/x.json.zst", "--agent-id", "a", "--label", "b=c", *IDENTITY_FLAGS],
    ["snapshot", "state.json", "out/x.json.zst", "--if-exists", "fail", *IDENTITY_FLAGS],
    ["snapshot", "state.json", "state.json"],
    ["snapshot", "link/state.json", "state.json"],
    ["snapshot", "none.json", "out/y.json"],
    ["snapshot", "state.json", "out/y.json", "--level", "99"],
    ["snapshot", "state.json", "out/y.json", "--snapshot-id", "x"],
    ["snapshot", "state.json", "out/y.json", "--if-match", "x"],
    ["snapshot", "state.json", "out", "--if-match", "x"],
    ["snapshot", "state.json", "pipe"],
    ["snapshot", "state.json", "a\nb.gz"],
    ["show", "a\x1b[31mb.gz", "--json"],
    ["verify", "a\u202eb.gz/"],
    ["snapshot", "state.json", ".persist-abc.tmp"],
    ["delete", "out", "--yes"],
    ["delete", "pipe", "--yes"],
    ["show", "pipe"],
    ["show", "out/x.json.zst"],
    ["show", "out/x.json.zst", "--json"],
    ["show", "./out/../out/x.json.zst"],
    ["verify", "out/x.json.zst", "none"],
    ["restore", "out/x.json.zst"],
    ["restore", "out/x.json.zst", "--output", "out/restored.json"],
    ["restore", "none", "--json"],
    ["exists", "out/x.json.zst"],
    ["exists", "none"],
    ["list", "out"],
    ["list", "link/out"],
    ["list", "latest"],
    ["list", "none"],
    # The operating system follows symlinks before `..`, and so must the component.
    ["snapshot", "state.json", "deep/../y.json.gz", *IDENTITY_FLAGS],
    ["show", "sub/y.json.gz"],
    ["show", "deep/../y.json.gz"],
    ["list", "deep/.."],
    ["show", "y.json.gz"],
    ["restore", "sub/y.json.gz", "--output", "deep/../restored.json"],
    ["exists", "deep/../../sub/restored.json"],
    ["delete", "deep/../y.json.gz", "--yes"],
    ["show", "sub/y.json.gz"],
    ["show", "loop/../x.json.gz"],
    ["show", "state.json/../plain.json.gz"],
    ["exists", "state.json/../plain.json.gz"],
    ["delete", "state.json/../plain.json.gz", "--yes"],
    ["snapshot", "state.json", "state.json/../z.json.gz", *IDENTITY_FLAGS],
    ["show", "missing/../plain.json.gz"],
    ["snapshot", "state.json", "missing/../z.json.gz", *IDENTITY_FLAGS],
    ["list", "loop/.."],
    ["restore", "out/x.json.zst", "--output", ".persist-abc.tmp"],
    ["restore", "out/x.json.zst", "--output", "a\nb"],
    ["restore", "out/x.json.zst", "--output", "state.json/y"],
    ["restore", "out/x.json.zst", "--output", "sub"],
    ["restore", "out/x.json.zst", "--output", "n" * 300],
    ["restore", "out/x.json.zst", "--output", "n" * 300 + "/y"],
    ["restore", "out/x.json.zst", "--output", "loop/y"],
    ["restore", "out/x.json.zst", "--output", "loop/../y"],
    ["exists", "loop"],
    ["exists", "n" * 300],
    ["show", "plain.json.gz"],
    ["show", "none"],
    ["show", "damaged.json.zst"],
    ["list", "."],
    ["delete", "plain.json.gz", "damaged.json.zst", "--yes"],
    ["delete", "plain.json.gz", "--yes", "--force"],
    ["restore", "out/x.json.zst", "--output", "out/x.json.zst"],
    ["restore", "out/x.json.zst", "--output", "link/out/../out/x.json.zst"],
    ["restore", "out/x.json.zst", "--output", "out/restored.json", "--if-exists", "fail"],
    ["restore", "out/x.json.zst", "--output", "out/new.json", "--if-exists", "fail"],
    ["snapshot", "state.json", "out/-y.ZSTD", *IDENTITY_FLAGS],
    ["snapshot", "state.json", "out/y.json", "--index", "-1"],
    ["show", "-y"],
    ["list", "out", "--json"],
    ["list", "./out/", "--json"],
    ["verify", "--json", "./out/-y.ZSTD"],
    *TIMELINES,
    ["delete", "none", "--yes"],
    ["delete", "out/x.json.zst"],
    ["delete", "out/x.json.zst", "--yes"],
    ["list", "out"],
    ["wrong"],
    ["show"],
    ["-V"],
    ["--version"],
]


def prepare(folder: Path) -> None:
    """Makes a folder with the files that the commands above refer to."""
    folder.mkdir()
    (folder / "state.json").write_text(STATE)
    (folder / "plain.json.gz").write_text("no snapshot")
    (folder / "sub/folder").mkdir(parents=True)
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(".")
    (folder / "latest").symlink_to("out")
    (folder / "deep").symlink_to("sub/folder")
    (folder / "loop").symlink_to("loop")


def damage(snapshot: Path, damaged: Path) -> None:
    """Copies a snapshot, with one bit of its metadata changed."""
    data = bytearray(snapshot.read_bytes())
    data[-100] ^= 1
    damaged.write_bytes(data)


def comparable(stdout: str, stderr: str) -> tuple[str, str]:
    """Removes from an output what may differ between hosts."""
    # The name of the program, in a usage message.
    stderr = stderr.replace("persist-cli.wasm", "persist")
    # The message of the operating system.
    stderr = re.sub(r"could not (\w+) the file \([^()]*(\([^()]*\))?\)", r"could not \1 the file", stderr)
    # The etag, which each storage makes in its own way.
    stdout = re.sub(r'"etag":"[^"]*"', "", stdout)
    return stdout, stderr


def test_the_command_says_the_same_in_both(hosts: list[Host], tmp_path: Path) -> None:
    """The native command and the component print the same, and end with the same exit codes."""
    answers = []
    for host in (host for host in hosts if isinstance(host, Command)):
        folder = tmp_path / host.name
        prepare(folder)
        said = []
        for arguments in COMMANDS:
            if arguments[:2] == ["show", "damaged.json.zst"]:
                damage(folder / "out/x.json.zst", folder / "damaged.json.zst")
            done = subprocess.run(
                [*host.command, *arguments], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            said.append((arguments, done.returncode, *comparable(done.stdout, done.stderr)))
        answers.append(said)
    for native, component in zip(*answers, strict=True):
        assert native == component


def test_the_command_is_confined_to_its_folder(hosts: list[Host], tmp_path: Path) -> None:
    """Whatever the folder is called, and where PERSIST_LOCAL_PATH confines it further."""
    wasmtime = next(host for host in hosts if host.name == "wasmtime command")
    assert isinstance(wasmtime, Command)
    program, component = wasmtime.command[0], wasmtime.command[-1]
    (tmp_path / "data/agents").mkdir(parents=True)
    (tmp_path / "data/deep/folder").mkdir(parents=True)
    (tmp_path / "data/link").symlink_to("deep/folder")

    def said(directory: str, *arguments: str, **environment: str) -> tuple[int, str]:
        given = [f"--env={name}={value}" for name, value in environment.items()]
        command = [program, "run", "--dir", directory, *given, component, *arguments]
        done = subprocess.run(command, cwd=tmp_path, input="{}", capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    stored = []
    for directory, path, environment, file in [
        ("data", "data/1.json.gz", {}, "data/1.json.gz"),
        ("data::/", "2.json.gz", {}, "data/2.json.gz"),
        ("data::/", "/3.json.gz", {}, "data/3.json.gz"),
        (f"{tmp_path}/data", f"{tmp_path}/data/4.json.gz", {}, "data/4.json.gz"),
        ("data", "../5.json.gz", {"PERSIST_LOCAL_PATH": "data/agents"}, None),
        ("data", "6.json.gz", {"PERSIST_LOCAL_PATH": "data/agents"}, "data/agents/6.json.gz"),
        ("data::/", "7.json.gz", {"PERSIST_LOCAL_PATH": "agents"}, "data/agents/7.json.gz"),
        ("./data", "12.json.gz", {"PERSIST_LOCAL_PATH": "./data/agents"}, "data/agents/12.json.gz"),
        ("./data", "13.json.gz", {"PERSIST_LOCAL_PATH": "data/agents"}, "data/agents/13.json.gz"),
        (".", "14.json.gz", {"PERSIST_LOCAL_PATH": "data/link/../agents"}, "data/deep/agents/14.json.gz"),
        (".", "8.json.gz", {"PERSIST_LOCAL_PATH": "/srv/agents"}, None),
        ("data", "9.json.gz", {}, None),
        ("data", "data/../../10.json.gz", {}, None),
        ("data", "data/11.json.gz", {"PERSIST_STORAGE": "s3"}, None),
    ]:
        code, text = said(directory, "snapshot", "-", path, **environment)
        assert (code == 0) == (file is not None), (path, text)
        stored.append(file)
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert written == sorted(file for file in stored if file is not None)
    # The component can't tell what is missing from what is outside its folder, so it names the option.
    (tmp_path / "state.json").write_text("{}")
    for arguments in [
        ("snapshot", "state.json", "data/x.json.gz"),
        ("restore", "data/1.json.gz", "--output", "restored.json"),
        ("list", "."),
        ("list", "file:///nowhere"),
    ]:
        code, text = said("data", *arguments)
        assert code != 0
        assert "--dir FOLDER" in text, text
