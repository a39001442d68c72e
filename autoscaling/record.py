"""What a rehearsal was to do, and what was seen."""

from dataclasses import dataclass, field

from rollout.balancer import Log
from rollout.instances import Ends
from rollout.traffic import Seen


@dataclass(frozen=True)
class Script:
    """How the rehearsal goes.

    Args:
        factor: what every time of the manifests is multiplied by.
        minimum: instances, instead of the manifest's.
        maximum: instances, instead of the manifest's.
        few: clients that are there all the time.
        pause: seconds between an answer and the next request of each of those.
        many: more clients, during the step, without a pause.
        before: seconds until the step.
        step: seconds that it lasts.
        after: seconds with the last instance alone.
    """

    factor: float = 0.1
    minimum: int = 1
    maximum: int = 4
    few: int = 4
    pause: float = 0.1
    many: int = 116
    before: float = 15.0
    step: float = 60.0
    after: float = 10.0


@dataclass(frozen=True)
class Moment:
    """What there was when the autoscaler looked.

    Args:
        at: seconds since the start.
        clients: that ask.
        wanted: instances, from now on.
        ready: instances that serve.
        values: average of each pod, by the metric's name, as the autoscaler saw it.
        asked: instances, by the metric's name.
    """

    at: float
    clients: int
    wanted: int
    ready: int
    values: dict[str, float]
    asked: dict[str, int]


@dataclass
class Record:
    """What was seen in all.

    Args:
        targets: of the manifest.
        moments: in order.
        few: what the clients saw that were there all the time.
        many: what those of the step saw.
        log: the balancer's own.
        ends: how instances ended.
        began: monotonic seconds of the start.
        step: from when to when, in seconds since the start.
    """

    targets: dict[str, float]
    script: Script
    began: float
    moments: list[Moment] = field(default_factory=list)
    few: Seen = field(default_factory=Seen)
    many: Seen = field(default_factory=Seen)
    log: Log = field(default_factory=Log)
    ends: Ends = field(default_factory=Ends)
    step: tuple[float, float] = (0.0, 0.0)

    @property
    def lost(self) -> int:
        """Requests without an answer, by the clients' count or by the balancer's."""
        return max(len(self.few.failures) + len(self.many.failures), self.log.failed)

    @property
    def most(self) -> int:
        """Instances that served at one time, at most."""
        return max((moment.ready for moment in self.moments), default=0)

    @property
    def faults(self) -> list[str]:
        """What was not as promised."""
        last = self.moments[-1]
        return [
            *([f"{self.lost} requests lost"] if self.lost else []),
            *([f"{self.most} instances at most"] if self.most < self.script.maximum else []),
            *([f"{last.wanted} instances in the end"] if last.wanted > self.script.minimum else []),
            *self.ends.faults,
        ]
