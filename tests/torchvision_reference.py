"""Our way through a model beside torchvision's own, for the tests and for the table of models."""

import base64
import io
import json
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.ops.misc import FrozenBatchNorm2d

from app import images
from app.engine.runner import Pixels, Runner
from app.input_spec import InputSpec
from app.models import registry
from app.models.families import FAMILIES
from app.models.interface import Query, Weights
from tests.hostile import good_jpeg

SEED = 0
TOLERANCE = 1e-4
WIDTH, HEIGHT = 300, 200
CHANGE = 0.03  # of a probability, that another image makes at least
SAME_PIXELS = 0.999  # of a class map: where two classes tie, rounding decides
NAMES = {
    zoo: "classification", zoo.quantization: "quantised", zoo.detection: "detection",
    zoo.segmentation: "segmentation",
}  # fmt: skip
FAMILY_OF = {
    name: NAMES[package] for package, _ in FAMILIES for name in zoo.list_models(module=package)
}


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Args:
        what: was compared, with how many numbers or regions there were.
        difference: the largest one.
    """

    what: str
    difference: float


def photo(seed: int = 0) -> bytes:
    """Return the image that every model gets, or another one."""
    return good_jpeg(WIDTH, HEIGHT, seed)


def build(name: str) -> nn.Module:
    """Return torchvision's network for its own weights, with random ones in their place.

    They make the answer depend on the image.

    Left as they are initialised, most networks say nearly the same of every image, and a
    comparison could not fail.
    """
    family = FAMILY_OF[name]
    torch.manual_seed(SEED)
    entry = zoo.get_model_weights(name).DEFAULT
    preset = entry.transforms()
    network = as_for_weights(name, entry) if family != "quantised" else zoo.get_model(name)
    network.eval()
    with torch.no_grad():
        images_seen = [preset(opened(photo(seed))) for seed in (0, 1)]
        if family == "detection":
            _make_sure(network)
            _calibrate(network, images_seen)
            _assert_sensitive(*network(images_seen))
            return network
        inputs = torch.stack(images_seen)
        _calibrate(network, inputs)
        _make_sensitive(network, inputs, len(entry.meta["categories"]))
        if family == "quantised":
            _quantize(network, inputs, entry.meta["backend"])
    return network


def as_for_weights(name: str, entry: Any) -> nn.Module:
    """Return what torchvision builds for its own weights, which stay on their server."""
    with (
        mock.patch.object(zoo.WeightsEnum, "get_state_dict"),
        mock.patch.object(nn.Module, "load_state_dict"),
    ):
        network: nn.Module = zoo.get_model(name, weights=entry)
    return network


def opened(content: bytes) -> Image.Image:
    """Return the image of a file."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def scores(outputs: Any) -> Tensor:
    """Return the classes' scores in what a network returns."""
    found: Tensor = outputs["out"] if isinstance(outputs, dict) else outputs
    return found


def _make_sure(network: nn.Module) -> None:
    """Let a detector be sure of something: most would find nothing at all."""
    for name, module in network.named_modules():
        if name.endswith(("cls_score", "cls_logits")):
            module.bias.normal_(0, 2)
            if name.endswith("cls_score"):
                module.bias.abs_()  # the first class is that nothing is there


def _calibrate(network: nn.Module, inputs: Any) -> None:
    """Let the normalising layers learn what passes through them."""
    frozen = [each for each in network.modules() if isinstance(each, FrozenBatchNorm2d)]
    hooks = [layer.register_forward_pre_hook(_learn) for layer in frozen]
    layers = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = None  # the plain mean
        layer.train()
    if layers or frozen:
        network(inputs)
        network.eval()
    for hook in hooks:
        hook.remove()


def _learn(layer: nn.Module, inputs: tuple[Tensor]) -> None:
    """Let a frozen layer normalise this; variances are small enough for what is added to show."""
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
    layer.get_buffer("running_mean").copy_(mean)
    layer.get_buffer("running_var").copy_(variance.clamp(min=1e-3))


