"""Traffic through one balancer, seen from the run: how far its clients are, and what they saw."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.child import Child
from tests.server import wait_for

SILENCE_SECONDS = 120.0  # without any answer: something is broken for good


@dataclass(frozen=True)
class Plan:
    """What the clients of one balancer do.

    Args:
        folder: of images, each named after its digit.
        clients: how many.
        pause: seconds between an answer and the next request.
    """

    folder: Path
    clients: int = 4
    pause: float = 0.0


@dataclass
class Seen:
    """What the clients saw, at the end.

    Args:
        answers: when each answered request began and ended; monotonic seconds.
        failures: ``id``, ``outcome``, ``reused``, ``began`` and ``ended`` of each other one.
        versions: of the weights, as the answers name them.
    """

    answers: list[tuple[float, float]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)

    @property
    def requests(self) -> int:
        """How many there were."""
        return len(self.answers) + len(self.failures)


class Traffic:
    """Clients in a process of their own.

    Args:
        name: what every request id begins with.
        port: the balancer's.
        plan: how much.
    """

    def __init__(self, name: str, port: int, plan: Plan) -> None:
        self._child = Child("rollout.clients")
        self._child.say(
            name=name, port=port, clients=plan.clients, pause=plan.pause, folder=str(plan.folder)
        )
        self._latest: dict[str, Any] = {"count": 0, "failed": 0, "oldest": None}
        self._seen: Seen | None = None
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """Answers so far."""
        return int(self._latest["count"])

    def wait_count(self, count: int) -> None:
        """Wait until so many answers have come in all."""
        while (before := self.count) < count:
            self._wait(lambda: self.count > before, f"the next of {count} answers")

    def wait_younger(self, moment: float) -> None:
        """Wait until every request that was sent before the moment is answered."""

        def younger() -> bool:
            oldest = self._latest["oldest"]
            return oldest is None or oldest > moment

        self._wait(younger, "the answers of what was in flight")

    def finish(self) -> Seen:
        """Let every client have its last answer; return what all saw."""
        self._child.finish()
        self._thread.join(90)
        self.destroy()
        if self._seen is None:
            raise AssertionError("the clients did not finish")
        return self._seen

    def destroy(self) -> None:
        """End the process, however."""
        self._child.__exit__(None, None, None)

    def _wait(self, condition: Any, what: str) -> None:
        wait_for(lambda: condition() or not self._thread.is_alive(), what, SILENCE_SECONDS)
        if not condition():
            raise AssertionError(f"the clients ended; waited for {what}")

    def _listen(self) -> None:
        try:
            while "answers" not in (line := self._child.hear()):
                self._latest = line
        except (RuntimeError, ValueError):
            return  # destroyed, or died: whoever waits is told by the thread's end
        self._seen = Seen(
            [(b, e) for b, e in line["answers"]], line["failures"], set(line["versions"])
        )
