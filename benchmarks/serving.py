"""``python -m benchmarks.serving``: measures the server against a bare loop, in alternation.

Prints Markdown; progress goes to standard error. Asserts nothing. Leaves nothing running.
"""

import argparse
import itertools
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from app import limits
from app.engine import launcher
from benchmarks import counting, experiments, machine, pressure, report
from benchmarks.child import ROOT, Child
from benchmarks.house import house, memory, roles, swept, wait_ready
from benchmarks.results import Results, Round
from tests.hostile import good_jpeg
from tests.server import Server

BATCHES = (1, 2, 4, 8, 16)
PROBED = (16, 128)
COST_CLIENTS = 16
PHOTOS = 8
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NO_MALLOC = dict.fromkeys(launcher.CPU_TUNING, "")
Loops = dict[str, list[Child]]
VARIANTS = {"plain": _NO_MALLOC, "strong": launcher.CPU_TUNING, "pooled": launcher.CPU_TUNING}


def main() -> None:
    """Measure what the command line asks for, and print it."""
    options = _parse()
    for number in _SIGNALS:
        signal.signal(number, _stop)
    with tempfile.TemporaryDirectory(prefix="unbroken-benchmark-") as folder, swept(folder):
        measured = _measure(options, Path(folder))
    text = report.markdown(measured)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(asdict(measured), indent=1) + "\n")
    if options.write:
        (ROOT / "docs" / "benchmarks.md").write_text(text + "\n")


def _stop(number: int, _: object) -> None:
    for ignored in _SIGNALS:  # an impatient second Ctrl-C must not cut the clean-up short
        signal.signal(ignored, signal.SIG_IGN)
    sys.exit(128 + number)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the server; see benchmarks/README.md.")
    parser.add_argument("--seconds", type=float, default=5.0, help="each window (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="of bare loops and server")
    parser.add_argument(
        "--clients", type=lambda text: [int(word) for word in text.split(",")],
        default=[1, 16, 128], help="numbers of closed-loop clients (default 1,16,128)",
    )  # fmt: skip
    parser.add_argument("--model", default="torchvision/resnet18")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engines", type=int, default=1, help="and processes of a bare loop")
    parser.add_argument("--kills", type=int, default=5, help="of the engine, under load")
    parser.add_argument("--json", type=Path, help="file for every single figure")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    return parser.parse_args()


def _measure(options: argparse.Namespace, folder: Path) -> Results:
    shown = {k: v for k, v in vars(options).items() if k not in ("json", "write")}
    measured = Results(machine.describe(), shown)
    model = {
        "MODEL": options.model, "WEIGHTS": options.weights, "DEVICE": options.device,
        "ENGINES": str(options.engines),
    }  # fmt: skip
    photos = _photos(folder)
    for number in range(options.rounds):
        _progress(f"start {number + 1} of {options.rounds}")
        start, measured.at_rest = experiments.start_up(folder, model)
        measured.starts.append(start)
    with house(folder, model) as server, _bare_loops(options, photos) as loops:
        wait_ready(server)
        for number in range(options.rounds):
            measured.rounds.append(_round(options, server, loops, photos, number))
        measured.after_load = memory(roles(server))
        if options.kills:
            _progress(f"{options.kills} kills of the engine under load")
            measured.recoveries, measured.recovery_failures = experiments.recover(
                server, 16, options.kills, photos
            )
    _measure_cost(options, folder, measured)
    _progress("/health under loads of every kind")
    measured.pressed = pressure.measure(folder, options.seconds)
    _progress("what metrics cost")
    measured.counting = counting.measure()
    return measured


def _round(
    options: argparse.Namespace, server: Server, loops: Loops, photos: Path, number: int
) -> Round:
    ours = [child.pid for children in loops.values() for child in children]
    quiet = machine.Quiet([*ours, *server.processes()])
    turn = Round()
    label = f"round {number + 1} of {options.rounds}:"
    for variant, children in loops.items():
        _progress(f"{label} bare loop, {variant}")
        for batch in BATCHES:
            turn.bare.append(experiments.bare_loop(children, variant, batch, options.seconds))
    for clients in options.clients:
        _progress(f"{label} server, {clients} clients")
        turn.served.append(experiments.serve(server, clients, options.seconds, photos))
    for clients in PROBED:
        if clients in options.clients:
            _progress(f"{label} /health under {clients} clients")
            turn.probes += experiments.probe(server, clients, options.seconds, photos)
    turn.others = quiet.others()
    return turn


def _measure_cost(options: argparse.Namespace, folder: Path, measured: Results) -> None:
    digits = folder / "digits"
    digits.mkdir()
    (digits / "seven.jpg").write_bytes((ROOT / "docs" / "images" / "seven.jpg").read_bytes())
    with house(folder, {"MODEL": "mnist", "DEVICE": options.device}) as server:
        wait_ready(server)
        for number in range(options.rounds):
            _progress(f"the server's own cost, {number + 1} of {options.rounds}")
            measured.cost.append(experiments.serve(server, COST_CLIENTS, options.seconds, digits))


@contextmanager
def _bare_loops(options: argparse.Namespace, photos: Path) -> Iterator[Loops]:
    with ExitStack() as stack:
        loops: Loops = {}
        threads = max(1, limits.cores() // options.engines)  # as the engine's runner has it
        for variant, environ in VARIANTS.items():
            arguments = (
                variant, options.model, options.weights, options.device, threads, photos,
            )  # fmt: skip
            loops[variant] = [
                stack.enter_context(Child("benchmarks.bare", *arguments, environ=environ))
                for _ in range(options.engines)
            ]
        for child in itertools.chain(*loops.values()):
            child.hear()  # loaded
        yield loops


def _photos(folder: Path) -> Path:
    """Make the images that the bare loops and the clients use, in the same order."""
    photos = folder / "photos"
    photos.mkdir()
    for seed in range(PHOTOS):
        (photos / f"{seed}.jpg").write_bytes(good_jpeg(seed=seed))
    return photos


def _progress(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
