"""The image as a platform runs it: as user 1000, on a read-only root, stopped under load."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container import image
from tests.server import ROOT, Client, Load, free_port, wait_for

pytestmark = pytest.mark.container

SEVEN = (ROOT / "docs/images/seven.jpg").read_bytes()
WEIGHTS = ROOT / "app/models/weights/mnist.safetensors"


class Container(Client):
    """A container of the image, on a read-only root with a writable /tmp."""

    def __init__(self) -> None:
        self.port = free_port()
        self.name = f"unbroken-test-{self.port}"

    def run(self, *options: str, **env: object) -> None:
        """Start it as a platform would."""
        built = image.build()
        variables = {"PORT": self.port, "DRAIN_SECONDS": 5, **env}
        image.run(
            "--detach", f"--name={self.name}", "--read-only", "--read-only-tmpfs=false",
            "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges",
            image.TORCH_VOLUME, *health_options(built), *options,
            *(f"--env={name}={value}" for name, value in variables.items()), built,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Return what podman knows of the container now."""
        return json.loads(image.podman("inspect", "--format={{json .State}}", self.name))

    def health(self) -> str:
        """Return the status that the last health checks have led to."""
        return self.state()["Health"]["Status"]

    def check_health(self) -> str:
        """Run the image's HEALTHCHECK once, as an engine does every 15 seconds."""
        with contextlib.suppress(image.ContainerError):  # it exits with 1 for "unhealthy" as well
            image.podman("healthcheck", "run", self.name)
        return self.health()

    def execute(self, *command: str) -> str:
        """Run a command inside."""
        return image.podman("exec", self.name, *command)

    def wait_ready(self) -> "Container":
        """Wait until the model can answer."""
        wait_for(lambda: self.healthy() or not self.state()["Running"], "health")
        assert self.state()["Running"], self.logs()
        return self

    def logs(self) -> str:
        """Return what the container has written."""
        return image.podman("logs", self.name)

    def destroy(self) -> None:
        """Leave nothing of it behind."""
        image.podman("rm", "--force", "--ignore", "--time=0", self.name)


def health_options(built: str) -> list[str]:
    """Return the image's own HEALTHCHECK as options, without clock and start period.

    The test is the clock, as there may be no systemd. Podman counts no failure in the whole start
    period, 180 seconds; Docker ends it with the first success.
    """
    check = json.loads(image.podman("image", "inspect", "--format={{json .HealthCheck}}", built))
    assert check["Test"][0] == "CMD"
    return [
        f"--health-cmd={json.dumps(check['Test'][1:])}", f"--health-retries={check['Retries']}",
        f"--health-timeout={check['Timeout']}ns", "--health-start-period=0s",
        "--health-interval=disable",
    ]  # fmt: skip


Start = Callable[..., Container]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start containers, and leave nothing of them behind."""
    with contextlib.ExitStack() as stack:

        def begin(*options: str, **env: object) -> Container:
            container = Container()
            stack.callback(container.destroy)
            container.run(*options, **env)
            return container

        yield begin


def test_a_machine_that_cannot_run_containers_is_told_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "podman").symlink_to(str(shutil.which("true")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(image.ContainerError, match="not installed here: runc, mmdebstrap"):
        image.check_programs()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(image.ContainerError, match="need root"):
        image.check_programs()


def test_it_reads_a_seven_as_user_1000_on_a_read_only_root(start: Start) -> None:
    container = start().wait_ready()
    assert container.execute("id", "-u") == "1000"
    assert container.execute("stat", "--format=%u", "/proc/1") == "1000"
    for folder in ("/opt/unbroken", "/home/ma-user", "/var/tmp"):
        with pytest.raises(image.ContainerError, match="Read-only file system"):
            container.execute("touch", f"{folder}/file")
    assert container.post(SEVEN, "/", "image/jpeg").body == b'{"mnist_result": 7}'


def test_its_healthcheck_follows_an_engine_that_dies_and_cannot_load(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    weights = folder / "weights.safetensors"
    shutil.copy(WEIGHTS, weights)
    os.chmod(folder, 0o755)
    os.chmod(weights, 0o644)
    container = start(f"--volume={folder}:/weights:ro", MODEL_PATH="/weights/weights.safetensors")
    assert container.health() == "starting"
    container.wait_ready()
    assert container.check_health() == "healthy"
    [engine] = container.engines()
    weights.write_bytes(b"")  # in place: the file stays open in the server
    container.execute("sh", "-c", f"kill -9 {engine}")
    wait_for(lambda: b"load_failed" in container.get("/health").body, "the load to fail")
    statuses = [container.check_health() for _ in range(3)]
    assert statuses == ["healthy", "healthy", "unhealthy"], "three failures in a row"
    assert container.state()["Running"], "not ready is no reason to end"
    weights.write_bytes(WEIGHTS.read_bytes())
    wait_for(lambda: container.check_health() == "healthy", "the next load")
    assert container.post(SEVEN, "/", "image/jpeg").body == b'{"mnist_result": 7}'


def test_a_full_disk_under_its_state_costs_nothing(start: Start) -> None:
    container = start("--tmpfs=/state:size=1m,mode=1777", STATE_DIR="/state/unbroken").wait_ready()
    container.execute("sh", "-c", "cat /dev/zero > /state/rest 2>/dev/null || true")
    with Load(container, clients=4) as load:
        load.wait_answers(20)
        [engine] = container.engines()
        container.execute("sh", "-c", f"kill -9 {engine}")
        wait_for(lambda: container.engines() not in ([], [engine]), "the next engine")
        load.wait_answers(20)
        image.podman("stop", "--time=90", container.name)
    assert load.failures == []
    assert container.state()["ExitCode"] == 0, container.logs()


@pytest.mark.parametrize("ready", [False, True])
def test_sigterm_to_process_1_before_it_is_ready_or_twice_ends_at_once_and_in_order(
    start: Start, ready: bool
) -> None:
    container = start(DRAIN_SECONDS=60)
    wait_for(lambda: "nursery_started" in container.logs(), "its parts")
    if ready:
        container.wait_ready()
    began = time.monotonic()
    image.podman("kill", "--signal=TERM", container.name)
    if ready:
        wait_for(lambda: '"draining"' in container.logs(), "the drain")
        image.podman("kill", "--signal=TERM", container.name)
    wait_for(lambda: not container.state()["Running"], "its end")
    assert time.monotonic() - began < 40, "it waited out the drain, or the platform's patience"
    assert container.state()["ExitCode"] == 0, container.logs()
    assert '"event": "stopped"' in container.logs()


def test_podman_stop_under_load_loses_nothing_and_exits_0(start: Start) -> None:
    container = start().wait_ready()
    with Load(container, clients=8) as load:
        load.wait_answers(50)
        image.podman("stop", "--time=95", container.name)
    code = container.state()["ExitCode"]
    print(f"{len(load.answers)} answers, {len(load.failures)} failures, exit code {code}")
    assert load.failures == []
    assert code == 0, container.logs()
