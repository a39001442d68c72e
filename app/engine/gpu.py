"""What NVML says of the engine's GPU: memory, load, temperature. In the engine.

It asks in a thread of its own: a GPU that has fallen off the bus can block NVML, and then nothing
but this thread stands still.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pynvml

from app import logs

PERIOD_SECONDS = 1.0
OLD_SECONDS = 10.0
MIB = 2**20


@dataclass(frozen=True)
class Pool:
    """PyTorch's own pool of device memory in this process, in megabytes.

    Args:
        reserved: taken from the device.
        reusable: the part of it that no tensor uses.
    """

    reserved: float
    reusable: float


@dataclass(frozen=True)
class Reading:
    """The device at one moment; memory in megabytes, temperature in °C, utilization in 0..1."""

    uuid: str
    name: str
    total_mb: float
    used_mb: float
    free_mb: float
    reserved_mb: float
    reusable_mb: float
    utilization: float | None
    temperature: float | None

    @property
    def usable_mb(self) -> float:
        """What the model may still take: PyTorch's own reusable cache counts as free."""
        return self.free_mb + self.reusable_mb


class Gpu:
    """The GPU that one engine computes on.

    Args:
        uuid: CUDA's, without a prefix. Indices differ from NVML's by CUDA_VISIBLE_DEVICES.
        pool: says what PyTorch holds.
    """

    def __init__(self, uuid: str, pool: Callable[[], Pool]) -> None:
        self._uuid = uuid
        self._pool = pool
        self._reading: Reading | None = None
        self._read_at = 0.0

    def start(self) -> None:
        """Begin to read, for the life of the process."""
        threading.Thread(target=self._watch, name="gpu", daemon=True).start()

    def reading(self, now: float) -> Reading | None:
        """Return the last reading; None if there is none that can be believed."""
        return self._reading if now - self._read_at < OLD_SECONDS else None

    def _watch(self) -> None:
        try:
            pynvml.nvmlInit()  # in this thread: loading the driver's library can block as well
            handle = _handle(self._uuid)
        except Exception as error:  # noqa: BLE001  no library, no permission: there is no reading
            logs.event("nvml_unavailable", level=logging.WARNING, message=str(error))
            return
        failed = False
        while True:
            try:
                self._reading = self._read(handle)
                self._read_at = time.monotonic()
                failed = False
            except Exception as error:  # noqa: BLE001  whatever it is, the next one may succeed
                if not failed:
                    defect = None if isinstance(error, pynvml.NVMLError) else error
                    logs.event("nvml_failed", level=logging.ERROR, error=defect, message=str(error))
                failed = True
            time.sleep(PERIOD_SECONDS)

    def _read(self, handle: Any) -> Reading:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        pool = self._pool()
        return Reading(
            uuid=self._uuid,
            name=_text(pynvml.nvmlDeviceGetName(handle)),
            total_mb=round(memory.total / MIB, 1),
            used_mb=round(memory.used / MIB, 1),
            free_mb=round(memory.free / MIB, 1),
            reserved_mb=pool.reserved,
            reusable_mb=pool.reusable,
            utilization=_optional(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
            temperature=_optional(
                lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
            ),
        )


def to_state(reading: Reading | None) -> dict[str, Any] | None:
    """Return a reading as it travels in STATE."""
    return asdict(reading) if reading else None


def _handle(uuid: str) -> Any:
    """Return NVML's handle for CUDA's device; a slice of one (MIG) has a name of its own."""
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except pynvml.NVMLError:
        return pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")


def _optional(read: Callable[[], float]) -> float | None:
    try:
        return float(read())
    except pynvml.NVMLError:  # a slice of a GPU has neither
        return None


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
