"""Tells every HTTP worker which engines serve, and its share of the bounds. In the supervisor."""

import os
import selectors
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.engine.channel import Channel, listening
from app.engine.protocol import Frame, Type
from app.engine.slot import Engine, Slot
from app.lifecycle import Stage
from app.settings import Settings


class Directory:
    """The listening socket of the supervisor and the connections of the workers.

    Args:
        settings: for the bounds that workers share.
        path: Unix socket to listen on.
        selector: of the supervisor's loop; connections carry their Channel as data.
    """

    def __init__(self, settings: Settings, path: Path, selector: selectors.BaseSelector) -> None:
        self._settings = settings
        self._selector = selector
        self._workers: dict[Channel, dict[str, int]] = {}  # with what each says of itself
        self._head: dict[str, Any] = {
            "draining": False, "served": False, "engines": [], "swap": {"running": False},
        }  # fmt: skip
        self._path = path
        self._listen()

    @property
    def reachable(self) -> bool:
        """Whether a worker that starts now finds us."""
        try:
            return os.path.samestat(self._path.stat(), self._socket)
        except OSError:
            return False

    def listen_again(self) -> str:
        """Listen under our name anew: the socket was removed. Who is connected stays so.

        Returns:
            Why that cannot be, or an empty string.
        """
        old = self.listener
        try:
            self._path.unlink(missing_ok=True)
            self._listen()
        except OSError as error:
            return f"STATE_DIR={self._path.parent} takes no socket: {error.strerror}."
        self._selector.unregister(old)
        old.close()
        return ""

    def _listen(self) -> None:
        listener = listening(str(self._path))
        self._socket = self._path.stat()
        self._selector.register(listener, selectors.EVENT_READ, listener)
        self.listener = listener

    @property
    def empty(self) -> bool:
        """Whether no worker is connected."""
        return not self._workers

    @property
    def workers(self) -> list[Channel]:
        """The connected workers."""
        return list(self._workers)

    @property
    def gauges(self) -> list[dict[str, int]]:
        """What each connected worker has last said of itself."""
        return list(self._workers.values())

    def note(self, channel: Channel, gauges: dict[str, int]) -> None:
        """Note what a worker says of itself."""
        if channel in self._workers:
            self._workers[channel] = gauges

    def accept(self) -> None:
        """Take a worker's connection; the shares of the others shrink."""
        sock, _ = self.listener.accept()
        channel = Channel(sock)
        self._selector.register(channel, selectors.EVENT_READ, channel)
        self._workers[channel] = {}
        self._send()

    def knows(self, channel: Channel) -> bool:
        """Return whether the channel is a worker's."""
        return channel in self._workers

    def forget(self, channel: Channel) -> None:
        """Drop a worker that is gone, or does not read."""
        if channel not in self._workers:
            return
        del self._workers[channel]
        self._selector.unregister(channel)
        channel.close()
        self._send()

    def close(self) -> None:
        """Leave the workers; they are gone already unless they hang."""
        for channel in list(self._workers):
            channel.close()
        self.listener.close()

    def tell(
        self, slots: Sequence[Slot], swap: dict[str, Any], *, draining: bool, served: bool
    ) -> None:
        """Tell every worker what is true now."""
        engines = [_describe(slot, slot.engine) for slot in slots]
        engines += [_describe(slot, engine) for slot in slots for engine in slot.retired]
        self._head = {"draining": draining, "served": served, "engines": engines, "swap": swap}
        self._send()

    def reply(self, channel: Channel, frame: Frame) -> None:
        """Answer one worker, if it is still there."""
        if channel in self._workers:
            channel.send(frame)

    def flush(self) -> None:
        """Go on with what a worker's connection did not take at once.

        One that reads nothing is cut off by its channel when much waits for it, not sooner: many
        metrics at a time are more than a connection takes, and nobody's fault.
        """
        for channel in self._workers:
            if channel.has_backlog:
                channel.flush()

    def _send(self) -> None:
        # While gunicorn replaces its workers, the old and the new ones share.
        sharers = max(self._settings.workers, len(self._workers))
        share = {
            "images": max(1, self._settings.max_concurrent_requests // sharers),
            "bytes": self._settings.max_inflight_mb * 2**20 // sharers,
        }
        frame = Frame(Type.ENGINES, head={**self._head, "share": share})
        for channel in self._workers:
            channel.send(frame)


def _describe(slot: Slot, engine: Engine | None) -> dict[str, Any]:
    leaves = engine is not None and engine is not slot.engine
    stage = engine.stage if engine else _prospect(slot)
    return {
        "device": slot.device,
        "stage": Stage.RETIRING if leaves else stage,
        "cause": "" if leaves else slot.words,
        "path": engine.order.path if engine else "",
        "generation": engine.order.generation if engine else 0,
        "pid": engine.pid if engine else 0,
        "memory_mb": engine.host.now if engine else 0.0,
        "started_at": engine.started_at if engine else None,
        "restarts": slot.restarts,
    }


def _prospect(slot: Slot) -> Stage:
    """Return how far an empty place is: where an exchange has emptied it, the next one loads."""
    next_one = slot.successor
    # One that waits for its sisters serves nobody yet.
    return next_one.stage if next_one and not next_one.was_ready else Stage.GONE
