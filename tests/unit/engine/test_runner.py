"""The runner: batches of one shape and of many, queries, outputs of any form."""

import json
import math
import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from app import errors
from app.engine.deep_check import difference
from app.engine.gpu import MIB, Pool
from app.engine.runner import LoadError, Pixels, Runner
from app.input_spec import InputSpec
from app.models.budget import BATCH_PIXELS, check_batch
from app.models.interface import Model, Query, Weights
from tests.stubs.models import MARK, Echo, Raises, Refuses, Varied


def runner(model: Model) -> Runner:
    made = Runner(model, "cpu", 4)
    made.load(Weights(None, "", "random"))
    return made


def image(height: int, width: int, colour: tuple[int, ...] = (1, 2, 3), **options: Any) -> Pixels:
    query = Query(7 * width, 7 * height, options)
    return Pixels((height, width, 3), bytes(colour) * height * width, query)


def answers(made: Runner, *images: Pixels) -> list[Any]:
    return [json.loads(answer) for answer in made.run(images)]


def test_a_model_that_takes_a_list_gets_every_image_in_its_own_shape() -> None:
    first, second = answers(
        runner(Varied()), image(2, 5, (9, 8, 7), count=1), image(300, 40, count=2)
    )
    assert (first["shape"], second["shape"]) == ([3, 2, 5], [3, 300, 40])
    assert (first["pixel"], second["pixel"]) == ([9, 8, 7], [1, 2, 3])
    assert (first["width"], first["height"], first["batch"]) == (35, 14, 2)
    assert [each["options"] for each in (first, second)] == [{"count": 1}, {"count": 2}]


def test_outputs_that_are_not_finite_are_found_inside_lists_and_objects() -> None:
    with pytest.raises(errors.ModelError, match="not finite"):
        runner(Varied()).run([image(4, 4), image(4, 4, MARK)])


def test_what_the_model_says_of_one_image_stands_among_the_results() -> None:
    first, second = runner(Refuses()).run([image(8, 8), image(8, 8, MARK)])
    assert first == b"[1, 2, 3]"
    assert isinstance(second, errors.InvalidParameter)
    assert second.details == {"parameter": "colour"}


def test_an_error_that_cannot_travel_is_the_models() -> None:
    class Wrong(Refuses):
        def postprocess(self, outputs: torch.Tensor, queries: Any) -> list[Any]:
            return [errors.InvalidParameter("no", parameter=object())] * len(outputs)

    class WrongAndRaised(Wrong):
        def postprocess(self, outputs: torch.Tensor, queries: Any) -> list[Any]:
            raise super().postprocess(outputs, queries)[0]

    for model in (Wrong(), WrongAndRaised()):
        with pytest.raises(errors.ModelError, match="not JSON"):
            runner(model).run([image(8, 8)])


def test_a_model_that_refuses_its_own_sample_cannot_serve() -> None:
    class Never(Refuses):
        def postprocess(self, outputs: torch.Tensor, queries: Any) -> list[Any]:
            return [errors.InvalidParameter("no")] * len(outputs)

    with pytest.raises(LoadError, match="the self-test failed: no"):
        runner(Never()).self_test()


@pytest.mark.parametrize("model", [Varied, Echo])
def test_warm_up_self_test_and_golden_answer_work_for_lists_and_tensors(
    model: type[Echo],
) -> None:
    made = runner(model())
    made.warm_up(10)
    made.self_test()
    (values, _), (again, _) = made.golden(), made.golden()
    assert values
    assert values == again


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (InputSpec(resize=256, crop=(224, 220)), (224, 220)),
        (InputSpec(resize=(8, 9)), (8, 9)),
        (InputSpec(resize=300), (300, 500)),
        (InputSpec(), (480, 800)),
    ],
)
def test_the_sample_is_as_large_as_images_usually_are(
    spec: InputSpec, size: tuple[int, int]
) -> None:
    model = Echo()
    model.input_spec = spec
    assert runner(model).sample().shape == (*size, 3)


