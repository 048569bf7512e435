"""What ``PersistSaver`` asks of a bucket: ``saver_requests.py LOCATION``, with the endpoint of the
server in ``AWS_ENDPOINT_URL_S3``. Prints the figures as JSON.
"""

from __future__ import annotations

import json
import sys
import threading

from counting_proxy import Proxy
from langgraph.checkpoint.base import empty_checkpoint
from persist.langgraph import PersistSaver


def main() -> None:
    """Counts the requests of a thread of 40 checkpoints, each with the writes of a task."""
    proxy = Proxy.start()
    puts, writes, config = [], [], {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}
    with PersistSaver(sys.argv[1]) as saver:
        for number in range(1, 41):
            checkpoint = empty_checkpoint()
            checkpoint["channel_values"] = {"n": number, "text": "text " * number}
            checkpoint["channel_versions"] = dict.fromkeys(("n", "text"), number)
            proxy.counted()
            config = saver.put(config, checkpoint, {"step": number}, checkpoint["channel_versions"])
            for thread in threading.enumerate():
                if thread.name == "persist deletes pending writes":
                    thread.join()
            puts.append(proxy.counted()[0])
            saver.put_writes(config, [("n", number)], "task")
            writes.append(proxy.counted()[0])
    proxy.counted()
    with PersistSaver(sys.argv[1]) as saver:
        found = saver.get_tuple({"configurable": {"thread_id": "1"}})
        cold = proxy.counted()
    assert found is not None
    assert found.checkpoint["channel_values"]["n"] == 40
    assert found.pending_writes == [("task", "n", 40)]
    print(json.dumps({"puts": puts, "writes": writes, "cold": cold[:2], "requests": cold[2]}))


main()
