"""Native threads: errors are values, deadlines hold, and threads that do not return are seen."""

import threading
import time
from collections.abc import Iterator

import gevent
import pytest
from gevent import get_hub

from app import errors
from app.web import decoder as module
from app.web.decoder import STUCK_SECONDS, Decoder
from tests.loop import until


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def soon() -> float:
    return time.monotonic() + 10


def much_later() -> float:
    return time.monotonic() + STUCK_SECONDS + 1


def test_it_returns_what_the_function_returns_in_another_thread() -> None:
    assert Decoder().call(soon(), lambda *_: threading.get_ident(), 1) != threading.get_ident()


def test_what_the_function_raises_is_raised() -> None:
    def fail() -> None:
        raise errors.ImageUnreadable("broken")

    decoder = Decoder()
    with pytest.raises(errors.ImageUnreadable, match="broken"):
        decoder.call(soon(), fail)
    assert not decoder.stuck(much_later())


def test_a_thread_that_does_not_return_costs_a_request_its_deadline_and_no_more(
    gate: threading.Event,
) -> None:
    with pytest.raises(errors.DeadlineExceeded):
        Decoder().call(time.monotonic() + 0.1, gate.wait)


def test_it_is_stuck_when_every_thread_is_and_well_when_they_return(
    gate: threading.Event,
) -> None:
    begun = []

    def stand_still() -> None:
        begun.append(1)
        gate.wait()

    decoder = Decoder()
    size = get_hub().threadpool.maxsize
    calls = [gevent.spawn(decoder.call, soon(), stand_still) for _ in range(size - 1)]
    until(lambda: len(begun) == size - 1)
    assert not decoder.stuck(much_later()), "one thread is free"
    calls.append(gevent.spawn(decoder.call, soon(), stand_still))
    until(lambda: decoder.stuck(much_later()))
    assert not decoder.stuck(time.monotonic())
    gate.set()
    gevent.joinall(calls)
    assert not decoder.stuck(much_later())


def test_threads_that_merely_share_the_cpu_are_not_stuck_until_they_have_used_much(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def compute() -> None:
        begun.append(1)
        while not gate.is_set():
            sum(range(1000))

    decoder = Decoder()
    monkeypatch.setattr(get_hub().threadpool, "maxsize", 2)
    calls = [gevent.spawn(decoder.call, soon(), compute) for _ in range(2)]
    until(lambda: len(begun) == 2 and not decoder.stuck(much_later()))  # overload fails no probe
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.001)
    until(lambda: decoder.stuck(much_later()))
    gate.set()
    gevent.joinall(calls)
