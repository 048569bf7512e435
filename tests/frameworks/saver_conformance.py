"""Runs LangGraph's own suite for checkpointers against ``PersistSaver``: ``saver_conformance.py
LOCATION``. Prints how many of its tests passed, and the failures.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from uuid import uuid4

from langgraph.checkpoint.conformance.initializer import checkpointer_test
from langgraph.checkpoint.conformance.validate import validate
from persist.langgraph import PersistSaver


@checkpointer_test(name="PersistSaver")
async def saver() -> AsyncIterator[PersistSaver]:
    """Makes a checkpointer for each group of tests."""
    async with PersistSaver(f"{sys.argv[1]}/{uuid4()}") as made:
        yield made


async def main() -> None:
    """Runs the suite."""
    report = await validate(saver)
    results = report.results.values()
    passed, failed = sum(each.tests_passed for each in results), sum(each.tests_failed for each in results)
    for each in results:
        print(*each.failures or (), sep="\n", end="")
    print(
        f"{passed} of {passed + failed} passed, {sum(not each.detected for each in results)} capabilities are missing"
    )


asyncio.run(main())
