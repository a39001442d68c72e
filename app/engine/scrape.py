"""Answers who asks for the metrics, once every worker has told its latest counts. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.engine.channel import Channel
from app.engine.directory import Directory
from app.engine.protocol import Frame, Type

WAIT_SECONDS = 0.5  # for a worker that hangs: its last report must do


@dataclass
class _Scrape:
    asker: Channel
    number: int
    missing: set[Channel]
    until: float


class Scrapes:
    """The scrapes that are under way.

    Args:
        directory: of the workers.
        total: returns the series of all processes.
    """

    def __init__(self, directory: Directory, total: Callable[[], dict[str, Any]]) -> None:
        self._directory = directory
        self._total = total
        self._last_number = 0
        self._open: dict[int, _Scrape] = {}

    def begin(self, asker: Channel, number: int, now: float) -> None:
        """Ask every worker for its counts.

        Args:
            asker: gets the METRICS.
            number: under this id.
            now: monotonic seconds.
        """
        self._last_number += 1
        workers = self._directory.workers
        self._open[self._last_number] = _Scrape(asker, number, set(workers), now + WAIT_SECONDS)
        for worker in workers:
            self._directory.reply(worker, Frame(Type.COLLECT, self._last_number))

    def heard(self, worker: Channel, collected: int) -> None:
        """Note that a worker has answered a COLLECT; the last one's answer ends the scrape."""
        if scrape := self._open.get(collected):
            scrape.missing.discard(worker)
            if not scrape.missing:
                self._end(collected)

    def tick(self, now: float) -> None:
        """End what has waited long enough, also for workers that are gone."""
        here = set(self._directory.workers)
        for collected, scrape in list(self._open.items()):
            if now > scrape.until or not scrape.missing & here:
                self._end(collected)

    def _end(self, collected: int) -> None:
        scrape = self._open.pop(collected)
        self._directory.reply(scrape.asker, Frame(Type.METRICS, scrape.number, self._total()))
