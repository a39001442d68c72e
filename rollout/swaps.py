"""The model is exchanged while requests flow."""

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from safetensors import safe_open
from safetensors.numpy import save_file

import app
from rollout.instances import Instance
from rollout.lane import Lane
from rollout.stage import Row
from tests.server import wait_for

WEIGHTS = Path(app.__file__).parent / "models" / "weights" / "mnist.safetensors"
_BETWEEN = 50  # answers behind each balancer between two exchanges


def weights_swapped(lane: Lane) -> Iterator[Row]:
    """SIGHUP to run.sh with new weights under the old name, many times."""
    path = lane.fleet.place("weights") / "weights.safetensors"
    versions = {write_version(path, 0)}
    [instance] = lane.start(1, MODEL_PATH=path, DRAIN_SECONDS=0)
    seconds = []
    with lane.stage([instance]) as stage:
        for number in range(1, lane.scale.swaps + 1):
            stage.wait_more(_BETWEEN)
            version = write_version(path, number)
            versions.add(version)
            instance.signal(signal.SIGHUP)
            seconds.append(_wait_swapped(instance, version))
        stage.wait_more(_BETWEEN)
        rows = stage.finish(f"weights swapped {lane.scale.swaps} times")
    for row, seen in zip(rows, stage.seen, strict=True):
        row.details = (
            f"median {median(seconds):.1f} s, worst {max(seconds):.1f} s until the old one is gone;"
            f" answers from {len(seen.versions)} of {len(versions)} versions"
        )
        if seen.versions - versions:
            row.faults = ("answers from weights that nobody put there",)
    yield from rows
    lane.fleet.retire(instance)
    lane.fleet.wait_retired()


def write_version(path: Path, number: int) -> str:
    """Put new weights under a name, atomically; they answer the same. Return their version."""
    with safe_open(WEIGHTS, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = {**(file.metadata() or {}), "number": str(number)}
    new = path.with_suffix(".new")
    save_file(tensors, new, metadata)
    version = hashlib.sha256(new.read_bytes()).hexdigest()[:12]
    os.replace(new, path)
    return version


def _wait_swapped(instance: Instance, version: str) -> float:
    def last() -> dict[str, object] | None:
        swap = instance.get("/status").json()["swap"]
        done = not swap["running"] and swap["last"] and swap["last"]["version"] == version
        return swap["last"] if done else None

    return float(str(wait_for(last, "the exchange")["seconds"]))
