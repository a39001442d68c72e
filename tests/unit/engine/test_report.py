"""What an HTTP worker tells the supervisor, which a test plays."""

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from app import errors, metrics
from app.engine import report
from app.engine.line import Line
from app.engine.protocol import Frame, Type
from app.engine.report import Report
from tests.unit.engine.test_client import Peer


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(tmp_path / "supervisor.sock")
    yield peer
    peer.close()


@pytest.fixture
def gauges() -> dict[str, int]:
    return {"in_progress": 0}


@pytest.fixture
def line(supervisor: Peer) -> Line:
    return Line(str(supervisor.path), lambda _: None)


@pytest.fixture
def reporter(line: Line, supervisor: Peer, gauges: dict[str, int]) -> Report:
    """Connected; it tells when a test says so."""
    reporter = Report(line, lambda: dict(gauges))
    line.start()
    supervisor.accept()
    wait_connection(line, 1)
    return reporter


def wait_connection(line: Line, number: int) -> None:
    with gevent.Timeout(10):
        while line.connections < number:
            gevent.sleep(0.005)


def told(supervisor: Peer) -> dict[str, object]:
    frame = supervisor.receive_any()
    assert frame.type is Type.COUNTS
    return frame.head


def test_what_has_changed_is_told_and_nothing_else(
    reporter: Report, supervisor: Peer, gauges: dict[str, int]
) -> None:
    reporter.counts.count(metrics.REPLAYS)
    reporter.send()
    assert told(supervisor) == {"counts": {metrics.REPLAYS.name: [[[], [1]]]}, "gauges": gauges}
    reporter.send()  # nothing: the next frame is the next change
    gauges["in_progress"] = 1
    reporter.send()
    assert told(supervisor) == {"counts": {}, "gauges": {"in_progress": 1}}


def test_a_collect_is_answered_at_once_under_its_id(reporter: Report, supervisor: Peer) -> None:
    reporter.send()
    told(supervisor)
    supervisor.send(Frame(Type.COLLECT, 7))
    assert supervisor.receive_any() == Frame(
        Type.COUNTS, 7, {"counts": {}, "gauges": {"in_progress": 0}}
    )


def test_a_supervisor_that_is_connected_anew_hears_everything(
    reporter: Report, line: Line, supervisor: Peer
) -> None:
    reporter.send()
    told(supervisor)
    supervisor.hang_up()
    reporter.counts.count(metrics.REPLAYS, by=2)
    reporter.send()  # to nobody
    supervisor.accept()
    wait_connection(line, 2)
    reporter.send()
    assert told(supervisor) == {
        "counts": {metrics.REPLAYS.name: [[[], [2]]]}, "gauges": {"in_progress": 0},
    }  # fmt: skip


def test_the_sum_comes_from_the_supervisor(reporter: Report, supervisor: Peer) -> None:
    asked = gevent.spawn(reporter.total)
    frame = supervisor.receive()
    assert frame.type is Type.SCRAPE
    supervisor.send(Frame(Type.METRICS, frame.id, {metrics.READY.name: [[[], [1]]]}))
    assert asked.get(timeout=10) == {metrics.READY.name: [[[], [1]]]}


def test_those_who_ask_while_a_sum_is_on_its_way_share_the_next(
    reporter: Report, supervisor: Peer
) -> None:
    first = gevent.spawn(reporter.total)
    asked = supervisor.receive()
    others = [gevent.spawn(reporter.total) for _ in range(3)]
    gevent.sleep(0)
    supervisor.send(Frame(Type.METRICS, asked.id, {metrics.READY.name: [[[], [0]]]}))
    assert first.get(timeout=10) == {metrics.READY.name: [[[], [0]]]}
    asked = supervisor.receive()
    supervisor.send(Frame(Type.METRICS, asked.id, {metrics.READY.name: [[[], [1]]]}))
    for other in others:
        assert other.get(timeout=10) == {metrics.READY.name: [[[], [1]]]}


def test_without_an_answer_there_is_no_sum(
    reporter: Report, supervisor: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "ANSWER_SECONDS", 0.05)
    with pytest.raises(errors.MetricsUnavailable, match=r"within 0\.05 s"):
        reporter.total()
    supervisor.hang_up()
    with pytest.raises(errors.MetricsUnavailable):
        reporter.total()
