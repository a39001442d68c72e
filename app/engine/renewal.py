"""When engines are exchanged and for what: a reload, grown memory, a model gone wrong.

Runs in the supervisor.

Keeps the files of the model that serves; only a reload opens their path anew.
"""

import logging
import math
from collections.abc import Callable, Iterable

from app import logs, metrics
from app.engine.held import Held
from app.engine.slot import CONTEXT_MB, Engine, Slot
from app.engine.swap import Engines, Outcome, Reply, Swap
from app.metrics import Counts
from app.settings import Settings

RECYCLE_SECONDS = 60.0  # a model that is simply large must not be exchanged all the time


class Renewal:
    """The exchange that is under way, if any, and the weights that serve.

    Args:
        settings: the container's.
        engines: the fleet.
        slots: all of the fleet's.
        on_change: called when an exchange began, took over or ended.
        counts: of the container.
    """

    def __init__(
        self,
        settings: Settings,
        engines: Engines,
        slots: list[Slot],
        on_change: Callable[[], None],
        counts: Counts,
    ) -> None:
        self.weights: Held | None = None
        self.precisions: dict[str, str] = {}  # by device: what these weights are computed in there
        self.last: Outcome | None = None
        self._settings = settings
        self._engines = engines
        self._slots = slots
        self._on_change = on_change
        self._counts = counts
        self._swap: Swap | None = None
        self._leaving = False
        self._recycle_at = 0.0
        # The default comes from the host's memory and says nothing of a GPU's.
        by_default = settings.origin["max_engine_memory_mb"] == "default"
        self._gpu_mb = math.inf if by_default else settings.max_engine_memory_mb

    @property
    def running(self) -> bool:
        """Whether new engines are being prepared."""
        return self._swap is not None

    def holds(self, slot: Slot) -> bool:
        """Return whether the slot's next engine is an exchange's business."""
        return self._swap is not None and self._swap.holds(slot)

    def open_weights(self) -> None:
        """Hold what the path names now.

        Raises:
            OSError: it cannot be opened.
        """
        self._hold(Held.open(self._settings))

    def note(self, engine: Engine) -> None:
        """Note what the first engine of a device has chosen; the others there follow."""
        self.precisions.setdefault(engine.place, engine.precision)

    def reload(self, reply: Reply, trouble: str = "") -> None:
        """Exchange every engine for one that opens the weights' path anew.

        Args:
            reply: gets the outcome.
            trouble: why new engines could not listen; empty where they can.
        """
        if self._leaving:
            refused = Outcome("draining", "the container is leaving")
        elif self._swap:
            refused = Outcome("reload_in_progress", "another exchange of the model is under way")
        else:
            try:
                if not trouble:
                    self._begin(self._slots, Held.open(self._settings), {}, reply)
                    return
            except OSError as error:
                trouble = f"{error.filename}: {error.strerror}"
            self.last = refused = Outcome("reload_failed", trouble)
            self._counts.count(metrics.SWAPS, "failed")
        logs.event("reload_refused", level=logging.ERROR, code=refused.code, cause=refused.cause)
        reply(refused)

    def tick(self, now: float) -> None:
        """Go on with the exchange; begin one where an engine has grown too large."""
        self.advance()
        for slot in self._slots:
            if self._swap or now < self._recycle_at or not (why := self._unfit(slot)):
                continue
            self._recycle_at = now + RECYCLE_SECONDS
            logs.event(why, level=logging.WARNING, engine=slot.engine and slot.engine.pid,
                       **(slot.engine.account() if slot.engine else {}))  # fmt: skip
            self._begin([slot], self.weights, dict(self.precisions), lambda _: None)

    def _unfit(self, slot: Slot) -> str:
        """Return why an engine should be exchanged for a fresh one, or an empty string."""
        engine, bound = slot.engine, self._settings.deep_check_failures
        sharing = sum(other.device == slot.device for other in self._slots)
        if engine and engine.outgrew(self._settings.max_engine_memory_mb, self._gpu_mb, sharing):
            return "engine_too_large"
        if engine and bound and engine.failures >= bound:
            return "engine_unsound"
        return ""

    def advance(self) -> None:
        """Let the new engines take over once all are ready."""
        swap = self._swap
        if not swap:
            return
        if swap.unsound:
            self.give_up("reload_failed", "a new engine failed its deep check")
            return
        had_taken_over = swap.taken_over
        done = swap.advance()
        if swap.taken_over and not had_taken_over:
            self._hold(swap.weights)
            self.precisions = swap.precisions
            self._on_change()
        if done:
            self._swap = None
            self._on_change()

    def give_up(self, code: str, cause: str, *, no_memory: bool = False) -> None:
        """End an exchange that cannot succeed; nothing happens where there is none.

        Where two models do not fit into memory, the old ones make room for another try.
        """
        swap, self._swap = self._swap, None
        if swap and swap.beside and not self._leaving and no_memory:
            logs.event("swap_in_place", level=logging.WARNING, why="memory holds one", cause=cause)
            self._swap = swap.in_place()
            self._swap.begin()
        elif swap:
            swap.give_up(code, cause)
            if swap.weights is not None and swap.weights != self.weights:
                swap.weights.close()  # nobody will load them again
            self._on_change()

    def leave(self) -> None:
        """Begin no more exchanges: what serves now serves to the container's end.

        Where the old engines have left already, the new ones are what will serve.
        """
        self._leaving = True
        self._recycle_at = math.inf
        if self._swap and self._swap.beside:
            self.stop()

    def stop(self) -> None:
        """End what is left of an exchange: nobody will be served any more."""
        self.give_up("draining", "the container is leaving")

    def _begin(
        self, slots: list[Slot], weights: Held | None, precisions: dict[str, str], reply: Reply
    ) -> None:
        def note(outcome: Outcome) -> None:
            self.last = outcome
            self._counts.count(metrics.SWAPS, "failed" if outcome.code else "done")
            self._counts.observe(metrics.SWAP_DURATION, outcome.seconds)
            reply(outcome)

        beside = self._settings.swap != "replace" and has_room(
            slots, self._settings.min_free_gpu_mb
        )
        self._swap = Swap(
            self._engines, slots, weights, precisions=precisions, beside=beside, reply=note
        )
        self._swap.begin()
        self._on_change()

    def _hold(self, weights: Held | None) -> None:
        if self.weights is not None and self.weights != weights:
            self.weights.close()
        self.weights = weights


def has_room(slots: Iterable[Slot], floor_mb: float) -> bool:
    """Return whether the GPUs have the memory for a second engine beside each, as measured.

    Args:
        slots: whose engines are to be exchanged.
        floor_mb: what must stay free, or the engines that serve would be degraded meanwhile.
    """
    needed: dict[str, float] = {}
    free: dict[str, float] = {}
    for slot in slots:
        if slot.engine and (gpu := slot.engine.gpu):
            needed[gpu["uuid"]] = needed.get(gpu["uuid"], 0.0) + gpu["reserved_mb"] + CONTEXT_MB
            free[gpu["uuid"]] = gpu["free_mb"]
    return all(needed[uuid] + floor_mb <= free[uuid] for uuid in needed)
