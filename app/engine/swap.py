"""New engines for old ones, all or none, while requests flow. In the supervisor; no I/O of its own.

The new ones load beside the old ones and take over together once each has passed its self-test;
then the old ones answer what they hold and leave. If one fails, the old ones serve on. Where two
do not fit into memory, the old ones leave first and requests wait, as after a crash.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app import logs
from app.engine.held import Held
from app.engine.slot import Engine, Slot
from app.lifecycle import DEEP_CHECK, SERVING, Stage


@dataclass(frozen=True)
class Outcome:
    """How a swap ended.

    Args:
        code: empty, or an error's: reload_failed, reload_in_progress, draining.
        cause: in words.
        version: of the model that serves now, where it succeeded.
        seconds: how long it took.
    """

    code: str = ""
    cause: str = ""
    version: str = ""
    seconds: float = 0.0


Reply = Callable[[Outcome], None]


class Engines(Protocol):
    """What a swap asks of the fleet."""

    def launch(self, slot: Slot, weights: Held | None, precision: str) -> Engine:
        """Start an engine that belongs to no slot yet."""

    def retire(self, slot: Slot, engine: Engine) -> None:
        """Have an engine answer what it holds and leave."""

    def abandon(self, slot: Slot, engine: Engine) -> None:
        """End an engine that serves nobody."""


class Swap:
    """One exchange.

    Args:
        engines: the fleet.
        slots: whose engines are exchanged.
        weights: the files that the new engines load, or None.
        precisions: what these weights are computed in, by device; empty where they are new.
        beside: whether the new ones load while the old ones serve.
        reply: told how it ended.
    """

    def __init__(
        self,
        engines: Engines,
        slots: Sequence[Slot],
        weights: Held | None,
        *,
        precisions: dict[str, str],
        beside: bool,
        reply: Reply,
    ) -> None:
        self.slots = slots
        self.weights = weights
        self.precisions = precisions
        self.beside = beside
        self.taken_over = False
        self._engines = engines
        self._reply = reply
        self._began = time.monotonic()

    def begin(self) -> None:
        """Start the new engines, or have the old ones leave."""
        logs.event("swap_started", engines=len(self.slots), beside=self.beside)
        if not self.beside:
            for slot in self.slots:
                if slot.engine:
                    self._engines.retire(slot, slot.engine)
        self.advance()

    def holds(self, slot: Slot) -> bool:
        """Return whether nobody else may start an engine in the slot."""
        return not self.beside and slot in self.slots

    def advance(self) -> bool:
        """Do what can be done now; return whether all is done: the old engines have left.

        Only then every HTTP worker has turned to the new ones.
        """
        if not self.taken_over:
            self._note_precision()
            self._launch()
            # One that waits for its sisters may have become degraded: where two models are more
            # than the GPU's memory likes, it stays so until the old engines have left.
            if all(slot.successor and slot.successor.stage in SERVING for slot in self.slots):
                self._take_over()
        if not self.taken_over or any(slot.retired for slot in self.slots):
            return False
        self._succeed()
        return True

    @property
    def unsound(self) -> bool:
        """Whether a new engine has failed its deep check before it took over."""
        new = [slot.successor for slot in self.slots if slot.successor]
        return any(one.stage is Stage.DEGRADED and one.cause == DEEP_CHECK for one in new)

    def give_up(self, code: str, cause: str) -> None:
        """End what was started; the old engines serve on, or are started again."""
        if self.taken_over:
            self._succeed()
            return
        self._abandon()
        logs.event("swap_failed", level=logging.ERROR, code=code, cause=cause)
        self._reply(Outcome(code, cause, seconds=self._seconds()))

    def in_place(self) -> "Swap":
        """End what was started; return the same exchange with the old engines leaving first."""
        self._abandon()
        return Swap(self._engines, self.slots, self.weights, precisions=self.precisions,
                    beside=False, reply=self._reply)  # fmt: skip

    def _abandon(self) -> None:
        for slot in self.slots:
            successor, slot.successor = slot.successor, None
            if successor:
                self._engines.abandon(slot, successor)

    def _note_precision(self) -> None:
        """Have those that start later compute in what the first one of the device has chosen."""
        for new in (slot.successor for slot in self.slots if slot.successor):
            if new.precision:
                self.precisions.setdefault(new.place, new.precision)

    def _launch(self) -> None:
        for slot in self.slots:
            if slot.successor is None and (self.beside or not slot.retired):
                precision = self.precisions.get(slot.place, "")
                slot.successor = self._engines.launch(slot, self.weights, precision)

    def _take_over(self) -> None:
        self.taken_over = True
        for slot in self.slots:
            old, slot.engine, slot.successor = slot.engine, slot.successor, None
            slot.cause = ""
            if old:
                self._engines.retire(slot, old)

    def _succeed(self) -> None:
        version = next((slot.engine.version for slot in self.slots if slot.engine), "")
        logs.event("swap_done", version=version, seconds=self._seconds())
        self._reply(Outcome(version=version, seconds=self._seconds()))

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)
