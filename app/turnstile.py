"""Lets work of the event loop through bit by bit, so that a probe never waits for a burst."""

import gevent
from gevent.lock import Semaphore

_AT_ONCE = 1e-9  # seconds; more than 0, or gevent would not look at its sockets in between
PROBES = frozenset({"/health", "/live", "/ready", "/startup", "/deep-health"})
_turnstile = Semaphore()


def goes_first(method: str, path: str) -> bool:
    """Return whether a request is a probe: it only asks what is known, and takes no turn."""
    # PAI-EAS probes / unless told otherwise.
    return method in ("GET", "HEAD") and (path == "/" or path.removesuffix("/") in PROBES)


def take_turn() -> None:
    """Wait, first come first served, until the loop has looked at its sockets once more.

    By itself it handles every socket that has something to read before it looks again, and runs
    up to fifty greenlets that did ``gevent.sleep(0)``. A request that arrives then, and takes no
    turn, would wait for all of them.
    """
    with _turnstile:
        gevent.sleep(_AT_ONCE)
    if _turnstile.linkcount():
        gevent.sleep(0)  # the next one only hears of it now; else the one that runs overtakes it
