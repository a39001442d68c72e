"""The supervisor's clocks: who is overdue, and when the next one starts."""

import math
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from app.engine.channel import Channel
from app.engine.order import Order
from app.engine.renewal import has_room
from app.engine.slot import Engine, Slot
from app.lifecycle import Stage


@pytest.fixture
def engine() -> Iterator[Engine]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Engine(Order("cpu", 1, "/x"), Channel(ours), started_at=0.0, heard_at=0.0)


def ready(engine: Engine) -> Engine:
    for stage in (Stage.WARMING, Stage.SELF_TEST, Stage.READY):
        assert engine.enter(stage)
    return engine


def test_a_load_may_take_load_seconds_and_no_longer(engine: Engine) -> None:
    assert engine.overdue(60, hang_seconds=6, load_seconds=60) == ""
    assert engine.overdue(61, hang_seconds=6, load_seconds=60) == "load_timeout"


def test_a_batch_may_take_hang_seconds_and_no_longer(engine: Engine) -> None:
    ready(engine).batch_age = 6.0
    assert engine.overdue(1, hang_seconds=6, load_seconds=60) == ""
    engine.batch_age = 6.5
    assert engine.overdue(1, hang_seconds=6, load_seconds=60) == "hang"


def test_an_engine_that_says_nothing_is_overdue(engine: Engine) -> None:
    assert ready(engine).overdue(6.5, hang_seconds=6, load_seconds=60) == "silent"


def test_a_frozen_container_is_forgiven(engine: Engine) -> None:
    ready(engine).batch_age = 9.0
    engine.restart_clocks(100)
    engine.batch_age = 10.0  # its next report still counts the frozen time
    engine.heard_at = 105
    assert engine.overdue(105, hang_seconds=6, load_seconds=60) == ""
    engine.heard_at = 107
    assert engine.overdue(107, hang_seconds=6, load_seconds=60) == "hang"


def test_stages_that_the_life_of_an_engine_has_not_are_refused(engine: Engine) -> None:
    assert not engine.enter(Stage.READY)
    assert engine.stage is Stage.LOADING


def test_one_that_has_served_is_replaced_at_once(engine: Engine) -> None:
    slot = Slot("cpu", ready(engine), failures=4)
    slot.ended(10, "signal 9")
    assert slot.due(10)
    assert slot.restarts == {"signal 9": 1}


def test_one_that_never_was_ready_is_started_again_with_growing_delay(engine: Engine) -> None:
    slot = Slot("cpu")
    delays = []
    for _ in range(7):
        slot.engine = engine
        slot.ended(0, "load_failed")
        delays.append(slot.retry_at)
    assert delays == [1, 2, 4, 8, 16, 30, 30]
    assert not slot.due(29.9)
    assert slot.due(30)


def beat(memory_mb: float, failures: int = 0, **gpu: float) -> dict[str, Any]:
    """Return a BEAT's head."""
    check = {"failures": failures}
    return {"batch_age": 0.0, "memory_mb": memory_mb, "gpu": gpu or None, "deep_check": check,
            "computing": True}  # fmt: skip


def test_one_that_talks_and_computes_no_more_is_overdue_also_in_its_load(engine: Engine) -> None:
    engine.note_state(beat(1))
    assert engine.overdue(1, hang_seconds=6, load_seconds=60) == ""
    engine.note_state({**beat(1), "computing": False})
    assert engine.overdue(1, hang_seconds=6, load_seconds=60) == "not_computing"


def test_an_engine_that_has_grown_past_a_limit_is_too_large(engine: Engine) -> None:
    ready(engine).note_state(beat(1000))
    engine.note_state(beat(1240))
    assert not engine.outgrew(1100, math.inf, 1), "a fresh one would hardly be smaller"
    engine.note_state(beat(1260))
    assert engine.outgrew(1100, math.inf, 1)
    assert not engine.outgrew(1300, 0, 1), "there is no GPU"


def test_one_that_simply_is_large_is_not_too_large(engine: Engine) -> None:
    engine.note_state(beat(1000))
    ready(engine).note_state(beat(5000))
    assert not engine.outgrew(1100, math.inf, 1)


def test_it_counts_on_the_gpu_too_and_there_never_past_four_fifths_of_it(engine: Engine) -> None:
    ready(engine).note_state(beat(1000, total_mb=10000, reserved_mb=4000))
    engine.note_state(beat(1000, total_mb=10000, reserved_mb=7900))
    assert engine.outgrew(9000, 7000, 1)
    assert not engine.outgrew(500, 9000, 1), "the host's limit is none for the GPU"
    engine.note_state(beat(1000, total_mb=10000, reserved_mb=8100))
    assert engine.outgrew(9000, math.inf, 1)
    engine.note_state({**beat(1000), "gpu": None})
    assert not engine.outgrew(9000, 7000, 1), "what it holds now is not known"


def test_engines_on_one_gpu_share_its_four_fifths(engine: Engine) -> None:
    ready(engine).note_state(beat(1000, total_mb=10000, reserved_mb=2000))
    engine.note_state(beat(1000, total_mb=10000, reserved_mb=4100))
    assert not engine.outgrew(9000, math.inf, 1)
    assert engine.outgrew(9000, math.inf, 2)


@pytest.mark.parametrize(("free", "fits"), [(5000, False), (5100, True)])
def test_two_fit_onto_a_gpu_where_as_much_is_free_as_one_holds(
    engine: Engine, free: float, fits: bool
) -> None:
    ready(engine).note_state(beat(1, uuid=1, total_mb=1e4, free_mb=free, reserved_mb=4000))
    assert has_room([Slot("cuda", engine)], floor_mb=500) is fits


def test_without_a_gpu_there_is_room(engine: Engine) -> None:
    ready(engine).note_state(beat(1000))
    assert has_room([Slot("cpu", engine), Slot("cpu")], floor_mb=500)


def test_a_degraded_engine_says_why_and_leaves_no_words_behind(engine: Engine) -> None:
    slot = Slot("cpu", ready(engine))
    engine.enter(Stage.DEGRADED)
    engine.cause = "deep_check"
    assert slot.words == "deep_check"
    slot.ended(0, "signal 9")
    assert slot.words == ""
