"""/metrics: correct across all processes, and through the death of each."""

import contextlib
import http.client
import os
import signal
import threading
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from app import metrics
from tests.conftest import Start
from tests.metrics import Scrape
from tests.server import ROOT, Client, Load, Server, children, png, wait_for
from tests.stubs.models import MARK

WEIGHTS = ROOT / "app/models/weights/mnist.safetensors"
PREDICTED = {"route": "/predict", "method": "POST", "status": 200}


def workers(server: Server) -> list[int]:
    """Return the pids of the HTTP workers."""
    return children(server.arbiter())


def served_by(server: Server) -> set[int]:
    """Return the pids of those that have answered."""
    return {line["pid"] for line in server.events("request") if line["path"] == "/predict"}


def answers_metrics(server: Client) -> bool:
    """Return whether /metrics can be read."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return server.get("/metrics").status == 200
    return False


def hold_one(server: Server, gate: Path) -> threading.Thread:
    """Have a request in the model's hands until the gate exists."""

    def post() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # its worker may be killed
            server.post(png(MARK))

    thread = threading.Thread(target=post)
    thread.start()
    wait_for(Path(f"{gate}.entered").exists, "the request to run")
    return thread


def test_the_sums_of_all_workers_are_what_the_clients_have_counted(start: Start) -> None:
    server = start(WORKERS=2).wait_ready()
    with Load(server, clients=8) as load:
        load.wait_answers(40)
        wait_for(lambda: server.post(png()) and len(served_by(server)) == 2, "both workers")
    asked = len([line for line in server.events("request") if line["path"] == "/predict"])
    assert asked > len(load.answers)
    scrape = Scrape(server)
    assert scrape("http_requests_total", **PREDICTED) == asked
    assert scrape("http_request_duration_seconds_count", route="/predict") == asked
    assert scrape("decode_duration_seconds_count") == asked
    assert scrape("queue_wait_seconds_count") == asked
    assert scrape("results_total") == asked
    wait_for(lambda: Scrape(server)("batch_size_sum") == asked, "the engine's last counts")
    assert scrape("http_workers") == 2
    assert scrape("requests_in_progress") == scrape("admitted_images") == 0
    assert scrape("admitted_images_limit") == 256


def test_every_metric_that_a_cpu_can_have_is_there_and_parses(mnist: Server) -> None:
    assert mnist.post(png()).status == 200
    # An engine reports what it has found within half a second.
    wait_for(lambda: Scrape(mnist)("deep_check_healthy") == 1, "its first report")
    scrape = Scrape(mnist)
    for metric in metrics.ALL:
        family = scrape.families.get(metric.name.removesuffix("_total"))
        if family is None:
            assert metric.name.startswith("unbroken_gpu_"), metric.name
        else:
            assert (family.type, family.documentation) == (metric.kind, metric.help)
    assert scrape("engine_memory_bytes", device="cpu") > 1e7  # type: ignore[operator]
    assert scrape("model_info", name="mnist", device="cpu", precision="float32") == 1
    assert scrape("engines", stage="ready") == scrape("ready") == scrape("deep_check_healthy") == 1


def test_the_content_type_is_prometheus_own_and_openmetrics_where_it_is_asked_for(
    mnist: Server,
) -> None:
    plain = mnist.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    asked = mnist.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert asked.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in text_string_to_metric_families(asked.body.decode())}
    assert "unbroken_http_requests" in names


def test_results_are_counted_by_label(start: Start) -> None:
    server = start().wait_ready()
    for name in ("seven", "seven", "three-photo"):
        server.post((ROOT / f"docs/images/{name}.jpg").read_bytes(), kind="image/jpeg")
    scrape = Scrape(server)
    assert [scrape("results_total", label=label) for label in (7, 3, 1)] == [2, 1, None]


