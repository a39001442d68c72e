"""Health tells the truth at each stage, with the real fault behind it."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.engine.line import SILENT_TURNS
from app.engine.protocol import Decoder, Type
from tests.conftest import Start
from tests.server import ROOT, Load, Server, children, png, wait_for

WEIGHTS = ROOT / "app/models/weights/mnist.safetensors"


def reason(server: Server) -> str:
    """Return why /health says no, or an empty string."""
    reply = server.get("/health")
    return "" if reply.status == 200 else reply.json()["reason"]


def answers(server: Server) -> bool:
    """Return whether the HTTP side is up, whatever it says."""
    try:
        return bool(server.get("/live"))
    except OSError:
        return False


def test_yes_is_exactly_what_modelarts_asks_for(mnist: Server) -> None:
    reply = mnist.get("/health")
    assert (reply.status, reply.body) == (200, b'{"health": "true"}')


def test_ready_live_and_startup_agree_while_all_is_well(mnist: Server) -> None:
    replies = {path: mnist.get(path) for path in ("/live", "/ready", "/startup")}
    assert {reply.status for reply in replies.values()} == {200}
    assert [reply.json()["status"] for reply in replies.values()] == ["alive", "ready", "ready"]
    assert all(check["status"] == "healthy" for check in replies["/ready"].json()["checks"])


def test_the_root_and_status_say_who_this_is(mnist: Server) -> None:
    assert mnist.get("/").json() == {"name": "unbroken", "model": "mnist", "status": "alive"}
    status = mnist.get("/status").json()
    assert (status["can_serve"], status["model"], status["draining"]) == (True, "mnist", False)
    assert (mnist.state_dir / "ready").exists()


def test_probes_exit_with_0_or_1_and_never_2(mnist: Server, tmp_path: Path) -> None:
    def probe(*arguments: str, port: int = mnist.port) -> int:
        command = [sys.executable, "-m", "app", "probe", *arguments]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, "PORT": str(port)},
                              capture_output=True, check=False).returncode  # fmt: skip

    assert [probe(name) for name in ("live", "ready", "health", "startup")] == [0, 0, 0, 0]
    assert probe() == 0
    assert probe("health", port=1) == 1
    assert probe("nonsense") == 1
    assert probe("health", "--loudly") == 1
    assert probe("health", "ready") == 1


def test_live_at_once_but_not_healthy_while_the_model_loads(start: Start) -> None:
    server = start(MODEL="tests.stubs.models:LoadsSlowly")
    wait_for(lambda: answers(server), "the HTTP side")
    assert server.get("/live").status == 200
    wait_for(lambda: reason(server) == "loading", "the stage")
    assert server.get("/ready").status == 503
    assert server.get("/startup").json()["status"] == "not_ready"
    refused = server.post(png())
    assert (refused.status, refused.json()["error"]["code"]) == (503, "model_loading")
    assert int(refused.headers["Retry-After"]) > 0
    assert not (server.state_dir / "ready").exists()


def test_a_load_that_takes_too_long_names_its_limit(start: Start) -> None:
    server = start(MODEL="tests.stubs.models:LoadsSlowly", LOAD_SECONDS=1)
    wait_for(lambda: answers(server), "the HTTP side")
    wait_for(lambda: "load_timeout, LOAD_SECONDS=1" in reason(server), "the reason")


def test_a_truncated_weights_file_is_named_and_a_mended_one_is_picked_up(
    start: Start, tmp_path: Path
) -> None:
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(WEIGHTS.read_bytes()[:5000])
    server = start(MODEL_PATH=weights)
    wait_for(lambda: answers(server), "the HTTP side")
    wait_for(lambda: reason(server).startswith("load_failed: "), "the cause")
    assert "mine.safetensors is truncated or damaged" in reason(server)
    assert server.get("/live").status == 200
    weights.write_bytes(WEIGHTS.read_bytes())
    server.wait_ready()
    assert server.post(png(size=32)).status == 200


def test_a_missing_weights_file_is_named(start: Start, tmp_path: Path) -> None:
    server = start(MODEL_PATH=tmp_path / "none.pth")
    wait_for(lambda: answers(server), "the HTTP side")
    wait_for(lambda: "No such file" in reason(server), "the cause")


def test_a_load_that_ends_its_process_is_over_and_its_words_are_told(start: Start) -> None:
    server = start(MODEL="tests.stubs.models:ExitsInLoad")
    wait_for(lambda: answers(server), "the HTTP side")
    wait_for(lambda: reason(server).startswith("load_failed: "), "the cause")
    assert "SystemExit: no licence" in reason(server)
    wait_for(lambda: len(server.events("engine_gone")) > 1, "another try")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"MODEL": "torchvision/resnet1800"}, "no model of that name"),
        ({"MODEL": "nowhere.to:BeFound"}, "No module named 'nowhere'"),
        ({"MODEL": "torchvision/resnet18", "WEIGHTS": "BEST"}, "has IMAGENET1K_V1, DEFAULT and"),
    ],
)
def test_a_setting_that_can_never_work_stops_the_start_with_one_sentence(
    start: Start, wrong: dict[str, str], sentence: str
) -> None:
    server = start(**wrong)
    assert server.wait() == 1
    [refused] = server.events("start_refused")
    assert sentence in refused["message"]
    wait_for(lambda: not server.processes(), "every process of ours to be gone")


def test_an_engine_that_is_stopped_is_seen_within_seconds_and_replaced(start: Start) -> None:
    server = start().wait_ready()
    [stopped] = server.engines()
    os.kill(stopped, signal.SIGSTOP)
    wait_for(lambda: reason(server), "health to say no")
    wait_for(lambda: server.healthy() and server.engines() != [stopped], "the successor")
    assert server.events("engine_killed")[0]["cause"] == "silent"


def test_a_supervisor_that_stands_still_is_told_by_live_until_it_goes_on(start: Start) -> None:
    server = start().wait_ready()
    [supervisor] = [line["pid"] for line in server.events("started")]

    def live() -> tuple[int, str]:
        reply = server.get("/live")
        return reply.status, reply.json()["checks"][0]["details"]

    wait_for((server.state_dir / "ready").exists, "the mark")
    os.kill(supervisor, signal.SIGSTOP)
    status, details = wait_for(lambda: (said := live())[0] != 200 and said, "a no")
    assert status == 503
    assert re.fullmatch(r"the engine supervisor has said nothing for \d+ s", details)
    assert server.post(png()).status == 200, "the engine does not need it"
    wait_for(lambda: not (server.state_dir / "ready").exists(), "exec probes to hear it")
    os.kill(supervisor, signal.SIGCONT)
    wait_for(lambda: all(live()[0] == 200 for _ in range(10)), "every worker's yes")
    wait_for((server.state_dir / "ready").exists, "the mark")


def test_the_mark_of_a_supervisor_that_was_killed_does_not_outlive_it(start: Start) -> None:
    server = start().wait_ready()
    [supervisor] = [line["pid"] for line in server.events("started")]
    mark = server.state_dir / "ready"
    wait_for(mark.exists, "the mark")
    server.signal(signal.SIGSTOP)  # else the end of the container comes first
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not mark.exists(), "exec probes to say no")
    wait_for(lambda: server.get("/live").status == 503, "each worker to hear of it")
    server.signal(signal.SIGCONT)
    assert server.wait() == 1


def test_a_mark_that_somebody_removes_comes_back(start: Start) -> None:
    server = start().wait_ready()
    mark = server.state_dir / "ready"
    wait_for(mark.exists, "the mark")
    mark.unlink()
    wait_for(mark.exists, "the mark again")


def test_a_state_dir_that_is_removed_under_load_costs_no_request(start: Start) -> None:
    server = start().wait_ready()
    with Load(server, clients=4) as load:
        load.wait_answers(20)
        old_workers = children(server.arbiter())
        subprocess.run(["rm", "-rf", server.state_dir], check=False)  # may meet what is new
        wait_for(lambda: server.events("state_dir_claimed"), "the directory")
        wait_for(lambda: list(server.state_dir.glob("engine-*.sock")), "the engine's socket")
        load.wait_answers(20)
        assert server.events("engine_gone") == [], "the one that serves serves on"
        for worker in old_workers:
            os.kill(worker, signal.SIGTERM)
        wait_for(lambda: not set(old_workers) & set(children(server.arbiter())), "new workers")
        load.wait_answers(20)
        [engine] = wait_for(server.engines, "an engine that new workers know")
        os.kill(engine, signal.SIGKILL)
        load.wait_answers(20)
        server.wait_ready()
        wait_for((server.state_dir / "ready").exists, "the mark")
    assert load.failures == []
    assert {line["level"] for line in server.events("state_dir_gone")} == {"error"}
    assert server.state_dir.stat().st_mode & 0o777 == 0o700
    rival = start(STATE_DIR=server.state_dir)
    assert rival.wait() == 1, "it is locked"
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert [path.name for path in server.state_dir.iterdir()] == ["lock"]


def test_a_worker_that_is_replaced_while_the_state_dir_is_gone_ends_nothing(start: Start) -> None:
    server = start(WORKERS=1).wait_ready()
    [supervisor] = [line["pid"] for line in server.events("started")]
    os.kill(supervisor, signal.SIGSTOP)  # it would be too quick
    subprocess.run(["rm", "-rf", server.state_dir], check=True)
    old = children(server.arbiter())
    os.kill(*old, signal.SIGTERM)
    wait_for(lambda: (now := children(server.arbiter())) and now != old, "another worker")
    os.kill(supervisor, signal.SIGCONT)
    server.wait_ready()
    assert server.post(png()).status == 200
    wait_for((server.state_dir / "ready").exists, "the mark")


def test_sockets_that_somebody_removes_come_back(start: Start) -> None:
    server = start(WORKERS=1).wait_ready()
    sockets = set(server.state_dir.glob("*.sock"))
    assert len(sockets) == 2
    for path in sockets:
        path.unlink()
    wait_for(lambda: set(server.state_dir.glob("*.sock")) == sockets, "both")
    old = children(server.arbiter())
    os.kill(*old, signal.SIGTERM)
    wait_for(lambda: (now := children(server.arbiter())) and now != old, "another worker")
    server.wait_ready()
    assert server.post(png()).status == 200
    assert server.events("engine_gone") == []


def test_a_state_dir_that_another_server_holds_by_now_is_left_alone(start: Start) -> None:
    server = start().wait_ready()
    [supervisor] = [line["pid"] for line in server.events("started")]
    os.kill(supervisor, signal.SIGSTOP)
    subprocess.run(["rm", "-rf", server.state_dir], check=True)
    rival = start(STATE_DIR=server.state_dir).wait_ready()
    wait_for((server.state_dir / "ready").exists, "the other's mark")
    theirs = {path.name: path.stat().st_ino for path in server.state_dir.glob("*.sock")}
    os.kill(supervisor, signal.SIGCONT)
    [refused] = wait_for(lambda: server.events("state_dir_refused"), "the word")
    assert "held by another running server" in refused["message"]
    assert server.post(png()).status == 200, "it serves on"
    server.signal(signal.SIGHUP)
    [reload] = wait_for(lambda: server.events("reload_refused"), "no other engine")
    assert reload["cause"] == refused["message"]
    [engine] = wait_for(server.engines, "the engine")
    os.kill(engine, signal.SIGKILL)
    wait_for(lambda: "held by another running server" in reason(server), "why there is none")
    now = {path.name: path.stat().st_ino for path in server.state_dir.glob("*.sock")}
    assert now == theirs
    assert rival.post(png()).status == 200
    rival.signal(signal.SIGTERM)
    assert rival.wait() == 0
    server.wait_ready()
    assert server.post(png()).status == 200
    assert len(server.events("state_dir_refused")) == 1


def test_a_supervisor_that_has_nothing_new_to_say_speaks_all_the_same(mnist: Server) -> None:
    decoder, heard = Decoder(), []
    with socket.socket(socket.AF_UNIX) as worker:
        worker.settimeout(SILENT_TURNS / 2)  # twice as often as it must
        worker.connect(str(mnist.state_dir / "supervisor.sock"))
        while len(heard) < 5:
            heard += decoder.feed(worker.recv(1 << 16))
    assert {frame.type for frame in heard} == {Type.ENGINES}


def test_a_probe_is_answered_before_a_burst_of_requests_that_came_first(start: Start) -> None:
    server = start(WORKERS=1, LOG_LEVEL="debug").wait_ready()
    [worker] = children(server.arbiter())
    with contextlib.ExitStack() as held:
        connections = [
            held.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(50)
        ]
        for connection in connections:  # each is known to the worker before the burst
            connection.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(1 << 16)
        os.kill(worker, signal.SIGSTOP)
        *burst, prober = connections
        for connection in burst:
            connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
        prober.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nX-Request-Id: last\r\n\r\n")
        os.kill(worker, signal.SIGCONT)
        assert all(connection.recv(1 << 16) for connection in connections)
    answered = [one for one in server.events("request") if one["path"] == "/nothing"
                or one["request_id"] == "last"]  # fmt: skip
    assert len(answered) == 50
    # One of them may have begun before the probe's bytes were looked at.
    assert "last" in [one["request_id"] for one in answered[:2]]


def test_a_wrong_setting_stops_the_start_with_one_sentence(start: Start) -> None:
    server = start(DRAIN_SECONDS="soon")
    assert server.wait() != 0
    [line] = server.events()
    assert line["message"].startswith("DRAIN_SECONDS=soon: allowed is a whole number")


def test_a_misspelt_setting_is_told_at_the_start(start: Start) -> None:
    server = start(MAX_BODY_BM=64).wait_ready()
    [line] = server.events("setting_unknown")
    assert line["message"] == "MAX_BODY_BM is no setting; MAX_BODY_MB is one"


def test_a_port_in_use_is_named(start: Start, mnist: Server) -> None:
    server = start(PORT=mnist.port)
    assert server.wait() != 0
    [line] = server.events()
    assert f"PORT={mnist.port}" in line["message"]
    assert "Address already in use" in line["message"]


def test_a_second_server_on_the_same_state_dir_is_refused(start: Start, mnist: Server) -> None:
    server = start(STATE_DIR=mnist.state_dir)
    assert server.wait() != 0
    assert "held by another running server" in server.log.read_text()
    assert mnist.healthy()


def test_decoder_threads_that_do_not_return_are_told(start: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = start(GATE=gate, WORKERS=1, PYTHONPATH=ROOT / "tests/stubs/stuck",
                   REQUEST_TIMEOUT_SECONDS=12).wait_ready()  # fmt: skip
    os.mkfifo(gate)
    with ThreadPoolExecutor(10) as pool:
        sent = [pool.submit(server.post, png(), "/") for _ in range(10)]
        wait_for(lambda: b"decoders_stuck" in server.get("/health").body, "the verdict")
        assert server.get("/ready").status == 503
        assert server.get("/live").status == 200, "the loop turns"
        replies = [reply.result() for reply in sent]
        assert {reply.status for reply in replies} == {504}, "each at its deadline"
    with gate.open("wb"):  # every thread that waits for a writer goes on
        gate.unlink()
    wait_for(server.healthy, "recovery")
    assert server.post(png(), "/").status == 200


def test_a_full_queue_fails_no_probe(start: Start) -> None:
    server = start(
        MODEL="tests.stubs.models:Slow", MAX_BATCH=1, MAX_CONCURRENT_REQUESTS=4, WORKERS=2
    ).wait_ready()
    with Load(server, clients=12) as load:
        wait_for(lambda: any("queue_full" in failure for failure in load.failures), "a refusal")
        for probe in ("/health", "/ready", "/live", "/startup", "/deep-health"):
            assert server.get(probe).status == 200, probe
        assert sum(reply.status == 503 for reply in load.answers)
    assert all("queue_full" in failure for failure in load.failures), load.failures
