"""The end of the container: orderly, in bounded time, and nothing is lost."""

import http.client
import os
import resource
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.server import Load, children, png, wait_for
from tests.stubs.models import MARK


@pytest.fixture(params=["dash", "bash"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a PATH on which `sh` is one or the other: distributions differ."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "sh").symlink_to(str(shutil.which(request.param)))
    return f"{folder}:{os.environ['PATH']}"


def test_sigterm_under_load_loses_nothing_and_leaves_nothing(start: Start, shell: str) -> None:
    server = start(PATH=shell, DRAIN_SECONDS=2).wait_ready()
    with Load(server, clients=8) as load:
        load.wait_answers(50)
        server.signal(signal.SIGTERM)
        code = server.wait()
    assert load.failures == []
    assert code == 0
    wait_for(lambda: not server.processes(), "every process of ours to be gone")


def test_while_draining_new_connections_are_served_and_told_to_close(start: Start) -> None:
    server = start(DRAIN_SECONDS=60).wait_ready()
    server.signal(signal.SIGTERM)
    wait_for(lambda: server.get("/ready").status == 503, "the drain")
    reply = server.post(png())
    assert (reply.status, reply.headers["Connection"]) == (200, "close")
    assert server.get("/health").status == 200
    assert (server.state_dir / "draining").exists()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_response_that_was_running_when_the_drain_began_closes_too(
    start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    server = start(
        MODEL="tests.stubs.models:Gated", GATE=gate, DRAIN_SECONDS=60, HANG_SECONDS=9
    ).wait_ready()
    kept = http.client.HTTPConnection("127.0.0.1", server.port)
    kept.request("POST", "/predict", png((1, 2, 3)), {"Content-Type": "image/png"})
    first = kept.getresponse()
    assert (first.read(), first.headers["Connection"]) == (b'{"pixel": [1, 2, 3]}', "keep-alive")
    kept.request("POST", "/predict", png(MARK), {"Content-Type": "image/png"})
    wait_for(Path(f"{gate}.entered").exists, "the request to run")
    server.signal(signal.SIGTERM)
    wait_for(lambda: server.get("/ready").status == 503, "the drain")
    gate.touch()
    response = kept.getresponse()
    assert (response.status, response.headers["Connection"]) == (200, "close")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_the_drain_ends_early_when_no_more_requests_come(start: Start) -> None:
    server = start(DRAIN_SECONDS=600, DRAIN_QUIET_SECONDS=3).wait_ready()
    with Load(server, clients=2) as load:
        load.wait_answers(4)
        server.signal(signal.SIGTERM)
        wait_for(lambda: server.events("draining"), "the drain")
        time.sleep(6)  # twice as long as it may be quiet
        load.wait_answers(4)
        assert not server.events("quiet")
    assert server.wait() == 0
    assert load.failures == []


def test_draining_does_not_matter_to_ready_where_that_is_switched_off(start: Start) -> None:
    server = start(DRAIN_SECONDS=60, DRAIN_UNREADY="false").wait_ready()
    server.signal(signal.SIGTERM)
    wait_for(lambda: server.get("/status").json()["draining"], "the drain")
    assert server.get("/ready").status == 200
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_cuts_the_window_short_and_loses_nothing(
    start: Start, second: signal.Signals
) -> None:
    server = start(MODEL="tests.stubs.models:Slow", DRAIN_SECONDS=600).wait_ready()
    with Load(server, clients=4) as load:
        load.wait_answers(4)
        server.signal(signal.SIGTERM)
        wait_for(lambda: server.get("/ready").status == 503, "the drain")
        server.signal(second)
        assert server.wait() == 0
    assert load.failures == []
    assert not server.processes()


def test_a_stop_while_the_model_loads_is_prompt(start: Start) -> None:
    server = start(MODEL="tests.stubs.models:LoadsSlowly", DRAIN_SECONDS=600)
    wait_for(lambda: server.events("stage"), "the load to begin")
    server.signal(signal.SIGTERM)
    began = time.monotonic()
    assert server.wait() == 0
    assert time.monotonic() - began < 20
    assert not server.processes()


def test_a_stop_before_anything_is_up_is_orderly(start: Start, shell: str) -> None:
    servers = [start(PATH=shell) for _ in range(6)]
    for number, server in enumerate(servers):
        wait_for(lambda: server.events("starting"), "run.sh to begin")  # noqa: B023
        time.sleep(number * 0.02)  # a signal is easily lost between a fork and its exec
        server.signal(signal.SIGTERM)
    for server in servers:
        assert server.wait() == 0
        wait_for(lambda: not server.processes(), "every process of ours to be gone")  # noqa: B023


def test_a_signal_for_the_whole_process_group_drains_as_well(start: Start) -> None:
    server = start(DRAIN_SECONDS=60).wait_ready()
    os.killpg(server.process.pid, signal.SIGTERM)
    wait_for(lambda: server.get("/ready").status == 503, "the drain")
    assert server.post(png()).status == 200
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.wait() == 0
    wait_for(lambda: not server.processes(), "every process of ours to be gone")


def test_an_output_that_nobody_reads_does_not_change_the_end(start: Start, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    server = start(output=writing, DRAIN_SECONDS=0)
    os.close(writing)
    server.wait_ready()
    os.close(reading)
    assert server.post(png()).status == 200
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    wait_for(lambda: not server.processes(), "every process of ours to be gone")


@pytest.mark.parametrize("victim", ["run.sh", "keep"])
def test_whoever_is_left_alone_leaves(start: Start, victim: str) -> None:
    server = start().wait_ready()
    run_sh = server.process.pid
    for pid in [run_sh] if victim == "run.sh" else children(run_sh):
        os.kill(pid, signal.SIGKILL)
    if victim == "keep":
        server.signal(signal.SIGTERM)
        server.wait()
    wait_for(lambda: not server.processes(), "every process of ours to be gone")


def test_idle_connections_do_not_hold_the_stop(start: Start) -> None:
    server = start(DRAIN_SECONDS=0, IDLE_CLOSE_SECONDS=0.5, GRACEFUL_SECONDS=60).wait_ready()
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
    kept = http.client.HTTPConnection("127.0.0.1", server.port)
    kept.request("GET", "/live")
    kept.getresponse().read()
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert time.monotonic() - began < 30, "not the whole graceful timeout"
    assert [sock.recv(1) for sock in idle] == [b""] * 8
    for sock in (*idle, kept):
        sock.close()


def test_silent_connections_keep_nobody_out_and_do_not_hold_the_stop(start: Start) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = start(WORKERS=1, DRAIN_SECONDS=0, GRACEFUL_SECONDS=60).wait_ready()
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(1100)]
    assert server.get("/health").status == 200
    assert server.post(png()).status == 200
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert time.monotonic() - began < 30, "not the whole graceful timeout"
    for sock in silent:
        sock.close()


@pytest.mark.parametrize("part", ["supervisor", "arbiter"])
def test_a_part_that_dies_unasked_ends_the_rest_with_an_error(start: Start, part: str) -> None:
    server = start().wait_ready()
    supervisor = server.events("started")[0]["pid"]
    pid = supervisor if part == "supervisor" else server.arbiter()
    os.kill(pid, signal.SIGKILL)
    assert server.wait() != 0
    wait_for(lambda: not server.processes(), "every process of ours to be gone")
    assert [line for line in server.events() if line["event"].endswith("_ended_unasked")]


def test_a_supervisor_that_is_stopped_does_not_hold_the_end(start: Start) -> None:
    server = start(DRAIN_SECONDS=0).wait_ready()
    os.kill(server.events("started")[0]["pid"], signal.SIGSTOP)
    server.signal(signal.SIGTERM)
    server.wait()
    wait_for(lambda: not server.processes(), "every process of ours to be gone")


def test_a_worker_that_is_replaced_loses_nothing(start: Start) -> None:
    server = start().wait_ready()
    with Load(server, clients=8) as load:
        for _ in range(3):
            load.wait_answers(50)
            stopped = len(server.events("worker_stopping"))
            os.kill(server.arbiter(), signal.SIGHUP)
            wait_for(lambda: len(server.events("worker_stopping")) >= stopped + 2, "new workers")  # noqa: B023
        load.wait_answers(50)
    assert load.failures == []


def test_workers_that_come_and_go_lose_nothing(start: Start) -> None:
    server = start().wait_ready()
    with Load(server, clients=8) as load:
        for _ in range(2):
            load.wait_answers(50)
            os.kill(server.arbiter(), signal.SIGTTIN)
            wait_for(lambda: len(children(server.arbiter())) == 3, "one worker more")
            load.wait_answers(50)
            os.kill(server.arbiter(), signal.SIGTTOU)
            wait_for(lambda: len(children(server.arbiter())) == 2, "one worker less")
        load.wait_answers(50)
    assert load.failures == []


def test_a_worker_with_nothing_in_flight_leaves_in_under_two_seconds(start: Start) -> None:
    server = start(IDLE_CLOSE_SECONDS=0.5).wait_ready()
    idle = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(8)]
    for connection in idle:
        connection.request("GET", "/live")
        connection.getresponse().read()
    times = []
    for _ in range(4):  # the best of some: the machine may be busy
        worker = children(server.arbiter())[0]
        began = time.monotonic()
        os.kill(worker, signal.SIGTERM)
        wait_for(lambda: worker not in children(server.arbiter()), "its end")  # noqa: B023
        times.append(time.monotonic() - began)
        wait_for(lambda: len(children(server.arbiter())) == 2, "the next worker")
        wait_for(server.healthy, "health")
    assert min(times) < 2, times
    for connection in idle:
        connection.close()


def test_workers_that_are_recycled_after_so_many_requests_lose_nothing(start: Start) -> None:
    server = start(GUNICORN_CMD_ARGS="--max-requests 100 --max-requests-jitter 20").wait_ready()
    with Load(server, clients=8) as load:
        load.wait_answers(600)
    assert load.failures == []
    assert len(server.events("worker_recycled")) >= 4


def test_every_line_of_output_is_json_with_its_process(start: Start) -> None:
    server = start(DRAIN_SECONDS=0).wait_ready()
    server.post(png())
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    events = server.events()
    assert all({"time", "level", "process", "pid", "event"} <= set(line) for line in events)
    processes = {line["process"] for line in events}
    assert processes == {"run.sh", "supervisor", "engine", "arbiter", "worker"}
    [line] = [line for line in events if line["event"] == "request" and line["status"] == 200]
    assert {"request_id", "bytes_in", "bytes_out", "queue_ms", "inference_ms"} <= set(line)
