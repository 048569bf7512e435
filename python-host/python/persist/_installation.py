"""Checks that the files of this package are the only ones in its folder.

The distribution ``persist`` on PyPI, which keeps Python objects in archives, installs a package of
the same name. If both are installed, each has some of the other's files.
"""

from __future__ import annotations

import os

_OF_ANOTHER = "archive.py"
"""A module of that package, and not of this one."""


def check() -> None:
    """Raises an ``ImportError`` if the other package is in this folder."""
    folder = os.path.dirname(__file__)
    if os.path.exists(os.path.join(folder, _OF_ANOTHER)):
        raise ImportError(
            f"the distributions 'agent-persist' and 'persist' are both installed in {folder}, and each has "
            "overwritten files of the other: run 'pip uninstall persist agent-persist', then install agent-persist"
        )
