"""Document layout: a page in, its regions in reading order out. PP-DocLayoutV3 by transformers.

    pip install '.[examples]'
    MODEL=examples.doclayout:DocLayout sh run.sh

docs/how-to/document-layout.md says more.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2  # noqa: F401  transformers asks for it only when the first answer is made
import numpy as np
import torch
import transformers
from huggingface_hub import hf_hub_download
from huggingface_hub.utils import HfHubHTTPError, disable_progress_bars
from torch import Tensor
from transformers import (
    PPDocLayoutV3Config,
    PPDocLayoutV3ForObjectDetection,
    PPDocLayoutV3ImageProcessor,
)

from app.input_spec import InputSpec, Option
from app.models.interface import Query, Weights
from app.models.registry import WrongSetting
from app.models.weights import WeightsError, load_state_dict, version_of
from app.settings import Settings

REPOSITORY = "PaddlePaddle/PP-DocLayoutV3_safetensors"
CONFIG, PREPROCESSOR, TENSORS = "config.json", "preprocessor_config.json", "model.safetensors"
OUTPUTS = ("logits", "pred_boxes", "order_logits", "out_masks")
SCORE_THRESHOLD = 0.5
# Each region costs a mask as large as itself, and below this nearly all 300 become regions.
LOWEST_THRESHOLD = 0.05
_DECIMALS = 4  # of a pixel

# What it writes are tables and bars for a terminal.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
if not sys.stderr.isatty():
    disable_progress_bars()


class DocLayout:
    """``MODEL=examples.doclayout:DocLayout``; the checkpoint is MODEL_PATH's, or the hub's.

    Images come as large as they are: the checkpoint was trained on what its own processor makes
    of them, which is no resize of Pillow's.
    """

    name = "pp-doclayout-v3"
    result_key = None
    input_spec = InputSpec(
        mode="RGB", batch="list", routes=("/analyze",),
        options=(Option("score_threshold", "number", SCORE_THRESHOLD, low=LOWEST_THRESHOLD),),
    )  # fmt: skip
    version = ""

    def __init__(self) -> None:
        """Hold nothing yet; ``load`` does the work."""
        self._network: Any = None
        self._processor: Any = None
        self._labels: dict[int, str] = {}

    def load(self, device: torch.device, weights: Weights) -> None:
        """Build the network that the checkpoint's config describes, on the device, and fill it.

        Raises:
            WeightsError: there is no checkpoint to be had, or it does not fit.
            WrongSetting: WEIGHTS names what there is not.
        """
        if weights.content is not None:
            folder, content, filename = _beside_model_path(), weights.content, weights.filename
        else:
            folder = _downloaded(weights.choice)
            content, filename = (folder / TENSORS).read_bytes(), TENSORS
        config = PPDocLayoutV3Config.from_pretrained(folder)
        self._processor = PPDocLayoutV3ImageProcessor.from_pretrained(folder)
        network = _filled(config, load_state_dict(content, filename), filename)
        self._network = network.eval().requires_grad_(False).to(device)
        self._labels = config.id2label
        self.version = version_of(content)

    def predict(self, batch: list[Tensor]) -> dict[str, Tensor]:
        """Return what the network says of uint8 images of shape (3, H, W)."""
        outputs = self._run(batch)
        return {name: outputs[name] for name in OUTPUTS}

    def probe(self, batch: list[Tensor]) -> list[Tensor]:
        """Return what the deep check compares: logits throughout, and no swap can move them.

        Of two places that score the same to a hair either may come first, so what is said of the
        chosen ones is sorted. The lower half of the order's logits is a constant of -10000, beside
        which nothing else would count.
        """
        outputs = self._run(batch)
        chosen = (
            outputs["logits"], outputs["pred_boxes"].logit(eps=1e-6),
            outputs["order_logits"].triu(1), outputs["out_masks"],
        )  # fmt: skip
        means = [values.flatten(2).mean(dim=2).sort().values for values in chosen]
        return [outputs["enc_outputs_class"], *means]

    def _run(self, batch: list[Tensor]) -> Any:
        if self._network is None:
            raise RuntimeError("predict before load")
        # One at a time: pages as scanned are large, what the network gets is small.
        pixels = [
            self._processor(images=[image], input_data_format="channels_first", return_tensors="pt")
            for image in batch
        ]
        return self._network(torch.cat([each["pixel_values"] for each in pixels]))

    def postprocess(
        self, outputs: dict[str, Tensor], queries: Sequence[Query]
    ) -> Sequence[dict[str, Any]]:
        """Return the regions of each page, in reading order and in pixels of the page as posted."""
        return [
            self._answer({name: tensor[[number]] for name, tensor in outputs.items()}, query)
            for number, query in enumerate(queries)
        ]

    def _answer(self, outputs: dict[str, Tensor], query: Query) -> dict[str, Any]:
        [found] = self._processor.post_process_object_detection(
            SimpleNamespace(**outputs),
            threshold=query.options["score_threshold"],
            target_sizes=[(query.height, query.width)],
        )
        rows = zip(
            found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(),
            found["polygon_points"], strict=True,
        )  # fmt: skip
        regions = [
            {"label": self._labels[c], "class_id": c, "score": round(score, 6),
             "box": [round(edge, _DECIMALS) for edge in box], "polygon": _points(polygon, box),
             "order": order}
            for order, (c, score, box, polygon) in enumerate(rows, start=1)
        ]  # fmt: skip
        return {"regions": regions, "width": query.width, "height": query.height}


def _points(polygon: Any, box: list[float]) -> list[list[float]]:
    """Return [x, y] of each corner; the box's where the mask was too thin for a polygon."""
    left, top, right, bottom = box
    rectangle = [[left, top], [right, top], [right, bottom], [left, bottom]]
    corners = np.asarray(rectangle if polygon is None else polygon, dtype=float)
    points: list[list[float]] = corners.round(_DECIMALS).tolist()
    return points


