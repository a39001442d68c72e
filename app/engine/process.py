"""The engine process: loads the model, then answers SUBMITs until it is told to stop.

Two threads. This module's is the main one and computes: load, warm-up, self-test, then batch
after batch. The other one talks (``exchange``) and calls the methods of ``Work`` here.
"""

import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from app import errors, limits, logs, metrics
from app.engine import gpu
from app.engine.batcher import Batcher, Item
from app.engine.channel import Channel
from app.engine.deep_check import DeepCheck
from app.engine.exchange import Exchange
from app.engine.gpu import Gpu
from app.engine.order import Order
from app.engine.protocol import Frame, ProtocolError, Type
from app.engine.runner import DeviceLost, LoadError, Pixels, Runner
from app.lifecycle import DEEP_CHECK, GPU_MEMORY, SERVING, Stage
from app.metrics import Counts
from app.models import registry
from app.models.interface import Query, Weights
from app.models.weights import WeightsError
from app.settings import Settings

Key = tuple[Channel, int]
DEVICE_LOST = 71  # exit code: EX_OSERR of sysexits.h


class EngineProcess:
    """One engine, from its fork to its exit.

    Args:
        order: which engine this is.
        settings: the container's.
        control: connected to the supervisor.
        weights: descriptor of the weights file that the supervisor holds open, or None.
    """

    def __init__(
        self, order: Order, settings: Settings, control: socket.socket, weights: int | None
    ) -> None:
        self._order = order
        self._settings = settings
        self._weights = weights
        self._stage = Stage.LOADING
        self._batcher: Batcher[Key] = Batcher(1)
        self._batch_began: float | None = None
        self._changed = threading.Condition()  # guards the batcher and the three below
        self._entering = threading.Lock()  # what is entered first must be told first
        self._counts = Counts()
        self._stopping = False
        self._hello = Frame(Type.HELLO)
        self._version = self._cause = ""
        self._gpu: Gpu | None = None
        self._deep: DeepCheck | None = None
        self._exchange = Exchange(control, self)

    def run(self) -> int:
        """Live the whole life; return the exit code."""
        self._exchange.start()
        try:
            prepared = self._prepare()
        except Exception as error:  # noqa: BLE001  whatever it is, it is why there is no model
            self._fail(error)
            return 1
        self._compute(*prepared)
        self._exchange.beat()  # what was counted since the last one
        return 0

    # ---- before it serves

    def _prepare(self) -> tuple[Runner, DeepCheck]:
        settings = self._settings
        self._enter(Stage.LOADING)
        model = registry.create(settings.model)
        runner = Runner(model, self._order.device, settings.max_batch, settings.engines)
        runner.load(_read_weights(self._weights, settings))
        self._enter(Stage.WARMING)
        wanted = runner.max_batch
        runner.warm_up(settings.hang_seconds / 2)
        if runner.max_batch < wanted:
            logs.event(
                "max_batch_lowered", level=logging.WARNING, wanted=wanted, now=runner.max_batch,
                why="a full batch took more than half of HANG_SECONDS, or more than the memory",
            )  # fmt: skip
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
        self._batcher.max_batch = runner.max_batch
        self._batcher.mixed = model.input_spec.batch == "list"
        self._hello = Frame(Type.HELLO, head={
            "model": model.name, "version": model.version, "result_key": model.result_key,
            "spec": model.input_spec.to_json(), "device": str(runner.device),
            "max_batch": runner.max_batch, "generation": self._order.generation,
            "precision": getattr(model, "precision", "float32"),
        })  # fmt: skip
        self._exchange.listen(self._order.path)
        self._version = model.version
        self._enter(Stage.READY)
        return runner, deep

    def _enter(self, stage: Stage, cause: str = "", *, wrong_setting: bool = False) -> None:
        with self._entering:
            self._stage = stage
            logs.event("stage", stage=stage, generation=self._order.generation, cause=cause or None)
            head = {"stage": stage, "pid": os.getpid(), "cause": cause, "version": self._version,
                    "wrong_setting": wrong_setting, "hello": self._hello.head}  # fmt: skip
            self._exchange.control.send(Frame(Type.STAGE, head=head))

    def _fail(self, error: Exception) -> None:
        wrong = isinstance(error, registry.WrongSetting)
        known = wrong or isinstance(error, LoadError | WeightsError)
        if not known:
            logs.event("load_failed", level=logging.ERROR, error=error)
        cause = str(error) if known else f"{type(error).__name__}: {error}"
        self._enter(Stage.FAILED, cause, wrong_setting=wrong)

    # ---- the computing thread

    def _compute(self, runner: Runner, deep: DeepCheck) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                batch, expired = self._batcher.take(now)
                check = not self._stopping and deep.due(now, idle=not batch)
                if not batch and not expired and not check:
                    if self._stopping and not self._exchange.connected:
                        return
                    self._changed.wait(deep.wait_seconds(now))
                    continue
            for item in expired:
                _reply_error(item, errors.DeadlineExceeded("the deadline passed in the queue"))
            if batch:
                self._run_batch(runner, batch)
            if check:
                self._check(deep)

    def _check(self, deep: DeepCheck) -> None:
        self._batch_began = time.monotonic()  # a check that hangs is a hang
        try:
            deep.run(self._batch_began)
        except DeviceLost as error:
            _end_with(error)
        finally:
            self._batch_began = None

    def _run_batch(self, runner: Runner, batch: list[Item[Key]]) -> None:
        began = time.monotonic()
        # Written before the forward: if we die in it, the workers know whom to suspect.
        for channel in {item.key[0] for item in batch}:
            ids = [item.key[1] for item in batch if item.key[0] is channel]
            channel.send(Frame(Type.STARTED, head={"ids": ids}))
        self._batch_began = began
        try:
            results = runner.run([
                Pixels(item.shape, item.payload, Query(*item.size, item.options)) for item in batch
            ])  # fmt: skip
        except errors.ServingError as error:
            logs.event("batch_failed", level=logging.ERROR, error=error, images=len(batch))
            if self._deep:
                self._deep.hasten(time.monotonic())
            self._answer_failed(runner, batch, error)
            return
        except DeviceLost as error:
            _end_with(error)
        finally:
            self._batch_began = None
        seconds = time.monotonic() - began
        milliseconds = round(1000 * seconds, 3)
        answers: dict[Channel, list[Frame]] = {}
        for item, result in zip(batch, results, strict=True):
            channel, number = item.key
            head = {"queue_ms": round(1000 * (began - item.queued_at), 3),
                    "inference_ms": milliseconds, "batch": len(batch)}  # fmt: skip
            answers.setdefault(channel, []).append(Frame(Type.RESULT, number, head, result))
        for channel, frames in answers.items():
            channel.send(*frames)  # one system call a worker: the next batch waits for it
        with self._changed:
            self._counts.observe(metrics.INFERENCE_DURATION, seconds)
            self._counts.observe(metrics.BATCH_SIZE, len(batch))

    def _answer_failed(
        self, runner: Runner, batch: list[Item[Key]], error: errors.ServingError
    ) -> None:
        """Halve the batch until the image that fails is alone: its neighbours are not at fault."""
        if len(batch) == 1:
            _reply_error(batch[0], error)
            return
        middle = len(batch) // 2
        self._run_batch(runner, batch[:middle])
        self._run_batch(runner, batch[middle:])

    # ---- Work, called by the talking thread

    def greet(self) -> Frame:
        """Return what a worker must know: model, version, how to decode."""
        return self._hello

    def state(self) -> dict[str, Any]:
        """Return what health is judged by."""
        began = self._batch_began
        now = time.monotonic()
        age = 0.0 if began is None else now - began
        reading = self._gpu.reading(now) if self._gpu else None
        self._judge(reading)
        return {"stage": self._stage, "queue": len(self._batcher), "batch_age": round(age, 3),
                "memory_mb": limits.resident_mb(), "gpu": gpu.to_state(reading),
                "deep_check": self._deep.state() if self._deep else None}  # fmt: skip

    def _judge(self, reading: gpu.Reading | None) -> None:
        """Say that others should be asked first, or no longer."""
        if self._stage not in SERVING:
            return
        finding = self._deep.finding if self._deep else None
        cause = ""
        if finding and not finding.healthy:
            cause = DEEP_CHECK
        elif reading and reading.usable_mb < self._settings.min_free_gpu_mb:
            cause = GPU_MEMORY
        if cause != self._cause:
            self._cause = cause
            self._enter(Stage.DEGRADED if cause else Stage.READY, cause)

    def counted(self) -> dict[str, Any]:
        """Return what was counted since the last time."""
        with self._changed:
            return self._counts.take()

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
                queued_at=time.monotonic(), payload=frame.payload,
            )  # fmt: skip
            height, width, channels = item.shape
            _, _ = item.size
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"SUBMIT is not whole: {error}") from error
        if head.get("dtype") != "uint8" or height * width * channels != len(item.payload):
            raise ProtocolError(f"{len(item.payload)} bytes for uint8 of shape {item.shape}")
        with self._changed:
            self._batcher.put(item)
            self._changed.notify()

    def cancel(self, channel: Channel, number: int) -> None:
        """Drop an image that nobody waits for."""
        with self._changed:
            self._batcher.cancel((channel, number))

    def left(self, channel: Channel) -> None:
        """Drop everything of a worker that is gone."""
        with self._changed:
            self._batcher.cancel_all(lambda key: key[0] is channel)
            self._changed.notify()

    def stop(self) -> None:
        """Leave when the queue is empty and the last worker is gone (design, invariant 5)."""
        if self._stopping:
            return
        if self._stage not in SERVING:
            os._exit(0)  # nothing was admitted; a load cannot be interrupted otherwise
        with self._changed:
            self._stopping = True
            self._stage = Stage.RETIRING
            self._changed.notify()


def _end_with(error: DeviceLost) -> NoReturn:
    logs.event("device_lost", level=logging.CRITICAL, error=error)
    os._exit(DEVICE_LOST)  # the requests run again on the successor


def _reply_error(item: Item[Key], error: errors.ServingError) -> None:
    channel, number = item.key
    channel.send(Frame(Type.FAILED, number, {"code": error.code, "message": error.message}))


def _read_weights(descriptor: int | None, settings: Settings) -> Weights:
    path = registry.weights_path(settings.model, settings.model_path)
    if path is None:
        return Weights(None, "", settings.weights)
    if descriptor is None:
        raise WeightsError(f"{path} was not handed over by the supervisor")
    # A new description of the same file: the supervisor's has one offset for all engines.
    content = Path(f"/proc/self/fd/{descriptor}").read_bytes()
    return Weights(content, path.name, settings.weights)
