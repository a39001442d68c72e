"""The engine dies in every way under load, and no request is lost."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.server import Load, Server, png, wait_for
from tests.stubs.models import MARK


def kill_engine(server: Server, number: int = signal.SIGKILL) -> None:
    """Signal the engine that is ready now."""
    os.kill(wait_for(server.engines, "an engine")[0], number)


def test_no_request_is_lost_when_the_engine_is_killed_under_load(start: Start) -> None:
    server = start().wait_ready()
    with Load(server, clients=8) as load:
        for _ in range(3):
            load.wait_answers(50)
            kill_engine(server)
        load.wait_answers(50)
    assert load.failures == []
    assert sum(line["requests"] for line in server.events("replay")) > 0


def test_each_request_gets_its_own_answer_across_a_death(start: Start) -> None:
    server = start(MODEL="tests.stubs.models:Slow", MAX_BATCH=4).wait_ready()
    with Load(server, clients=6, image=lambda number: png((0, number, 7))) as load:
        load.wait_answers(6)
        kill_engine(server)
        load.wait_answers(12)
    assert load.failures == []
    pixels = [reply.json()["pixel"] for reply in load.answers]
    assert {tuple(pixel) for pixel in pixels} == {(0, number, 7) for number in range(6)}


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        ("Exits", "exit code 3"),
        ("Poisons", "exit code 71"),
        ("Escapes", "exit code 5"),
        ("Lingers", "exit code 5"),
    ],
)
def test_the_request_that_kills_is_refused_after_two_and_its_neighbours_are_answered(
    start: Start, model: str, cause: str
) -> None:
    server = start(MODEL=f"tests.stubs.models:{model}").wait_ready()
    with Load(server, clients=4) as load:
        load.wait_answers(4)
        deadly = server.post(png(MARK))
        load.wait_answers(8)
    assert (deadly.status, deadly.json()["error"]["code"]) == (500, "request_crashed_engine")
    assert load.failures == []
    deaths = [line["cause"] for line in server.events("engine_gone")]
    assert deaths == [cause, cause]


def test_a_child_that_outlives_the_engine_holds_no_request(start: Start, tmp_path: Path) -> None:
    server = start(MODEL="tests.stubs.models:Forks", GATE=tmp_path / "gate").wait_ready()
    with Load(server, clients=4) as load:
        load.wait_answers(4)
        assert server.post(png(MARK)).json() == {"pixel": list(MARK)}, "on the successor"
        load.wait_answers(8)
    assert load.failures == []
    assert [line["cause"] for line in server.events("engine_gone")] == ["exit code 3"]
    server.signal(signal.SIGTERM)
    assert server.wait() == 0, "nor the stop"


def test_memory_for_one_image_only_is_enough_and_for_none_says_so(start: Start) -> None:
    server = start(MODEL="tests.stubs.models:Hungry").wait_ready()
    with Load(server, clients=4, image=lambda number: png((0, number, 7))) as load:
        load.wait_answers(4)
        hungry = server.post(png(MARK))
        load.wait_answers(8)
    assert (hungry.status, hungry.json()["error"]["code"]) == (503, "out_of_memory")
    assert int(hungry.headers["Retry-After"]) > 0
    assert load.failures == []
    assert server.events("engine_gone") == [], "it lives on"


def test_an_engine_that_is_stopped_is_replaced_and_no_request_is_lost(start: Start) -> None:
    server = start(HANG_SECONDS=2).wait_ready()
    with Load(server, clients=4) as load:
        load.wait_answers(20)
        kill_engine(server, signal.SIGSTOP)
        wait_for(lambda: server.events("engine_killed"), "the watchdog")
        load.wait_answers(20)
    assert load.failures == []
    assert server.events("engine_killed")[0]["cause"] in ("hang", "silent")


def test_a_model_that_hangs_is_killed_and_the_others_are_answered(start: Start) -> None:
    server = start(
        MODEL="tests.stubs.models:Hangs", HANG_SECONDS=1, REQUEST_TIMEOUT_SECONDS=20
    ).wait_ready()
    with Load(server, clients=4) as load:
        load.wait_answers(4)
        hanging = server.post(png(MARK))
        load.wait_answers(8)
    assert hanging.json()["error"]["code"] == "request_crashed_engine"
    assert load.failures == []
    assert {line["cause"] for line in server.events("engine_killed")} == {"hang"}


def test_a_model_that_raises_answers_500_without_its_secrets_and_lives_on(start: Start) -> None:
    server = start(MODEL="tests.stubs.models:Raises").wait_ready()
    reply = server.post(png(MARK))
    assert (reply.status, reply.json()["error"]["code"]) == (500, "model_error")
    assert b"secret" not in reply.body
    assert server.post(png((1, 2, 3))).json() == {"pixel": [1, 2, 3]}
    assert "a secret of the model" in server.events("batch_failed")[0]["traceback"]
    assert server.events("engine_gone") == []


def test_the_nurserys_death_costs_nothing(start: Start) -> None:
    server = start().wait_ready()
    [nursery] = [line["nursery"] for line in server.events("nursery_started")]
    before = server.engines()
    with Load(server, clients=4) as load:
        load.wait_answers(20)
        os.kill(nursery, signal.SIGKILL)
        wait_for(lambda: len(server.events("nursery_started")) == 2, "the next nursery")
        load.wait_answers(20)
        assert server.engines() == before
        kill_engine(server)
        load.wait_answers(20)
    assert load.failures == []


def test_of_two_engines_one_may_die_and_health_stays_true(start: Start) -> None:
    server = start(ENGINES=2).wait_ready()
    wait_for(lambda: len(server.engines()) == 2, "both engines")
    victim = server.engines()[0]
    verdicts = set()
    with Load(server, clients=4) as load:
        load.wait_answers(20)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in server.engines(), "the death to be known")
        while len(server.engines()) < 2:
            verdicts.add(server.healthy())
        load.wait_answers(20)
    assert load.failures == []
    assert verdicts == {True}


def test_a_device_that_falls_off_is_named_and_the_other_serves_on_until_it_is_back(
    start: Start, tmp_path: Path
) -> None:
    fallen = tmp_path / "fallen"
    server = start(MODEL="tests.stubs.models:FallsOff", ENGINES=2, GATE=fallen).wait_ready()
    wait_for(lambda: len(server.engines()) == 2, "both engines")

    def failed() -> list[dict[str, Any]]:
        return [each for each in server.get("/status").json()["engines"]
                if "CUDA error: unknown error" in str(each)]  # fmt: skip

    with Load(server, clients=6) as load:
        load.wait_answers(6)
        fallen.touch()
        wait_for(failed, "the status to say why it cannot be loaded")
        for _ in range(20):
            assert server.get("/ready").status == server.get("/health").status == 200
            load.wait_answers(1)
        assert len(server.engines()) == 1
        assert b'unbroken_engines_ready{device="cpu"} 1' in server.get("/metrics").body
        fallen.unlink()
        wait_for(lambda: len(server.engines()) == 2, "the device to be taken again")
        load.wait_answers(6)
    assert load.failures == []
    assert "exit code 71" in {line["cause"] for line in server.events("engine_gone")}


def test_a_request_that_no_engine_answers_in_time_gets_504(start: Start) -> None:
    server = start(
        MODEL="tests.stubs.models:Hangs", HANG_SECONDS=3, REQUEST_TIMEOUT_SECONDS=6
    ).wait_ready()
    first = threading.Thread(target=server.post, args=(png(MARK),))
    first.start()
    # Each hang costs three seconds: together with the first one's, the deadline passes.
    late = [threading.Thread(target=lambda: codes.append(server.post(png(MARK)).status))
            for _ in range(4)]  # fmt: skip
    codes: list[int] = []
    for thread in late:
        thread.start()
    for thread in (first, *late):
        thread.join()
    assert set(codes) <= {500, 504}
    assert 504 in codes
    assert server.wait_ready().post(png((1, 2, 3))).json() == {"pixel": [1, 2, 3]}
