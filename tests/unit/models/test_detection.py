"""Detectors: several images at once, their parameters, and what masks and keypoints look like."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from torch import nn
from torchvision.transforms.functional import convert_image_dtype, pil_to_tensor

from app.engine.deep_check import difference
from app.engine.runner import Runner
from app.errors import InvalidParameter
from app.models.interface import Query
from tests import torchvision_reference as reference
from tests.hostile import good_jpeg

TALL = good_jpeg(120, 200, seed=1)


def shrunk(network: Any) -> nn.Module:
    """Let a detector compute a twentieth of what it would."""
    network.transform.min_size, network.transform.max_size = (64,), 96
    network.rpn._post_nms_top_n = {"training": 20, "testing": 20}
    return network  # type: ignore[no-any-return]


def both(name: str) -> tuple[nn.Module, Runner]:
    """Return torchvision's network and ours, with the same weights."""
    network = shrunk(reference.build(name))
    runner = reference.load(name, network)
    model: Any = runner.model
    shrunk(model._network)
    return network, runner


@pytest.fixture(scope="module")
def with_masks() -> tuple[nn.Module, Runner]:
    return both("maskrcnn_resnet50_fpn")


@pytest.fixture(scope="module")
def with_keypoints() -> tuple[nn.Module, Runner]:
    return both("keypointrcnn_resnet50_fpn")


def theirs(network: nn.Module, *contents: bytes) -> Any:
    """Return what torchvision finds on several images at once."""
    with torch.inference_mode():
        return network([convert_image_dtype(pil_to_tensor(reference.opened(c))) for c in contents])


def test_images_of_several_shapes_in_one_batch_are_torchvisions_list(
    with_masks: tuple[nn.Module, Runner],
) -> None:
    network, runner = with_masks
    wanted = theirs(network, reference.photo(), TALL)
    pixels = [
        reference.pixels_of(runner, content, score_threshold=0.0, masks=masks)
        for content, masks in ((reference.photo(), "rle"), (TALL, None))
    ]
    answers = reference.answers(runner, *pixels)
    for answer, found in zip(answers, wanted, strict=True):
        boxes = [region["box"] for region in answer["regions"]]
        assert np.allclose(boxes, found["boxes"], atol=1e-4)
        scores = [region["score"] for region in answer["regions"]]
        assert np.allclose(scores, found["scores"], atol=1e-6)
    assert [(a["width"], a["height"]) for a in answers] == [(300, 200), (120, 200)]
    for region, mask in zip(answers[0]["regions"], wanted[0]["masks"], strict=True):
        whole = np.asfortranarray((mask[0] >= 0.5).numpy().astype(np.uint8))
        assert region["mask"]["counts"] == coco.encode(whole)["counts"].decode()
    assert all("mask" not in region for region in answers[1]["regions"]), "it did not ask"


def test_the_threshold_is_each_requests_own(with_masks: tuple[nn.Module, Runner]) -> None:
    _, runner = with_masks
    every = reference.ask(runner, TALL, score_threshold=0.0)["regions"]
    scores = [region["score"] for region in every]
    assert scores == sorted(scores, reverse=True)
    middle = (scores[4] + scores[5]) / 2
    pixels = [
        reference.pixels_of(runner, TALL, score_threshold=threshold)
        for threshold in (0.0, middle, 1.0)
    ]
    counts = [len(answer["regions"]) for answer in reference.answers(runner, *pixels)]
    assert counts == [len(every), 5, 0]


@pytest.mark.parametrize("form", ["png", "polygon"])
def test_each_form_of_masks_is_json(with_masks: tuple[nn.Module, Runner], form: str) -> None:
    _, runner = with_masks
    regions = reference.ask(runner, TALL, score_threshold=0.0, masks=form)["regions"]
    for region in regions:
        if form == "polygon":
            assert all(len(point) == 2 for point in region["polygon"])
        else:
            assert set(region["mask"]) == {"png", "left", "top"}
    assert any(region.get("polygon") or region.get("mask") for region in regions)


