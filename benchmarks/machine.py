"""What was measured on, and how quiet it was."""

import os
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from app import limits

_PACKAGES = ("torch", "torchvision", "pillow", "numpy", "gunicorn", "gevent", "flask")
_TICK = os.sysconf("SC_CLK_TCK")


def describe() -> list[str]:
    """Return lines about hardware and software, without names of hosts or folders."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    cpu = {name.strip(): value.strip() for name, value in fields.items()}
    flags = set(cpu.get("flags", "").split())
    vectors = {
        "avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "VNNI", "avx512_bf16": "BF16",
        "amx_tile": "AMX",
    }  # fmt: skip
    known = ", ".join(word for flag, word in vectors.items() if flag in flags)
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return [
        f"{datetime.now(UTC):%Y-%m-%d}; {cpu.get('model name', platform.machine())} ({known}), "
        f"{limits.cores()} cores, {limits.memory_bytes() / 2**30:.0f} GiB of memory, Linux "
        f"{platform.release().split('-')[0]}",
        f"Python {platform.python_version()}, {packages}",
    ]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, its threads included.

    Raises:
        OSError: it is gone.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK  # utime and stime: proc_pid_stat(5)


class Quiet:
    """Tells how many cores others used since it was made; time stolen by the host counts.

    Args:
        pids: ours that live on. Children that we start and await meanwhile count as ours, too.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._began = time.monotonic()
        self._others = self._now()

    def others(self) -> float:
        """Return the cores."""
        return max(0.0, (self._now() - self._others) / (time.monotonic() - self._began))

    def _now(self) -> float:
        own = os.times()
        ours = sum(own[:4]) + sum(cpu_seconds(pid) for pid in self._pids)
        # user, nice, system, idle, iowait, irq, softirq, steal: proc_stat(5)
        line = Path("/proc/stat").read_text().split("\n", 1)[0]
        ticks = [int(word) for word in line.split()[1:9]]
        return (sum(ticks) - ticks[3] - ticks[4]) / _TICK - ours
