"""The Deployment's part: as many instances as were asked for, behind HAProxy while they serve.

As in a cluster, a new one gets requests when it says that it is ready; one that is to go gets
SIGTERM first, and the balancer hears of it some time later.
"""

import contextlib
import http.client
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoscaling import manifest
from rollout.haproxy import Haproxy
from rollout.instances import Fleet, Instance

NAMESPACE = "rehearsal"
LAG_SECONDS = 1.0  # from SIGTERM until the balancer knows


@dataclass
class Pod:
    """One instance.

    Args:
        name: as the series call it.
        ready: whether it has been routed to.
        left: when it got SIGTERM.
    """

    name: str
    instance: Instance
    ready: bool = False
    left: float | None = None


class Replicas:
    """All of them.

    Args:
        fleet: that starts them, and knows how they ended.
        discovery: the file from which Prometheus learns whom to scrape.
        settings: of each instance.
    """

    def __init__(self, fleet: Fleet, discovery: Path, settings: Mapping[str, object]) -> None:
        self._fleet = fleet
        self._discovery = discovery
        self._settings = settings
        self._pods: list[Pod] = []
        self._started = 0
        self._routed: list[int] | None = None

    @property
    def names(self) -> list[str]:
        """The pods that there are, those that are about to end left out."""
        return [pod.name for pod in self._staying()]

    @property
    def ready(self) -> int:
        """How many of them serve."""
        return sum(pod.ready for pod in self._staying())

    def scale(self, wanted: int, now: float) -> None:
        """Start or retire as many as it takes; the youngest go first."""
        staying = self._staying()
        for _ in range(wanted - len(staying)):
            self._started += 1
            instance = self._fleet.start(**self._settings)
            self._pods.append(Pod(f"pod-{self._started}", instance))
        for pod in staying[wanted:]:
            pod.left = now
            self._fleet.retire(pod.instance)
        self._tell_prometheus()

    def turn(self, now: float, balancer: Haproxy) -> None:
        """Route to those that have become ready, and no longer to those that left a while ago."""
        for pod in self._staying():
            pod.ready = pod.ready or _is_ready(pod.instance)
        ports = [
            pod.instance.port
            for pod in self._pods
            if pod.ready and (pod.left is None or now - pod.left < LAG_SECONDS)
        ]
        if ports != self._routed:
            balancer.route(ports)
            self._routed = ports

    def _staying(self) -> list[Pod]:
        return [pod for pod in self._pods if pod.left is None]

    def _tell_prometheus(self) -> None:
        new = self._discovery.with_suffix(".new")
        new.write_text(json.dumps([
            manifest.pod(NAMESPACE, pod.name, pod.instance.port) for pod in self._staying()
        ]))  # fmt: skip
        os.replace(new, self._discovery)


def _is_ready(instance: Instance) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return instance.get("/ready").status == 200
    return False
