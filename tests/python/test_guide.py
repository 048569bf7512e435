"""Runs every Python example of the guide that users were promised, as printed, against an S3
server on this machine.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import persist
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import GUIDE

AGENT = {"messages": [{"role": "user", "content": "Hello"}], "step": 3}


def blocks() -> list[str]:
    """Returns the examples, in order."""
    found = []
    for file in sorted(GUIDE.iterdir()):
        for part in file.read_text().split("```python\n")[1:]:
            found.append(textwrap.dedent(part.split("```")[0]))
    return found


def about_both(s3: Any, scope: dict[str, Any]) -> None:
    assert persist.restore("snapshots/agent1.json.gz") == AGENT
    assert scope["restored_agent"] == AGENT
    assert s3.keys("my-snapshots-bucket") == ["agent1/session1/snapshot.json.gz"]


def about_basics(s3: Any, scope: dict[str, Any]) -> None:
    assert scope["restored_agent"] == AGENT
    found = persist.list_snapshots("s3://my-company-ai-snapshots")
    assert [(one.agent_id, one.session_id) for one in found] == [("conversation_bot", "session_123")]
    assert found[0].description == "After customer conversation training"


def about_options(s3: Any, scope: dict[str, Any]) -> None:
    assert s3.keys("eu-snapshots-bucket") == ["snapshots/agent.json.gz"]
    assert scope["metadata"].agent_id == "promised"
    assert scope["metadata"]["uncompressed_size"] > 0
    # The other snapshot existed and was deleted.
    assert s3.keys("my-bucket") == ["snapshots/agent.json.gz"]


def about_errors(s3: Any, scope: dict[str, Any]) -> None:
    assert persist.restore("s3://my-bucket/key") == AGENT


def about_health(s3: Any, scope: dict[str, Any]) -> None:
    assert scope["printed"] == "S3 connection successful\n"


def about_migration(s3: Any, scope: dict[str, Any]) -> None:
    assert persist.restore("local/path/snapshot.json.gz") == AGENT
    assert persist.restore("s3://your-bucket/path/snapshot.json.gz") == AGENT


def about_environments(s3: Any, scope: dict[str, Any]) -> None:
    assert persist.restore("snapshot.json.gz") == AGENT
    assert os.path.exists("snapshot.json.gz")


CHECKS: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "agent1/session1/": about_both,
    "conversation_bot": about_basics,
    "eu-snapshots-bucket": about_options,
    "except IOError": about_errors,
    "health-check.test": about_health,
    "/local/path/": about_migration,
    'os.environ.get("PERSIST_STORAGE"': about_environments,
}


def promised() -> Any:
    found = []
    for block in blocks():
        names = [name for name in CHECKS if name in block]
        assert len(names) == 1, f"there is no check for this example:\n{block}"
        found.append(pytest.param(block, CHECKS[names[0]], id=CHECKS[names[0]].__name__))
    assert len(found) == len(CHECKS)
    return found


def run(block: str, folder: Path) -> dict[str, Any]:
    scope = {"__name__": "__main__", "persist": persist, "agent": AGENT}
    # Absolute paths of the example go below this folder.
    exec(compile(block.replace('"/', f'"{folder}/'), "the guide", "exec", dont_inherit=True), scope)
    return scope


@pytest.mark.parametrize(("block", "check"), promised())
def test_an_example_works(
    block: str,
    check: Callable[[Any, dict[str, Any]], None],
    folder: Path,
    s3: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, region in [
        ("my-snapshots-bucket", "us-west-2"),
        ("my-company-ai-snapshots", "us-west-2"),
        ("eu-snapshots-bucket", "eu-central-1"),
        ("your-bucket", "us-east-1"),
    ]:
        s3.create(name, region)
    # An example may set these permanently.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, os.environ[name])
    if check is about_options:
        persist.snapshot(AGENT, "s3://my-bucket/snapshots/agent.json.gz", agent_id="promised")
        persist.snapshot(AGENT, "s3://my-bucket/path/to/snapshot.json.gz")
    scope = run(block, folder)
    scope["printed"] = capsys.readouterr().out
    check(s3, scope)


def test_the_hybrid_example_works_in_the_cloud(folder: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (block for block in blocks() if 'os.environ.get("PERSIST_STORAGE"' in block)
    monkeypatch.setenv("PERSIST_S3_BUCKET", "my-bucket")
    run(block, folder)
    assert s3.keys("my-bucket") == []
    assert os.path.exists("snapshot.json.gz")
    monkeypatch.setenv("PERSIST_STORAGE", "s3")
    run(block, folder)
    assert s3.keys("my-bucket") == ["snapshot.json.gz"]


def test_the_chain_of_errors_says_why(
    folder: Path, s3: Any, answering: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = (block for block in blocks() if "except IOError" in block)

    def printed() -> str:
        run(block, folder)
        return capsys.readouterr().out

    with answering(403, "AccessDenied") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        assert printed() == "S3 bucket access issue\n"
    # Nothing listens on the port any more.
    assert printed() == "Network connectivity problem\n"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    s3.client.delete_bucket(Bucket="my-bucket")
    assert printed() == "S3 bucket access issue\n"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert printed() == "AWS credentials not configured\n"
