"""What the engine computes: batch after batch, and the deep check between them.

``run`` is the engine's main thread; the talking thread calls the other methods.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from app import errors, logs, metrics
from app.engine.batcher import Batcher, Item
from app.engine.channel import Channel
from app.engine.deep_check import DeepCheck
from app.engine.device import DeviceLost
from app.engine.outputs import Result
from app.engine.protocol import Frame, Type
from app.engine.runner import Pixels, Runner
from app.metrics import Counts
from app.models.interface import Query

Key = tuple[Channel, int]
DEVICE_LOST = 71  # exit code: EX_OSERR of sysexits.h


class Compute:
    """The queue of one engine and the thread that works it off."""

    def __init__(self) -> None:
        self.stopping = False
        self._batcher: Batcher[Key] = Batcher(1)
        self._batch_began: float | None = None
        self._counts = Counts()
        self._changed = threading.Condition()  # guards all of these

    def __len__(self) -> int:
        return len(self._batcher)

    def batch_age(self, now: float) -> float:
        """Return for how many seconds the running batch has run; 0 when idle."""
        began = self._batch_began
        return 0.0 if began is None else now - began

    def counted(self) -> dict[str, Any]:
        """Return what was counted since the last time."""
        with self._changed:
            return self._counts.take()

    def put(self, item: Item[Key]) -> None:
        """Queue an image."""
        with self._changed:
            self._batcher.put(item)
            self._changed.notify()

    def cancel(self, key: Key) -> None:
        """Drop an image that nobody waits for."""
        with self._changed:
            self._batcher.cancel(key)

    def cancel_all(self, channel: Channel) -> None:
        """Drop everything of a worker that is gone."""
        with self._changed:
            self._batcher.cancel_all(lambda key: key[0] is channel)
            self._changed.notify()

    def stop(self) -> None:
        """Have ``run`` return when the queue is empty and the last worker is gone."""
        with self._changed:
            self.stopping = True
            self._changed.notify()

    def run(self, runner: Runner, deep: DeepCheck, connected: Callable[[], bool]) -> None:
        """Answer what comes until stopped.

        Args:
            runner: has the model loaded.
            deep: has its golden answer recorded.
            connected: whether a worker is.
        """
        self._batcher.max_batch = runner.max_batch
        self._batcher.max_pixels = runner.batch_pixels
        self._batcher.mixed = runner.model.input_spec.batch == "list"
        while True:
            with self._changed:
                now = time.monotonic()
                batch, expired = self._batcher.take(now)
                check = not self.stopping and deep.due(now, idle=not batch)
                if not batch and not expired and not check:
                    if self.stopping and not connected():
                        return
                    self._changed.wait(deep.wait_seconds(now))
                    continue
            for item in expired:
                _reply_error(item, errors.DeadlineExceeded("the deadline passed in the queue"))
            if batch:
                self._run_batch(runner, deep, batch)
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

    def _run_batch(self, runner: Runner, deep: DeepCheck, batch: list[Item[Key]]) -> None:
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
        except errors.ClientError as error:  # the request is at fault, and the model well
            self._answer_failed(runner, deep, batch, error)
            return
        except errors.ServingError as error:
            logs.event("batch_failed", level=logging.ERROR, error=error, images=len(batch))
            deep.hasten(time.monotonic())
            self._answer_failed(runner, deep, batch, error)
            return
        except DeviceLost as error:
            _end_with(error)
        finally:
            self._batch_began = None
        self._answer(batch, results, began, time.monotonic() - began)

    def _answer(
        self, batch: list[Item[Key]], results: list[Result], began: float, seconds: float
    ) -> None:
        milliseconds = round(1000 * seconds, 3)
        answers: dict[Channel, list[Frame]] = {}
        for item, result in zip(batch, results, strict=True):
            channel, number = item.key
            frames = answers.setdefault(channel, [])
            if isinstance(result, errors.ClientError):
                frames.append(_failed(number, result))
                continue
            head = {"queue_ms": round(1000 * (began - item.queued_at), 3),
                    "inference_ms": milliseconds, "batch": len(batch)}  # fmt: skip
            frames.append(Frame(Type.RESULT, number, head, result))
        for channel, frames in answers.items():
            channel.send(*frames)  # one system call a worker: the next batch waits for it
        with self._changed:
            self._counts.observe(metrics.INFERENCE_DURATION, seconds)
            self._counts.observe(metrics.BATCH_SIZE, len(batch))

    def _answer_failed(
        self, runner: Runner, deep: DeepCheck, batch: list[Item[Key]], error: errors.ServingError
    ) -> None:
        """Halve the batch until the image that fails is alone: its neighbours are not at fault."""
        if len(batch) == 1:
            _reply_error(batch[0], error)
            return
        middle = len(batch) // 2
        self._run_batch(runner, deep, batch[:middle])
        self._run_batch(runner, deep, batch[middle:])


def _end_with(error: DeviceLost) -> NoReturn:
    logs.event("device_lost", level=logging.CRITICAL, error=error)
    os._exit(DEVICE_LOST)  # the requests run again on the successor


def _reply_error(item: Item[Key], error: errors.ServingError) -> None:
    channel, number = item.key
    channel.send(_failed(number, error))


def _failed(number: int, error: errors.ServingError) -> Frame:
    head = {"code": error.code, "message": error.message, "details": error.details}
    return Frame(Type.FAILED, number, head)
