"""The adapters for frameworks. Each framework has a module, which is imported only if the
program has imported the framework.

The metadata of a snapshot names its adapter. The name is looked up among these adapters and
the registered ones, and only among those whose framework the program has imported: a
snapshot never causes an import.
"""

from __future__ import annotations

from persist._adapter import Adapter
from persist._registry import register_adapter

__all__ = ["Adapter", "register_adapter"]
