"""The table of hosts and operations that the tests print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def print_matrix(operations: Iterable[str], done: Mapping[str, Mapping[str, bool]]) -> None:
    """Prints for each host which operations it gets right. Those that it does not have are not in its row."""
    columns, width = list(operations), max(map(len, done))
    print(f"\n\n{'':{width}}  " + "  ".join(columns))
    for name, row in done.items():
        cells = ({True: "ok", False: "FAILS", None: "-"}[row.get(column)].ljust(len(column)) for column in columns)
        print(f"{name:{width}}  " + "  ".join(cells))
