"""How the thread of autosave is woken."""

from __future__ import annotations

import threading

from persist._autosave_thread import Wake


def test_a_wait_of_almost_no_time_ends() -> None:
    """With a ``queue.SimpleQueue``, one in some ten thousand waited for ever."""
    wake = Wake()

    def waits() -> None:
        for number in range(50_000):
            wake.set()
            wake.wait(None)
            wake.wait(number % 30 * 1e-7)

    thread = threading.Thread(target=waits, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
