"""One rehearsal: a load step, and the autoscaler's answer to it."""

import math
import threading
import time
from dataclasses import replace
from pathlib import Path

from autoscaling import manifest
from autoscaling.autoscaler import Autoscaler, stretched
from autoscaling.prometheus import Prometheus
from autoscaling.record import Moment, Record, Script
from autoscaling.replicas import NAMESPACE, Replicas
from rollout import pictures
from rollout.haproxy import Haproxy
from rollout.instances import Fleet
from rollout.swaps import WEIGHTS
from rollout.traffic import Plan, Traffic

TURN_SECONDS = 0.25
PATIENCE = 240.0  # after the step, until one instance is left


class Rehearsal:
    """The stage and the cast.

    Args:
        folder: empty.
        script: how it goes.
    """

    def __init__(self, folder: Path, script: Script) -> None:
        self._folder = folder
        self._script = script
        self._manifest = manifest.autoscaler()
        bounds = replace(self._manifest.bounds, minimum=script.minimum, maximum=script.maximum)
        self._autoscaler = Autoscaler(self._manifest.targets, stretched(bounds, script.factor))
        for name in ("instances", "prometheus", "h"):  # short: HAProxy's socket lies there
            (folder / name).mkdir()
        self._fleet = Fleet(folder / "instances")
        discovery = folder / "prometheus" / "pods.json"
        self._replicas = Replicas(self._fleet, discovery, {
            "MODEL": "autoscaling.model:Unhurried", "MODEL_PATH": WEIGHTS, "WORKERS": 1,
            "DRAIN_SECONDS": 4, "GRACEFUL_SECONDS": 25,
        })  # fmt: skip
        self._prometheus: Prometheus | None = None
        self._balancer: Haproxy | None = None
        self._traffics: list[Traffic] = []

    def run(self) -> Record:
        """Play it."""
        self._open()
        script = self._script
        self._few = self._enter("few", script.few, script.pause)
        record = Record(self._manifest.targets, script, time.monotonic())
        self._record = record
        self._play(script.before, script.few)
        many = self._enter("many", script.many, 0.0)
        started = self._now()
        self._play(started + script.step, script.few + script.many)
        ended = self._now()
        record.step = started, ended
        leaving = threading.Thread(target=lambda: setattr(record, "many", many.finish()))
        leaving.start()
        while len(self._replicas.names) > script.minimum and self._now() < ended + PATIENCE:
            self._play(self._now() + TURN_SECONDS, script.few)
        self._play(self._now() + script.after, script.few)
        leaving.join()
        self._close()
        return record

    def destroy(self) -> None:
        """Leave nothing behind."""
        for traffic in self._traffics:
            traffic.destroy()
        if self._balancer:
            self._balancer.destroy()
        if self._prometheus:
            self._prometheus.destroy()
        self._fleet.destroy()

    # ---- the acts

    def _open(self) -> None:
        self._pictures = pictures.write(self._folder / "digits", 4)
        self._replicas.scale(self._script.minimum, 0.0)
        self._balancer = Haproxy(self._folder / "h", [])
        targets = {"file_sd_configs": [{"files": ["pods.json"], "refresh_interval": "1s"}]}
        self._prometheus = Prometheus(
            self._folder / "prometheus", manifest.scraping(targets, self._script.factor),
            manifest.rules(self._script.factor),
        )  # fmt: skip
        while self._replicas.ready < self._script.minimum or not self._is_seen():
            self._replicas.turn(0.0, self._balancer)
            time.sleep(TURN_SECONDS)

    def _play(self, until: float, clients: int) -> None:
        """Go on until so many seconds after the start; look as often as the controller would."""
        assert self._balancer
        record, sync = self._record, manifest.SYNC_SECONDS * self._script.factor
        while (now := self._now()) < until:
            self._replicas.turn(now, self._balancer)
            if not record.moments or now - record.moments[-1].at >= sync:
                self._decide(now, clients)
            time.sleep(TURN_SECONDS)

    def _decide(self, now: float, clients: int) -> None:
        values = self._look()
        wanted = self._autoscaler.decide(now, len(self._replicas.names), values)
        self._replicas.scale(wanted, now)
        averages = {}
        for name, pods in values.items():
            known = [value for value in pods.values() if value is not None]
            averages[name] = sum(known) / len(known) if known else math.nan
        self._record.moments.append(Moment(
            now, clients, wanted, self._replicas.ready, averages, dict(self._autoscaler.asked)
        ))  # fmt: skip

    def _look(self) -> dict[str, dict[str, float | None]]:
        """Return the value of each pod, by the metric's name, as the adapter would tell it."""
        assert self._prometheus
        names = self._replicas.names
        values: dict[str, dict[str, float | None]] = {}
        for metric, query in manifest.queries(NAMESPACE, names).items():
            if metric in self._manifest.targets:
                found = {s.labels["pod"]: s.value for s in self._prometheus.query(query)}
                values[metric] = {name: found.get(name) for name in names}
        return values

    def _is_seen(self) -> bool:
        return all(value is not None for pods in self._look().values() for value in pods.values())

    def _close(self) -> None:
        assert self._balancer
        self._record.few = self._few.finish()
        self._record.ends = self._fleet.wait_retired()
        self._record.log = self._balancer.stop()

    def _enter(self, name: str, clients: int, pause: float) -> Traffic:
        assert self._balancer
        traffic = Traffic(name, self._balancer.port, Plan(self._pictures, clients, pause))
        self._traffics.append(traffic)
        return traffic

    def _now(self) -> float:
        return time.monotonic() - self._record.began
