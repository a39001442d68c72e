"""The life of an engine and what health makes of it. Pure: no I/O, the time is handed in.

    loading → warming → self_test → ready ⇄ degraded → retiring → gone
       └─────────┴──────────┴──→ failed

The engine reports its stage, the supervisor adds ``gone`` and ``failed``; HTTP workers and the
supervisor judge. A degraded engine answers what comes, and asks not to be sent more: its deep
check failed, or GPU memory is short.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

# An engine reports twice a second. With this the verdict stands within 5 s of a death or a hang.
STALE_SECONDS = 4.0


# Why an engine is degraded, as /health says it.
GPU_MEMORY, DEEP_CHECK = "gpu_memory", "deep_check"


class Stage(StrEnum):
    """Where an engine is in its life."""

    LOADING = "loading"
    WARMING = "warming"
    SELF_TEST = "self_test"
    READY = "ready"
    DEGRADED = "degraded"
    RETIRING = "retiring"
    GONE = "gone"
    FAILED = "failed"


SERVING = (Stage.READY, Stage.DEGRADED)  # it takes requests

_NEXT: dict[Stage, frozenset[Stage]] = {
    Stage.LOADING: frozenset({Stage.WARMING, Stage.FAILED, Stage.RETIRING, Stage.GONE}),
    Stage.WARMING: frozenset({Stage.SELF_TEST, Stage.FAILED, Stage.RETIRING, Stage.GONE}),
    Stage.SELF_TEST: frozenset({Stage.READY, Stage.FAILED, Stage.RETIRING, Stage.GONE}),
    Stage.READY: frozenset({Stage.DEGRADED, Stage.RETIRING, Stage.GONE}),
    Stage.DEGRADED: frozenset({Stage.READY, Stage.RETIRING, Stage.GONE}),
    Stage.RETIRING: frozenset({Stage.GONE}),
    Stage.FAILED: frozenset({Stage.GONE}),
    Stage.GONE: frozenset(),
}


def may_follow(stage: Stage, following: Stage) -> bool:
    """Return whether an engine can pass from one stage to the other."""
    return following in _NEXT[stage]


@dataclass(frozen=True)
class EngineView:
    """What an HTTP worker knows of one engine.

    Args:
        stage: from the supervisor's directory.
        cause: why the last load failed, in words; why it is degraded, in one.
        heard_at: monotonic seconds of its last STATE to us; None while not connected.
        batch_age: seconds that its running batch had taken at that time; 0 when idle.
    """

    stage: Stage
    cause: str = ""
    heard_at: float | None = None
    batch_age: float = 0.0


@dataclass(frozen=True)
class Health:
    """The verdict: can the next request be answered in time, and if not, why."""

    can_serve: bool
    stage: str
    reason: str = ""


def judge(engines: Iterable[EngineView], now: float, hang_seconds: float) -> Health:
    """Judge the engines: one that can serve is enough.

    Args:
        engines: all that the directory names.
        now: monotonic seconds.
        hang_seconds: HANG_SECONDS; a batch may be meant to take half of it.

    Returns:
        ``reason`` is one of ``/health``'s: loading, warming, self_test, load_failed: CAUSE,
        engine_stale, engine_gone, gpu_memory, deep_check.
    """
    longest = max(STALE_SECONDS, hang_seconds / 2)
    verdicts = [_judge_one(engine, now, longest) for engine in engines]
    # The most hopeful verdict speaks for the container.
    return min(verdicts, key=_hopelessness, default=Health(False, Stage.GONE, "engine_gone"))


def _judge_one(engine: EngineView, now: float, longest_batch: float) -> Health:
    if engine.stage in SERVING:
        if engine.heard_at is None:
            return Health(False, engine.stage, "engine_gone")
        if now - engine.heard_at > STALE_SECONDS or engine.batch_age > longest_batch:
            return Health(False, engine.stage, "engine_stale")
        if engine.stage is Stage.DEGRADED:
            return Health(False, engine.stage, engine.cause)
        return Health(True, engine.stage)
    if engine.cause:
        return Health(False, Stage.FAILED, f"load_failed: {engine.cause}")
    if engine.stage in (Stage.LOADING, Stage.WARMING, Stage.SELF_TEST):
        return Health(False, engine.stage, engine.stage)
    return Health(False, engine.stage, "engine_gone")


def _hopelessness(health: Health) -> int:
    if health.can_serve:
        return 0
    order = (GPU_MEMORY, DEEP_CHECK, "self_test", "warming", "loading", "engine_stale",
             "load_failed", "engine_gone")  # fmt: skip
    return 1 + order.index(health.reason.partition(":")[0])