class Counting(Varied):
    """Finds as many things as there are on the image; says its confidence where it is probed."""

    confidence = 0.7

    def probe(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Return what does not depend on how much is found."""
        return torch.full((len(batch), 3), self.confidence)


def test_the_golden_answer_is_what_a_model_lets_itself_be_probed_by() -> None:
    model = Counting()
    made = runner(model)
    golden, _ = made.golden()
    assert golden == [pytest.approx([0.7] * 3)]
    model.confidence = math.nan
    assert difference(golden, made.golden()[0]) == "the outputs are not finite"


def test_a_list_for_which_the_memory_is_too_small_is_halved() -> None:
    made = runner(Hungry())
    made.warm_up(60)
    assert made.max_batch == 2


def test_a_batch_that_would_draw_too_much_is_halved() -> None:
    made = runner(Drawing())
    made.warm_up(60)
    assert made.max_batch == 2


class Compiles(Echo):
    """Takes its time at the first batch of each size, as a GPU does that loads kernels on use."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Compute."""
        if len(batch) not in self.sizes:
            time.sleep(0.2)
        self.sizes.append(len(batch))
        return super().predict(batch)


def test_what_a_gpu_pays_once_does_not_lower_the_batch_for_good() -> None:
    made = on_cuda(Compiles())
    made.warm_up(0.15)
    assert made.max_batch == 4


class Breaks(Echo):
    """Cannot compute more than two images, and says so in words of its own."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Compute, or raise."""
        if len(batch) > 2:
            raise RuntimeError("GET was unable to find an engine to execute this computation")
        return super().predict(batch)


@pytest.mark.usefixtures("allocator")
def test_a_batch_that_fails_on_a_gpu_in_whatever_words_is_halved_at_the_load_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = on_cuda(Breaks())
    made.warm_up(60)
    assert made.max_batch == 2
    assert "unable to find an engine" in caplog.text


def test_a_model_that_is_wrong_for_more_than_one_image_cannot_serve() -> None:
    with pytest.raises(errors.ModelError, match="raised RuntimeError"):
        runner(Breaks()).warm_up(60)


class TooFew(Echo):
    """Answers the first image alone."""

    def postprocess(self, outputs: torch.Tensor, queries: Any) -> list[Any]:
        """Answer."""
        return outputs[:1].tolist()


@pytest.mark.usefixtures("allocator")
def test_nor_can_one_that_returns_too_few_results_on_a_gpu_either() -> None:
    with pytest.raises(errors.ModelError, match="returned 1 results for 4 images"):
        on_cuda(TooFew()).warm_up(60)


class Grows(Echo):
    """Multiplies, so that half precision overflows for bright images."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        return batch[:, :, 0, 0].float() @ (torch.eye(3) * 1000)


def test_what_overflows_in_half_precision_is_computed_in_full() -> None:
    made = runner(Grows())
    made._half, made.precision = torch.float16, "float16"
    dark, bright = made.run([image(8, 8, (1, 2, 3)), image(8, 8, (255, 2, 3))])
    assert (json.loads(dark), json.loads(bright)) == ([1000, 2000, 3000], [255_000, 2000, 3000])


def test_a_detector_is_not_tried_in_half_precision() -> None:
    made = Runner(Varied(), "cpu", 4)
    made.half = "float16"
    made.load(Weights(None, "", "random"))
    assert made.half is None


class Drawing(Varied):
    """May draw for two images in one batch."""

    def postprocess(self, outputs: Any, queries: Any) -> Any:
        """Refuse to draw, or answer."""
        check_batch([BATCH_PIXELS // 2] * len(queries))
        return super().postprocess(outputs, queries)


class Hungry(Varied):
    """Has the memory for two images."""

    def predict(self, batch: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """Run out of memory, or measure."""
        if len(batch) > 2:
            raise torch.OutOfMemoryError("too many")
        return [{"shape": torch.tensor(image.shape)} for image in batch]


class Allocator:
    """What PyTorch's allocator says of itself."""

    def __init__(self) -> None:
        self.reserved, self.allocated = 100, 40
        self.counts = True

    def stats(self, _: torch.device) -> dict[str, Any]:
        """Answer, as PyTorch does."""
        if not self.counts:
            raise RuntimeError("CUDAPluggableAllocator does not yet support getDeviceStats")
        return {"reserved_bytes": {"all": {"current": self.reserved * MIB}},
                "allocated_bytes": {"all": {"current": self.allocated * MIB}}}  # fmt: skip


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    made = Allocator()
    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", made.stats)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    return made


def on_cuda(model: Model) -> Runner:
    """Return a runner that takes its device for a GPU."""
    made = runner(model)
    made._tensor = runner(model)._tensor  # type: ignore[method-assign]
    made.device = torch.device("cuda")
    return made


def test_the_pool_is_what_the_computing_thread_saw_after_its_last_batch(
    allocator: Allocator,
) -> None:
    made = on_cuda(Raises())
    assert made.pool() == Pool(0, 0)
    made.run([image(8, 8)])
    assert made.pool() == Pool(reserved=100, reusable=60)
    allocator.reserved = 200
    assert made.pool() == Pool(100, 60), "nobody is asked"
    with pytest.raises(errors.ModelError):
        made.run([image(8, 8, MARK)])
    assert made.pool() == Pool(200, 160)
    allocator.allocated = 0
    made.golden()
    assert made.pool() == Pool(200, 200)


def test_an_allocator_that_counts_nothing_costs_no_answer(allocator: Allocator) -> None:
    allocator.counts = False
    made = on_cuda(Echo())
    assert answers(made, image(8, 8)) == [[1, 2, 3]]
    assert made.pool() == Pool(0, 0)


def test_the_sample_asks_for_the_defaults() -> None:
    sample = runner(Varied()).sample()
    assert sample.query.options == {"count": 5, "threshold": 0.5, "form": None}
    assert replace(sample.query, options={}) == Query(800, 480, {})
