"""Programs that do their work in forked children."""

from __future__ import annotations

IN_CHILD = """
import os, signal

def in_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, work
"""
"""The beginning of a program: ``in_child(work)`` runs ``work`` in a child, which has to succeed."""
