"""What every case needs: instances to start, folders, and how much of everything."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rollout import pictures
from rollout.instances import Fleet, Instance, Plain
from rollout.stage import Row, Stage
from rollout.traffic import Plan
from tests.server import Server


@dataclass(frozen=True)
class Scale:
    """How much.

    Args:
        instances: that are upgraded one after the other.
        requests: that the clients of each balancer make at least, in each upgrade.
        kills: of the engine.
        stops: of the engine.
        swaps: of the weights.
        hangups: of gunicorn.
        worker_kills: of an HTTP worker.
        reloads: of the balancers, in the control run.
        pause: seconds between an answer and the same client's next request; 0 is a closed loop.
    """

    instances: int = 2
    requests: int = 2_000
    kills: int = 30
    stops: int = 3
    swaps: int = 20
    hangups: int = 10
    worker_kills: int = 5
    reloads: int = 4
    pause: float = 0.04


FULL = Scale(instances=3, requests=20_000, worker_kills=10, reloads=10, pause=0.0)


class Lane:
    """Cases that run one after the other; lanes may run beside each other.

    Args:
        folder: empty.
        scale: how much.
    """

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.scale = scale
        self._folder = folder
        self._stages = 0
        self._serving: Instance | None = None
        (folder / "instances").mkdir()
        self.fleet = Fleet(folder / "instances")
        self._plan = Plan(pictures.write(folder / "digits", 4))
        self._sevens = pictures.write(folder / "sevens", 1)

    def serving(self) -> Instance:
        """Return the instance that the cases of this lane share; it is ready."""
        if self._serving is None or self._serving.process.poll() is not None:
            [self._serving] = self.start(1, DRAIN_SECONDS=0)
        self._serving.wait_ready()
        return self._serving

    def start(self, count: int, **env: object) -> list[Instance]:
        """Start instances and wait until they are ready."""
        instances = [self.fleet.start(**env) for _ in range(count)]
        for instance in instances:
            instance.wait_ready()
        return instances

    def start_plain(self, count: int, sleep: int) -> list[Plain]:
        """Start plain ones and wait until they are ready."""
        instances = [self.fleet.start_plain(sleep) for _ in range(count)]
        for instance in instances:
            instance.wait_ready()
        return instances

    def stage(self, servers: Sequence[Server]) -> Stage:
        """Return a new stage before these instances."""
        self._stages += 1
        folder = self._folder / f"s{self._stages}"  # short: HAProxy's socket lies below it
        folder.mkdir()
        plain = any(isinstance(server, Plain) for server in servers)
        plan = replace(self._plan, folder=self._sevens) if plain else self._plan
        pause = self.scale.pause / 2 if plain else self.scale.pause  # it answers in no time
        return Stage(folder, servers, replace(plan, pause=pause))


Case = Callable[[Lane], Iterator[Row]]
