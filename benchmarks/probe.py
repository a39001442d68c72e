"""Asks /health every 50 ms, on new connections and on one that is kept. One process of its own.

``python -m benchmarks.probe PORT SECONDS`` writes one JSON line. New connections are opened on
time whatever became of the ones before. The kept one can only ask one at a time: a probe that had
to wait for the one before it is timed from when it was due, so that one stall is not one sample.
"""

import contextlib
import json
import os
import selectors
import sys
import time
from collections import deque

from benchmarks.wire import Line, name_of, request

PERIOD = 0.05
PATIENCE = 5.0
_REQUEST = request("GET", "/health")


class Prober:
    """Both ways of asking, in one loop.

    Args:
        port: the server's.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        self._go_on = True
        self._kept = Line(port, self._selector)
        self._due: deque[float] = deque()  # probes of the kept line; the first one is under way
        self._new: dict[Line, float] = {}
        self.late: list[float] = []  # milliseconds that our own clock rang late: the noise floor
        # Of each probe: milliseconds, and its status or failure.
        self.outcomes: dict[str, list[tuple[float, str]]] = {"new": [], "kept": []}

    def run(self, seconds: float) -> None:
        """Probe for so long, then wait for what is under way."""
        began = time.monotonic()
        for tick in range(1, round(seconds / PERIOD) + 1):
            due = began + tick * PERIOD
            while self._go_on and time.monotonic() < due:
                self._turn(due - time.monotonic())
            if not self._go_on:
                return
            self.late.append(1000 * (time.monotonic() - due))
            self._ask_new()
            self._due.append(due)
            if len(self._due) == 1:
                self._ask_kept()
        until = time.monotonic() + PATIENCE
        while (self._new or self._due) and self._go_on and time.monotonic() < until:
            self._turn(0.1)

    def _turn(self, timeout: float) -> None:
        for key, _ in self._selector.select(max(0.0, timeout)):
            if key.data is None:
                self._go_on = False
            else:
                self._advance(key.data)
        now = time.monotonic()
        for line in [line for line, began in self._new.items() if now - began > PATIENCE]:
            self._end(line, "timeout")
        if self._due and now - self._due[0] > PATIENCE:
            self._end(self._kept, "timeout")

    def _ask_new(self) -> None:
        line = Line(self._port, self._selector)
        self._new[line] = time.monotonic()
        self._send(line)

    def _ask_kept(self) -> None:
        self._send(self._kept)

    def _send(self, line: Line) -> None:
        try:
            line.send(_REQUEST)
        except OSError as error:
            self._end(line, name_of(error))

    def _advance(self, line: Line) -> None:
        try:
            status = line.advance()
        except OSError as error:
            self._end(line, name_of(error))
            return
        if status is not None:
            self._end(line, str(status))

    def _end(self, line: Line, outcome: str) -> None:
        now = time.monotonic()
        kept = line is self._kept
        if kept and not self._due:
            self._due.append(now)
            outcome = "closed while idle"
        began = self._due.popleft() if kept else self._new.pop(line)
        self.outcomes["kept" if kept else "new"].append((1000 * (now - began), outcome))
        if not kept or not outcome.isdigit():
            line.close()
        if kept and self._due:
            self._ask_kept()


def main() -> None:
    """Probe as the command line asks."""
    port, seconds = sys.argv[1:]
    with contextlib.suppress(PermissionError):  # else our own waiting for a core would count
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    prober = Prober(int(port))
    prober.run(float(seconds))
    print(json.dumps({"late": prober.late, **prober.outcomes}), flush=True)


if __name__ == "__main__":
    main()
