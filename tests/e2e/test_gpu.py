"""The server on a real GPU: ``make test-gpu``."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import Start
from tests.programs import described, pt2, torchscript
from tests.server import ROOT, Load, png, wait_for

pytestmark = pytest.mark.gpu

SEVEN = (ROOT / "docs/images/seven.jpg").read_bytes()
THREE = (ROOT / "docs/images/three-photo.jpg").read_bytes()


def test_auto_takes_the_gpu_and_the_answers_are_right(start: Start) -> None:
    server = start().wait_ready()
    assert server.get("/status").json()["device"].startswith("cuda")
    assert server.post(SEVEN, "/", "image/jpeg").json() == {"mnist_result": 7}
    assert server.post(THREE, "/", "image/jpeg").json() == {"mnist_result": 3}


def on_both(start: Start, path: str, **env: object) -> list[Any]:
    """Return the answers of the GPU and of the CPU."""
    servers = [start(DEVICE=device, PRECISION="float32", HANG_SECONDS=10, **env).wait_ready()
               for device in ("cuda", "cpu")]  # fmt: skip
    replies = [server.post(THREE, path, "image/jpeg") for server in servers]
    assert [reply.status for reply in replies] == [200, 200], [reply.body for reply in replies]
    return [reply.json() for reply in replies]


def test_the_gpu_says_what_the_cpu_says(start: Start) -> None:
    on_gpu, on_cpu = on_both(start, "/?top_k=1000", MODEL="torchvision/resnet18", WEIGHTS="random")
    ours, theirs = (
        {one["class_id"]: one["score"] for one in answer["predictions"]}
        for answer in (on_gpu, on_cpu)
    )
    assert ours == pytest.approx(theirs, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "query"),
    [("fasterrcnn_mobilenet_v3_large_320_fpn", ""), ("fcos_resnet50_fpn", ""),
     ("maskrcnn_resnet50_fpn", "&masks=rle"), ("keypointrcnn_resnet50_fpn", "")],
)  # fmt: skip
def test_a_detector_finds_on_the_gpu_what_it_finds_on_the_cpu(
    start: Start, name: str, query: str
) -> None:
    on_gpu, on_cpu = on_both(start, f"/?score_threshold=0{query}", MODEL=f"torchvision/{name}",
                             WEIGHTS="random")  # fmt: skip
    assert (on_gpu["width"], on_gpu["height"]) == (on_cpu["width"], on_cpu["height"])
    # Random weights are sure of nothing: TF32 may reorder the boxes, but not change their number.
    assert len(on_gpu["regions"]) == pytest.approx(len(on_cpu["regions"]), rel=0.2)
    best = max((region["score"] for region in on_cpu["regions"]), default=0.0)
    assert max((region["score"] for region in on_gpu["regions"]), default=0.0) == pytest.approx(
        best, abs=0.01
    )


def test_a_class_map_on_the_gpu_is_that_of_the_cpu(start: Start) -> None:
    on_gpu, on_cpu = on_both(start, "/", MODEL="torchvision/lraspp_mobilenet_v3_large",
                             WEIGHTS="random")  # fmt: skip
    shares = [{one["label"]: one["share"] for one in answer["segmentation"]["classes"]}
              for answer in (on_gpu, on_cpu)]  # fmt: skip
    labels = shares[0].keys() | shares[1].keys()
    for label in labels:
        assert shares[0].get(label, 0) == pytest.approx(shares[1].get(label, 0), abs=0.02)


@pytest.mark.parametrize("filename", ["colours.pt2", "colours.pt"])
def test_an_exported_program_runs_on_the_gpu(start: Start, tmp_path: Path, filename: str) -> None:
    program = pt2(dynamic=torch.export.Dim("n")) if filename.endswith("pt2") else torchscript()
    (tmp_path / filename).write_bytes(program)
    (tmp_path / "model.json").write_bytes(described())
    server = start(MODEL_PATH=tmp_path / filename).wait_ready()
    assert server.get("/status").json()["device"] == "cuda:0"
    green = server.post(png((0, 255, 0), size=20), "/?top_k=1").json()
    assert green["predictions"][0]["label"] == "green"


def test_a_kernel_that_breaks_the_context_costs_its_neighbours_nothing(start: Start) -> None:
    server = start(MODEL="tests.stubs.gpu:Asserts", WORKERS=1).wait_ready()
    with Load(server, clients=8, image=lambda _: png((0, 255, 0))) as load:
        load.wait_answers(50)
        broken = server.post(png((255, 0, 0)))
        load.wait_answers(50)
    assert load.failures == []
    assert (broken.status, broken.json()["error"]["code"]) == (500, "request_crashed_engine")
    assert server.events("device_lost"), "asked of the device"


def test_a_batch_that_the_memory_does_not_hold_is_answered_in_halves(start: Start) -> None:
    server = start(MODEL="tests.stubs.gpu:Hungry", MAX_BATCH=8).wait_ready()
    with Load(server, clients=16, image=lambda _: png((0, 255, 0))) as load:
        load.wait_answers(200)
    assert load.failures == []
    assert not server.events("engine_gone")


def test_a_reload_under_load_loses_nothing(start: Start) -> None:
    server = start(MODEL="torchvision/resnet18", WEIGHTS="random").wait_ready()
    with Load(server, clients=8, image=lambda _: THREE) as load:
        load.wait_answers(50)
        before = server.engines()
        server.signal(signal.SIGHUP)
        wait_for(lambda: server.engines() and server.engines() != before, "the successor")
        load.wait_answers(50)
    assert load.failures == []


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
    assert server.wait() == 1
    [refused] = server.events("start_refused")
    assert "DEVICE=cuda:63, but PyTorch finds" in refused["message"]


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
        answers[precision] = server.post(SEVEN, "/?top_k=1000", "image/jpeg").json()["predictions"]
        chosen = server.events("precision")
        print(precision, chosen)  # which it is depends on the GPU
        assert len(chosen) == (precision == "auto")
    half, full = ({one["class_id"]: one["score"] for one in answers[precision]}
                  for precision in ("auto", "float32"))  # fmt: skip
    assert half == pytest.approx(full, abs=1e-2)


def test_of_two_engines_on_gpus_one_may_be_lost(start: Start) -> None:
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
