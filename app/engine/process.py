"""The engine process: loads the model, then answers SUBMITs until it is told to stop.

Two threads. This module's is the main one: load, warm-up, self-test, then ``compute``: batch
after batch. The other one talks (``exchange``) and calls the methods of ``Work`` here.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app import errors, limits, logs
from app.engine import gpu, precision
from app.engine.batcher import Item
from app.engine.channel import Channel
from app.engine.compute import Compute
from app.engine.deep_check import DeepCheck
from app.engine.exchange import Exchange
from app.engine.gpu import Gpu
from app.engine.order import Order
from app.engine.protocol import Frame, ProtocolError, Type
from app.engine.runner import LoadError, Runner
from app.lifecycle import DEEP_CHECK, GPU_MEMORY, SERVING, Stage
from app.models import registry
from app.models.interface import Weights
from app.models.lookup import why
from app.models.weights import WeightsError
from app.settings import Settings

# Not merely "memory": an illegal access to it is a defect, and more room would not help.
NO_MEMORY = ("outofmemory", "out of memory", "memoryerror", "allocate memory", "alloc_failed")


class EngineProcess:
    """One engine, from its fork to its exit.

    Args:
        order: which engine this is.
        settings: the container's.
        control: connected to the supervisor.
        files: descriptors of the files that the order names, held open by the supervisor.
    """

    def __init__(
        self, order: Order, settings: Settings, control: socket.socket, files: Sequence[int]
    ) -> None:
        self._order = order
        self._settings = settings
        self._files = files
        self._computing = threading.current_thread()
        self._stage = Stage.LOADING
        self._entering = threading.Lock()  # what is entered first must be told first
        self._compute = Compute()
        self._hello = Frame(Type.HELLO)
        self._version = self._cause = ""
        self._gpu: Gpu | None = None
        self._gpu_is_full = False
        self._deep: DeepCheck | None = None
        self._exchange = Exchange(control, self)

    def run(self) -> int:
        """Live the whole life; return the exit code."""
        self._exchange.start()
        try:
            prepared = self._prepare()
        except BaseException as error:  # noqa: BLE001  whatever it is, it is why there is no model
            self._fail(error)
            return 1
        self._compute.run(*prepared, lambda: self._exchange.connected)
        self._exchange.beat()  # what was counted since the last one
        return 0

    # ---- before it serves

    def _prepare(self) -> tuple[Runner, DeepCheck]:
        settings = self._settings
        self._enter(Stage.LOADING)
        model = registry.create(settings.model, self._read_source())
        runner = Runner(model, self._order.device, settings.max_batch, settings.engines)
        runner.load(self._read_weights())
        self._enter(Stage.WARMING)
        wanted = runner.max_batch
        runner.warm_up(settings.hang_seconds / 2)
        if runner.max_batch < wanted:
            logs.event(
                "max_batch_lowered", level=logging.WARNING, wanted=wanted, now=runner.max_batch,
                why="a full batch failed, or took more than half of HANG_SECONDS or the memory",
            )  # fmt: skip
        # The trial may take longer than a request waits: a successor takes over what was chosen.
        if chosen := self._order.precision:
            precision.take_over(runner, chosen)
        elif settings.precision == "auto":
            precision.choose(runner)
        self._enter(Stage.SELF_TEST)
        runner.self_test()
        deep = DeepCheck(runner.golden, settings.deep_check_seconds)
        try:
            deep.record(time.monotonic())
        except errors.ServingError as error:
            raise LoadError(f"there is no golden answer: {error.message}") from error
        self._deep = deep
        if uuid := runner.gpu_uuid():
            self._gpu = Gpu(uuid, runner.pool)
            self._gpu.start()
        self._hello = Frame(Type.HELLO, head={
            "model": model.name, "version": model.version, "result_key": model.result_key,
            "spec": model.input_spec.to_json(), "device": str(runner.device),
            "max_batch": runner.max_batch, "generation": self._order.generation,
            "precision": runner.precision,
        })  # fmt: skip
        try:
            self._exchange.listen(self._order.path)
        except OSError as error:
            raise LoadError(f"no socket can be made in STATE_DIR: {error.strerror}") from error
        self._version = model.version
        self._enter(Stage.READY)
        return runner, deep

    def _read_weights(self) -> Weights:
        names = self._order.files
        found = [_content(descriptor) for _, descriptor in zip(names, self._files, strict=False)]
        content, beside = (*found, None, None)[:2]
        filename = names[0] if found else ""
        return Weights(content, filename, self._settings.weights, beside)

    def _read_source(self) -> bytes | None:
        return _content(self._files[-1]) if self._order.has_source else None

    def _enter(
        self, stage: Stage, cause: str = "", *, wrong_setting: bool = False, no_memory: bool = False
    ) -> None:
        with self._entering:
            self._stage = stage
            logs.event("stage", stage=stage, generation=self._order.generation, cause=cause or None)
            head = {"stage": stage, "pid": os.getpid(), "cause": cause, "version": self._version,
                    "wrong_setting": wrong_setting, "no_memory": no_memory,
                    "hello": self._hello.head}  # fmt: skip
            self._exchange.control.send(Frame(Type.STAGE, head=head))

    def _fail(self, error: BaseException) -> None:
        wrong = isinstance(error, registry.WrongSetting)
        known = wrong or isinstance(error, LoadError | WeightsError)
        if not known or (error.__cause__ and not isinstance(error, WeightsError)):
            logs.event("load_failed", level=logging.ERROR, error=error)
        words = str(error) if known else why(error)
        self._enter(Stage.FAILED, words, wrong_setting=wrong, no_memory=lacks_memory(error))

    # ---- Work, called by the talking thread

    def greet(self) -> Frame:
        """Return what a worker must know: model, version, how to decode."""
        return self._hello

    def state(self) -> dict[str, Any]:
        """Return what health is judged by."""
        now = time.monotonic()
        age = self._compute.batch_age(now)
        reading = self._gpu.reading(now) if self._gpu else None
        self._judge(reading)
        return {"stage": self._stage, "queue": len(self._compute), "batch_age": round(age, 3),
                "computing": self._computing.is_alive(), "memory_mb": limits.resident_mb(),
                "gpu": gpu.to_state(reading),
                "deep_check": self._deep.state() if self._deep else None}  # fmt: skip

    def _judge(self, reading: gpu.Reading | None) -> None:
        """Say that others should be asked first, or no longer."""
        if self._stage not in SERVING:
            return
        if reading:  # a GPU that says nothing any more has not become free
            self._gpu_is_full = reading.usable_mb < self._settings.min_free_gpu_mb
        finding = self._deep.finding if self._deep else None
        cause = ""
        if finding and not finding.healthy:
            cause = DEEP_CHECK
        elif self._gpu_is_full:
            cause = GPU_MEMORY
        if cause != self._cause:
            self._cause = cause
            self._enter(Stage.DEGRADED if cause else Stage.READY, cause)

    def counted(self) -> dict[str, Any]:
        """Return what was counted since the last time."""
        return self._compute.counted()

    def submit(self, channel: Channel, frame: Frame) -> None:
        """Queue an image.

        Raises:
            ProtocolError: the head lacks a member, or the payload is not what it says.
        """
        head: dict[str, Any] = frame.head
        try:
            item = Item(
                key=(channel, frame.id), shape=tuple(head["shape"]), size=tuple(head["size"]),
                options=head["options"], deadline=head["deadline"], alone=head["alone"],
                queued_at=time.monotonic(), payload=bytes(frame.payload),
            )  # fmt: skip
            height, width, channels = item.shape
            _, _ = item.size
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"SUBMIT is not whole: {error}") from error
        if head.get("dtype") != "uint8" or height * width * channels != len(item.payload):
            raise ProtocolError(f"{len(item.payload)} bytes for uint8 of shape {item.shape}")
        self._compute.put(item)

    def cancel(self, channel: Channel, number: int) -> None:
        """Drop an image that nobody waits for."""
        self._compute.cancel((channel, number))

    def left(self, channel: Channel) -> None:
        """Drop everything of a worker that is gone."""
        self._compute.cancel_all(channel)

    def stop(self) -> None:
        """Leave when the queue is empty and the last worker is gone (design, invariant 5)."""
        if self._compute.stopping:
            return
        if self._stage not in SERVING:
            os._exit(0)  # nothing was admitted; a load cannot be interrupted otherwise
        self._stage = Stage.RETIRING
        self._compute.stop()


def lacks_memory(error: BaseException | None) -> bool:
    """Return whether a load failed for want of memory; each library says it in words of its own."""
    chain: list[BaseException] = []
    while error and error not in chain:  # one may be its own cause
        chain.append(error)
        error = error.__cause__ or error.__context__
    said = "\n".join(f"{type(one).__name__}: {one}" for one in chain).lower()
    return any(words in said for words in NO_MEMORY)


def _content(descriptor: int) -> bytes:
    # A new description of the same file: the supervisor's has one offset for all engines.
    return Path(f"/proc/self/fd/{descriptor}").read_bytes()
