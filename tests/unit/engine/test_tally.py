"""The sum, and what the container is now, from what the supervisor knows."""

from typing import Any, cast

from app import metrics
from app.engine.channel import Channel
from app.engine.order import Order
from app.engine.slot import Engine, Memory, Slot
from app.engine.tally import Moment, Tally
from app.lifecycle import Stage
from app.metrics import Metric

HELLO = {"model": "m", "version": "v1", "device": "cuda:0", "precision": "float16"}
GPU = {"uuid": "GPU-1", "used_mb": 30, "free_mb": 70, "total_mb": 100, "utilization": 0.5,
       "temperature": None}  # fmt: skip
CHECK = {"healthy": True, "reason": "", "at": 90.0, "seconds": 0.5, "failed": 0}


def engine(stage: Stage = Stage.READY, **members: Any) -> Engine:
    made = Engine(Order("auto", 1, ""), cast("Channel", None), 0.0, 0.0, stage=stage)
    made.was_ready = stage is Stage.READY
    for name, value in members.items():
        setattr(made, name, value)
    return made


def now(*slots: Slot, workers: tuple[dict[str, int], ...] = (), ready: bool = True) -> Moment:
    return Moment(slots, workers, draining=False, ready=ready, now=100.0)


def series(moment: Moment, metric: Metric) -> dict[tuple[str, ...], float]:
    rows = Tally().total(moment).get(metric.name, [])
    return {tuple(labels): value for labels, [value] in rows}


def test_the_workers_gauges_are_added_up() -> None:
    one = {"in_progress": 2, "admitted": 3, "limit": 128, "waiting": 1}
    moment = now(workers=(one, one, {}))
    wanted = {metrics.IN_PROGRESS: 4, metrics.ADMITTED: 6, metrics.ADMITTED_LIMIT: 256,
              metrics.HTTP_WORKERS: 3, metrics.QUEUE_LENGTH: 2}  # fmt: skip
    assert {metric: series(moment, metric) for metric in wanted} == {
        metric: {(): value} for metric, value in wanted.items()
    }


def test_the_queue_is_that_of_every_engine_and_of_who_waits_for_one() -> None:
    slot = Slot("auto", engine(beat={"queue": 5}), retired=[engine(beat={"queue": 2})])
    assert series(now(slot, workers=({"waiting": 4},)), metrics.QUEUE_LENGTH) == {(): 11}


def test_engines_are_counted_by_stage() -> None:
    slot = Slot("auto", engine(), engine(Stage.WARMING), retired=[engine()])
    stages = series(now(slot, Slot("auto")), metrics.ENGINES)
    assert {stage for (stage,), times in stages.items() if times == 1} == {
        "ready", "warming", "retiring", "gone",
    }  # fmt: skip
    assert sum(stages.values()) == 4


def test_a_gpu_whose_engine_is_gone_is_told_from_the_others() -> None:
    slots = [Slot("cuda:0", engine(), found="cuda:0"), Slot("cuda:1", found="cuda:1")]
    assert series(now(*slots), metrics.ENGINES_READY) == {("cuda:0",): 1, ("cuda:1",): 0}


def test_the_causes_of_restarts_are_few_and_start_at_zero() -> None:
    causes = {"signal 9": 1, "signal 11": 2, "exit code 3": 4, "hang": 8, "the moon": 16}
    restarts = series(now(Slot("cpu", restarts=causes)), metrics.RESTARTS)
    assert {cause: times for (cause,), times in restarts.items() if times} == {
        "signal": 3, "exit": 4, "hang": 8, "other": 16,
    }  # fmt: skip
    assert len(restarts) == len(metrics.RESTART_CAUSES)


def test_the_model_is_named_once_while_an_engine_has_it() -> None:
    one, two = Slot("auto", engine(hello=HELLO)), Slot("auto", engine(hello=HELLO))
    old = Slot("auto", None, retired=[engine(hello={**HELLO, "version": "v0"})])
    assert series(now(one, two, old), metrics.MODEL_INFO) == {("m", "v1", "cuda:0", "float16"): 1}


def test_a_gpu_that_two_engines_share_is_one_and_the_latest_reading_counts() -> None:
    late = engine(hello=HELLO, gpu=GPU, heard_at=9.0)
    early = engine(Stage.LOADING, gpu={**GPU, "used_mb": 10}, heard_at=8.0)
    moment = now(Slot("auto", late, early, found="cuda:0"))
    labels = ("GPU-1", "cuda:0")
    assert series(moment, metrics.GPU_USED) == {labels: 30 * 2**20}
    assert series(moment, metrics.GPU_USED_RATIO) == {labels: 0.3}
    assert series(moment, metrics.GPU_UTILIZATION) == {labels: 0.5}
    assert series(moment, metrics.GPU_TEMPERATURE) == {}, "the device does not say"


def test_without_a_gpu_and_before_the_first_deep_check_there_is_no_series() -> None:
    moment = now(Slot("cpu", engine(beat={"queue": 0, "deep_check": None})))
    assert series(moment, metrics.GPU_USED) == series(moment, metrics.DEEP_CHECK_HEALTHY) == {}


def test_of_several_deep_checks_the_worst_counts() -> None:
    good = Slot("cpu", engine(beat={"deep_check": CHECK}))
    bad = Slot("cpu", engine(beat={"deep_check": {**CHECK, "healthy": False, "at": 70.0}}))
    moment = now(good, bad)
    assert series(moment, metrics.DEEP_CHECK_HEALTHY) == {(): 0}
    assert series(moment, metrics.DEEP_CHECK_AGE) == {(): 30}
    assert series(now(good), metrics.DEEP_CHECK_HEALTHY) == {(): 1}


def test_memory_is_that_of_every_engine_of_a_device() -> None:
    loading = engine(Stage.LOADING, host=Memory(1.0))
    slot = Slot("auto", engine(hello=HELLO, host=Memory(2.0)), loading, found="cuda:0")
    assert series(now(slot), metrics.ENGINE_MEMORY) == {("cuda:0",): 3 * 2**20}
