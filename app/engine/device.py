"""Where the model runs, and what an error there means. In the engine."""

import contextlib
import inspect
import logging
import traceback
from collections.abc import Iterator

import torch

from app import errors, logs
from app.engine.outputs import check_portable
from app.models.registry import WrongSetting

# As the caching allocator, the driver, cuDNN and cuBLAS say it.
_NO_MEMORY = ("out of memory", "ALLOC_FAILED")
_RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_NO_KERNEL = "no kernel image"  # cudaErrorNoKernelImageForDevice


class DeviceLost(Exception):
    """The device's context is broken for good: whatever runs next in this process fails too."""


def resolve_device(wanted: str) -> torch.device:
    """Return the device for the DEVICE setting, numbered; ``auto`` takes CUDA where it works.

    Raises:
        app.models.registry.WrongSetting: there is no such device, or it is too old for this
            PyTorch.
        RuntimeError: it does not work now; it may later.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise WrongSetting(f"DEVICE={wanted}, but PyTorch finds no usable CUDA device")
    index = torch.device(wanted if wanted.startswith("cuda") else "cuda").index
    device = torch.device("cuda", torch.cuda.current_device() if index is None else index)
    if device.index >= torch.cuda.device_count():
        raise WrongSetting(
            f"DEVICE={wanted}, but PyTorch finds {torch.cuda.device_count()} CUDA device(s), "
            "numbered from 0"
        )
    try:
        torch.ones(1, device=device).add_(1).item()
    except RuntimeError as error:
        if _NO_KERNEL not in str(error):
            raise
        name = torch.cuda.get_device_name(device)
        sentence = f"this PyTorch has no code for {name}: {str(error).splitlines()[0]}"
        if wanted != "auto":
            raise WrongSetting(f"DEVICE={wanted}, but {sentence}") from error
        logs.event("gpu_not_supported", level=logging.WARNING, message=f"{sentence}; on the CPU")
        return torch.device("cpu")
    return device


@contextlib.contextmanager
def translated_errors(device: torch.device, images: int) -> Iterator[None]:
    """Turn what a model raises into what the engine can act on.

    Raises:
        app.errors.ServingError: OutOfMemory, ModelError, or what the model says of one image.
        DeviceLost: only another process can answer.
    """
    try:
        yield
    except errors.ServingError as error:
        check_portable(error)
        raise
    except Exception as error:
        _let_go(error)
        raise _meaning(device, images, error) from error


def _let_go(error: BaseException | None) -> None:
    """Drop what the failed forward held: the next try, a smaller batch, needs its memory."""
    seen: set[int] = set()
    while error and id(error) not in seen:  # one may be its own cause
        seen.add(id(error))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            # A generator's would end it, and the model may go on with it.
            if not frame.f_code.co_flags & _RESUMED:
                with contextlib.suppress(RuntimeError):  # it is still running
                    frame.clear()
        error = error.__cause__ or error.__context__


def _meaning(device: torch.device, images: int, error: Exception) -> Exception:
    if not isinstance(error, torch.OutOfMemoryError) and _is_lost(device, error):
        return DeviceLost(str(error))
    if isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in _NO_MEMORY):
        if device.type == "cuda":
            torch.cuda.empty_cache()  # the next try wants other blocks
        return errors.OutOfMemory(f"no device memory for {images} images")
    return errors.ModelError(
        f"the model raised {type(error).__name__}; the server's log has the traceback"
    )


def _is_lost(device: torch.device, error: Exception) -> bool:
    """Ask the device: neither class nor text tell, and a broken context fails every later call."""
    if device.type != "cuda":
        return isinstance(error, torch.AcceleratorError) or str(error).startswith("CUDA error")
    try:
        torch.cuda.synchronize(device)
    except Exception:  # noqa: BLE001  whatever it says, it does not work
        return True
    return False