def test_errors_are_counted_by_code_and_unknown_paths_and_methods_are_one(start: Start) -> None:
    server = start(MAX_BODY_MB=1).wait_ready()
    server.get("/nowhere")
    server.get("/elsewhere")
    server.request("DELETE", "/predict")
    server.request("BREW", "/predict")
    server.post(bytes(2 << 20))
    server.post(b"no image")
    scrape = Scrape(server)
    codes = ("not_found", "method_not_allowed", "body_too_large", "image_unreadable")
    assert [scrape("errors_total", code=code) for code in codes] == [2, 2, 1, 1]
    assert scrape("errors_total") == 6
    assert scrape("http_requests_total", route="other", method="GET", status=404) == 2
    assert scrape("http_requests_total", route="/predict", method="other", status=405) == 1
    assert scrape("http_requests_total", route="/predict", method="DELETE", status=405) == 1
    assert scrape("http_requests_total", route="/predict", status=413) == 1
    assert scrape("http_requests_total", route="/predict", status=422) == 1
    assert scrape("http_requests_total", route="/nowhere") is None


def test_requests_that_are_shed_are_counted(start: Start) -> None:
    server = start(
        MODEL="tests.stubs.models:Slow", MAX_CONCURRENT_REQUESTS=2, MAX_BATCH=1
    ).wait_ready()
    with Load(server, clients=8) as load:
        wait_for(lambda: any(reply.status == 503 for reply in load.answers), "a refusal")
    scrape = Scrape(server)
    shed = sum(reply.status == 503 for reply in load.answers)
    assert scrape("requests_shed_total") == scrape("errors_total", code="queue_full") == shed


def test_requests_that_expire_are_counted(start: Start) -> None:
    server = start(
        MODEL="tests.stubs.models:Slow", MAX_BATCH=1, HANG_SECONDS=1, REQUEST_TIMEOUT_SECONDS=2
    ).wait_ready()
    with Load(server, clients=12) as load:
        wait_for(lambda: any(reply.status == 504 for reply in load.answers), "a deadline")
    expired = sum(reply.status == 504 for reply in load.answers)
    assert Scrape(server)("requests_expired_total") == expired


