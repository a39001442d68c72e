"""Real Prometheus reads real servers: every expression of deploy/ returns data, and moves."""

import base64
import contextlib
import functools
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from autoscaling import manifest
from autoscaling.prometheus import Prometheus
from benchmarks import house
from rollout import pictures
from rollout.swaps import WEIGHTS, write_version
from tests.deploy import expressions
from tests.deploy.story import GPU_MOVES, MADE_UP, MOVES, Move, Story
from tests.server import Load, Server, serve, wait_for

INTERVAL = 1 / 30  # of the fifteen seconds between two scrapes
CLIENTS = 20


class Stage:
    """One server that all faults befall, others for a while, and Prometheus, which reads all."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._pods: list[dict[str, Any]] = []
        self._reloads = 0
        self._loaded: ExitStack | None = None
        self.gate = folder / "gate"
        self.gate_of_gpu = folder / "gate-of-gpu"
        self.weights = folder / "weights.safetensors"
        write_version(self.weights, 0)
        images = sorted(pictures.write(folder / "digits", 4).iterdir())
        self.images = [image.read_bytes() for image in images]
        (folder / "prometheus").mkdir()
        self._discover()
        config = manifest.scraping(
            {"file_sd_configs": [{"files": [str(folder / "pods.json")]}]}, INTERVAL
        )
        self.prometheus = Prometheus(folder / "prometheus", config, manifest.rules())
        stack.callback(self.prometheus.destroy)
        self.server = self.start(
            "one", MODEL="tests.stubs.degrading:Unhurried", MODEL_PATH=self.weights,
            GATE=self.gate, DEEP_CHECK_SECONDS=0.5, DEEP_CHECK_FAILURES=0, HANG_SECONDS=5,
            REQUEST_TIMEOUT_SECONDS=10, MAX_CONCURRENT_REQUESTS=64,
        )  # fmt: skip

    def start(self, name: str, **env: object) -> Server:
        """Start a server; return it when Prometheus has seen it ready."""
        place = self._folder / name
        place.mkdir()
        server = self._stack.enter_context(serve(place, **env))
        self._pods.append(manifest.pod("rehearsal", name, server.port))
        self._discover()
        server.wait_ready()
        query = f'unbroken_ready{{pod="{name}"}} == 1'
        wait_for(lambda: self.prometheus.query(query), f"Prometheus to see {name}")
        return server

    def add_another(self) -> None:
        """Start a second server, with another version of the model."""
        self.another = self.start("two", MODEL_PATH=WEIGHTS, DRAIN_SECONDS=30)

    def add_with_gpu(self) -> None:
        """Start one that has a GPU, as far as it can tell."""
        self.start(
            "three", MODEL="tests.stubs.degrading:OnGpu", MODEL_PATH=WEIGHTS,
            GATE=self.gate_of_gpu,
        )  # fmt: skip

    def wait_well(self) -> None:
        """Wait until Prometheus sees the server without any of the faults."""
        for series in ("unbroken_ready", "unbroken_deep_check_healthy"):
            query = f'{series}{{pod="one"}} == 1'
            wait_for(lambda query=query: self.prometheus.query(query), query)

    # ---- the faults

    def load(self) -> None:
        """Have clients ask, from now on; and ask what is no prediction."""
        if not self._loaded:
            images = self.images
            load = Load(self.server, CLIENTS, lambda number: images[number % len(images)])
            self._loaded = self._stack.enter_context(ExitStack())
            self._loaded.enter_context(load)
        self.server.get("/live")

    def unload(self) -> None:
        """End the clients; what failed was meant to."""
        if self._loaded:
            self._loaded.close()

    def overload(self) -> None:
        """Send at once as many images as one worker may hold, while others wait there."""
        body = {"images": [base64.b64encode(self.images[0]).decode()] * 32}
        self.server.post(json.dumps(body).encode(), kind="application/json")

    def hang(self) -> None:
        """Stop the engine until health has noticed it."""
        with self._stopped(*self._engines()):
            wait_for(lambda: not self.server.healthy(), "health to say no")

    def miss_deadlines(self) -> None:
        """Stop the engine and who would replace it, until a request is given up."""
        supervisor = [r.pid for r in house.roles(self.server) if r.name == "supervisor"]
        with self._stopped(*supervisor, *self._engines()):
            wait_for(lambda: self.server.post(self.images[0]).status == 504, "a 504")

    def go_wrong(self) -> None:
        """Have the model spoil its own weights."""
        self.gate.write_text("nan")

    def kill(self) -> None:
        """Kill the engine, whatever it says; the next one is a good one."""
        self.gate.unlink(missing_ok=True)
        for pid in self._engines():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def reload(self) -> None:
        """Put other weights there."""
        self._reloads += 1
        self._swap(write_version(self.weights, self._reloads))

    def reload_garbage(self) -> None:
        """Put there what is no weights file."""
        self.weights.with_suffix(".new").write_bytes(b"no weights")
        os.replace(self.weights.with_suffix(".new"), self.weights)
        self._swap("")

    def _swap(self, version: str) -> None:
        def last() -> dict[str, Any]:
            swap: dict[str, Any] = self.server.get("/status").json()["swap"]
            return {"at": ""} if swap["running"] or not swap["last"] else swap["last"]

        before = last()
        self.server.signal(signal.SIGHUP)
        wait_for(lambda: last() not in (before, {"at": ""}), "the exchange")

    def _engines(self) -> list[int]:
        def answering() -> list[int]:
            engines = self.server.get("/status").json()["engines"]
            return [each["pid"] for each in engines if each["stage"] in ("ready", "degraded")]

        return wait_for(answering, "an engine that answers")

    @contextlib.contextmanager
    def _stopped(self, *pids: int) -> Iterator[None]:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _discover(self) -> None:
        new = self._folder / "pods.new"
        new.write_text(json.dumps(self._pods))
        os.replace(new, self._folder / "pods.json")


@pytest.fixture(scope="module")
def moves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Move]]:
    """Tell the whole story once; yield what each expression did."""
    with ExitStack() as stack:
        stage = Stage(tmp_path_factory.mktemp("live"), stack)
        story = Story(stage.prometheus)

        def tell(chapter: str, act: Callable[[], object]) -> None:
            if chapter != "engines that die":
                stage.wait_well()
            story.tell(chapter, {**MOVES, **GPU_MOVES}[chapter], act)

        tell("load", stage.load)
        tell("overload", stage.overload)
        tell("an engine that hangs", stage.hang)
        tell("deadlines that pass", stage.miss_deadlines)
        tell("a model that goes wrong", stage.go_wrong)
        tell("engines that die", stage.kill)
        stage.unload()
        tell("a reload", stage.reload)
        tell("a reload that fails", stage.reload_garbage)
        tell("another instance", functools.cache(stage.add_another))
        tell("its drain", functools.cache(lambda: stage.another.signal(signal.SIGTERM)))
        tell("its end", functools.cache(stage.another.destroy))
        stage.gate_of_gpu.write_text("8000")
        tell("an instance with a GPU", functools.cache(stage.add_with_gpu))
        tell("its memory taken by another", lambda: stage.gate_of_gpu.write_text("600"))
        yield story.moves


@pytest.mark.observability
@pytest.mark.parametrize("where", sorted(expressions.everything().keys() - MADE_UP))
def test_every_expression_returns_data_and_moves_under_its_fault(
    where: str, moves: dict[str, Move]
) -> None:
    move = moves[where]

    assert move.seen, f"{move.chapter}: {move.before} {move.how} → {move.after}"


def test_every_expression_has_its_fault() -> None:
    told = [where for chapter in (MOVES | GPU_MOVES).values() for where in chapter]

    assert sorted([*told, *MADE_UP]) == sorted(expressions.everything())


def test_what_needs_a_gpu_is_told_apart() -> None:
    needs_gpu = {
        where for where, each in expressions.everything().items()
        if any(name.startswith("unbroken_gpu_") for name in expressions.series(each))
    }  # fmt: skip

    assert {where for chapter in GPU_MOVES.values() for where in chapter} == needs_gpu