def _beside_model_path() -> Path:
    """Return the folder of the weights, in which the checkpoint's other files must be too."""
    path = Path(Settings.read().model_path or "")
    folder = path if path.is_dir() else path.parent
    for name in (CONFIG, PREPROCESSOR):
        if not (folder / name).is_file():
            raise WeightsError(
                f"MODEL_PATH={path}: there is no {name} in {folder}; the checkpoint is {TENSORS}, "
                f"{CONFIG} and {PREPROCESSOR} in one folder"
            )
    return folder


def _downloaded(choice: str) -> Path:
    """Return the folder in the hub's cache, filled if need be."""
    if choice != "DEFAULT":
        raise WrongSetting(f"WEIGHTS={choice}: {DocLayout.name} has DEFAULT alone")
    try:
        files = [hf_hub_download(REPOSITORY, name) for name in (CONFIG, PREPROCESSOR, TENSORS)]
    except (HfHubHTTPError, OSError, ValueError) as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
        raise WeightsError(
            f"could not get {REPOSITORY} from the Hugging Face hub: {cause}; where there is no "
            f"network, have {TENSORS}, {CONFIG} and {PREPROCESSOR} in a folder, and "
            f"MODEL_PATH=FOLDER/{TENSORS}"
        ) from error
    return Path(files[-1]).parent


def _filled(config: PPDocLayoutV3Config, state: dict[str, Tensor], filename: str) -> Any:
    """Return the network with the checkpoint's tensors.

    transformers fills it, since it knows which tensors stand for two and how older ones are named.
    """
    if config.model_type != PPDocLayoutV3Config.model_type:
        raise WeightsError(f"{CONFIG} is of a {config.model_type}, not of a PP-DocLayoutV3")
    network, told = PPDocLayoutV3ForObjectDetection.from_pretrained(
        None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True,
        ignore_mismatched_sizes=True,  # its own error only points at a table in the log
    )  # fmt: skip
    # What removes noise is for training only.
    missing = sorted(name for name in told["missing_keys"] if "denoising" not in name)
    misshapen = sorted(name for name, *_ in told["mismatched_keys"])
    for names, what in ((missing, "missing"), (misshapen, "of another shape")):
        if names:
            raise WeightsError(
                f"{filename} does not fit its {CONFIG}: {len(names)} tensors are {what}, "
                f"the first is {names[0]}"
            )
    return network
