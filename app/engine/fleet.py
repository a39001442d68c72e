"""The container's engines: started, watched, killed, reaped, replaced. In the supervisor."""

import contextlib
import logging
import math
import os
import selectors
import signal
import time
from collections.abc import Callable
from pathlib import Path

from app import logs
from app.engine.channel import Channel, ChannelClosed
from app.engine.launcher import Launcher
from app.engine.order import Order
from app.engine.protocol import Frame, ProtocolError, Type
from app.engine.slot import Engine, Slot
from app.lifecycle import Stage
from app.models import registry
from app.settings import Settings

YOUNG_SECONDS = 10.0  # a nursery that dies earlier cannot import what it must
STOP_SECONDS = 3.0  # part of the arithmetic of PLATFORM_GRACE_SECONDS


class Fleet:
    """One slot for each engine that there should be.

    Args:
        settings: the container's.
        selector: of the supervisor's loop; control lines carry their Channel as data.
        on_change: called when an engine's stage changed or an engine is gone.
    """

    def __init__(
        self, settings: Settings, selector: selectors.BaseSelector, on_change: Callable[[], None]
    ) -> None:
        self.slots = [
            Slot(device) for device in settings.device.split(",") for _ in range(settings.engines)
        ]
        self.served = False
        self._settings = settings
        self._selector = selector
        self._on_change = on_change
        self._launcher = Launcher(settings.state_dir)
        self._generation = 0
        self._weights: int | None = None
        self._unclaimed: dict[int, int] = {}  # exit codes of children that have not spoken yet
        self._stop_at: float | None = None
        self._nursery_due = math.inf
        self._nursery_deaths = 0

    @property
    def ready(self) -> bool:
        """Whether an engine serves."""
        return any(slot.engine and slot.engine.stage is Stage.READY for slot in self.slots)

    @property
    def gone(self) -> bool:
        """Whether the fleet was stopped and every engine has left."""
        return self._stop_at is not None and not any(slot.engine for slot in self.slots)

    # ---- starting

    def start_nursery(self) -> None:
        """Start the process that engines are forked from."""
        self._nursery_due = math.inf
        self._nursery_began = time.monotonic()
        if stderr := self._launcher.start():
            self._selector.register(stderr, selectors.EVENT_READ, stderr)

    def tick(self, now: float) -> None:
        """Start what is due, kill what is overdue."""
        if now >= self._nursery_due:
            self.start_nursery()
        for slot in self.slots:
            if slot.engine:
                self._watch(slot, slot.engine, now)
            elif slot.due(now) and self._stop_at is None:
                self._start(slot, now)

    def _start(self, slot: Slot, now: float) -> None:
        if not self.served and not self._open_weights(slot, now):
            return
        self._generation += 1
        name = f"engine-{slot.device}-{self._generation}.sock"
        order = Order(slot.device, self._generation, str(Path(self._settings.state_dir, name)))
        control = Channel(self._launcher.spawn(order, self._weights))
        slot.engine = Engine(order, control, started_at=now, heard_at=now)
        self._selector.register(control, selectors.EVENT_READ, control)
        self._on_change()

    def _open_weights(self, slot: Slot, now: float) -> bool:
        """Hold the file open: a respawn loads the very file that serves (design, invariant 9).

        Until one has served, the path is opened anew: it may have been mended.
        """
        path = registry.weights_path(self._settings.model, self._settings.model_path)
        if self._weights is not None:
            os.close(self._weights)
            self._weights = None
        try:
            if path is not None:
                self._weights = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            slot.cause = f"{path}: {error.strerror}"
            slot.ended(now, "load_failed")
            logs.event("load_failed", level=logging.ERROR, message=slot.cause)
            self._on_change()
            return False
        return True

    # ---- watching

    def _watch(self, slot: Slot, engine: Engine, now: float) -> None:
        settings = self._settings
        cause = engine.overdue(now, settings.hang_seconds, settings.load_seconds)
        if not cause and self._stop_at is not None and now > self._stop_at:
            cause = "stop_timeout"
        if cause and not engine.doomed:
            logs.event("engine_killed", level=logging.ERROR, cause=cause, engine=engine.pid)
            self._kill(slot, engine, cause)

    def forgive(self, now: float) -> None:
        """Start all clocks anew: the whole container was frozen, not an engine."""
        for slot in self.slots:
            if slot.engine:
                slot.engine.restart_clocks(now)

    def read(self, channel: Channel) -> None:
        """Hear an engine out; its end of file makes sure that it ends."""
        slot = next((s for s in self.slots if s.engine and s.engine.control is channel), None)
        if slot is None or slot.engine is None:
            return
        try:
            for frame in channel.receive():
                self._hear(slot, slot.engine, frame)
        except ProtocolError as error:
            logs.event("bad_frame", level=logging.ERROR, message=str(error))
            self._kill(slot, slot.engine, "bad_frame")
        except ChannelClosed:
            self._kill(slot, slot.engine, "")

    def _hear(self, slot: Slot, engine: Engine, frame: Frame) -> None:
        engine.heard_at = time.monotonic()
        if frame.type is Type.BEAT:
            engine.batch_age = frame.head["batch_age"]
            return
        engine.pid = frame.head["pid"]
        stage = Stage(frame.head["stage"])
        if not engine.enter(stage):
            logs.event("bad_stage", level=logging.ERROR, stage=stage, after=engine.stage)
        if stage is Stage.FAILED:
            slot.cause = frame.head["cause"]
        elif stage is Stage.READY:
            slot.cause = ""
            self.served = True
        self._on_change()

    # ---- ending

    def stop(self) -> None:
        """Tell every engine to answer what it holds and leave; after STOP_SECONDS it is killed."""
        self._stop_at = time.monotonic() + STOP_SECONDS
        for slot in self.slots:
            if slot.engine and slot.engine.pid:
                slot.engine.control.send(Frame(Type.STOP))
            elif slot.engine:
                self._kill(slot, slot.engine, "stopped")

    def stop_nursery(self) -> None:
        """End the nursery; it holds nothing worth waiting for."""
        self._launcher.stop()

    def _kill(self, slot: Slot, engine: Engine, cause: str) -> None:
        """Make an engine's end certain; SIGCHLD tells when it is gone.

        Args:
            slot: the engine's.
            engine: hung, late, or its line is at its end.
            cause: what to call it; empty takes the exit status's word.
        """
        engine.doomed = cause
        self._drop(engine)
        if engine.pid in self._unclaimed:
            self._ended(slot, engine, self._unclaimed.pop(engine.pid))
        elif engine.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(engine.pid, signal.SIGKILL)
        else:  # not forked, or just now: then the end of its line stops it
            engine.doomed = cause or "not_forked"
            self._ended(slot, engine, 0)

    def reap(self) -> None:
        """Collect the children that have ended; engines are ours since their own parent left."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._reaped(ended[0], os.waitstatus_to_exitcode(ended[1]))

    def _reaped(self, pid: int, code: int) -> None:
        if pid == self._launcher.pid and self._stop_at is None:
            logs.event("nursery_died", level=logging.WARNING, exit_code=code)
            self._bury_nursery(time.monotonic())
            return
        for slot in self.slots:
            if slot.engine and slot.engine.pid == pid:
                self._read_last_words(slot, slot.engine)
                self._ended(slot, slot.engine, code)
                return
        if any(slot.engine and not slot.engine.pid for slot in self.slots):
            self._unclaimed[pid] = code

    def _bury_nursery(self, now: float) -> None:
        """Have the next one started: at once, or with back-off where this one died young."""
        if now - self._nursery_began > YOUNG_SECONDS:
            self._nursery_deaths = 0
        else:
            self._nursery_deaths += 1
        if not self.served:
            for slot in self.slots:
                slot.cause = "the engines' parent process died; the log says why"
        self._nursery_due = now + min(30.0, 2.0**self._nursery_deaths - 1)

    def _read_last_words(self, slot: Slot, engine: Engine) -> None:
        with contextlib.suppress(ChannelClosed, ProtocolError):
            while frames := engine.control.receive():
                for frame in frames:
                    self._hear(slot, engine, frame)

    def _ended(self, slot: Slot, engine: Engine, code: int) -> None:
        self._drop(engine)
        Path(engine.order.path).unlink(missing_ok=True)
        cause = engine.doomed or ("load_failed" if engine.stage is Stage.FAILED else "")
        cause = cause or (f"signal {-code}" if code < 0 else f"exit code {code}")
        if not engine.was_ready and engine.stage is not Stage.FAILED:
            slot.cause = f"the engine ended in its load: {cause}"
        slot.ended(time.monotonic(), cause)
        level = logging.INFO if self._stop_at is not None else logging.ERROR
        logs.event("engine_gone", level=level, cause=cause, engine=engine.pid,
                   generation=engine.order.generation)  # fmt: skip
        self._on_change()

    def _drop(self, engine: Engine) -> None:
        if engine.control.fileno() >= 0:
            self._selector.unregister(engine.control)
            engine.control.close()
