"""An HTTP worker's counts on their way to the supervisor, and the sum of all on its way back."""

from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import AsyncResult
from gevent.lock import RLock

from app import errors
from app.engine.line import Line
from app.engine.protocol import Frame, Type
from app.metrics import Counts

REPORT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
LAST_SECONDS = 1.0


class Report:
    """Tells about once a second what was counted, and at once when it is asked.

    Args:
        line: to the supervisor.
        gauges: says what the worker is doing now.
    """

    def __init__(self, line: Line, gauges: Callable[[], dict[str, int]]) -> None:
        self.counts = Counts()
        self._line = line
        self._gauges = gauges
        line.on_collect = self.send
        self._told: tuple[int, dict[str, int]] | None = None
        self._asking = RLock()
        self._next_total: AsyncResult | None = None  # for who came since the last was asked for

    def start(self) -> None:
        """Begin, for the life of the process."""
        gevent.spawn(self._go_on)

    def send(self, asked: int = 0) -> None:
        """Tell now; what cannot be told is kept for the next time.

        Args:
            asked: the id of the COLLECT that this answers, or 0.
        """
        taken, gauges = self.counts.take(), self._gauges()
        told = (self._line.connections, gauges)  # a new connection has heard nothing yet
        if not (asked or taken or told != self._told):
            return
        if self._line.send(Frame(Type.COUNTS, asked, {"counts": taken, "gauges": gauges})):
            self._told = told
        else:
            self.counts.add(taken)

    def send_last(self) -> None:
        """Tell before the process ends, which must not hang on a supervisor that does."""
        with gevent.Timeout(LAST_SECONDS, False):
            self.send()

    def total(self) -> dict[str, Any]:
        """Return the series of all processes, by the metric's name.

        Raises:
            app.errors.MetricsUnavailable: the supervisor does not answer.
        """
        if self._next_total is None:
            self._next_total = AsyncResult()
            gevent.spawn(self._ask, self._next_total)
        with gevent.Timeout(ANSWER_SECONDS, False):
            if (total := self._next_total.get()) is not None:
                return dict(total)
        raise errors.MetricsUnavailable(
            f"the engine supervisor did not answer within {ANSWER_SECONDS:g} s"
        )

    def _ask(self, total: AsyncResult) -> None:
        """Ask once for everybody who waits: many answers at a time would clog the line."""
        with self._asking:
            self._next_total = None  # what is counted from now on may not be in this one
            try:
                total.set(self._line.ask(Type.SCRAPE).get(timeout=ANSWER_SECONDS))
            except (errors.ServingError, gevent.Timeout):
                total.set(None)

    def _go_on(self) -> None:
        while True:
            gevent.sleep(REPORT_SECONDS)
            self.send()
