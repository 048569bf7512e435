"""Libraries that a value in a snapshot belongs to. A snapshot never imports one: the
program does, before it restores.
"""

from __future__ import annotations

import sys
from typing import Any

from persist.errors import PersistConfigurationError


def loaded(name: str, what: str) -> Any:
    """The module of a library, which the program has imported.

    Args:
        name: The module, which is called as its distribution is.
        what: What the snapshot holds: "an array".

    Raises:
        PersistConfigurationError: It is not imported.
    """
    module = sys.modules.get(name)
    if module is not None:
        return module
    import importlib.util

    # A module of this name without a package around it is found without importing anything.
    is_installed = name not in sys.modules and importlib.util.find_spec(name) is not None
    raise PersistConfigurationError(
        f"the snapshot holds {what} of {name}, which "
        + ("this program has not imported" if is_installed else "is not installed"),
        "invalid-argument",
        hint=(f"import {name} first: a snapshot never does" if is_installed else f"pip install {name}, and import it")
        + "; or restore with plain=True to get the data",
    )
