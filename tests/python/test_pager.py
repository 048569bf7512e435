"""``persist diff`` shows long texts in a pager on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import rest_of


def diff(pager: str) -> tuple[int, str]:
    """Compares two states on a terminal. Returns the exit code, and what was shown."""
    Path("one.json").write_text('{"text": "before"}')
    Path("other.json").write_text('{"text": "after"}')
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "persist", "diff", "one.json", "other.json", "--color=never"]
    environment = {**os.environ, "PERSIST_PAGER": pager}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as running:
        os.close(theirs)
        shown = rest_of(ours)
    os.close(ours)
    return running.returncode, shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("pager", ["sed 's/^/> /'", "EDITED=yes sed 's/^/> /'"])
def test_the_pager_shows_the_text(pager: str) -> None:
    code, shown = diff(pager)
    assert (code, shown.splitlines()[:2]) == (0, ["> --- one.json", "> +++ other.json"])


@pytest.mark.parametrize("pager", ["", "cat", "no-such-pager --quick", "./no-such-pager"])
def test_without_a_pager_the_text_is_shown_all_the_same(pager: str) -> None:
    code, shown = diff(pager)
    assert (code, shown.splitlines()[:2]) == (0, ["--- one.json", "+++ other.json"])


@pytest.mark.parametrize("pager", ["sed --no-such-option", "cat > /dev/null; exit 3"])
def test_a_pager_that_fails_is_named(pager: str) -> None:
    code, shown = diff(pager)
    assert code == 8
    assert f"the pager '{pager}' failed" in shown
    assert "--no-pager" in shown
