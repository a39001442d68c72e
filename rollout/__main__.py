"""``python -m rollout``: the proof behind real balancers. Exits with 1 if a promise was broken."""

import argparse
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import machine
from benchmarks.house import swept
from rollout import balancer, crashes, report, swaps, upgrades
from rollout.lane import FULL, Case, Lane, Scale
from rollout.stage import Row
from tests.server import ROOT

# The order of the table. A lane is a list of cases; the short run has the lanes side by side.
LANES: tuple[tuple[Case, ...], ...] = (
    (upgrades.upgrades,),
    (upgrades.full_length, upgrades.recipes),
    (crashes.engine_killed, crashes.engine_stopped, crashes.workers_recycled,
     crashes.worker_killed, crashes.stopped_in_load, crashes.stopped_in_respawn,
     crashes.stopped_in_swap, swaps.weights_swapped),
)  # fmt: skip
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Outcome:
    """What one lane came to."""

    rows: list[Row] = field(default_factory=list)
    errors: int = 0


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    options = _parse()
    for number in _SIGNALS:
        signal.signal(number, _stop)
    try:
        balancer.program("nginx", "nginx-light")
        balancer.program("haproxy", "haproxy")
    except balancer.Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    began = time.monotonic()
    lanes = [_chosen(cases, options.only) for cases in LANES]
    with _folder() as folder, swept(folder):
        outcomes = _run(Path(folder), [lane for lane in lanes if lane], options.full)
    rows = [row for outcome in outcomes for row in outcome.rows]
    text = "\n\n".join([_preface(options.full, time.monotonic() - began), report.table(rows)])
    print(text)
    if options.write:
        report.write(ROOT / "docs" / "lossless.md", text)
    return _verdict(rows, sum(outcome.errors for outcome in outcomes))


def _folder() -> "tempfile.TemporaryDirectory[str]":
    # After a Ctrl-C somebody may still be writing.
    return tempfile.TemporaryDirectory(prefix="rollout-", ignore_cleanup_errors=True)


def _run(folder: Path, lanes: Sequence[Sequence[Case]], full: bool) -> list[Outcome]:
    outcomes = [Outcome() for _ in lanes]
    threads = []
    for number, (cases, outcome) in enumerate(zip(lanes, outcomes, strict=True)):
        place = folder / str(number)
        place.mkdir()
        lane = Lane(place, FULL if full else Scale())
        thread = threading.Thread(target=_run_lane, args=(lane, cases, outcome), daemon=True)
        thread.start()
        threads.append((thread, lane))
        if full:  # one after the other: each has the machine for itself
            thread.join()
    try:
        for thread, _ in threads:
            thread.join()
    finally:
        for _, lane in threads:
            lane.fleet.destroy()
    return outcomes


def _run_lane(lane: Lane, cases: Sequence[Case], outcome: Outcome) -> None:
    for case in cases:
        try:
            for row in case(lane):
                _progress(f"{row.case}, {row.balancer}: {row.lost} of {row.requests} lost")
                outcome.rows.append(row)
        except Exception:  # noqa: BLE001  one case must not keep the others from being told
            _progress(f"{case.__name__}:\n{traceback.format_exc()}")
            outcome.errors += 1
            lane.fleet.destroy()
    lane.fleet.destroy()


def _chosen(cases: Sequence[Case], only: str) -> list[Case]:
    return [case for case in cases if only in case.__name__]


def _preface(full: bool, seconds: float) -> str:
    what = "make rollout-full" if full else "make rollout"
    return "\n\n".join([f"`{what}`, {seconds / 60:.0f} minutes.", *machine.describe()])


def _verdict(rows: Sequence[Row], errors: int) -> int:
    broken = [row for row in rows if not row.holds]
    kept = len(rows) - len(broken)
    # The plain line that says what was run, for whoever counts tests.
    print(f"\nrollout: {kept} passed, {len(broken) + errors} failed")
    return 1 if broken or errors or not rows else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Prove losslessness; see docs/lossless.md.")
    parser.add_argument("--full", action="store_true", help="20,000 requests in each upgrade")
    parser.add_argument("--only", default="", help="cases whose function has this in its name")
    parser.add_argument("--write", action="store_true", help="write the table to docs/lossless.md")
    return parser.parse_args()


def _progress(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _stop(number: int, _: object) -> None:
    for ignored in _SIGNALS:  # an impatient second Ctrl-C must not cut the clean-up short
        signal.signal(ignored, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