def test_a_worker_that_is_killed_leaves_no_gauge_and_takes_no_count(
    start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    server = start(MODEL="tests.stubs.models:Gated", GATE=gate, HANG_SECONDS=9).wait_ready()
    wait_for(lambda: server.post(png()) and len(served_by(server)) == 2, "both workers")
    held = hold_one(server, gate)
    before = Scrape(server)
    assert before("requests_in_progress") == before("admitted_images") == 1
    for worker in workers(server):
        os.kill(worker, signal.SIGKILL)
    held.join()
    wait_for(lambda: answers_metrics(server), "the next worker")
    after = wait_for(
        lambda: (scrape := Scrape(server))("http_workers") == 2 and scrape, "both next workers"
    )
    assert after("requests_in_progress") == after("admitted_images") == 0
    assert after("admitted_images_limit") == 256
    counted = after.counters()
    assert all(counted.get(key, -1) >= value for key, value in before.counters().items())
    gate.touch()


def test_a_worker_that_leaves_in_order_has_told_everything(start: Start) -> None:
    server = start().wait_ready()
    old = set(workers(server))
    with Load(server, clients=4) as load:
        load.wait_answers(20)
    os.kill(server.arbiter(), signal.SIGHUP)
    wait_for(lambda: not old & set(workers(server)), "the old workers to leave")
    wait_for(lambda: answers_metrics(server), "a new one")
    assert Scrape(server)("http_requests_total", **PREDICTED) == len(load.answers)


def test_a_worker_that_hangs_holds_up_no_scrape(start: Start) -> None:
    server = start(WORKERS=2).wait_ready()
    [stopped, _] = workers(server)
    os.kill(stopped, signal.SIGSTOP)
    scrape = Scrape(server)
    os.kill(stopped, signal.SIGCONT)
    assert scrape("http_workers") == 2


def test_the_death_of_an_engine_counts_a_restart_and_its_replays(
    start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    server = start(MODEL="tests.stubs.models:Gated", GATE=gate, HANG_SECONDS=9).wait_ready()
    held = hold_one(server, gate)
    [engine] = server.engines()
    os.kill(engine, signal.SIGKILL)
    gate.touch()
    held.join()
    scrape = Scrape(server)
    assert scrape("engine_restarts_total", cause="signal") == scrape("engine_restarts_total") == 1
    assert scrape("engine_replays_total") == 1
    assert scrape("http_requests_total", **PREDICTED) == 1


def test_exchanges_are_counted_and_the_old_model_is_gone(start: Start, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_text("v0")
    server = start(
        MODEL="tests.stubs.models:Versioned", MODEL_PATH=weights, AUTH_TOKEN="secret"
    ).wait_ready()
    token = {"Authorization": "secret"}
    with Load(server, clients=2, headers=token) as load:
        load.wait_answers(4)
        for version, status in (("v1", 200), ("bad", 409)):
            weights.write_text(version)
            assert server.request("POST", "/admin/reload", **token).status == status
        load.wait_answers(4)
    scrape = Scrape(server)  # without the token
    assert scrape("swaps_total", result="done") == scrape("swaps_total", result="failed") == 1
    assert scrape("swap_duration_seconds_count") == 2
    assert scrape("model_info") == scrape("model_info", version="v1") == 1
    assert scrape("results_total", label="v0") + scrape("results_total", label="v1") == len(  # type: ignore[operator]
        load.answers
    )
    wait_for(lambda: Scrape(server)("batch_size_sum") == len(load.answers), "both engines' counts")


def test_deep_checks_that_fail_show_and_are_counted(start: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = start(
        MODEL="tests.stubs.degrading:Degrades", MODEL_PATH=WEIGHTS, GATE=gate,
        DEEP_CHECK_SECONDS=0.5, DEEP_CHECK_FAILURES=0,
    ).wait_ready()  # fmt: skip
    assert Scrape(server)("deep_check_failures_total") == 0
    gate.write_text("nan")
    scrape = wait_for(
        lambda: (scrape := Scrape(server))("deep_check_failures_total") and scrape, "a failure"
    )
    assert scrape("deep_check_healthy") == scrape("ready") == 0
    assert scrape("engines", stage="degraded") == 1
    assert scrape("deep_check_age_seconds") < 60


def test_a_gpu_shows_with_its_device(start: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.write_text("4000")
    server = start(MODEL="tests.stubs.degrading:OnGpu", MODEL_PATH=WEIGHTS, GATE=gate).wait_ready()
    scrape = wait_for(
        lambda: (scrape := Scrape(server))("gpu_memory_used_ratio") and scrape, "a reading"
    )
    device = {"gpu": "0-1", "device": "cpu"}
    assert scrape("gpu_memory_used_ratio", **device) == 0.75
    assert scrape("gpu_memory_free_bytes", **device) == 4000 * 2**20
    assert scrape("gpu_memory_total_bytes", **device) == 16000 * 2**20
    assert scrape("gpu_utilization_ratio", **device) == 0.25
    assert scrape("gpu_temperature_celsius", **device) == 40


def test_a_drain_shows(start: Start) -> None:
    server = start(DRAIN_SECONDS=60).wait_ready()
    assert [Scrape(server)(name) for name in ("ready", "draining")] == [1, 0]
    server.signal(signal.SIGTERM)
    wait_for(lambda: server.get("/ready").status == 503, "the drain")
    assert [Scrape(server)(name) for name in ("ready", "draining")] == [0, 1]


def test_it_can_be_read_while_the_model_loads(start: Start) -> None:
    server = start(MODEL="tests.stubs.models:LoadsSlowly")
    wait_for(lambda: answers_metrics(server), "the HTTP side")
    assert server.post(png()).status == 503
    scrape = wait_for(
        lambda: (scrape := Scrape(server))("engines", stage="loading") and scrape, "an engine"
    )
    assert scrape("ready") == 0
    assert scrape("model_info") is None
    assert scrape("errors_total", code="model_loading") == 1


def test_without_the_supervisor_it_says_so(start: Start) -> None:
    server = start().wait_ready()
    [supervisor] = [line["pid"] for line in server.events("started")]
    os.kill(supervisor, signal.SIGSTOP)
    reply = server.get("/metrics")
    os.kill(supervisor, signal.SIGCONT)
    assert (reply.status, reply.json()["error"]["code"]) == (503, "metrics_unavailable")
    assert answers_metrics(server)
