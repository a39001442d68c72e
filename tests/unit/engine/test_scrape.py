"""A scrape waits for the workers that answer, and for no other."""

import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from app.engine.channel import Channel
from app.engine.directory import Directory
from app.engine.protocol import Frame, Type
from app.engine.scrape import WAIT_SECONDS, Scrapes

TOTAL: dict[str, Any] = {"unbroken_ready": [[[], [1]]]}


class Workers:
    """The directory's side of the workers; remembers what each was sent."""

    def __init__(self, workers: list[Channel]) -> None:
        self.workers = workers
        self.sent: list[tuple[Channel, Frame]] = []

    def reply(self, channel: Channel, frame: Frame) -> None:
        if channel in self.workers:
            self.sent.append((channel, frame))

    def answers(self) -> list[tuple[Channel, Frame]]:
        return [sent for sent in self.sent if sent[1].type is Type.METRICS]


@pytest.fixture
def workers() -> Iterator[Workers]:
    pairs = [socket.socketpair() for _ in range(2)]
    yield Workers([Channel(ours) for ours, _ in pairs])
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


@pytest.fixture
def scrapes(workers: Workers) -> Scrapes:
    return Scrapes(cast("Directory", workers), lambda: TOTAL)


def test_the_sum_is_told_when_the_last_worker_has_told_its_counts(
    workers: Workers, scrapes: Scrapes
) -> None:
    asker, other = workers.workers
    scrapes.begin(asker, 7, now=0.0)
    [collect] = {frame.id for _, frame in workers.sent if frame.type is Type.COLLECT}
    assert [worker for worker, _ in workers.sent] == [asker, other]
    scrapes.heard(other, 0)  # its report of the second: not what was asked for
    scrapes.heard(asker, collect)
    assert workers.answers() == []
    scrapes.heard(other, collect)
    assert workers.answers() == [(asker, Frame(Type.METRICS, 7, TOTAL))]


def test_a_worker_that_hangs_is_not_waited_for(workers: Workers, scrapes: Scrapes) -> None:
    scrapes.begin(workers.workers[0], 7, now=0.0)
    scrapes.tick(WAIT_SECONDS)
    assert workers.answers() == []
    scrapes.tick(WAIT_SECONDS + 0.01)
    assert len(workers.answers()) == 1


def test_a_worker_that_is_gone_is_not_waited_for(workers: Workers, scrapes: Scrapes) -> None:
    asker, other = workers.workers
    scrapes.begin(asker, 7, now=0.0)
    [collect] = {frame.id for _, frame in workers.sent}
    scrapes.heard(asker, collect)
    workers.workers.remove(other)
    scrapes.tick(0.0)
    assert len(workers.answers()) == 1


def test_two_who_ask_at_once_are_both_answered(workers: Workers, scrapes: Scrapes) -> None:
    first, second = workers.workers
    scrapes.begin(first, 1, now=0.0)
    scrapes.begin(second, 1, now=0.0)
    for worker, frame in list(workers.sent):
        scrapes.heard(worker, frame.id)
    assert {worker for worker, _ in workers.answers()} == {first, second}
