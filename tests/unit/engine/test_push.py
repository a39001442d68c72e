"""Metrics are posted to a real HTTP server, and an outage is one line in the log."""

import logging
from collections.abc import Callable, Iterator

import pytest

from app.engine.push import Push
from tests.receiver import receive
from tests.server import free_port, wait_for

Begin = Callable[[str], Push]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Post often; the thread has no end, so it is put to sleep after the test."""
    begun = []

    def begin(url: str) -> Push:
        begun.append(Push(url, period=0.02))
        begun[-1].start()
        return begun[-1]

    yield begin
    for push in begun:
        push._period = 86400.0


def test_queue_length_and_requests_in_flight_are_posted_as_eas_wants_them(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    with receive() as receiver:
        push = begin(receiver.url)
        push.note(queue_length=3, inflight=5)
        wait_for(lambda: receiver.values().get("inflight") == 5, "the values")
        path, kind, body = receiver.posted[-1]
        assert (path, kind) == ("/api/metrics?from=here", "application/json")
        assert body == [{"name": "queue_length", "value": 3}, {"name": "inflight", "value": 5}]
    # Its thread lives on: the one line that it logs now must not fall into the next test.
    wait_for(lambda: caplog.records, "its complaint")


def test_an_outage_is_logged_once_and_so_is_its_end(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()

    def told() -> list[str]:
        return [line.message for line in caplog.records if line.message.startswith("eas_")]

    begin(f"http://127.0.0.1:{port}/")
    wait_for(told, "the failure")
    with receive(port, status=500) as receiver:
        wait_for(lambda: len(receiver.posted) >= 5, "failures of another kind")
        assert told() == ["eas_push_failed"]
        receiver.status = 200
        wait_for(lambda: "eas_push_works" in told(), "the recovery")
        receiver.status = 404
        wait_for(lambda: len(told()) == 3, "the next outage")
    assert told() == ["eas_push_failed", "eas_push_works", "eas_push_failed"]
