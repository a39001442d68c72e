"""The server on a real GPU: ``make test-gpu``."""

import os
import signal

import pytest
import torch

from tests.conftest import Start
from tests.server import ROOT, Load, wait_for

pytestmark = pytest.mark.gpu

SEVEN = (ROOT / "docs/images/seven.jpg").read_bytes()
THREE = (ROOT / "docs/images/three-photo.jpg").read_bytes()


def test_auto_takes_the_gpu_and_the_answers_are_right(start: Start) -> None:
    server = start().wait_ready()
    assert server.get("/status").json()["device"].startswith("cuda")
    assert server.post(SEVEN, "/", "image/jpeg").json() == {"mnist_result": 7}
    assert server.post(THREE, "/", "image/jpeg").json() == {"mnist_result": 3}


def test_the_gpu_says_what_the_cpu_says(start: Start) -> None:
    answers = []
    for device in ("cuda", "cpu"):
        server = start(MODEL="torchvision/resnet18", WEIGHTS="random", DEVICE=device,
                       PRECISION="float32").wait_ready()  # fmt: skip
        answers.append(server.post(SEVEN, "/", "image/jpeg").json()["predictions"])
    on_gpu, on_cpu = answers
    assert on_gpu[0]["class_id"] == on_cpu[0]["class_id"]
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-3)


def test_an_engine_killed_under_load_loses_nothing(start: Start) -> None:
    server = start(MODEL="torchvision/resnet18", WEIGHTS="random").wait_ready()
    with Load(server, clients=8, image=lambda _: THREE) as load:
        for _ in range(3):
            load.wait_answers(100)
            os.kill(wait_for(server.engines, "an engine")[0], signal.SIGKILL)
        load.wait_answers(100)
    assert load.failures == []


def test_a_device_that_is_not_there_is_named(start: Start) -> None:
    server = start(DEVICE="cuda:63")
    wait_for(
        lambda: server.log.exists() and "invalid device ordinal" in server.log.read_text(),
        "the cause",
    )


def test_gpu_memory_that_another_process_takes_is_seen(start: Start) -> None:
    free, _ = torch.cuda.mem_get_info()
    floor = free // 2**20 - 4000
    server = start(MIN_FREE_GPU_MB=floor).wait_ready()
    taken = torch.empty(6 * 2**30, dtype=torch.uint8, device="cuda")
    wait_for(lambda: b"gpu_memory" in server.get("/health").body, "the verdict")
    assert server.post(SEVEN, "/", "image/jpeg").json() == {"mnist_result": 7}, "it answers on"
    del taken
    torch.cuda.empty_cache()
    wait_for(server.healthy, "recovery")


def test_status_names_the_gpu_that_cuda_uses(start: Start) -> None:
    server = start(DEVICE="cuda:0").wait_ready()
    [engine] = wait_for(
        lambda: [one for one in server.get("/status").json()["engines"] if one["gpu"]], "a reading"
    )
    assert engine["gpu"]["uuid"] == str(torch.cuda.get_device_properties(0).uuid)
    assert 0 < engine["gpu"]["reserved_mb"] <= engine["gpu"]["used_mb"]


def test_half_precision_is_taken_only_where_the_answers_stay_the_same(start: Start) -> None:
    answers = {}
    for precision in ("auto", "float32"):
        server = start(MODEL="torchvision/resnet50", WEIGHTS="random", PRECISION=precision)
        server.wait_ready()
        answers[precision] = server.post(SEVEN, "/", "image/jpeg").json()["predictions"]
    for half, full in zip(answers["auto"], answers["float32"], strict=True):
        assert half["class_id"] == full["class_id"]
        assert half["score"] == pytest.approx(full["score"], abs=1e-2)


def test_one_engine_on_each_gpu_and_requests_go_to_both(start: Start) -> None:
    if torch.cuda.device_count() < 2:
        devices, engines = "cuda:0", 2  # the same with two engines on the one that is there
    else:
        devices, engines = "cuda:0,cuda:1", 1
    server = start(DEVICE=devices, ENGINES=engines).wait_ready()
    wait_for(lambda: len(server.engines()) == 2, "both engines")
    with Load(server, clients=16, image=lambda _: THREE) as load:
        load.wait_answers(200)
        os.kill(server.engines()[0], signal.SIGKILL)
        assert server.get("/ready").status == 200, "one is left"
        load.wait_answers(200)
    assert load.failures == []
