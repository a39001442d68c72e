"""The example with real weights names what is on real photos, served as its first lines say."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.server import ROOT, Server, serve

pytestmark = pytest.mark.examples
TOLERANCE = 0.01


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model = ROOT / "examples" / "imagenet_lite.py"
    folder = tmp_path_factory.mktemp("imagenet_lite")
    with serve(folder, MODEL=f"{model}:ImageNetLite") as server:
        yield server.wait_ready()


def photo(name: str) -> bytes:
    """Return one of the photos that come with scikit-image."""
    spec = find_spec("skimage")
    assert spec, "scikit-image, which has the photos, is not installed: make test-examples"
    assert spec.origin
    return Path(spec.origin).parent.joinpath("data", name).read_bytes()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chelsea.png", {"tiger cat": 0.40, "Egyptian cat": 0.36, "tabby": 0.17}),
        ("coffee.png", {"espresso": 0.95}),
        ("rocket.jpg", {"missile": 0.27}),
    ],
)
def test_it_names_what_is_on_the_photo(
    server: Server, name: str, expected: dict[str, float]
) -> None:
    reply = server.post(photo(name), f"/?top_k={len(expected)}")
    found = {one["label"]: one["score"] for one in reply.json()["predictions"]}
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=TOLERANCE)
