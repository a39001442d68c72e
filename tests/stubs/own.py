"""Classes as users write them: little more than load and predict, right and wrong."""

import os
from pathlib import Path

import numpy as np
import torch

MARK = torch.tensor((255, 0, 0))


class Least:
    """No more than it takes."""

    def load(self, device):
        self.device = device

    def predict(self, batch):
        return batch.float().mean(dim=(2, 3))


class Whole(Least):
    """Everything that there may be."""

    name = "colours"
    version = "v7"
    result_key = "colour"
    input_spec = {
        "resize": [4, 6],
        "interpolation": "nearest",
        "options": [{"name": "digits", "kind": "integer", "default": 3, "high": 9}],
        "routes": ["/colour"],
    }
    warmed = False

    def load(self, device, weights):
        self.weights = weights

    def warmup(self):
        self.warmed = True

    def preprocess(self, batch):
        assert batch.shape[1:] == (3, 4, 6)
        return batch.float() / 255

    def predict(self, batch):
        assert self.warmed
        return batch.mean(dim=(2, 3))

    def postprocess(self, outputs, queries):
        return [
            {"rgb": [round(v, q.options["digits"]) for v in row], "width": q.width}
            for row, q in zip(outputs.tolist(), queries, strict=True)
        ]


class Labelled(Least):
    labels = ["red", "green", "blue"]

    def predict(self, batch):
        return super().predict(batch) / 255


class Numpy(Least):
    def predict(self, batch):
        return super().predict(batch).numpy().astype(np.float64)


class Results(Least):
    """Results of its own making, and no postprocess."""

    result_key = None

    def predict(self, batch):
        return [{"red": float(image[0].float().mean())} for image in batch]


class TakesWeights(Least):
    def load(self, device, weights):
        self.content = weights.content


class TwoForms(Least):
    """Its second parameter is its own affair."""

    def load(self, device, half=False):
        assert half is False

    def postprocess(self, outputs):
        return [[round(v) for v in row] for row in outputs.tolist()]


class Wrong(Least):
    """Right, but for a marked image: its blue says how it is wrong."""

    input_spec = {"resize": [8, 8]}
    ways = (
        "few", "many", "set", "tensor_inside", "nan", "key", "none", "itself", "raises", "exits",
    )  # fmt: skip

    def predict(self, batch):
        results = super().predict(batch).tolist()
        for image in batch:
            if (image[:2, 0, 0] == MARK[:2]).all():
                return getattr(self, self.ways[image[2, 0, 0]])(results)
        return results

    def few(self, results):
        return results[1:]

    def many(self, results):
        return results * 2

    def set(self, results):
        return [{1, 2}]

    def tensor_inside(self, results):
        return [{"score": torch.tensor(0.5)}]

    def nan(self, results):
        return [float("nan")]

    def key(self, results):
        return [{(1, 2): 3}]

    def none(self, results):
        return None

    def itself(self, results):
        results.append(results)
        return [results]

    def raises(self, results):
        raise RuntimeError("a secret of the model")

    def exits(self, results):
        return os._exit(3) if not Path(os.environ["GATE"]).exists() else results


# ---- wrong from the start


class NoPredict:
    def load(self, device):
        pass


class NoLoad:
    def predict(self, batch):
        return batch


class NeedsMore(Least):
    def load(self, device, path):
        pass


class TakesNothing(Least):
    def predict(self):
        return []


class IsAsync(Least):
    async def predict(self, batch):
        return batch


class WantsArguments(Least):
    def __init__(self, size):
        self.size = size


class FailsToBegin(Least):
    def __init__(self):
        raise KeyError("size")


class FailsToLoad(Least):
    def load(self, device):
        if not Path(os.environ["GATE"]).exists():
            raise OSError("the weights are\nmade of cheese")


class FailsToPredict(Least):
    def predict(self, batch):
        return batch @ torch.zeros(7)


class TooFew(Least):
    def predict(self, batch):
        return super().predict(batch)[:1]


class NotJson(Least):
    def predict(self, batch):
        return [{1, 2}] * len(batch)


class WrongSpec(Least):
    input_spec = {"resize": 64, "crop": [64, "wide"]}


class UnknownSpec(Least):
    input_spec = {"size": 64}


class WrongRoute(Least):
    input_spec = {"routes": ["/analyze/"]}


class WrongNumber(Least):
    input_spec = {"max_aspect": 10**400}


class WrongLabels(Least):
    labels = [1, 2]


class WrongKey(Least):
    result_key = 'a"b'


class WrongVersion(Least):
    version = "1\r\nSet-Cookie: a"


class OtherLabels(Labelled):
    labels = ["red", "green"]
