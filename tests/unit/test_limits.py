"""What the container may use, from the kernel's files."""

import os
from pathlib import Path

import pytest

from app import limits


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(limits, "CGROUP", tmp_path)
    return tmp_path


def test_without_a_cgroup_the_machine_counts(cgroup: Path) -> None:
    assert limits.cores() == len(os.sched_getaffinity(0))
    assert limits.memory_bytes() > 2**28


@pytest.mark.parametrize(("quota", "cores"), [("100000 100000", 1), ("1 100000", 1)])
def test_a_quota_is_rounded_up_to_whole_cores(cgroup: Path, quota: str, cores: int) -> None:
    (cgroup / "cpu.max").write_text(quota + "\n")
    assert limits.cores() == cores


@pytest.mark.parametrize("text", ["max 100000", "-1", ""])
def test_no_quota_is_no_limit(cgroup: Path, text: str) -> None:
    (cgroup / "cpu.max").write_text(text)
    assert limits.cores() == len(os.sched_getaffinity(0))


def test_the_first_version_of_cgroups_counts_too(cgroup: Path) -> None:
    for name, text in (("cpu/cpu.cfs_quota_us", "100000"), ("cpu/cpu.cfs_period_us", "100000"),
                       ("memory/memory.limit_in_bytes", "1048576")):  # fmt: skip
        (cgroup / name).parent.mkdir(exist_ok=True)
        (cgroup / name).write_text(text)
    assert limits.cores() == 1
    assert limits.memory_bytes() == 1048576


def test_a_memory_limit_counts_and_max_does_not(cgroup: Path) -> None:
    (cgroup / "memory.max").write_text("max\n")
    whole = limits.memory_bytes()
    (cgroup / "memory.max").write_text("1000000\n")
    assert limits.memory_bytes() == 1_000_000 < whole
