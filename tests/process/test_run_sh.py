"""run.sh alone, with parts that start at once: a signal at any moment of a start ends it in order.

Between a fork and its exec, and before handlers stand, signals are easily lost: 1 stop in 150 was.
The real parts take so long to start that hundreds of stops would take an hour.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server import PATIENCE, ROOT, wait_for

STARTS = 48
PARTS = """#!{python} -IS
import os, signal, sys, time
if sys.argv[-1] == "boot":
    print("DRAIN_SECONDS=0\\nGRACEFUL_SECONDS=5")
    sys.exit()
is_engine = sys.argv[2] == "app.engine"
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
signal.signal(signal.SIGUSR1, lambda *_: os.kill(int(sys.argv[-1]), signal.SIGUSR2))
if is_engine:
    time.sleep(1)
    os.kill(int(sys.argv[-1]), signal.SIGUSR2)
while is_engine and "BUSY" in os.environ:  # run.sh wakes and falls asleep again all the time
    time.sleep(0.005)
    os.kill(int(sys.argv[-1]), signal.SIGUSR2)
os.write(2, b"the traceback of %s\\n" % sys.argv[2].encode() if "LOUD" in os.environ else b"")
while True:
    signal.pause()
"""


@pytest.fixture(params=["dash", "bash"])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Return an environment in which `sh` is one or the other, and the parts are played."""
    parts = tmp_path / "parts"
    parts.write_text(PARTS.format(python=sys.executable))
    parts.chmod(0o755)
    (tmp_path / "sh").symlink_to(str(shutil.which(request.param)))
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": str(parts)}


def left(mark: str) -> list[str]:
    """Return the processes that have the mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:
            continue  # it has just gone, or is not ours to read
    return found


def stop(environ: dict[str, str], number: int, *, group: bool) -> int:
    """Start run.sh, signal it at a moment of its start, and return its exit code."""
    moment = random.Random(number)
    mark = f"MARK={os.getpid()}-{number}-{group}-{environ['PATH'].partition(':')[0]}"
    log = Path(environ["PYTHON"]).parent / f"log-{number}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", str(ROOT / "run.sh")], env={**environ, "MARK": mark[5:]}, stdout=output,
            stderr=output, start_new_session=True,
        )  # fmt: skip
        # A shell that has not begun to read its script is ended by any signal.
        wait_for(lambda: log.read_text() or process.poll() is not None, "the start")
        time.sleep(moment.random() * moment.choice([0.2, 0.2, 0.2, 2.0]))
        for _ in range(moment.choice([1, 1, 3])):
            (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
            time.sleep(moment.random() * 0.05)
        code = process.wait(PATIENCE)
    wait_for(lambda: not left(mark), "every process to be gone")
    assert all(line.startswith("{") for line in log.read_text().splitlines()), log.read_text()
    return code


@pytest.mark.parametrize("group", [False, True])
def test_a_signal_at_any_moment_of_a_start_ends_it_in_order(
    environ: dict[str, str], group: bool
) -> None:
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda n: stop(environ, n, group=group), range(STARTS)))
    assert codes == [0] * STARTS


def test_what_a_part_writes_to_standard_error_is_not_lost(environ: dict[str, str]) -> None:
    log = Path(environ["PYTHON"]).parent / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", str(ROOT / "run.sh")], env={**environ, "LOUD": "1"}, stdout=output,
            stderr=output, start_new_session=True,
        )  # fmt: skip
        wait_for(lambda: log.read_text().count("the traceback of") == 2, "both parts' words")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert "the traceback of app.engine\n" in log.read_text()


def kill(environ: dict[str, str], number: int) -> None:
    """Kill run.sh at a moment of the time in which its parts say that they are ready."""
    mark = f"MARK=kill-{os.getpid()}-{number}-{environ['PATH'].partition(':')[0]}"
    log = Path(environ["PYTHON"]).parent / f"killed-{number}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", str(ROOT / "run.sh")], env={**environ, "MARK": mark[5:], "BUSY": "1"},
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        wait_for(lambda: "starting" in log.read_text(), "the start")
        time.sleep(1.0 + random.Random(number).random())
        process.kill()
        process.wait()
    wait_for(lambda: not left(mark), "every process to be gone")


def test_killed_at_any_moment_it_leaves_nobody_behind(environ: dict[str, str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        for killed in [pool.submit(kill, environ, number) for number in range(STARTS)]:
            killed.result()
