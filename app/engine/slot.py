"""One place for an engine, and the clocks that say when to kill or to start one. Pure, no I/O."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from app.engine.channel import Channel
from app.engine.order import Order
from app.lifecycle import SERVING, EngineView, Stage, may_follow

MAX_BACKOFF = 30.0
MIN_SILENCE = 5.0
GROWTH = 1.25  # a fresh engine must be worth the exchange
GPU_SHARE = 0.8  # of a device's memory, for its engines together
CONTEXT_MB = 600.0  # what CUDA takes for a process beside PyTorch's own pool


@dataclass
class Memory:
    """How much an engine holds of one memory, in megabytes.

    Args:
        now: at its last beat.
        ready: at its first beat after it was ready; growth is judged by it.
    """

    now: float = 0.0
    ready: float = 0.0

    def note(self, megabytes: float, *, was_ready: bool) -> None:
        """Note what a beat says."""
        self.now = megabytes
        if was_ready and not self.ready:
            self.ready = megabytes

    def outgrew(self, limit: float) -> bool:
        """Return whether it has grown past a limit; what is simply large has not."""
        return self.ready > 0 and self.now > GROWTH * self.ready and self.now > limit


@dataclass
class Engine:
    """What the supervisor knows of one engine.

    Args:
        order: what was asked for.
        control: the line to it.
        started_at: monotonic seconds.
        heard_at: monotonic seconds of its last message.
        batch_age: how long its running batch had taken then.
        computing: whether the thread that computes was alive then.
        pid: 0 until it has spoken.
        version: of its weights, once ready.
        cause: why its load failed, in words; why it is degraded, in one.
        no_memory: whether its load failed for want of memory.
        hello: what it is, in HELLO's words, once ready.
        beat: what its last BEAT said.
        host: what it holds of the host's memory.
        device: what PyTorch's pool in it holds of the GPU's memory.
        gpu: NVML's last reading of its GPU; None without one.
        failures: how many deep checks in a row it has failed.
        doomed: why it was killed by us, or empty.
        leave_by: monotonic seconds; one that was told to leave is killed then.
        thawed_at: when the container last went on after it had been frozen.
    """

    order: Order
    control: Channel
    started_at: float
    heard_at: float
    stage: Stage = Stage.LOADING
    batch_age: float = 0.0
    computing: bool = True
    pid: int = 0
    version: str = ""
    cause: str = ""
    no_memory: bool = False
    hello: dict[str, Any] = field(default_factory=dict)
    beat: dict[str, Any] = field(default_factory=dict)
    host: Memory = field(default_factory=Memory)
    device: Memory = field(default_factory=Memory)
    gpu: dict[str, Any] | None = None
    failures: int = 0
    doomed: str = ""
    was_ready: bool = False
    thawed_at: float = -math.inf
    leave_by: float = math.inf

    @property
    def place(self) -> str:
        """Return what it has found to run on; empty before it is ready."""
        return str(self.hello.get("device", ""))

    @property
    def precision(self) -> str:
        """What it computes in; empty before it is ready."""
        return str(self.hello.get("precision", ""))

    def enter(self, stage: Stage) -> bool:
        """Pass to a stage; return False where the life of an engine has no such step."""
        if stage is self.stage:
            return True
        if not may_follow(self.stage, stage):
            return False
        self.stage = stage
        self.was_ready = self.was_ready or stage is Stage.READY
        return True

    def overdue(self, now: float, hang_seconds: float, load_seconds: float) -> str:
        """Return why the engine must be killed now, or an empty string."""
        if now > self.leave_by:
            return "stop_timeout"
        if not self.computing:
            return "not_computing"
        if not self.was_ready:
            return "load_timeout" if now - self.started_at > load_seconds else ""
        # A batch that was frozen with the container has aged without running.
        if min(self.batch_age, now - self.thawed_at) > hang_seconds:
            return "hang"
        # Beats come whatever the model does; a short HANG_SECONDS must not make them late.
        if now - self.heard_at > max(hang_seconds, MIN_SILENCE):
            return "silent"
        return ""

    def note_state(self, head: dict[str, Any]) -> None:
        """Note what a beat says of it."""
        self.beat = head
        self.batch_age, self.gpu = head["batch_age"], head["gpu"]
        self.computing = head["computing"]
        self.host.note(head["memory_mb"], was_ready=self.was_ready)
        if self.gpu:
            self.device.note(self.gpu["reserved_mb"], was_ready=self.was_ready)
        check = head["deep_check"]
        self.failures = check["failures"] if check else 0

    def outgrew(self, host_mb: float, gpu_mb: float, engines: int) -> bool:
        """Return whether it serves and has grown past a limit, in the host's or the GPU's memory.

        Of a GPU's memory its engines may not come to hold more than ``GPU_SHARE`` together,
        whatever the limit.

        Args:
            host_mb: the limit in the host's memory.
            gpu_mb: the limit in the GPU's.
            engines: how many share the GPU.
        """
        too_large = self.host.outgrew(host_mb)
        if self.gpu:
            gpu_mb = min(gpu_mb, GPU_SHARE * self.gpu["total_mb"] / engines)
            too_large = too_large or self.device.outgrew(gpu_mb)
        return self.stage in SERVING and too_large

    def account(self) -> dict[str, Any]:
        """Return its memory and its failed checks, for the log."""
        return {"memory_mb": self.host.now, "gpu_memory_mb": self.device.now or None,
                "deep_check_failures": self.failures}  # fmt: skip

    def view(self) -> EngineView:
        """Return what health is judged by."""
        return EngineView(self.stage, self.cause, self.heard_at, self.batch_age)

    def restart_clocks(self, now: float) -> None:
        """Forgive the time in which the whole container was frozen."""
        self.started_at = self.heard_at = self.thawed_at = now


@dataclass
class Slot:
    """A place on a device where one engine lives.

    Args:
        device: DEVICE for its engines.
        engine: the one that lives, or None.
        successor: the one that a swap has started, and that serves nobody yet.
        retired: those that answer what they hold and leave.
        failures: how many in a row ended before they were ready.
        retry_at: monotonic seconds of the next start while there is none.
        cause: why the last load failed, in words; empty once one was ready.
        found: what the device has come to, in an engine's words; empty until one was ready.
    """

    device: str
    engine: Engine | None = None
    successor: Engine | None = None
    retired: list[Engine] = field(default_factory=list)
    failures: int = 0
    retry_at: float = 0.0
    cause: str = ""
    found: str = ""
    restarts: dict[str, int] = field(default_factory=dict)

    def engines(self) -> Iterator[Engine]:
        """Yield every engine of this place, in whatever part of its life."""
        yield from (one for one in (self.engine, self.successor, *self.retired) if one)

    @property
    def place(self) -> str:
        """Where its next engine belongs: where it has run.

        ``auto`` would take the CPU for a GPU that was lost, and nothing would say so.
        """
        return self.found or self.device

    @property
    def words(self) -> str:
        """Why its engine cannot serve, as far as that has words."""
        degraded = self.engine is not None and self.engine.stage is Stage.DEGRADED
        return self.engine.cause if self.engine and degraded else self.cause

    def ended(self, now: float, cause: str) -> None:
        """Note that the engine is gone, and when the next one is due.

        One that has served is replaced at once; one that never was ready with back-off.
        """
        engine, self.engine = self.engine, None
        self.restarts[cause] = self.restarts.get(cause, 0) + 1
        if engine and engine.was_ready:
            self.failures, self.retry_at = 0, now
            return
        self.failures += 1
        self.retry_at = now + min(MAX_BACKOFF, 2.0 ** (self.failures - 1))

    def due(self, now: float) -> bool:
        """Return whether an engine must be started now."""
        return self.engine is None and now >= self.retry_at
