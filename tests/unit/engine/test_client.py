"""The worker's side of an engine, against a real engine socket that a test plays."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import numpy as np
import pytest

from app import errors
from app.engine import line
from app.engine.client import EngineClient, InputSpecChanged
from app.engine.protocol import Frame, Type
from app.images import Decoded
from app.input_spec import InputSpec
from app.lifecycle import Stage
from app.settings import Settings
from tests.loop import until
from tests.unit.engine.peer import SPEC, Peer, greet, named

IMAGE = Decoded(np.zeros((2, 2, 3), np.uint8), (4, 6))
TIMINGS = {"queue_ms": 0, "inference_ms": 0, "batch": 1}


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(tmp_path / "supervisor.sock")
    yield peer
    peer.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(tmp_path / "e1.sock")
    yield peer
    peer.close()


@pytest.fixture
def client(tmp_path: Path, supervisor: Peer) -> EngineClient:
    client = EngineClient(Settings.read({"STATE_DIR": str(tmp_path)}))
    client.start()
    supervisor.accept()
    return client


def directory(*engines: Peer, served: bool = True, stage: str = "ready") -> Frame:
    listed = [named(peer, number, stage) for number, peer in enumerate(engines, 1)]
    share = {"images": 8, "bytes": 1 << 20}
    return Frame(Type.ENGINES, head={"draining": False, "served": served, "share": share,
                                     "engines": listed, "swap": {"running": False}})  # fmt: skip


def ask(client: EngineClient, images: int = 1, seconds: float = 10) -> gevent.Greenlet:
    return gevent.spawn(client.predict, [IMAGE] * images, SPEC, {}, time.monotonic() + seconds)


def result(number: int, payload: bytes) -> Frame:
    return Frame(Type.RESULT, number, TIMINGS, payload)


def heard(client: EngineClient, engine: int) -> bool:
    return client.describe()["engines"][engine]["queue"] is not None


def test_an_answer_comes_back_in_the_order_of_the_request(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine))
    greet(engine)
    asked = ask(client, images=2)
    first, second = engine.receive(), engine.receive()
    engine.send(result(second.id, b"2"), result(first.id, b"1"))
    assert asked.get(timeout=10).results == [b"1", b"2"]


def test_the_engine_hears_the_posted_size_and_what_is_asked(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine))
    greet(engine)
    gevent.spawn(client.predict, [IMAGE], SPEC, {"top_k": 3}, time.monotonic() + 10)
    head = engine.receive().head
    assert (head["size"], head["options"], head["shape"]) == ([4, 6], {"top_k": 3}, [2, 2, 3])


def test_a_large_image_arrives_whole_and_the_next_one_after_it(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine))
    greet(engine)
    pixels = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    gevent.spawn(client.predict, [Decoded(pixels, (4000, 3000))], SPEC, {}, time.monotonic() + 30)
    small = ask(client)
    assert engine.receive().payload == pixels.tobytes()
    after = engine.receive()
    assert after.payload == IMAGE.pixels.tobytes()
    engine.send(result(after.id, b"1"))
    assert small.get(timeout=10).results == [b"1"]


def test_a_request_waits_for_an_engine_and_then_goes(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory())
    asked = ask(client)
    until(lambda: client.describe()["worker"]["waiting_for_an_engine"] == 1)
    supervisor.send(directory(engine))
    greet(engine)
    engine.send(result(engine.receive().id, b"1"))
    assert asked.get(timeout=10).results == [b"1"]


def test_what_a_dead_engine_held_runs_again_and_what_ran_is_alone(
    client: EngineClient, supervisor: Peer, engine: Peer, tmp_path: Path
) -> None:
    supervisor.send(directory(engine))
    greet(engine)
    running, waiting = ask(client), ask(client)
    first, second = engine.receive(), engine.receive()
    engine.send(Frame(Type.STARTED, head={"ids": [first.id]}))
    engine.hang_up()
    successor = Peer(tmp_path / "e2.sock")
    supervisor.send(directory(successor))
    greet(successor)
    again = [successor.receive(), successor.receive()]
    assert [frame.head["alone"] for frame in again] == [True, False]
    successor.send(*(result(frame.id, b"1") for frame in again))
    assert running.get(timeout=10).replays == waiting.get(timeout=10).replays == 1
    assert second.head["alone"] is False
    successor.close()


def test_an_engine_that_is_no_longer_named_is_dead_though_its_connection_is_open(
    client: EngineClient, supervisor: Peer, engine: Peer, tmp_path: Path
) -> None:
    supervisor.send(directory(engine))
    greet(engine)
    answered, held = ask(client), ask(client)
    first, second = engine.receive(), engine.receive()
    engine.send(Frame(Type.STARTED, head={"ids": [second.id]}), result(first.id, b"1"))
    successor = Peer(tmp_path / "e2.sock")
    supervisor.send(directory(successor))
    greet(successor)
    again = successor.receive()
    assert again.head["alone"] is True
    successor.send(result(again.id, b"2"))
    assert (answered.get(timeout=10).replays, held.get(timeout=10).replays) == (0, 1)
    successor.close()


def test_after_two_deaths_under_it_a_request_is_refused(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine))
    asked = ask(client)
    for _ in range(2):
        greet(engine)
        engine.send(Frame(Type.STARTED, head={"ids": [engine.receive().id]}))
        engine.hang_up()
    with pytest.raises(errors.RequestCrashedEngine):
        asked.get(timeout=10)


def test_another_users_socket_gets_no_image(
    client: EngineClient, supervisor: Peer, engine: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.link.os.geteuid", lambda: os.getuid() + 1)
    supervisor.send(directory(engine))
    engine.accept()
    assert engine.is_left()
    asked = ask(client, seconds=0.2)
    with pytest.raises(errors.DeadlineExceeded):
        asked.get(timeout=10)


def test_a_connection_that_broke_to_an_engine_that_lives_is_made_again(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine))
    greet(engine)
    engine.hang_up()
    greet(engine)
    asked = ask(client)
    engine.send(result(engine.receive().id, b"1"))
    assert asked.get(timeout=10).results == [b"1"]
    assert client.health().can_serve


def test_a_request_that_nobody_answers_in_time_is_cancelled(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine))
    greet(engine)
    asked = ask(client, seconds=0.2)
    submitted = engine.receive()
    with pytest.raises(errors.DeadlineExceeded):
        asked.get(timeout=10)
    assert engine.receive() == Frame(Type.CANCEL, submitted.id)


def test_an_error_of_the_engine_reaches_the_caller_under_its_code(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine))
    greet(engine)
    asked = ask(client, images=2)
    failing, other = engine.receive(), engine.receive()
    head = {"code": "invalid_parameter", "message": "no", "details": {"parameter": "masks"}}
    engine.send(Frame(Type.FAILED, failing.id, head))
    with pytest.raises(errors.InvalidParameter, match="no") as caught:
        asked.get(timeout=10)
    assert caught.value.details == {"parameter": "masks"}
    assert engine.receive() == Frame(Type.CANCEL, other.id)


def test_a_worker_that_was_not_told_yet_waits_before_it_says_loading(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    asked = gevent.spawn(client.input_spec, time.monotonic() + 10)
    gevent.idle()
    supervisor.send(directory(engine))
    greet(engine)
    assert asked.get(timeout=10).mode == "RGB"


def test_before_the_first_ready_a_request_is_told_that_the_model_loads(
    client: EngineClient, supervisor: Peer
) -> None:
    supervisor.send(directory(served=False))
    with pytest.raises(errors.ModelLoading):
        client.input_spec(time.monotonic() + 10)


def test_what_another_worker_knows_already_is_waited_for_at_the_end_of_a_load(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine, served=False, stage="self_test"))
    until(lambda: client.health().stage is Stage.SELF_TEST)
    asked = gevent.spawn(client.input_spec, time.monotonic() + 10)
    gevent.idle()
    supervisor.send(directory(engine))
    greet(engine)
    assert asked.get(timeout=10).mode == "RGB"


def test_a_self_test_that_takes_long_is_not_waited_for(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine, served=False, stage="self_test"))
    with pytest.raises(errors.ModelLoading, match="self_test"):
        client.input_spec(time.monotonic() + 10)


def test_an_engine_that_retires_gets_no_more_and_is_left_when_all_is_answered(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine))
    greet(engine)
    held = ask(client)
    number = engine.receive().id
    supervisor.send(directory(engine, stage="retiring"))
    until(lambda: client.describe()["engines"][0]["stage"] == "retiring")
    late = ask(client)
    engine.send(result(number, b"1"))
    assert held.get(timeout=10).results == [b"1"]
    assert engine.is_left()
    assert not late.ready(), "it waits for the next engine"


def test_a_request_that_was_decoded_for_another_model_is_given_back(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine))
    greet(engine)
    other = InputSpec(mode="L", resize=(2, 2))
    asked = gevent.spawn(client.predict, [IMAGE], other, {}, time.monotonic() + 10)
    with pytest.raises(InputSpecChanged):
        asked.get(timeout=10)


def test_images_are_decoded_for_an_engine_that_lives_not_for_one_that_is_dead(
    client: EngineClient, supervisor: Peer, engine: Peer, tmp_path: Path
) -> None:
    newer, other = Peer(tmp_path / "e2.sock"), InputSpec(mode="L", resize=(2, 2))
    supervisor.send(directory(engine, newer))
    greet(newer, other)
    until(lambda: heard(client, 1))
    greet(engine)
    until(lambda: heard(client, 0))
    assert client.input_spec(time.monotonic() + 10) == other, "the newest, whoever came last"
    newer.hang_up()
    newer.close()
    supervisor.send(directory(engine))
    until(lambda: client.input_spec(time.monotonic() + 10) == SPEC)
    assert client.describe()["version"] == "v1"
    asked = ask(client)
    engine.send(result(engine.receive().id, b"1"))
    assert asked.get(timeout=10).results == [b"1"]


def test_a_reload_is_answered_by_the_supervisor_or_fails_with_it(
    client: EngineClient, supervisor: Peer
) -> None:
    supervisor.send(directory())
    until(lambda: client.describe()["swap"] == {"running": False})
    asked = client.ask_reload()
    frame = supervisor.receive()
    assert frame.type is Type.RELOAD
    supervisor.send(Frame(Type.RELOADED, frame.id, {"code": "", "version": "v2"}))
    assert asked.get(timeout=10)["version"] == "v2"
    asked = client.ask_reload()
    supervisor.hang_up()
    with pytest.raises(errors.Internal):
        asked.get(timeout=10)


def test_an_engine_can_serve_from_its_naming_on_and_is_gone_with_its_connection(
    client: EngineClient, supervisor: Peer, engine: Peer
) -> None:
    supervisor.send(directory(engine))
    engine.accept()
    assert client.health().can_serve, "the supervisor has just heard of it"
    engine.hang_up()
    engine.close()
    until(lambda: client.health().reason == "engine_gone")


def test_a_supervisor_that_says_nothing_is_told_until_it_speaks(
    client: EngineClient, supervisor: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "TURN_SECONDS", 0.01)
    supervisor.send(directory())
    until(lambda: client.served)
    assert client.supervisor_fault() == ""
    until(lambda: "engine supervisor has said nothing for" in client.supervisor_fault())
    assert client.supervisor_lives(), "its line is there: the container does not end"
    supervisor.send(directory())
    until(lambda: client.supervisor_fault() == "")


def test_a_supervisor_that_says_nothing_from_the_first_on_is_told(
    client: EngineClient, supervisor: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "TURN_SECONDS", 0.01)
    until(lambda: "has said nothing for" in client.supervisor_fault())


def test_a_supervisor_that_is_not_there_yet_is_no_silent_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "TURN_SECONDS", 0.001)
    client = EngineClient(Settings.read({"STATE_DIR": str(tmp_path)}))
    client.start()
    turns(100)
    assert client.supervisor_fault() == ""


def test_time_in_which_the_container_stood_still_is_no_silence(
    client: EngineClient, supervisor: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "TURN_SECONDS", 0.05)
    supervisor.send(directory())
    until(lambda: client._line.silence > 0)
    time.sleep(2.0)  # the whole loop, as a freezer does
    turns(3)
    assert client.supervisor_fault() == ""


def turns(count: int) -> None:
    """Let the loop turn so often."""
    for _ in range(count):
        gevent.sleep(0.001)
