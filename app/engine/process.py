"""The engine process: loads the model, then answers SUBMITs until it is told to stop.

Two threads. The main one computes: load, warm-up, self-test, then batch after batch. The other
one talks: it owns the selector, the connections of the HTTP workers and the line to the
supervisor, and keeps sending BEAT and STATE while the model computes (torch releases the GIL).
"""

import logging
import os
import selectors
import socket
import threading
import time
from pathlib import Path
from typing import Any

from app import errors, logs
from app.engine.batcher import Batcher, Item
from app.engine.channel import Channel, ChannelClosed
from app.engine.order import Order
from app.engine.protocol import Frame, ProtocolError, Type
from app.engine.runner import LoadError, Pixels, Runner
from app.lifecycle import Stage
from app.models import registry
from app.models.interface import Weights
from app.models.weights import WeightsError
from app.settings import Settings

BEAT_SECONDS = 0.5

Key = tuple[Channel, int]


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
        self._changed = threading.Condition()  # guards the batcher, the stage and the channels
        self._stopping = False
        self._hello = Frame(Type.HELLO)
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        self._control = Channel(control, self._wake)
        self._listener: socket.socket | None = None
        self._channels: set[Channel] = set()

    def run(self) -> int:
        """Live the whole life; return the exit code."""
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._selector.register(self._control, selectors.EVENT_READ, self._control)
        threading.Thread(target=self._talk, name="talk", daemon=True).start()
        try:
            runner = self._prepare()
        except Exception as error:
            self._fail(error)
            return 1
        self._compute(runner)
        return 0

    # ---- the computing thread

    def _prepare(self) -> Runner:
        settings = self._settings
        self._enter(Stage.LOADING)
        model = registry.create(settings.model)
        runner = Runner(model, self._order.device, settings.max_batch)
        runner.load(_read_weights(self._weights, settings))
        self._enter(Stage.WARMING)
        wanted = runner.max_batch
        runner.warm_up(settings.hang_seconds / 2)
        if runner.max_batch < wanted:
            logs.event(
                "max_batch_lowered", level=logging.WARNING, wanted=wanted, now=runner.max_batch,
                why="a full batch took more than half of HANG_SECONDS",
            )  # fmt: skip
        self._enter(Stage.SELF_TEST)
        runner.self_test()
        self._batcher.max_batch = runner.max_batch
        self._hello = Frame(Type.HELLO, head={
            "model": model.name, "version": model.version, "result_key": model.result_key,
            "spec": model.input_spec.to_json(), "device": str(runner.device),
            "max_batch": runner.max_batch, "generation": self._order.generation,
        })  # fmt: skip
        self._listen()
        self._enter(Stage.READY)
        return runner

    def _enter(self, stage: Stage, **details: object) -> None:
        self._stage = stage
        logs.event("stage", stage=stage, generation=self._order.generation, **details)
        head = {"stage": stage, "pid": os.getpid(), **details}
        self._control.send(Frame(Type.STAGE, head=head))

    def _fail(self, error: Exception) -> None:
        known = isinstance(error, LoadError | WeightsError | registry.UnknownModel)
        cause = str(error) if known else f"{type(error).__name__}: {error}"
        self._enter(Stage.FAILED, cause=cause)
        if not known:
            logs.event("load_failed", level=logging.ERROR, error=error)

    def _compute(self, runner: Runner) -> None:
        while True:
            with self._changed:
                batch, expired = self._batcher.take(time.monotonic())
                if not batch and not expired:
                    if self._stopping and not self._channels:
                        return
                    self._changed.wait()
                    continue
            for item in expired:
                _reply_error(item, errors.DeadlineExceeded("the deadline passed in the queue"))
            if batch:
                self._run_batch(runner, batch)

    def _run_batch(self, runner: Runner, batch: list[Item[Key]]) -> None:
        began = time.monotonic()
        # Written before the forward: if we die in it, the workers know whom to suspect.
        for channel in {item.key[0] for item in batch}:
            ids = [item.key[1] for item in batch if item.key[0] is channel]
            channel.send(Frame(Type.STARTED, head={"ids": ids}))
        self._batch_began = began
        try:
            results = runner.run([Pixels(item.shape, item.payload) for item in batch])
        except errors.ServingError as error:
            logs.event("batch_failed", level=logging.ERROR, error=error, images=len(batch))
            for item in batch:
                _reply_error(item, error)
            return
        finally:
            self._batch_began = None
        milliseconds = 1000 * (time.monotonic() - began)
        for item, result in zip(batch, results, strict=True):
            head = {
                "queue_ms": round(1000 * (began - item.queued_at), 3),
                "inference_ms": round(milliseconds, 3),
                "batch": len(batch),
            }
            item.key[0].send(Frame(Type.RESULT, item.key[1], head, result))

    # ---- the talking thread

    def _talk(self) -> None:
        try:
            next_beat = time.monotonic()
            while True:
                timeout = max(0.0, next_beat - time.monotonic())
                for key, events in self._selector.select(timeout):
                    self._serve(key, events)
                self._watch_backlogs()
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + BEAT_SECONDS
                    self._beat()
        except Exception as error:
            logs.event("engine_defect", level=logging.CRITICAL, error=error)
            os._exit(70)  # dumb to everyone, we could only be killed; the successor replays

    def _beat(self) -> None:
        began = self._batch_began
        age = 0.0 if began is None else time.monotonic() - began
        state = {"stage": self._stage, "queue": len(self._batcher), "batch_age": round(age, 3)}
        self._control.send(Frame(Type.BEAT, head=state))
        for channel in self._channels:
            channel.send(Frame(Type.STATE, head=state))

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self._order.path)
        listener.listen(64)
        listener.setblocking(False)
        self._listener = listener
        self._wake()

    def _wake(self) -> None:
        os.write(self._wake_write, b"!")

    def _watch_backlogs(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Channel):
                writing = selectors.EVENT_WRITE if key.data.has_backlog else 0
                self._selector.modify(key.fd, selectors.EVENT_READ | writing, key.data)

    def _serve(self, key: selectors.SelectorKey, events: int) -> None:
        if key.data is None:
            os.read(self._wake_read, 4096)
            if self._listener and self._listener not in self._selector.get_map():
                self._selector.register(self._listener, selectors.EVENT_READ, self._listener)
        elif isinstance(key.data, socket.socket):
            self._accept(key.data)
        else:
            if events & selectors.EVENT_WRITE:
                key.data.flush()
            if events & selectors.EVENT_READ:
                self._read(key.data)

    def _accept(self, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        channel = Channel(sock, self._wake)
        with self._changed:
            self._channels.add(channel)
        self._selector.register(channel, selectors.EVENT_READ, channel)
        channel.send(self._hello)
        channel.send(Frame(Type.STATE, head={"stage": self._stage, "queue": 0, "batch_age": 0}))

    def _read(self, channel: Channel) -> None:
        try:
            for frame in channel.receive():
                self._handle(channel, frame)
        except ProtocolError as error:
            logs.event("bad_frame", level=logging.ERROR, message=str(error))
            self._forget(channel)
        except ChannelClosed:
            self._forget(channel)

    def _handle(self, channel: Channel, frame: Frame) -> None:
        if frame.type is Type.SUBMIT:
            self._submit(channel, frame)
        elif frame.type is Type.CANCEL:
            with self._changed:
                self._batcher.cancel((channel, frame.id))
        elif frame.type is Type.STOP:
            self._stop()
        else:
            raise ProtocolError(f"an engine takes no {frame.type.name}")

    def _submit(self, channel: Channel, frame: Frame) -> None:
        head: dict[str, Any] = frame.head
        try:
            item = Item(
                key=(channel, frame.id), shape=tuple(head["shape"]), deadline=head["deadline"],
                alone=head["alone"], queued_at=time.monotonic(), payload=frame.payload,
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ProtocolError(f"SUBMIT lacks {error}") from error
        with self._changed:
            self._batcher.put(item)
            self._changed.notify()

    def _forget(self, channel: Channel) -> None:
        self._selector.unregister(channel)
        channel.close()
        if channel is self._control:  # the supervisor is gone: so must we, in order
            self._stop()
            return
        with self._changed:
            self._channels.discard(channel)
            self._batcher.cancel_all(lambda key: key[0] is channel)
            self._changed.notify()

    def _stop(self) -> None:
        if self._stage is not Stage.READY:
            os._exit(0)  # nothing was admitted; a load cannot be interrupted otherwise
        with self._changed:
            self._stopping = True
            self._stage = Stage.RETIRING
            self._changed.notify()


def _reply_error(item: Item[Key], error: errors.ServingError) -> None:
    channel, number = item.key
    head = {"code": error.code, "message": error.message}
    channel.send(Frame(Type.FAILED, number, head))


def _read_weights(descriptor: int | None, settings: Settings) -> Weights:
    path = registry.weights_path(settings.model, settings.model_path)
    if descriptor is None or path is None:
        return Weights(None, "", settings.weights)
    # A new description of the same file: the supervisor's has one offset for all engines.
    content = Path(f"/proc/self/fd/{descriptor}").read_bytes()
    return Weights(content, path.name, settings.weights)
