"""What this container may use: cores and memory. Read from the kernel, not from the machine."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def cores() -> int:
    """Return the whole cores that the scheduler gives us: affinity, then the cgroup's quota."""
    affinity = len(os.sched_getaffinity(0))
    quota, _, period = _read(CGROUP / "cpu.max").partition(" ")
    if not quota:  # cgroup v1
        quota = _read(CGROUP / "cpu/cpu.cfs_quota_us")
        period = _read(CGROUP / "cpu/cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        return max(1, min(affinity, math.ceil(int(quota) / int(period))))
    return affinity


def resident_mb() -> float:
    """Return the megabytes of memory that this process holds."""
    pages = int(_read(Path("/proc/self/statm")).split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def memory_bytes() -> int:
    """Return the bytes after which the kernel kills us: the cgroup's limit, or all memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in (CGROUP / "memory.max", CGROUP / "memory/memory.limit_in_bytes"):
        limit = _read(path)
        if limit.isdigit():
            return min(total, int(limit))
    return total
