"""Which device is taken, and what its errors mean. CUDA is faked at its own boundary."""

import weakref
from collections.abc import Iterator

import pytest
import torch

from app import errors
from app.engine.device import DeviceLost, resolve_device, translated_errors
from app.models.registry import WrongSetting

GPU = torch.device("cuda", 0)


def refuse(*_: object, **__: object) -> None:
    raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Two devices that work."""
    ones = torch.ones
    for name, answer in {"is_available": True, "device_count": 2, "current_device": 0,
                         "get_device_name": "Tesla P4"}.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(torch, "ones", lambda size, device: ones(size))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    return monkeypatch


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")],
)
@pytest.mark.usefixtures("cuda")
def test_a_device_is_found_with_its_number(wanted: str, found: str) -> None:
    assert str(resolve_device(wanted)) == found


@pytest.mark.usefixtures("cuda")
def test_a_number_beyond_the_last_one_can_never_work() -> None:
    with pytest.raises(WrongSetting, match=r"^DEVICE=cuda:2, but PyTorch finds 2 CUDA device"):
        resolve_device("cuda:2")


def test_without_cuda_auto_is_the_cpu_and_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert str(resolve_device("auto")) == "cpu"
    with pytest.raises(WrongSetting, match="finds no usable CUDA device"):
        resolve_device("cuda")


def test_a_gpu_that_this_pytorch_has_no_code_for_is_left_or_named(
    cuda: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def ones(*_: object, **__: object) -> None:
        raise torch.AcceleratorError("CUDA error: no kernel image is available\nand more")

    cuda.setattr(torch, "ones", ones)
    with pytest.raises(WrongSetting, match="no code for Tesla P4: CUDA error: no kernel image is"):
        resolve_device("cuda")
    assert str(resolve_device("auto")) == "cpu"
    assert "gpu_not_supported" in caplog.text


def test_a_gpu_that_does_not_work_now_is_no_wrong_setting(cuda: pytest.MonkeyPatch) -> None:
    cuda.setattr(torch, "ones", refuse)
    with pytest.raises(torch.AcceleratorError):
        resolve_device("auto")


def meaning(error: Exception, device: torch.device = GPU) -> type[Exception]:
    with pytest.raises((errors.ServingError, DeviceLost)) as caught, translated_errors(device, 1):
        raise error
    return caught.type


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), errors.OutOfMemory),
        (torch.AcceleratorError("CUDA error: out of memory"), errors.OutOfMemory),
        (RuntimeError("The following operation failed in the TorchScript interpreter.\n"
                      "RuntimeError: CUDA out of memory."), errors.OutOfMemory),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), errors.OutOfMemory),
        (torch.AcceleratorError("CUDA error: invalid configuration argument"), errors.ModelError),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED"), errors.ModelError),
        (ValueError("no"), errors.ModelError),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("cuda")
def test_while_the_device_answers_an_error_is_one_inputs(
    error: Exception, means: type[Exception]
) -> None:
    assert meaning(error) is means


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("The following operation failed in the TorchScript interpreter."),
        RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    ],
)
def test_where_the_device_no_longer_answers_it_is_lost_whatever_the_error_says(
    cuda: pytest.MonkeyPatch, error: Exception
) -> None:
    cuda.setattr(torch.cuda, "synchronize", refuse)
    assert meaning(error) is DeviceLost


@pytest.mark.parametrize("raises", [torch.OutOfMemoryError, ValueError])
def test_what_the_failed_forward_held_is_let_go_before_the_next_try(
    raises: type[Exception],
) -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def forward() -> None:
        activations = torch.zeros(8)
        held.append(weakref.ref(activations))
        try:
            raise KeyError("inside")
        except KeyError:
            raise raises("no memory") from None

    cause = None
    left: list[torch.Tensor | None] = []
    try:
        with translated_errors(torch.device("cpu"), 8):
            forward()
    except errors.ServingError as error:  # the halves are computed here, by the handler
        left.append(held[0]())
        cause = error.__cause__
    assert left == [None]
    assert isinstance(cause, raises), "the log still gets its traceback"


def test_a_generator_that_the_model_goes_on_with_is_left_alone() -> None:
    def items() -> Iterator[Exception]:
        while True:
            try:
                raise ValueError("one bad image")
            except ValueError as error:
                yield error

    source = items()
    for _ in range(2):
        assert meaning(next(source), torch.device("cpu")) is errors.ModelError


@pytest.mark.usefixtures("cuda")
def test_an_error_that_is_its_own_cause_holds_up_nothing() -> None:
    error = ValueError("no")
    error.__cause__ = error
    assert meaning(error) is errors.ModelError