def test_keypoints_are_named_and_torchvisions(with_keypoints: tuple[nn.Module, Runner]) -> None:
    network, runner = with_keypoints
    [wanted] = theirs(network, TALL)
    regions = reference.ask(runner, TALL, score_threshold=0.0)["regions"]
    assert regions
    assert {region["label"] for region in regions} == {"person"}
    names = [point["name"] for point in regions[0]["keypoints"]]
    assert (len(names), names[0], names[-1]) == (17, "nose", "right_ankle")
    for region, points in zip(regions, wanted["keypoints"].tolist(), strict=True):
        found = [[point["x"], point["y"]] for point in region["keypoints"]]
        assert np.allclose(found, [point[:2] for point in points], atol=1e-4)


@pytest.mark.parametrize("which", ["with_masks", "with_keypoints"])
def test_warm_up_self_test_and_deep_check_work_though_the_count_of_regions_varies(
    which: str, request: pytest.FixtureRequest
) -> None:
    _, runner = request.getfixturevalue(which)
    runner.max_batch = 1
    runner.warm_up(600)
    runner.self_test()
    golden, _ = runner.golden()
    assert sum(map(len, golden)) > 100
    assert difference(golden, runner.golden()[0]) == ""
    heads = runner.model._network.roi_heads
    kept = heads.box_predictor.bbox_pred.weight
    heads.box_predictor.bbox_pred.weight = nn.Parameter(kept * 1.5, requires_grad=False)
    assert difference(golden, runner.golden()[0]), "a head that went wrong is noticed"
    heads.box_predictor.bbox_pred.weight = kept


@pytest.mark.parametrize("size", [(1, 1), (20, 1)])
def test_a_tiny_image_is_answered(
    with_masks: tuple[nn.Module, Runner], size: tuple[int, int]
) -> None:
    _, runner = with_masks
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, "PNG")
    for form in ("rle", "png"):
        answer = reference.ask(runner, stream.getvalue(), score_threshold=0.0, masks=form)
        assert (answer["width"], answer["height"]) == size


def test_only_a_model_with_masks_takes_the_parameter(
    with_masks: tuple[nn.Module, Runner], with_keypoints: tuple[nn.Module, Runner]
) -> None:
    names: Callable[[Runner], list[str]] = lambda runner: [  # noqa: E731
        option.name for option in runner.model.input_spec.options
    ]
    assert names(with_masks[1]) == ["score_threshold", "masks"]
    assert names(with_keypoints[1]) == ["score_threshold"]


@pytest.mark.parametrize(("form", "side"), [("rle", 6000), ("png", 6000), ("polygon", 90)])
def test_a_batch_draws_no_more_than_it_may(
    with_masks: tuple[nn.Module, Runner], form: str, side: int
) -> None:
    model: Any = with_masks[1].model
    count = 1 if side == 6000 else 100
    found = {
        "boxes": torch.tensor([[0.0, 0.0, side, side]] * count),
        "labels": torch.ones(count, dtype=torch.long),
        "scores": torch.full((count,), 0.6),
        "masks": torch.ones(count, 1, 28, 28),
    }
    asked, spared = (
        Query(side, side, {"score_threshold": threshold, "masks": form}) for threshold in (0, 0.7)
    )
    with pytest.raises(InvalidParameter, match="in one batch"):
        model.postprocess([found] * 32, [asked] * 32)
    assert len(model.postprocess([found] * 32, [asked, *[spared] * 31])) == 32
    if form != "polygon":
        refused = {name: torch.cat([tensor] * 2) for name, tensor in found.items()}
        answers = model.postprocess([refused] * 2 + [found], [asked] * 3)
        kinds = [isinstance(answer, InvalidParameter) for answer in answers]
        assert kinds == [True, True, False], "what is not drawn costs its neighbours nothing"
    plain = Query(side, side, {"score_threshold": 0, "masks": None})
    assert len(model.postprocess([found] * 32, [plain] * 32)) == 32
