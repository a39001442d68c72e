"""The supervisor's clocks: who is overdue, and when the next one starts."""

import socket
from collections.abc import Iterator

import pytest

from app.engine.channel import Channel
from app.engine.order import Order
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
