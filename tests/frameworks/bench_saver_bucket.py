"""Measures what a checkpointer of LangGraph asks of a bucket: ``bench_saver_bucket.py SAVER TURNS
LOCATION``, with the endpoint of the server in ``AWS_ENDPOINT_URL_S3``. Every answer takes 50 ms.
Prints requests, bytes and times of an agent, and of reading its thread in a new checkpointer, as
JSON.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from contextlib import ExitStack

from bench_saver import THREAD, agent, saver, sentences, talk
from counting_proxy import Proxy


def main() -> None:
    """Runs the agent."""
    name, turns, location = sys.argv[1:]
    proxy, source = Proxy.start(), itertools.cycle(sentences())
    with ExitStack() as stack:
        graph = agent("whole", source).compile(checkpointer=saver(name, location, stack))
        seconds = talk(graph, int(turns), source)
    requests, written = proxy.counted()[0], proxy.written
    with ExitStack() as stack:
        begun = time.perf_counter()
        found = saver(name, location, stack).get_tuple(THREAD)
        cold_seconds = time.perf_counter() - begun
        cold_requests, cold_rounds, _ = proxy.counted()
    assert len(found.checkpoint["channel_values"]["messages"]) == 2 * int(turns)
    figures = {"seconds": seconds, "requests": requests, "written": written}
    print(json.dumps({**figures, "cold": {"seconds": cold_seconds, "requests": cold_requests, "rounds": cold_rounds}}))


main()
