"""The supervisor: starts, watches and replaces engines. No torch, one thread, one loop.

It never dies with an engine, an engine never dies with the nursery, and no HTTP worker dies with
either. Signals: SIGUSR1 the container drains, SIGTERM stop.
"""

import contextlib
import logging
import os
import selectors
import signal
import time
from pathlib import Path
from typing import Any

from app import logs, state_dir
from app.engine.channel import Channel, ChannelClosed
from app.engine.directory import Directory
from app.engine.launcher import Launcher, adopt_orphans
from app.engine.order import Order
from app.engine.protocol import Frame, ProtocolError, Type
from app.engine.slot import Engine, Slot
from app.lifecycle import Stage
from app.models import registry
from app.settings import Settings
from app.stderr import StderrPipe

TICK_SECONDS = 0.25
FROZEN_SECONDS = 2.0
STOP_SECONDS = 3.0  # part of the arithmetic of PLATFORM_GRACE_SECONDS


class Supervisor:
    """The loop.

    Args:
        settings: the container's.
        notify_pid: gets SIGUSR2 when the first engine is ready; 0 for nobody.
    """

    def __init__(self, settings: Settings, notify_pid: int) -> None:
        self._settings = settings
        self._notify_pid = notify_pid
        self._slots = [
            Slot(device) for device in settings.device.split(",") for _ in range(settings.engines)
        ]
        self._generation = 0
        self._draining = False
        self._served = False
        self._stop_at: float | None = None
        self._selector = selectors.DefaultSelector()
        self._launcher = Launcher()
        self._weights: int | None = None
        self._unclaimed: dict[int, int] = {}  # exit codes of children that have not spoken yet
        self._wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        self._directory = Directory(
            settings, Path(settings.state_dir, state_dir.SUPERVISOR_SOCKET), self._selector
        )

    def run(self) -> None:
        """Run until stopped and every engine is gone."""
        adopt_orphans()
        # Handlers only wake the loop: logging or locking inside one can deadlock.
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._start_nursery()
        last = time.monotonic()
        while not self._finished():
            for key, _ in self._selector.select(TICK_SECONDS):
                self._serve(key.data)
            now = time.monotonic()
            if now - last > TICK_SECONDS + FROZEN_SECONDS:
                self._thaw(now)
            last = now
            self._tick(now)
        self._launcher.stop()
        self._directory.close()

    # ---- what time brings

    def _tick(self, now: float) -> None:
        for slot in self._slots:
            if slot.engine:
                self._watch(slot, slot.engine, now)
            elif slot.due(now) and self._stop_at is None:
                self._start(slot, now)

    def _watch(self, slot: Slot, engine: Engine, now: float) -> None:
        settings = self._settings
        cause = engine.overdue(now, settings.hang_seconds, settings.load_seconds)
        if not cause and self._stop_at is not None and now > self._stop_at:
            cause = "stop_timeout"
        if cause and not engine.doomed:
            logs.event("engine_killed", level=logging.ERROR, cause=cause, engine=engine.pid)
            self._kill(slot, engine, cause)

    def _start(self, slot: Slot, now: float) -> None:
        if not self._served and not self._open_weights(slot, now):
            return
        self._generation += 1
        name = f"engine-{slot.device}-{self._generation}.sock"
        order = Order(slot.device, self._generation, str(Path(self._settings.state_dir, name)))
        control = Channel(self._launcher.spawn(order, self._weights))
        slot.engine = Engine(order, control, started_at=now, heard_at=now)
        self._selector.register(control, selectors.EVENT_READ, control)
        self._tell()

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
            self._tell()
            return False
        return True

    def _thaw(self, now: float) -> None:
        logs.event("was_frozen", level=logging.WARNING)
        for slot in self._slots:
            if slot.engine:
                slot.engine.restart_clocks(now)

    def _finished(self) -> bool:
        return self._stop_at is not None and not any(slot.engine for slot in self._slots)

    def _start_nursery(self) -> None:
        if stderr := self._launcher.start():
            self._selector.register(stderr, selectors.EVENT_READ, stderr)

    # ---- what arrives

    def _serve(self, source: Any) -> None:
        if source is None:
            for number in os.read(self._wake_read, 4096):
                self._signalled(number)
        elif source is self._directory.listener:
            self._directory.accept()
        elif isinstance(source, StderrPipe):
            if not source.read():
                self._selector.unregister(source)
                source.close()
        else:
            self._read(source)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGUSR1:
            self._draining = True
            state_dir.mark(self._settings.state_dir, state_dir.DRAINING, present=True)
            logs.event("draining")
            self._tell()
        elif number == signal.SIGTERM and self._stop_at is None:
            logs.event("stopping")
            self._stop_at = time.monotonic() + STOP_SECONDS
            self._stop_engines()

    def _stop_engines(self) -> None:
        for slot in self._slots:
            if slot.engine and slot.engine.pid:
                slot.engine.control.send(Frame(Type.STOP))
            elif slot.engine:
                self._kill(slot, slot.engine, "stopped")

    def _read(self, channel: Channel) -> None:
        try:
            frames = channel.receive()
        except (ChannelClosed, ProtocolError) as error:
            self._lost(channel, error)
            return
        slot = self._slot_of(channel)
        if slot and slot.engine:
            for frame in frames:
                self._hear(slot, slot.engine, frame)

    def _lost(self, channel: Channel, error: Exception) -> None:
        if isinstance(error, ProtocolError):
            logs.event("bad_frame", level=logging.ERROR, message=str(error))
        if self._directory.knows(channel):
            self._directory.forget(channel)
            return
        slot = self._slot_of(channel)
        if slot and slot.engine:
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
            self._first_ready()
        self._tell()

    def _first_ready(self) -> None:
        if not self._served:
            self._served = True
            logs.event("ready")
            if self._notify_pid:
                os.kill(self._notify_pid, signal.SIGUSR2)

    # ---- the ends

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
            self._ended(slot, self._cause(engine, self._unclaimed.pop(engine.pid)))
        elif engine.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(engine.pid, signal.SIGKILL)
        else:  # not forked, or just now: then the end of its line stops it
            self._ended(slot, cause or "not_forked")

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._reaped(pid, os.waitstatus_to_exitcode(status))

    def _reaped(self, pid: int, code: int) -> None:
        if pid == self._launcher.pid and self._stop_at is None:
            logs.event("nursery_died", level=logging.WARNING, exit_code=code)
            self._start_nursery()
            return
        for slot in self._slots:
            if slot.engine and slot.engine.pid == pid:
                self._read_last_words(slot, slot.engine)
                self._ended(slot, self._cause(slot.engine, code))
                return
        self._unclaimed[pid] = code

    def _read_last_words(self, slot: Slot, engine: Engine) -> None:
        with contextlib.suppress(ChannelClosed, ProtocolError):
            while frames := engine.control.receive():
                for frame in frames:
                    self._hear(slot, engine, frame)

    @staticmethod
    def _cause(engine: Engine, code: int) -> str:
        if engine.doomed:
            return engine.doomed
        if engine.stage is Stage.FAILED:
            return "load_failed"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _ended(self, slot: Slot, cause: str) -> None:
        engine = slot.engine
        if engine is None:
            return
        self._drop(engine)
        Path(engine.order.path).unlink(missing_ok=True)
        slot.ended(time.monotonic(), cause)
        level = logging.INFO if self._stop_at is not None else logging.ERROR
        logs.event("engine_gone", level=level, cause=cause, engine=engine.pid,
                   generation=engine.order.generation)  # fmt: skip
        self._tell()

    def _drop(self, engine: Engine) -> None:
        if engine.control.fileno() >= 0:
            self._selector.unregister(engine.control)
            engine.control.close()

    def _slot_of(self, channel: Channel) -> Slot | None:
        return next((s for s in self._slots if s.engine and s.engine.control is channel), None)

    def _tell(self) -> None:
        ready = any(slot.engine and slot.engine.stage is Stage.READY for slot in self._slots)
        state_dir.mark(self._settings.state_dir, state_dir.READY, present=ready)
        self._directory.tell(self._slots, draining=self._draining, served=self._served)
