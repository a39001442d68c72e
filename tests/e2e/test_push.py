"""On PAI-EAS metrics are pushed: the real server, and a receiver that plays the sidecar."""

from pathlib import Path

from tests.conftest import Start
from tests.e2e.test_metrics import hold_one
from tests.receiver import receive
from tests.server import png, wait_for


def test_what_is_in_flight_is_pushed(start: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with receive() as receiver:
        server = start(
            MODEL="tests.stubs.models:Gated", GATE=gate, HANG_SECONDS=9,
            EAS_METRICS_URL=receiver.url,
        ).wait_ready()  # fmt: skip
        wait_for(lambda: receiver.values().get("inflight") == 0, "a push")
        held = hold_one(server, gate)
        wait_for(lambda: receiver.values().get("inflight") == 1, "the request in flight")
        gate.touch()
        held.join()
        wait_for(lambda: receiver.values().get("inflight") == 0, "its end")
        assert set(receiver.values()) == {"inflight", "queue_length"}


def test_a_receiver_that_never_answers_harms_nobody(start: Start) -> None:
    with receive() as receiver:
        receiver.answers.clear()
        server = start(EAS_METRICS_URL=receiver.url).wait_ready()
        wait_for(lambda: receiver.posted, "a push")
        assert server.post(png()).status == 200
        assert server.get("/metrics").status == 200, "the supervisor's loop turns"
        wait_for(lambda: server.events("eas_push_failed"), "the time-out")
