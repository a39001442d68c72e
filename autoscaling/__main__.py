"""``python -m autoscaling``: the rehearsal. Exits with 1 if it did not go as promised."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from autoscaling import plot, report
from autoscaling.record import Script
from autoscaling.rehearsal import Rehearsal
from benchmarks import machine
from benchmarks.house import swept
from rollout import balancer
from rollout.report import write
from tests.server import ROOT

PAGE = ROOT / "docs" / "autoscaling.md"
PICTURE = ROOT / "docs" / "images" / "autoscaling.png"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run it; return the exit code."""
    options = _parse()
    for number in _SIGNALS:
        signal.signal(number, _stop)
    try:
        balancer.program("haproxy", "haproxy")
        balancer.program("prometheus", "prometheus")
    except balancer.Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    script = Script(factor=options.factor, before=options.before, step=options.step)
    with _folder() as folder, swept(folder):
        rehearsal = Rehearsal(Path(folder), script)
        try:
            record = rehearsal.run()
        finally:
            rehearsal.destroy()
    tables = report.tables(record)
    print(tables)
    if options.write:
        plot.draw(record, PICTURE)
        write(PAGE, "\n\n".join([*machine.describe(), tables]))
    elif options.picture:
        plot.draw(record, options.picture)
    for fault in record.faults:
        print(f"not as promised: {fault}", file=sys.stderr)
    # The plain line that says what was run, for whoever counts tests.
    print(f"\nautoscaling: {int(not record.faults)} passed, {int(bool(record.faults))} failed")
    return 1 if record.faults else 0


def _folder() -> "tempfile.TemporaryDirectory[str]":
    # After a Ctrl-C somebody may still be writing.
    return tempfile.TemporaryDirectory(prefix="scale-", ignore_cleanup_errors=True)


def _parse() -> argparse.Namespace:
    usual = Script()
    parser = argparse.ArgumentParser(description="Rehearse autoscaling; see docs/autoscaling.md.")
    parser.add_argument("--factor", type=float, default=usual.factor,
                        help="what every time of the manifests is multiplied by")  # fmt: skip
    parser.add_argument("--before", type=float, default=usual.before, help="seconds of few clients")
    parser.add_argument("--step", type=float, default=usual.step, help="seconds of many clients")
    parser.add_argument("--picture", type=Path, help="write the plot there")
    parser.add_argument("--write", action="store_true",
                        help="write tables and plot into docs/")  # fmt: skip
    return parser.parse_args()


def _stop(number: int, _: object) -> None:
    for ignored in _SIGNALS:  # an impatient second Ctrl-C must not cut the clean-up short
        signal.signal(ignored, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