def _assert_sensitive(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    """Fail where a detector says the same of two images."""
    changes = [
        float((first[name] - second[name]).abs().max())
        for name in ("boxes", "scores")
        if first[name].shape == second[name].shape
    ]
    assert max(changes, default=1.0) > 50 * TOLERANCE, "the comparison could not fail"


def _make_sensitive(network: nn.Module, inputs: Tensor, classes: int) -> None:
    """Give the last layer weights with which two images get different answers."""
    last = [
        module
        for name, module in network.named_modules()
        if classes in (getattr(module, "out_features", 0), getattr(module, "out_channels", 0))
        and not name.lower().startswith("aux")
    ]
    for module in last:
        module.weight.normal_()
        if module.bias is not None:
            module.bias.zero_()
    factor = _factor(*scores(network(inputs)))
    if factor is None:  # nothing normalises, and what differs fades from layer to layer
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        factor = _factor(*scores(network(inputs)))
    assert factor is not None, "the comparison could not fail"
    for module in last:
        module.weight.mul_(factor)


def _factor(first: Tensor, second: Tensor) -> Tensor | None:
    """Return by how much outputs must grow for two images' scores to differ; None if never.

    No more than is needed: what float32 rounds away in a deep network grows with it.
    """
    factor = 0.01 / first.std()
    while factor < 1000 / first.std():
        if ((factor * first).softmax(0) - (factor * second).softmax(0)).abs().max() >= CHANGE:
            return factor
        factor = 1.2 * factor
    return None


def _quantize(network: Any, inputs: Tensor, backend: str) -> None:
    """Do as torchvision does, with images in place of noise."""
    torch.backends.quantized.engine = backend
    network.fuse_model(is_qat=False)
    network.qconfig = torch.ao.quantization.get_default_qconfig(backend)
    torch.ao.quantization.prepare(network, inplace=True)
    network(inputs)
    torch.ao.quantization.convert(network, inplace=True)


def load(name: str, network: nn.Module) -> Runner:
    """Return our side with the same weights."""
    model: Any = registry.create(f"torchvision/{name}")
    runner = Runner(model, "cpu", 1)
    if FAMILY_OF[name] == "quantised":  # their weights are no plain tensors
        runner.load(Weights(None, "", "random"))
        model._network = network
    else:
        stream = io.BytesIO()
        torch.save(network.state_dict(), stream)
        runner.load(Weights(stream.getvalue(), "random.pth", "DEFAULT"))
    return runner


def pixels_of(runner: Runner, content: bytes, **options: Any) -> Pixels:
    """Return a file as the engine gets it from an HTTP worker."""
    spec = runner.model.input_spec
    decoded = images.to_input(images.open_image(content, 10**8), spec, 10**8)
    query = Query(*decoded.size, {**spec.defaults, **options})
    return Pixels(decoded.pixels.shape, decoded.pixels.tobytes(), query)


def answers(runner: Runner, *pixels: Pixels) -> list[Any]:
    """Return our answers to a batch."""
    return [json.loads(answer) for answer in runner.run(pixels)]


def ask(runner: Runner, content: bytes, **options: Any) -> dict[str, Any]:
    """Return our answer to one image, through what the engine runs."""
    [answer] = answers(runner, pixels_of(runner, content, **options))
    key = runner.model.result_key
    return {key: answer} if key else answer


def compare(name: str) -> Comparison:
    """Send an image through our code and through torchvision's, with the same weights."""
    network = build(name)
    preset = zoo.get_model_weights(name).DEFAULT.transforms()
    with torch.inference_mode():
        reference = network(preset(opened(photo()))[None])
    runner = load(name, network)
    del network  # the largest take gigabytes
    family = FAMILY_OF[name]
    check = {"detection": regions, "segmentation": class_map}.get(family, probabilities)
    return check(runner, photo(), reference)


def probabilities(runner: Runner, content: bytes, reference: Tensor) -> Comparison:
    """Compare the scores of all classes."""
    expected = reference.softmax(1)[0].tolist()
    found = ask(runner, content, top_k=len(expected))["predictions"]
    assert sorted(entry["class_id"] for entry in found) == list(range(len(expected)))
    difference = max(abs(entry["score"] - expected[entry["class_id"]]) for entry in found)
    return Comparison(f"{len(expected)} scores", difference)


def regions(runner: Runner, content: bytes, reference: list[dict[str, Tensor]]) -> Comparison:
    """Compare every region that torchvision finds: label, score, box, keypoints, mask."""
    [wanted] = reference
    has_masks = "masks" in wanted
    options = {"score_threshold": 0, **({"masks": "rle"} if has_masks else {})}
    found = ask(runner, content, **options)["regions"]
    assert [region["class_id"] for region in found] == wanted["labels"].tolist()
    assert found, "nothing was found, so nothing was compared"
    differences = [
        _largest([region["score"] for region in found], wanted["scores"]),
        _largest([region["box"] for region in found], wanted["boxes"]),
    ]
    if "keypoints" in wanted:
        points = [[(point["x"], point["y"]) for point in each["keypoints"]] for each in found]
        scores = [[point["score"] for point in each["keypoints"]] for each in found]
        differences += [_largest(points, wanted["keypoints"][..., :2]),
                        _largest(scores, wanted["keypoints_scores"])]  # fmt: skip
    if has_masks:
        whole = (wanted["masks"][:, 0] >= 0.5).numpy().astype(np.uint8)
        counts = [coco.encode(np.asfortranarray(mask))["counts"].decode() for mask in whole]
        assert [region["mask"]["counts"] for region in found] == counts
    parts = ["boxes", *(["masks"] if has_masks else [])]
    parts += ["keypoints"] if "keypoints" in wanted else []
    return Comparison(f"{len(found)} {' and '.join(parts)}", max(differences))


def class_map(runner: Runner, content: bytes, reference: dict[str, Tensor]) -> Comparison:
    """Compare the probabilities of every pixel's classes, and the map that is answered."""
    outputs: list[Tensor] = []
    model: Any = runner.model
    predict = model.predict
    model.predict = lambda batch: outputs.append(predict(batch)) or outputs[0]
    answer = ask(runner, content)
    wanted = reference["out"]
    ids = Image.fromarray(wanted.argmax(1)[0].to(torch.uint8).numpy())
    upright = np.asarray(ids.resize((answer["width"], answer["height"]), Image.Resampling.NEAREST))
    png = Image.open(io.BytesIO(base64.b64decode(answer["segmentation"]["png"])))
    assert (np.asarray(png) == upright).mean() >= SAME_PIXELS
    difference = _largest(outputs[0].softmax(1), wanted.softmax(1))
    return Comparison(f"{wanted.numel()} scores", difference)


def _largest(found: Any, wanted: Tensor) -> float:
    return float((torch.as_tensor(found) - wanted).abs().max())


def words(spec: InputSpec) -> str:
    """Return in words what becomes of an image before the model gets it."""
    if spec.resize is None:
        return "as posted"
    text = f"shorter side {spec.resize}, {spec.interpolation}"
    return text if spec.crop is None else f"{text}; centre {spec.crop[0]} × {spec.crop[1]}"
