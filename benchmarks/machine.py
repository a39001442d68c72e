"""What was measured on, and how quiet it was."""

import os
import platform
import time
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


def busy_cores(seconds: float = 1.0) -> float:
    """Return how many cores are busy while we only wait: other people's work, stolen time too."""
    before = _busy_ticks()
    time.sleep(seconds)
    return (_busy_ticks() - before) / _TICK / seconds


def _busy_ticks() -> int:
    # user, nice, system, idle, iowait, irq, softirq, steal: proc_stat(5)
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4]
