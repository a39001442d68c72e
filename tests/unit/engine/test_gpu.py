"""NVML at its own boundary: by UUID, with what it cannot say, and when it fails or hangs."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from app.engine.gpu import MIB, OLD_SECONDS, Gpu, Pool, Reading
from tests.server import wait_for

UUID = "7d1c-42"


class Nvml:
    """What NVML answers."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.names = {f"GPU-{UUID}"}
        self.free: int | None = 1000
        self.gone, self.asked = False, 0
        self.has_load = True
        self.may_answer = threading.Event()
        self.may_answer.set()
        patch.setattr(pynvml, "nvmlInit", lambda: None)
        patch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", self._handle)
        patch.setattr(pynvml, "nvmlDeviceGetName", lambda _: b"Some GPU")
        patch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", self._memory)
        patch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", self._load)
        patch.setattr(pynvml, "nvmlDeviceGetTemperature", lambda *_: 40)

    def _handle(self, name: str) -> str:
        if name not in self.names:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return name

    def _memory(self, _: str) -> Any:
        self.asked += 1
        self.may_answer.wait()
        if self.gone:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return SimpleNamespace(
            total=8000 * MIB, free=self.free * MIB, used=(8000 - self.free) * MIB
        )

    def _load(self, _: str) -> Any:
        if not self.has_load:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=25)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    monkeypatch.setattr("app.engine.gpu.PERIOD_SECONDS", 0.01)
    return Nvml(monkeypatch)


def started() -> Gpu:
    gpu = Gpu(UUID, lambda: Pool(reserved=500.0, reusable=200.0))
    gpu.start()
    return gpu


def first_reading(gpu: Gpu) -> Reading:
    reading: Reading = wait_for(lambda: gpu.reading(time.monotonic()), "a reading")
    return reading


def test_what_pytorch_holds_and_does_not_use_counts_as_free(nvml: Nvml) -> None:
    reading = first_reading(started())
    assert (reading.total_mb, reading.used_mb, reading.free_mb) == (8000, 7000, 1000)
    assert reading.usable_mb == 1200
    assert (reading.name, reading.utilization, reading.temperature) == ("Some GPU", 0.25, 40)


def test_a_slice_of_a_gpu_is_found_and_has_no_load_of_its_own(nvml: Nvml) -> None:
    nvml.names, nvml.has_load = {f"MIG-{UUID}"}, False
    reading = first_reading(started())
    assert (reading.utilization, reading.free_mb) == (None, 1000)


def test_a_gpu_that_nvml_does_not_know_has_no_reading_and_is_told_of(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("app.engine.gpu.logs.event", lambda name, **_: told.append(name))
    nvml.names = set()
    gpu = started()
    wait_for(lambda: told, "a word")
    assert told == ["nvml_unavailable"]
    assert gpu.reading(time.monotonic()) is None


def test_a_gpu_that_is_lost_leaves_no_reading_behind_and_may_come_back(nvml: Nvml) -> None:
    gpu = started()
    first_reading(gpu)
    nvml.gone = True
    asked = nvml.asked
    wait_for(lambda: nvml.asked > asked + 2, "the next readings")
    assert gpu.reading(time.monotonic() + OLD_SECONDS) is None
    nvml.gone, nvml.free = False, 900
    wait_for(lambda: gpu.reading(time.monotonic()).free_mb == 900, "a new reading")


def test_whatever_a_reading_fails_with_is_told_once_and_the_next_one_is_tried(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, threading.Thread]] = []
    monkeypatch.setattr(
        "app.engine.gpu.logs.event",
        lambda name, **_: told.append((name, threading.current_thread())),
    )
    others = set(threading.enumerate())  # of other tests: they read this NVML, too
    gpu = started()
    first_reading(gpu)
    nvml.free = None  # what no driver should say
    asked = nvml.asked
    wait_for(lambda: nvml.asked > asked + 3 * threading.active_count(), "the next readings")
    assert [name for name, thread in told if thread not in others] == ["nvml_failed"]
    nvml.free = 900
    wait_for(lambda: gpu.reading(time.monotonic()).free_mb == 900, "a new reading")


def test_nvml_that_blocks_holds_nobody_up(nvml: Nvml) -> None:
    gpu = started()
    first_reading(gpu)
    nvml.may_answer.clear()
    assert gpu.reading(time.monotonic()) is not None
    assert gpu.reading(time.monotonic() + OLD_SECONDS) is None
    nvml.may_answer.set()
