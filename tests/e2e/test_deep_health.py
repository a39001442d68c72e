"""The real server with a model that goes wrong while it serves: who says so, and what follows."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.server import PATIENCE, ROOT, Load, Server, wait_for

SEVEN = (ROOT / "docs/images/seven.jpg").read_bytes()
WEIGHTS = ROOT / "app/models/weights/mnist.safetensors"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def degrading(start: Start, gate: Path) -> Server:
    """A server whose model goes wrong when it is told to; it is never replaced."""
    return start(
        MODEL="tests.stubs.degrading:Degrades", MODEL_PATH=WEIGHTS, GATE=gate, WORKERS=1,
        DEEP_CHECK_SECONDS=0.5, DEEP_CHECK_FAILURES=0, DRAIN_SECONDS=20,
    ).wait_ready()  # fmt: skip


def reason(server: Server) -> str:
    """Return what /health says against the server, or nothing; also while nobody listens yet."""
    with contextlib.suppress(OSError):
        return str(server.get("/health").json().get("reason", ""))
    return ""


def marked(server: Server) -> bool:
    """Return whether the file that exec probes read is there."""
    return (server.state_dir / "ready").exists()


@pytest.mark.parametrize(
    ("order", "words"), [("nan", "not finite"), ("drift", "output"), ("slow", "the limit is")]
)
def test_a_model_that_goes_wrong_is_found_out(
    degrading: Server, gate: Path, order: str, words: str
) -> None:
    found = degrading.get("/deep-health")
    assert found.status == 200
    assert found.body.startswith(b'{"status":"healthy","inference_time":"0.')
    gate.write_text(order)
    wait_for(lambda: reason(degrading) == "deep_check", "the verdict")
    ready = degrading.get("/ready")
    assert (ready.status, ready.json()["stage"]) == (503, "degraded")
    [check] = [one for one in ready.json()["checks"] if one["name"] == "deep_check"]
    assert check["status"] == "unhealthy"
    assert words in check["details"]
    found = degrading.get("/deep-health")
    assert (found.status, found.json()["status"]) == (503, "unhealthy")
    assert words in found.json()["checks"][0]["details"]
    wait_for(lambda: not marked(degrading), "the mark to go")
    assert degrading.get("/live").status == degrading.get("/startup").status == 200


def test_a_model_that_is_slow_for_a_while_is_well_again(degrading: Server, gate: Path) -> None:
    gate.write_text("slow")
    wait_for(lambda: reason(degrading) == "deep_check", "the verdict")
    assert degrading.post(SEVEN, "/", "image/jpeg").json() == {"mnist_result": 7}, "it answers on"
    gate.unlink()
    wait_for(lambda: degrading.healthy() and marked(degrading), "recovery")
    assert degrading.get("/deep-health").status == 200


def test_an_answer_that_is_no_number_is_an_error_and_no_digit(
    degrading: Server, gate: Path
) -> None:
    gate.write_text("nan")
    reply = degrading.post(SEVEN, "/", "image/jpeg")
    assert (reply.status, reply.json()["error"]["code"]) == (500, "model_error")
    assert "not finite" in reply.json()["error"]["message"]


def test_a_model_that_fails_a_request_is_checked_at_once(start: Start, gate: Path) -> None:
    server = start(MODEL="tests.stubs.degrading:Degrades", MODEL_PATH=WEIGHTS, GATE=gate,
                   DEEP_CHECK_SECONDS=3600, DEEP_CHECK_FAILURES=0).wait_ready()  # fmt: skip
    gate.write_text("nan")
    assert server.post(SEVEN, "/", "image/jpeg").status == 500
    wait_for(lambda: reason(server) == "deep_check", "the verdict", 30)


def test_an_engine_that_stays_wrong_is_replaced_without_loss(start: Start, gate: Path) -> None:
    server = start(MODEL="tests.stubs.degrading:Degrades", MODEL_PATH=WEIGHTS, GATE=gate,
                   DEEP_CHECK_SECONDS=0.2, DEEP_CHECK_FAILURES=3).wait_ready()  # fmt: skip
    [first] = server.engines()
    with Load(server, clients=2, image=lambda _: SEVEN,
              headers={"Content-Type": "image/jpeg"}) as load:  # fmt: skip
        load.wait_answers(20)
        gate.write_text("slow")
        wait_for(lambda: server.events("engine_unsound"), "the decision")
        gate.unlink()
        wait_for(lambda: server.engines() not in ([], [first]), "the next engine")
        load.wait_answers(20)
    assert load.failures == []
    assert {reply.body for reply in load.answers} == {b'{"mnist_result": 7}'}
    assert [event["deep_check_failures"] for event in server.events("engine_unsound")] == [3]


def test_it_looks_at_an_image_that_is_sent(start: Start) -> None:
    server = start(AUTH_TOKEN="hush").wait_ready()
    assert server.get("/deep-health").status == 200, "as a probe, without the token"
    assert server.post(SEVEN, "/deep-health", "image/jpeg").status == 401

    def look(body: bytes, kind: str) -> Any:
        reply = server.request("POST", "/deep-health", body, Content_Type=kind,
                               Authorization="Bearer hush")  # fmt: skip
        return reply.status, reply.json()

    status, found = look(SEVEN, "image/jpeg")
    assert status == 200
    assert (found["status"], found["mnist_result"]) == ("healthy", 7)
    assert float(found["inference_time"].removesuffix("s")) > 0
    assert look(b"no image", "image/jpeg")[0] == 422


def test_little_gpu_memory_takes_it_out_of_routing_until_there_is_more(
    start: Start, gate: Path
) -> None:
    gate.write_text("4000")
    server = start(MODEL="tests.stubs.degrading:OnGpu", MODEL_PATH=WEIGHTS, GATE=gate,
                   MIN_FREE_GPU_MB=500).wait_ready()  # fmt: skip
    wait_for(lambda: "gpu_memory" in server.get("/ready").body.decode(), "the first reading")
    gate.write_text("499")
    wait_for(lambda: reason(server) == "gpu_memory", "the verdict")
    assert server.get("/ready").status == 503
    assert "499 MB free or reusable, at least 500" in server.get("/ready").body.decode()
    assert server.post(SEVEN, "/", "image/jpeg").json() == {"mnist_result": 7}, "it answers on"
    gate.write_text("500")
    wait_for(server.healthy, "recovery")


def test_an_exchange_that_the_gpu_has_no_room_for_takes_the_place_of_the_old_engine(
    start: Start, gate: Path
) -> None:
    gate.write_text("4000")
    server = start(MODEL="tests.stubs.degrading:OnGpu", MODEL_PATH=WEIGHTS, GATE=gate,
                   AUTH_TOKEN="hush").wait_ready()  # fmt: skip
    wait_for(lambda: "gpu_memory" in server.get("/ready").body.decode(), "the first reading")
    for free in ("700", "2000"):
        gate.write_text(free)
        words = f"{free} MB free"
        wait_for(lambda words=words: words in server.get("/ready").body.decode(), "a reading")
        reply = server.request("POST", "/admin/reload", b"", Authorization="hush")
        assert reply.status == 200, reply.body
        wait_for(lambda: "gpu_memory" in server.get("/ready").body.decode(), "a reading")
    assert [event["beside"] for event in server.events("swap_started")] == [False, True]


def test_the_mark_for_exec_probes_is_there_exactly_while_ready(start: Start) -> None:
    server = start(DRAIN_SECONDS=20)
    assert not marked(server)
    server.wait_ready()
    wait_for(lambda: marked(server), "the mark")
    [engine] = server.engines()
    os.kill(engine, signal.SIGSTOP)
    wait_for(lambda: not marked(server), "the mark to go with a stopped engine")
    wait_for(lambda: server.healthy() and marked(server), "the mark of the next engine")
    environ = {**os.environ, "PORT": str(server.port)}
    probe = [sys.executable, "-m", "app", "probe", "ready"]
    subprocess.run(probe, env=environ, cwd=ROOT, timeout=PATIENCE, check=True)
    server.signal(signal.SIGTERM)
    wait_for(lambda: not marked(server), "the mark to go with the drain")
    assert server.get("/health").status == 200, "it serves on"


def test_a_model_without_a_golden_answer_never_serves_and_says_why(start: Start) -> None:
    server = start(MODEL="tests.stubs.degrading:NeverSound", MODEL_PATH=WEIGHTS)
    wait_for(lambda: "no golden answer" in reason(server), "the cause")
    assert reason(server) == (
        "load_failed: there is no golden answer: the model's outputs are not finite"
    )
