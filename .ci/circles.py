"""Fails if modules of a Python package import each other in a circle.

    python3 .ci/circles.py python-host/python/persist

Every import counts, also one in a function or under TYPE_CHECKING. Modules that are
imported by a computed name are not seen.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path


def modules_in(package: Path) -> dict[str, Path]:
    """Returns the modules of a package and their files, by full name. A native module has its stub."""
    found = {}
    for file in sorted(file for file in package.rglob("*") if file.suffix in (".py", ".pyi")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports_of(name: str, modules: dict[str, Path]) -> Iterator[str]:
    """Yields the modules among ``modules`` that a module imports."""
    file = modules[name]
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: 1 - node.level or None]) if node.level else ""
            source = ".".join(part for part in (above, node.module) if part)
            for alias in node.names:
                # ``from package import name`` may import a module or a name in the package.
                imported = next((known for known in (f"{source}.{alias.name}", source) if known in modules), None)
                if imported is not None:
                    yield imported


def circle_in(graph: dict[str, set[str]]) -> list[str] | None:
    """Returns the first circle as a path that ends where it begins, or ``None``."""
    done: set[str] = set()

    def search(name: str, path: list[str]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        for imported in sorted(graph[name]):
            if (circle := search(imported, [*path, name])) is not None:
                return circle
        done.add(name)
        return None

    return next((circle for name in graph if (circle := search(name, [])) is not None), None)


def main() -> int:
    """Checks the package in the folder that the command line names."""
    modules = modules_in(Path(sys.argv[1]))
    circle = circle_in({name: set(imports_of(name, modules)) for name in modules})
    if circle is not None:
        print(f"modules import each other in a circle: {' -> '.join(circle)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
