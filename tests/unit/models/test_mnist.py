"""What the digit model promises: its accuracy in three forms, and an answer for any image."""

from pathlib import Path

import pytest
import torch

from app.models.interface import Weights
from app.models.mnist import Mnist, foreground
from app.models.weights import WeightsError, version_of
from training.evaluate import accuracy
from training.mnist_data import Pixels, as_served, read_idx
from training.photos import photo, photos

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "mnist"
FILE = ROOT / "app" / "models" / "weights" / "mnist.safetensors"


def weights(content: bytes | None = None, choice: str = "") -> Weights:
    """Return what the engine hands to ``load``."""
    return Weights(content, FILE.name, choice)


@pytest.fixture(scope="module")
def model() -> Mnist:
    """Return the model with the weights that are served."""
    loaded = Mnist()
    loaded.load(torch.device("cpu"), weights(FILE.read_bytes()))
    return loaded


@pytest.fixture(scope="module")
def images() -> Pixels:
    """Return the 10,000 test images."""
    return read_idx(DATA / "t10k-images-idx3-ubyte.gz")


@pytest.fixture(scope="module")
def labels() -> Pixels:
    """Return the digits on the test images."""
    return read_idx(DATA / "t10k-labels-idx1-ubyte.gz")


def test_answers_99_percent_of_the_test_set(model: Mnist, images: Pixels, labels: Pixels) -> None:
    assert accuracy(model, images, labels) >= 0.99


def test_answers_99_percent_of_the_inverted_test_set(
    model: Mnist, images: Pixels, labels: Pixels
) -> None:
    assert accuracy(model, 255 - images, labels) >= 0.99


def test_answers_98_percent_of_photos_of_dark_digits_on_grey_paper(
    model: Mnist, images: Pixels, labels: Pixels
) -> None:
    assert accuracy(model, photos(images), labels) >= 0.98


def test_a_photo_is_the_same_whenever_it_is_made(images: Pixels) -> None:
    assert (photo(images[7], 7) == photo(images[7], 7)).all()
    assert (photo(images[7], 7) != photo(images[7], 8)).any()


def test_a_negative_has_the_same_foreground_bit_for_bit(images: Pixels) -> None:
    batch = torch.from_numpy(as_served(photos(images[:200])))
    assert torch.equal(foreground(batch), foreground(255 - batch))


def test_contrast_and_paper_do_not_change_the_foreground(images: Pixels) -> None:
    batch = torch.from_numpy(as_served(images[:200])).float()
    torch.testing.assert_close(foreground(batch * 0.25 + 120), foreground(batch))


def test_the_foreground_lies_between_0_and_1_and_reaches_1(images: Pixels) -> None:
    pixels = foreground(torch.from_numpy(as_served(photos(images[:200]))))
    assert pixels.dtype is torch.float32
    assert pixels.min() >= 0
    assert (pixels.amax(dim=(1, 2, 3)) == 1).all()


@pytest.mark.parametrize("grey", [0, 1, 128, 255])
def test_an_image_of_one_colour_gets_an_answer(model: Mnist, grey: int) -> None:
    batch = torch.full((3, 1, 32, 32), grey, dtype=torch.uint8)
    assert foreground(batch).count_nonzero() == 0
    with torch.inference_mode():
        answers = model.postprocess(model.predict(batch), ())
    assert all(type(answer) is int and 0 <= answer <= 9 for answer in answers)
    assert len(answers) == 3


def test_an_image_gets_the_same_answer_alone_and_in_a_batch(model: Mnist, images: Pixels) -> None:
    batch = torch.from_numpy(as_served(images[:64]))
    with torch.inference_mode():
        together = model.postprocess(model.predict(batch), ())
        alone = [model.postprocess(model.predict(one), ())[0] for one in torch.split(batch, 1)]
    assert together == alone


def test_the_version_tells_the_weights_file(model: Mnist) -> None:
    assert model.version == version_of(FILE.read_bytes())


def test_random_weights_are_the_same_every_time() -> None:
    batch = torch.randint(0, 256, (16, 1, 32, 32), dtype=torch.uint8)
    answers = []
    for _ in range(2):
        model = Mnist()
        model.load(torch.device("cpu"), weights(choice="random"))
        answers.append(model.postprocess(model.predict(batch), ()))
    assert model.version == "random-0"
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "there is none"), (FILE.read_bytes()[:-1], "truncated or damaged")],
)
def test_load_says_why_weights_are_not_usable(content: bytes | None, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        Mnist().load(torch.device("cpu"), weights(content))
