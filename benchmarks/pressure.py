"""``python -m benchmarks.pressure``: how long a probe waits under loads of every kind.

Some two minutes; prints Markdown. The loads are those that could hold up a worker's event loop:
many requests, large bodies in each form, large images, a full queue, scrapes.
"""

import argparse
import base64
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import experiments, machine, report
from benchmarks.house import house, swept, wait_ready
from benchmarks.results import Pressed, Results
from benchmarks.wire import request
from tests.hostile import good_jpeg
from tests.server import Server

BODY = 15 << 20  # bytes: nearly MAX_BODY_MB
CLASSIFIER = {"MODEL": "torchvision/resnet18", "WEIGHTS": "random"}
# Its images travel as large as they are.
DETECTOR = {"MODEL": "torchvision/ssdlite320_mobilenet_v3_large", "WEIGHTS": "random"}
DIGITS = {"MODEL": "mnist"}
_DURATION = "unbroken_http_request_duration_seconds"
_OWN = ('count{route="/health"}', 'bucket{le="0.01",route="/health"}')


@dataclass(frozen=True)
class Load:
    """What the clients send.

    Args:
        name: in the table.
        clients: how many.
        requests: sent in turn.
        model: settings of the server.
    """

    name: str
    clients: int
    requests: list[bytes]
    model: dict[str, str] = field(default_factory=lambda: DETECTOR)


def _loads() -> Iterator[Load]:
    small = good_jpeg()
    photo = request("POST", "/predict", small)
    yield Load("128 clients, photos of 60 KB", 128, [photo], CLASSIFIER)
    full = {**DIGITS, "MAX_CONCURRENT_REQUESTS": "4"}
    yield Load("a full queue: 64 clients, 4 admitted", 64, [photo], full)
    yield Load("8 clients that scrape /metrics", 8, [request("GET", "/metrics")], DIGITS)
    padded = small + bytes(BODY * 3 // 4 - len(small))
    for name, document in (
        ("one image", {"image": base64.b64encode(padded).decode()}),
        ("32 images", {"images": [base64.b64encode(small + bytes(280_000)).decode()] * 32}),
    ):
        body = json.dumps(document).encode()
        yield Load(f"4 clients, 15 MB of base64 in JSON, {name}", 4,
                   [request("POST", "/predict", body, "application/json")])  # fmt: skip
    form = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n%s\r\n' % file
        for file in [small + bytes(400_000)] * 32
    )
    yield Load("4 clients, 15 MB of multipart, 32 images", 4,
               [request("POST", "/predict", form + b"--x--\r\n",
                        "multipart/form-data; boundary=x")])  # fmt: skip
    for width, height in ((4000, 3000), (8000, 6000)):
        yield Load(f"4 clients, JPEGs of {width} × {height}", 4,
                   [request("POST", "/predict", good_jpeg(width, height))])  # fmt: skip


def measure(folder: Path, seconds: float, wanted: str = "") -> list[Pressed]:
    """Return what the probes met.

    Args:
        folder: for the servers' state.
        seconds: of each load.
        wanted: only loads with this in their name.
    """
    found = []
    for number, load in enumerate(_loads()):
        if wanted not in load.name:
            continue
        place = folder / f"requests-{number}"
        place.mkdir()
        for index, content in enumerate(load.requests):
            (place / f"{index}.http").write_bytes(content)
        with house(folder, {**load.model, "DEVICE": "cpu"}) as server:
            wait_ready(server)
            both = experiments.probe(server, load.clients, seconds, place)
            answered, within = (_counted(server, series) for series in _OWN)
        found += [Pressed(load.name, probes, answered, within) for probes in both]
    return found


def _counted(server: Server, series: str) -> int:
    text = server.get("/metrics").body.decode()
    return int(float(text.partition(f"{_DURATION}_{series} ")[2].split()[0]))


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description="Probe the server under loads of every kind.")
    parser.add_argument("--seconds", type=float, default=10.0, help="each load (default 10)")
    parser.add_argument("--only", default="", help="loads with this in their name")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unbroken-benchmark-") as folder, swept(folder):
        pressed = measure(Path(folder), options.seconds, options.only)
    measured = Results(machine.describe(), {}, pressed=pressed)
    print("\n\n".join([*measured.machine, report.pressed(measured)]))


if __name__ == "__main__":
    main()
