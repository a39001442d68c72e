"""What an engine tells of its stages; neither loaded nor forked here."""

import socket
import threading
from dataclasses import replace
from typing import Any

import pytest
import torch

from app import logs
from app.engine.gpu import Reading
from app.engine.order import Order
from app.engine.process import EngineProcess, lacks_memory
from app.engine.protocol import Decoder
from app.engine.runner import Runner
from app.lifecycle import Stage
from app.settings import Settings
from tests.stubs.models import Echo

SHORT = Reading(
    uuid="0-1", name="Some GPU", total_mb=16000.0, used_mb=15900.0, free_mb=100.0,
    reserved_mb=0.0, reusable_mb=0.0, utilization=None, temperature=None,
)  # fmt: skip


def test_it_says_whether_the_thread_that_computes_is_alive() -> None:
    ours, theirs = socket.socketpair()
    made: list[EngineProcess] = []

    def compute() -> None:
        made.append(EngineProcess(Order("cpu", 1, ""), Settings.read({}), theirs, ()))
        assert made[0].state()["computing"]

    with ours, theirs:
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
        assert not made[0].state()["computing"]


class OutOf(Echo):
    """Raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Raise."""
        raise self.error


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("The following operation failed in the TorchScript interpreter.\n"
                      "RuntimeError: CUDA out of memory."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (MemoryError(), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("not today"), False),
    ],
)  # fmt: skip
def test_a_load_that_fails_for_want_of_memory_is_known_whatever_says_it(
    error: Exception, lacks: bool
) -> None:
    runner = Runner(OutOf(error), "cpu", 1)
    with pytest.raises(Exception) as raised:  # noqa: PT011  each its own; what they have in common is asked
        runner.self_test()
    assert lacks_memory(raised.value) is lacks
    with pytest.raises(Exception) as raised:  # noqa: PT011
        runner.warm_up(60)
    assert lacks_memory(raised.value) is lacks
    assert lacks_memory(error) is lacks, "as where the load itself raised it"


def test_an_error_that_is_its_own_cause_is_read_to_its_end() -> None:
    error = RuntimeError("not today")
    error.__cause__ = error
    assert not lacks_memory(error)


def test_a_gpu_that_says_nothing_any_more_has_not_become_free() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        engine = EngineProcess(Order("cpu", 1, ""), Settings.read({}), theirs, ())
        engine._enter(Stage.READY)
        stages = []
        for reading in (None, SHORT, None, replace(SHORT, free_mb=900.0), None):
            engine._judge(reading)
            stages.append(engine._stage)
    full, free = [Stage.DEGRADED] * 2, [Stage.READY] * 2
    assert stages == [Stage.READY, *full, *free]


def test_one_that_is_degraded_in_the_moment_it_is_ready_says_it_in_this_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        engine = EngineProcess(Order("cpu", 1, ""), Settings.read({}), theirs, None)
        talking = threading.Thread(target=engine._judge, args=(SHORT,))

        def log(event: str, **members: Any) -> None:
            if members.get("stage") is Stage.READY:  # the other thread's beat falls in here
                talking.start()
                talking.join(0.2)

        monkeypatch.setattr(logs, "event", log)
        engine._enter(Stage.READY)
        talking.join()
        frames = Decoder().feed(ours.recv(1 << 16))
    assert [frame.head["stage"] for frame in frames] == [Stage.READY, Stage.DEGRADED]
