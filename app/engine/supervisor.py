"""The supervisor: one loop over signals, engines and HTTP workers. No torch, one thread.

It never dies with an engine, an engine never dies with the nursery, and no HTTP worker dies with
either. Signals: SIGUSR1 the container drains, SIGHUP exchange the model, SIGTERM stop.
"""

import contextlib
import logging
import math
import os
import selectors
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import logs, state_dir
from app.engine.channel import Channel, ChannelClosed
from app.engine.claim import Claim
from app.engine.directory import Directory
from app.engine.fleet import Fleet
from app.engine.launcher import adopt_orphans
from app.engine.protocol import Frame, ProtocolError, Type
from app.engine.scrape import Scrapes
from app.engine.swap import Reply
from app.engine.tally import Moment, Tally
from app.settings import Settings
from app.stderr import StderrPipe

if TYPE_CHECKING:
    from app.engine.push import Push

TICK_SECONDS = 0.25
TELL_SECONDS = 1.0  # HTTP workers count on hearing from us
FROZEN_SECONDS = 2.0  # a tick that is later than this: the whole container was stopped


class Supervisor:
    """The loop.

    Args:
        settings: the container's.
        claim: on STATE_DIR.
        notify_pid: gets SIGUSR2 when the first engine is ready, again when every worker has been
            told that the container drains, and again when no more requests come; 0 for nobody.
    """

    def __init__(self, settings: Settings, claim: Claim, notify_pid: int) -> None:
        self._settings = settings
        self._claim = claim
        self._notify_pid = notify_pid
        self._draining = False
        self._stop_by: float | None = None
        self._announced = False
        self._told_at = 0.0
        self._quiet_since = math.inf
        self._selector = selectors.DefaultSelector()
        self._tally = Tally()
        self._fleet = Fleet(settings, self._selector, self._tell, self._tally.counts)
        self._directory = Directory(
            settings, Path(settings.state_dir, state_dir.SUPERVISOR_SOCKET), self._selector
        )
        self._scrapes = Scrapes(self._directory, lambda: self._tally.total(self._moment()))
        self._push: Push | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> bool:
        """Run until stopped and every engine is gone; return whether the end was asked for."""
        adopt_orphans()
        self._take_signals()
        self._fleet.start_nursery()
        self._start_push()
        last = time.monotonic()
        while not self._fleet.gone:
            for key, _ in self._selector.select(TICK_SECONDS):
                self._serve(key.data)
            now = time.monotonic()
            if now - last > TICK_SECONDS + FROZEN_SECONDS:
                logs.event("was_frozen", level=logging.WARNING, seconds=round(now - last, 1))
                self._fleet.forgive(now)
            last = now
            if self._fleet.refused and self._stop_by is None:
                logs.event("start_refused", level=logging.ERROR, message=self._fleet.refused)
                self._stop_by = -math.inf
            self._claim.keep(
                now, reachable=self._directory.reachable, listen_again=self._directory.listen_again
            )
            self._stop_engines_behind_the_last_worker(now)
            self._end_the_drain_when_quiet(now)
            self._fleet.tick(now, self._claim.trouble)
            self._mark(now)
            if now - self._told_at >= TELL_SECONDS:
                self._tell()
            self._scrapes.tick(now)
            self._directory.flush()
            if self._push:
                moment = self._moment()
                self._push.note(moment.queue_length, moment.in_progress)
        self._fleet.stop_nursery()
        self._directory.close()
        self._claim.clear()
        return not self._fleet.refused

    def _start_push(self) -> None:
        if url := self._settings.eas_metrics_url:
            from app.engine.push import Push  # noqa: PLC0415  its libraries take 5 MB

            self._push = Push(url)
            self._push.start()

    def _take_signals(self) -> None:
        # Handlers only wake the loop: logging or locking inside one can deadlock.
        signal.set_wakeup_fd(self._wake_write)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)

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
        elif self._directory.knows(source):
            self._hear_worker(source)
        else:
            self._fleet.read(source)

    def _hear_worker(self, worker: Channel) -> None:
        try:
            for frame in worker.receive():
                self._answer_worker(worker, frame)
        except (ChannelClosed, ProtocolError):
            self._directory.forget(worker)

    def _answer_worker(self, worker: Channel, frame: Frame) -> None:
        if frame.type is Type.ACTIVE:
            self._quiet_since = time.monotonic()
        elif frame.type is Type.COUNTS:
            self._tally.counts.add(frame.head["counts"])
            self._directory.note(worker, frame.head["gauges"])
            self._scrapes.heard(worker, frame.id)
        elif frame.type is Type.SCRAPE:
            self._scrapes.begin(worker, frame.id, time.monotonic())
        elif frame.type is Type.RELOAD:
            self._reload(lambda outcome: self._directory.reply(
                worker, Frame(Type.RELOADED, frame.id, asdict(outcome))
            ))  # fmt: skip
        else:
            raise ProtocolError(f"the supervisor takes no {frame.type.name}")

    def _moment(self) -> Moment:
        now = time.monotonic()
        return Moment(
            self._fleet.slots, self._directory.gauges, self._draining, self._ready(now), now
        )

    def _reload(self, reply: Reply) -> None:
        logs.event("reload")
        self._fleet.renewal.reload(reply, self._claim.trouble)
        self._tell()

    def _signalled(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._fleet.reap()
        elif number == signal.SIGUSR1 and not self._draining:
            self._draining = True
            self._quiet_since = time.monotonic()
            logs.event("draining")
            self._fleet.renewal.leave()
            self._tell()
            self._notify()  # run.sh goes on when every worker has been told
        elif number == signal.SIGHUP:
            self._reload(lambda _: None)  # the log tells how it went
        elif number == signal.SIGTERM and self._stop_by is None:
            self._stop_by = time.monotonic() + self._settings.graceful_seconds
            logs.event("stopping")

    def _stop_engines_behind_the_last_worker(self, now: float) -> None:
        """Engines outlive every HTTP worker (design, invariant 5), however the stop came about."""
        if self._stop_by is not None and (self._directory.empty or now > self._stop_by):
            self._fleet.stop()
            self._stop_by = math.inf

    def _end_the_drain_when_quiet(self, now: float) -> None:
        quiet = self._settings.drain_quiet_seconds
        if quiet and now - self._quiet_since >= quiet:
            self._quiet_since = math.inf
            logs.event("quiet", seconds=quiet)
            self._notify()

    def _mark(self, now: float) -> None:
        """Have the file `ready` exist exactly while `/ready` would say 200."""
        self._claim.mark(now, ready=self._ready(now), draining=self._draining)

    def _ready(self, now: float) -> bool:
        leaving = self._draining and self._settings.drain_unready
        return self._fleet.health(now).can_serve and not leaving

    def _notify(self) -> None:
        if self._notify_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._notify_pid, signal.SIGUSR2)

    def _tell(self) -> None:
        """Tell run.sh, people and workers what is true now."""
        if self._fleet.served and not self._announced:
            self._announced = True
            logs.event("ready")
            self._notify()
        self._told_at = time.monotonic()
        self._mark(self._told_at)
        renewal = self._fleet.renewal
        swap = {"running": renewal.running, "last": renewal.last and asdict(renewal.last)}
        self._directory.tell(
            self._fleet.slots, swap, draining=self._draining, served=self._fleet.served
        )
