"""Waiting in gevent's loop, which turns meanwhile; ``tests.server.wait_for`` stands still."""

from collections.abc import Callable

import gevent


def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is true."""
    with gevent.Timeout(10):
        while not condition():
            gevent.sleep(0.001)
