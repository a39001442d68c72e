"""The container's engines: started, watched, killed, reaped, replaced. In the supervisor."""

import contextlib
import logging
import math
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app import logs, metrics
from app.engine.channel import Channel, ChannelClosed
from app.engine.held import Held
from app.engine.launcher import Launcher
from app.engine.order import Order
from app.engine.protocol import Frame, ProtocolError, Type
from app.engine.renewal import Renewal
from app.engine.slot import Engine, Slot
from app.lifecycle import SERVING, Health, Stage, judge
from app.metrics import Counts
from app.settings import Settings

STOP_SECONDS = 3.0  # part of the arithmetic of PLATFORM_GRACE_SECONDS


class Fleet:
    """One slot for each engine that there should be.

    Args:
        settings: the container's.
        selector: of the supervisor's loop; control lines carry their Channel as data.
        on_change: called when an engine's stage changed or an engine is gone.
        counts: of the container; gets what engines have counted.
    """

    def __init__(
        self,
        settings: Settings,
        selector: selectors.BaseSelector,
        on_change: Callable[[], None],
        counts: Counts,
    ) -> None:
        self.slots = [
            Slot(device) for device in settings.device.split(",") for _ in range(settings.engines)
        ]
        self.served = False
        self.refused = ""  # why the start must be given up: no retry can help
        self.renewal = Renewal(settings, self, self.slots, on_change, counts)
        self._counts = counts
        self._settings = settings
        self._selector = selector
        self._on_change = on_change
        self._launcher = Launcher(settings.state_dir)
        self._generation = 0
        self._unclaimed: dict[int, int] = {}  # exit codes of children that have not spoken yet
        self._stop_at: float | None = None
        self._nursery_due = math.inf
        self._trouble = ""

    @property
    def ready(self) -> bool:
        """Whether an engine serves."""
        return any(slot.engine and slot.engine.stage is Stage.READY for slot in self.slots)

    def health(self, now: float) -> Health:
        """Judge from here as HTTP workers do from there."""
        views = (slot.engine.view() for slot in self.slots if slot.engine)
        return judge(views, now, self._settings.hang_seconds)

    @property
    def gone(self) -> bool:
        """Whether the fleet was stopped and every engine has left."""
        return self._stop_at is not None and not any(self._engines())

    def _engines(self) -> Iterator[tuple[Slot, Engine]]:
        for slot in self.slots:
            for engine in slot.engines():
                yield slot, engine

    # ---- starting

    def start_nursery(self) -> None:
        """Start the process that engines are forked from."""
        self._nursery_due = math.inf
        if stderr := self._launcher.start():
            self._selector.register(stderr, selectors.EVENT_READ, stderr)

    def tick(self, now: float, trouble: str = "") -> None:
        """Start what is due, kill what is overdue.

        Args:
            now: monotonic seconds.
            trouble: why no socket can be made in STATE_DIR; empty where it can.
        """
        self._trouble = trouble
        if now >= self._nursery_due:
            self.start_nursery()
        for slot, engine in list(self._engines()):
            self._watch(slot, engine, now)
        if self._stop_at is not None:
            return
        for slot in self.slots:
            if not slot.due(now) or self.renewal.holds(slot):
                continue
            if slot.retired and self._settings.swap == "replace":
                continue  # memory holds one
            if trouble:
                self._explain(slot)
                continue
            if self.served or self._open_weights(slot, now):
                precision = self.renewal.precisions.get(slot.place, "")
                slot.engine = self.launch(slot, self.renewal.weights, precision)
                self._on_change()
        if not trouble:
            self.renewal.tick(now)

    def _explain(self, slot: Slot) -> None:
        if slot.cause != self._trouble:
            slot.cause = self._trouble
            self._on_change()

    def launch(self, slot: Slot, weights: Held | None, precision: str) -> Engine:
        """Start an engine; the caller gives it its place."""
        self._generation += 1
        name = f"engine-{slot.device}-{self._generation}.sock"
        path = str(Path(self._settings.state_dir, name))
        files = weights or Held((), ())
        order = Order(slot.place, self._generation, path, files.names, files.has_source, precision)
        control = Channel(self._launcher.spawn(order, files.descriptors))
        self._selector.register(control, selectors.EVENT_READ, control)
        now = time.monotonic()
        return Engine(order, control, started_at=now, heard_at=now)

    def _open_weights(self, slot: Slot, now: float) -> bool:
        """Open the path anew until one has served: it may have been mended."""
        try:
            self.renewal.open_weights()
        except OSError as error:
            slot.cause = f"{error.filename}: {error.strerror}"
            slot.ended(now, "load_failed")
            logs.event("load_failed", level=logging.ERROR, message=slot.cause)
            self._on_change()
            return False
        return True

    # ---- what an exchange asks

    def retire(self, slot: Slot, engine: Engine) -> None:
        """Have an engine answer what it holds and leave; workers are told not to send it more."""
        if slot.engine is engine:
            slot.engine = None
        slot.retired.append(engine)
        # What it holds expires by then.
        self._send_stop(slot, engine, self._settings.request_timeout_seconds + STOP_SECONDS)

    def abandon(self, slot: Slot, engine: Engine) -> None:
        """End an engine that serves nobody."""
        slot.retired.append(engine)
        self._kill(slot, engine, "abandoned")

    # ---- watching

    def _watch(self, slot: Slot, engine: Engine, now: float) -> None:
        settings = self._settings
        cause = engine.overdue(now, settings.hang_seconds, settings.load_seconds)
        if cause and not engine.doomed:
            logs.event("engine_killed", level=logging.ERROR, cause=cause, engine=engine.pid)
            self._kill(slot, engine, cause)
        elif engine.stage in SERVING and not (self._trouble or os.path.exists(engine.order.path)):
            engine.control.send(Frame(Type.LISTEN))  # workers that start now could not reach it

    def forgive(self, now: float) -> None:
        """Start all clocks anew: the whole container was frozen, not an engine."""
        for _, engine in self._engines():
            engine.restart_clocks(now)

    def read(self, channel: Channel) -> None:
        """Hear an engine out; its end of file makes sure that it ends."""
        found = next((one for one in self._engines() if one[1].control is channel), None)
        if found is None:
            return
        slot, engine = found
        try:
            for frame in channel.receive():
                self._hear(slot, engine, frame)
        except ProtocolError as error:
            logs.event("bad_frame", level=logging.ERROR, message=str(error))
            self._kill(slot, engine, "bad_frame")
        except ChannelClosed:
            self._kill(slot, engine, "")

    def _hear(self, slot: Slot, engine: Engine, frame: Frame, *, dying: bool = False) -> None:
        engine.heard_at = time.monotonic()
        if frame.type is Type.BEAT:
            self._count(engine, frame.head)
            engine.note_state(frame.head)
            return
        engine.pid = frame.head["pid"]
        stage = Stage(frame.head["stage"])
        if not engine.enter(stage):
            logs.event("bad_stage", level=logging.ERROR, stage=stage, after=engine.stage)
        engine.cause, engine.version = frame.head["cause"], frame.head["version"]
        engine.hello = frame.head["hello"]
        slot.found = engine.hello.get("device", slot.found)
        if engine is slot.engine and stage in (Stage.READY, Stage.FAILED):
            slot.cause = engine.cause
        engine.no_memory = frame.head["no_memory"]
        if frame.head["wrong_setting"] and not (self.served or slot.found):
            self.refused = engine.cause
        if engine is slot.engine and stage is Stage.READY:
            self.renewal.note(engine)
        if stage is Stage.READY and not dying:
            self.renewal.advance()
            self.served = self.served or self.ready
        self._on_change()

    def _count(self, engine: Engine, beat: dict[str, Any]) -> None:
        self._counts.add(beat.pop("counts", {}))
        failed = (engine.beat.get("deep_check") or {}).get("failed", 0)  # of its whole life
        failed_now = (beat.get("deep_check") or {}).get("failed", 0)
        self._counts.count(metrics.DEEP_CHECK_FAILURES, by=failed_now - failed)

    # ---- ending

    def stop(self) -> None:
        """Tell every engine to answer what it holds and leave; after STOP_SECONDS it is killed."""
        self.renewal.leave()
        self.renewal.stop()
        self._stop_at = time.monotonic() + STOP_SECONDS
        for slot, engine in list(self._engines()):
            self._send_stop(slot, engine, STOP_SECONDS)

    def stop_nursery(self) -> None:
        """End the nursery; it holds nothing worth waiting for."""
        self._launcher.stop()

    def _send_stop(self, slot: Slot, engine: Engine, seconds: float) -> None:
        engine.leave_by = min(engine.leave_by, time.monotonic() + seconds)
        if engine.pid:
            engine.control.send(Frame(Type.STOP))
        else:
            self._kill(slot, engine, "stopped")

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
            if not self.served:
                for slot in self.slots:
                    slot.cause = "the engines' parent process died; the log says why"
            self._nursery_due = self._launcher.next_start(time.monotonic())
            return
        for slot, engine in self._engines():
            if engine.pid == pid:
                self._read_last_words(slot, engine)
                self._ended(slot, engine, code)
                return
        if any(not engine.pid for _, engine in self._engines()):
            self._unclaimed[pid] = code

    def _read_last_words(self, slot: Slot, engine: Engine) -> None:
        with contextlib.suppress(ChannelClosed, ProtocolError):
            while frames := engine.control.receive():
                for frame in frames:
                    self._hear(slot, engine, frame, dying=True)

    def _ended(self, slot: Slot, engine: Engine, code: int) -> None:
        self._drop(engine)
        if not self._trouble:  # else the directory is another server's
            Path(engine.order.path).unlink(missing_ok=True)
        cause = engine.doomed or ("load_failed" if engine.stage is Stage.FAILED else "")
        cause = cause or (f"signal {-code}" if code < 0 else f"exit code {code}")
        asked = self._stop_at is not None or engine in slot.retired
        logs.event("engine_gone", level=logging.INFO if asked else logging.ERROR, cause=cause,
                   engine=engine.pid, generation=engine.order.generation)  # fmt: skip
        limit = f", LOAD_SECONDS={self._settings.load_seconds:g}"
        words = cause + (limit if cause == "load_timeout" else "")
        why = engine.cause or f"the engine ended in its load: {words}"
        if engine is slot.engine:
            if not engine.was_ready:
                slot.cause = why
            slot.ended(time.monotonic(), cause)
        elif engine is slot.successor:
            slot.successor = None
            self.renewal.give_up("reload_failed", why, no_memory=engine.no_memory)
        else:
            slot.retired.remove(engine)
        self._on_change()

    def _drop(self, engine: Engine) -> None:
        if engine.control.fileno() >= 0:
            self._selector.unregister(engine.control)
            engine.control.close()
