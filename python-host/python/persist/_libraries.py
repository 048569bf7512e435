"""Finds the libraries that values in a snapshot need. A snapshot never imports a library:
the program has to import it before it restores.
"""

from __future__ import annotations

import sys
from typing import Any

from persist.errors import PersistConfigurationError


def loaded(name: str, what: str) -> Any:
    """Returns the module of a library that the program has imported.

    Args:
        name: The name of the module, which is also that of its distribution.
        what: What the snapshot holds: "a numpy array".

    Raises:
        PersistConfigurationError: The module is not imported.
    """
    module = sys.modules.get(name)
    if module is not None:
        return module
    import importlib.util

    # Finding a top-level module imports nothing.
    is_installed = name not in sys.modules and importlib.util.find_spec(name) is not None
    raise PersistConfigurationError(
        f"the snapshot holds {what}, but "
        + (f"this program has not imported {name}" if is_installed else f"{name} is not installed"),
        "invalid-argument",
        hint=(f"import {name} first (restoring never does)" if is_installed else f"pip install {name} and import it")
        + ", or restore with plain=True to get the data",
    )
