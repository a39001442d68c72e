"""A real engine, forked by a real nursery, spoken to over its own socket."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.engine.launcher import Launcher
from app.engine.order import Order
from app.engine.protocol import Decoder, Frame, Type
from tests.server import PATIENCE, wait_for
from tests.stubs.models import MARK

PIXELS = bytes([7, 8, 9]) * 64
MARKED = bytes(MARK) * 64


class Wire:
    """A blocking connection that speaks frames."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self._decoder = Decoder()
        self._frames: list[Frame] = []

    def send(self, frame: Frame) -> None:
        """Send a whole frame."""
        self.sock.sendall(frame.encode())

    def next(self, *wanted: Type) -> Frame:
        """Return the next frame of a wanted type; STATE and BEAT come in between."""
        while True:
            while not self._frames:
                chunk = self.sock.recv(1 << 16)
                if not chunk:
                    raise EOFError
                self._frames = self._decoder.feed(chunk)
            frame = self._frames.pop(0)
            if not wanted or frame.type in wanted:
                return frame

    def ended(self) -> bool:
        """Return whether the peer closes; waits for it."""
        try:
            while True:
                self.next()
        except (EOFError, ConnectionResetError):
            return True


class Engine:
    """One engine and our end of its control line."""

    def __init__(self, launcher: Launcher, path: Path) -> None:
        self.path = path
        self.control = Wire(launcher.spawn(Order("cpu", 1, str(path)), ()))
        self.stages: list[dict[str, Any]] = []

    def wait_ready(self) -> "Engine":
        """Wait for the last stage before service, or the failure."""
        while not self.stages or self.stages[-1]["stage"] not in ("ready", "failed"):
            self.stages.append(self.control.next(Type.STAGE).head)
        return self

    @property
    def pid(self) -> int:
        """The engine's pid, as it says itself."""
        pid: int = self.stages[0]["pid"]
        return pid

    def connect(self) -> Wire:
        """Connect as an HTTP worker does."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.path))
        return Wire(sock)


def submit(number: int, deadline: float = 60.0, **head: object) -> Frame:
    """Return a SUBMIT of an 8 x 8 image whose first pixel is (7, 8, 9)."""
    members = {"shape": [8, 8, 3], "dtype": "uint8", "size": [8, 8], "options": {},
               "deadline": time.monotonic() + deadline, "alone": False, **head}  # fmt: skip
    return Frame(Type.SUBMIT, number, members, PIXELS)


@pytest.fixture
def engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Engine]:
    model = getattr(request, "param", "Echo")
    monkeypatch.setenv("MODEL", f"tests.stubs.models:{model}")
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    launcher = Launcher(str(tmp_path))
    stderr = launcher.start()
    engine = Engine(launcher, tmp_path / "engine.sock")
    yield engine.wait_ready()
    if stderr:
        stderr.close()
    launcher.stop()
    engine.control.sock.close()
    wait_for(lambda: _zombie(engine.pid), "the engine's end")


def _zombie(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_it_passes_through_its_stages_in_order(engine: Engine) -> None:
    assert [head["stage"] for head in engine.stages] == ["loading", "warming", "self_test", "ready"]


def test_it_greets_with_what_a_worker_must_know(engine: Engine) -> None:
    wire = engine.connect()
    hello = wire.next(Type.HELLO).head
    assert (hello["model"], hello["version"], hello["result_key"]) == ("echo", "stub", "pixel")
    assert hello["spec"]["resize"] == [8, 8]
    assert wire.next(Type.STATE).head["stage"] == "ready"
    wire.sock.close()


def test_started_comes_before_the_result_and_the_result_is_right(engine: Engine) -> None:
    wire = engine.connect()
    wire.send(submit(41))
    assert wire.next(Type.STARTED, Type.RESULT).head == {"ids": [41]}
    result = wire.next(Type.STARTED, Type.RESULT)
    assert (result.id, result.payload, result.head["batch"]) == (41, b"[7, 8, 9]", 1)
    wire.sock.close()


def test_a_frame_that_arrives_byte_by_byte_is_understood(engine: Engine) -> None:
    wire = engine.connect()
    for byte in submit(1).encode():
        wire.sock.sendall(bytes([byte]))
    assert wire.next(Type.RESULT).payload == b"[7, 8, 9]"
    wire.sock.close()


@pytest.mark.parametrize(
    "bad",
    [
        b"GET / HTTP/1.1\r\n\r\n" * 2,
        Frame(Type.HELLO).encode(),
        Frame(Type.STOP).encode(),
        Frame(Type.SUBMIT, 1, {"shape": [8, 8, 3]}).encode(),
        Frame(Type.SUBMIT, 1, submit(1).head, b"too short").encode(),
    ],
)
def test_nonsense_closes_that_connection_and_no_other(engine: Engine, bad: bytes) -> None:
    good, wire = engine.connect(), engine.connect()
    wire.sock.sendall(bad)
    assert wire.ended()
    good.send(submit(1))
    assert good.next(Type.RESULT).id == 1
    good.sock.close()
    wire.sock.close()


def test_an_expired_request_costs_no_forward(engine: Engine) -> None:
    wire = engine.connect()
    wire.send(submit(1, deadline=-1))
    failed = wire.next(Type.FAILED, Type.STARTED)
    assert (failed.type, failed.head["code"]) == (Type.FAILED, "deadline_exceeded")
    wire.sock.close()


@pytest.mark.parametrize("engine", ["Slow"], indirect=True)
def test_what_waits_while_a_batch_runs_becomes_the_next_batch(engine: Engine) -> None:
    wire = engine.connect()
    wire.send(submit(1))
    assert wire.next(Type.STARTED).head == {"ids": [1]}
    for number in (2, 3, 4):
        wire.send(submit(number))
    wire.send(Frame(Type.CANCEL, 3))
    assert wire.next(Type.STARTED).head == {"ids": [2, 4]}
    assert [wire.next(Type.RESULT).head["batch"] for _ in range(2)] == [2, 2]
    wire.sock.close()


def outcomes_of_four(wire: Wire) -> list[Frame]:
    """Return what becomes of a batch of four, of which number 3 is marked."""
    wire.send(submit(1))
    assert wire.next(Type.STARTED).head == {"ids": [1]}
    marked = submit(3)
    for frame in (submit(2), Frame(marked.type, 3, marked.head, MARKED), submit(4), submit(5)):
        wire.send(frame)
    assert wire.next(Type.RESULT).id == 1
    return [wire.next(Type.RESULT, Type.FAILED) for _ in range(4)]


@pytest.mark.parametrize("engine", ["Raises"], indirect=True)
def test_an_image_that_makes_the_model_raise_fails_alone(engine: Engine) -> None:
    wire = engine.connect()
    outcomes = outcomes_of_four(wire)
    assert [frame.id for frame in outcomes if frame.type is Type.RESULT] == [2, 4, 5]
    [failed] = [frame for frame in outcomes if frame.type is Type.FAILED]
    assert (failed.id, failed.head["code"]) == (3, "model_error")
    wire.sock.close()


@pytest.mark.parametrize(
    ("engine", "batches"), [("Refuses", [4, 4, 4]), ("RefusesAll", [1, 2, 2])], indirect=["engine"]
)
def test_an_image_that_the_model_refuses_is_the_clients_fault_and_nobody_elses(
    engine: Engine, batches: list[int]
) -> None:
    wire = engine.connect()
    outcomes = outcomes_of_four(wire)
    answered = {frame.id: frame.head["batch"] for frame in outcomes if frame.type is Type.RESULT}
    assert answered == dict(zip((2, 4, 5), batches, strict=True))
    [failed] = [frame for frame in outcomes if frame.type is Type.FAILED]
    assert (failed.id, failed.head) == (
        3, {"code": "invalid_parameter", "message": "not a red one",
            "details": {"parameter": "colour"}},
    )  # fmt: skip
    wire.sock.close()


@pytest.mark.parametrize("engine", ["Slow"], indirect=True)
def test_beats_go_on_through_a_forward(engine: Engine) -> None:
    wire = engine.connect()
    for number in range(10):
        wire.send(submit(number, alone=True))
    ages = [engine.control.next(Type.BEAT).head["batch_age"] for _ in range(4)]
    assert max(ages) > 0
    wire.sock.close()


@pytest.mark.parametrize("engine", ["Slow"], indirect=True)
def test_it_stops_after_it_has_answered_and_the_last_worker_has_left(engine: Engine) -> None:
    wire = engine.connect()
    wire.send(submit(1))
    wire.next(Type.STARTED)
    wire.send(submit(2))
    engine.control.send(Frame(Type.STOP))
    assert [wire.next(Type.RESULT).id for _ in range(2)] == [1, 2]
    assert wire.next(Type.STATE).head["stage"] == "retiring"
    wire.sock.close()
    assert engine.control.ended()


def test_it_leaves_when_the_supervisor_is_gone_and_the_last_worker_has_left(
    engine: Engine,
) -> None:
    wire = engine.connect()
    wire.next(Type.HELLO)
    engine.control.sock.close()
    wire.send(submit(1))
    assert wire.next(Type.RESULT).id == 1
    wire.sock.close()
    wait_for(lambda: _zombie(engine.pid), "its end")


def test_a_worker_that_never_reads_stalls_nobody(engine: Engine) -> None:
    deaf, wire = engine.connect(), engine.connect()
    for number in range(200):
        deaf.send(submit(number))
    wire.send(submit(1))
    assert wire.next(Type.RESULT).id == 1
    deaf.sock.close()
    wire.sock.close()


@pytest.mark.parametrize("engine", ["NeedsCuda"], indirect=True)
def test_the_nursery_has_not_touched_cuda(engine: Engine) -> None:
    assert engine.stages[-1]["stage"] == "ready"


@pytest.mark.parametrize("engine", ["NeverLoads"], indirect=True)
def test_a_failed_load_says_why_and_ends(engine: Engine) -> None:
    assert engine.stages[-1]["stage"] == "failed"
    assert engine.stages[-1]["cause"] == "the weights are made of cheese"
    assert engine.control.ended()


def test_a_killed_engine_ends_its_connections_at_once(engine: Engine) -> None:
    wire = engine.connect()
    wire.next(Type.HELLO)
    os.kill(engine.pid, signal.SIGKILL)
    assert wire.ended()
    wire.sock.close()
