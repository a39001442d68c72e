"""Users' own classes on the real server: right, wrong from the start, wrong on one image."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.e2e.test_bad_input import error_of
from tests.e2e.test_health import answers, reason
from tests.server import Load, Server, png, serve, wait_for
from tests.stubs.models import MARK
from tests.stubs.own import Wrong


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate") / "gate"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gate: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("own")
    with serve(folder, MODEL="tests.stubs.own:Wrong", GATE=gate) as server:
        yield server.wait_ready()


def test_a_wrong_result_is_a_500_that_says_how_and_harms_nobody(server: Server) -> None:
    engines = server.engines()
    with Load(server, clients=4, image=lambda number: png((number, 2, 3))) as load:
        load.wait_answers(4)
        for number, way in enumerate(Wrong.ways[:-1]):
            reply = server.post(png((255, 0, number)))
            assert error_of(reply) == (500, "model_error"), way
            message = reply.json()["error"]["message"]
            assert message.startswith("the model")
            assert "secret" not in message
        load.wait_answers(4)
    assert load.failures == []
    assert server.engines() == engines, "no engine was replaced"
    tracebacks = [event["traceback"] for event in server.events("batch_failed")]
    assert any("a secret of the model" in traceback for traceback in tracebacks)


def test_a_class_that_ends_its_process_takes_its_own_request_alone(
    server: Server, gate: Path
) -> None:
    reply = server.post(png((255, 0, len(Wrong.ways) - 1)))
    assert error_of(reply) == (500, "request_crashed_engine")
    gate.touch()
    assert server.post(png((1, 2, 3))).json() == {"predictions": [1, 2, 3]}


@pytest.mark.parametrize("name", ["NoPredict", "WrongSpec", "Nobody"])
def test_a_class_that_can_never_be_served_stops_the_start_with_one_sentence(
    start: Start, name: str
) -> None:
    server = start(MODEL=f"tests.stubs.own:{name}")
    assert server.wait() == 1
    [refused] = server.events("start_refused")
    assert refused["message"].startswith(f"MODEL=tests.stubs.own:{name}: ")


def test_a_file_that_is_not_there_stops_the_start(start: Start) -> None:
    server = start(MODEL="models/none.py:Class")
    assert server.wait() == 1
    assert "there is no file /" in server.events("start_refused")[0]["message"]


def test_what_load_raises_is_shown_by_health_until_a_later_load_succeeds(
    start: Start, tmp_path: Path
) -> None:
    server = start(MODEL="tests.stubs.own:FailsToLoad", GATE=tmp_path / "gate")
    wait_for(lambda: answers(server), "the HTTP side")
    wait_for(lambda: reason(server).startswith("load_failed: "), "the cause")
    assert reason(server).startswith("load_failed: OSError: the weights are (own.py, line ")
    assert server.get("/live").status == 200
    (tmp_path / "gate").touch()
    server.wait_ready()


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("FailsToPredict", "load_failed: the model raised RuntimeError: "),
        ("TooFew", "load_failed: the model returned 1 results for "),
        ("NotJson", "load_failed: the model's result is not JSON: it holds a set"),
    ],
)
def test_a_predict_that_fails_in_the_warm_up_is_shown_by_health(
    start: Start, name: str, cause: str
) -> None:
    server = start(MODEL=f"tests.stubs.own:{name}")
    wait_for(lambda: answers(server), "the HTTP side")
    wait_for(lambda: reason(server).startswith("load_failed: "), "the cause")
    assert reason(server).startswith(cause)
    assert server.get("/live").status == 200
    assert error_of(server.post(png())) == (503, "model_loading")


MINE = """
class Mine:
    version = "{version}"
    def load(self, device): ...
    def predict(self, batch): return [self.version] * len(batch)
"""


def test_a_file_beside_the_caller_is_served_and_read_anew_at_a_reload(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE.format(version="one"))
    server = start(MODEL=f"{path}:Mine", AUTH_TOKEN="secret").wait_ready()
    token = {"Authorization": "secret"}

    def ask() -> object:
        return server.request("POST", "/", png(), Content_Type="image/png", **token).json()

    assert ask() == {"predictions": "one"}
    path.write_text("class Mine: ...")
    reply = server.request("POST", "/admin/reload", **token)
    assert error_of(reply) == (409, "reload_failed")
    assert "has no method" in reply.json()["error"]["message"]
    assert ask() == {"predictions": "one"}
    path.write_text(MINE.format(version="two"))
    assert server.request("POST", "/admin/reload", **token).status == 200
    assert ask() == {"predictions": "two"}


def test_a_respawned_engine_runs_the_code_that_serves_until_a_reload(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE.format(version="one"))
    server = start(MODEL=f"{path}:Mine").wait_ready()
    path.write_text(MINE.format(version="two"))  # into the same file
    [engine] = server.engines()
    os.kill(engine, signal.SIGKILL)
    wait_for(lambda: server.engines() not in ([], [engine]), "the successor")
    assert server.post(png()).json() == {"predictions": "one"}
    server.signal(signal.SIGHUP)
    wait_for(lambda: server.post(png()).json() == {"predictions": "two"}, "the reload")


def test_what_a_model_writes_to_standard_output_becomes_log_lines(start: Start) -> None:
    server = start(MODEL="tests.stubs.models:Prints").wait_ready()
    assert server.post(png(MARK)).status == 200
    wanted = {"from Python", "from Python, around ours", "from native code", "from a child"}
    # Reading the events also proves that every line is JSON.
    wait_for(lambda: wanted <= {line["message"] for line in server.events("stderr")}, "its words")
    assert server.events("stage"), "the engine's own lines are where they were"
