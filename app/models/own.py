"""A class of the user's own as the engine's model: whatever it leaves out gets a default.

Runs in the engine process. What is wrong with the class itself is mended by no retry and stops
the start (WrongSetting); what its ``load`` raises may be, so ``/health`` shows it meanwhile.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from app import errors
from app.input_spec import InputSpec
from app.models import lookup, members, ranking
from app.models.interface import Query, Weights
from app.models.registry import WrongSetting
from app.models.weights import version_of

# The preset of most of torchvision's classifiers.
USUAL_INPUT = InputSpec(mode="RGB", resize=256, crop=(224, 224))
_MAX_TEXT = 100
# What a method is called with; it gets the last one only where it has a parameter of that name.
_FORMS = {
    "load": (("device",), "weights"),
    "warmup": ((), ""),
    "preprocess": (("batch",), ""),
    "predict": (("batch",), ""),
    "probe": (("batch",), ""),
    "postprocess": (("outputs",), "queries"),
}


class OwnModel:
    """``MODEL=path/to/file.py:Class`` or ``MODEL=package.module:Class``.

    Args:
        setting: MODEL.
        source: the content of that file, where it is held.

    Raises:
        WrongSetting: there is no such class, or it lacks what a model must have.
    """

    def __init__(self, setting: str, source: bytes | None = None) -> None:
        self._setting = setting
        self._made, self._source = lookup.build(setting, source)
        self._kind = type(self._made).__name__
        for name in ("load", "predict"):
            if not hasattr(self._made, name):
                self._refuse(f"has no method {_form(name)}")
        self._load = self._method("load")
        self._predict = self._method("predict")
        self._preprocess = self._method("preprocess")
        self._postprocess = self._method("postprocess") if self._has("postprocess") else None
        self._warmup = self._method("warmup")
        if self._has("probe"):
            probe = self._method("probe")
            self.probe = lambda batch: probe(self._preprocess(batch))
        self.name = self._kind
        self.version = ""
        self.result_key: str | None = "predictions"
        self.labels: tuple[str, ...] = ()
        self.input_spec = USUAL_INPUT

    def _has(self, name: str) -> bool:
        return getattr(self._made, name, None) is not None

    def _refuse(self, words: str) -> NoReturn:
        raise WrongSetting(f"MODEL={self._setting}: {self._kind} {words}")

    def _method(self, name: str) -> Callable[..., Any]:
        """Return what calls a method of the class; where there is none, what does nothing."""
        if not self._has(name):
            return lambda *given: given[0] if given else None
        method = getattr(self._made, name)
        arguments, extra = _FORMS[name]
        if not callable(method) or inspect.iscoroutinefunction(method):
            self._refuse(f"has a {name} that is no plain method; {_form(name)} is wanted")
        wants_extra = _names(method, extra)
        signature = inspect.signature(method)
        try:
            signature.bind(*arguments, **({extra: None} if wants_extra else {}))
        except TypeError:
            self._refuse(f"has {name}{signature}; {_form(name)} is wanted")
        if not extra:
            return method  # type: ignore[no-any-return]
        if wants_extra:
            return lambda *given: method(*given[:-1], **{extra: given[-1]})
        return lambda *given: method(*given[:-1])

    def load(self, device: torch.device, weights: Weights) -> None:
        """Have it load and warm up; then take over what it says of itself.

        Raises:
            WrongSetting: one of its attributes is not what it may be.
        """
        if weights.content is not None and not _names(self._made.load, "weights"):
            self._refuse("has load(device), and MODEL_PATH is for load(device, weights)")
        self._load(device, weights)
        with torch.inference_mode():
            self._warmup()
        self.version = self._text("version", ascii_only=True) or self._files_version(weights)
        self.name = self._text("name") or self._kind
        self.result_key = self._result_key()
        self._describe_input()

    def _files_version(self, weights: Weights) -> str:
        if weights.content is None:
            return version_of(self._source)
        return version_of(weights.content, weights.beside, self._source)

    def _text(self, name: str, *, ascii_only: bool = False) -> str:
        value = getattr(self._made, name, None) or ""
        fits = isinstance(value, str) and len(value) <= _MAX_TEXT and value.isprintable()
        if not fits or (ascii_only and not value.isascii()):
            kind = "ASCII text" if ascii_only else "text"
            self._refuse(f"has {name} = {members.shown(value)}; allowed is one line of {kind}")
        return str(value)

    def _result_key(self) -> str | None:
        key = getattr(self._made, "result_key", self.result_key)
        if key is not None and not (isinstance(key, str) and key.isidentifier()):
            self._refuse(
                f"has result_key = {members.shown(key)}; allowed is a name of letters, digits "
                "and _, or None where each result is an object"
            )
        return key

    def _describe_input(self) -> None:
        try:
            spec = members.input_spec(getattr(self._made, "input_spec", USUAL_INPUT))
            self.labels = members.labels(getattr(self._made, "labels", None) or ())
        except members.WrongMember as error:
            self._refuse(f"is wrong: {error}")
        if self.labels and not self._postprocess:
            options = [option for option in spec.options if option.name != ranking.TOP_K]
            spec = replace(spec, options=(ranking.top_k(self.labels), *options))
        self.input_spec = spec

    def predict(self, batch: Any) -> Any:
        """Return what the class's ``predict`` returns for what its ``preprocess`` returns."""
        outputs = self._predict(self._preprocess(batch))
        if isinstance(outputs, np.ndarray) and not self._postprocess:
            return torch.from_numpy(outputs)
        return outputs

    def postprocess(self, outputs: Any, queries: Sequence[Query]) -> Sequence[Any]:
        """Return one result an image: the class's own, the likeliest labels, or the outputs.

        Raises:
            app.errors.ModelError: what the class returned is not that.
        """
        if self._postprocess:
            results, name = self._postprocess(outputs, queries), "postprocess"
        elif self.labels and isinstance(outputs, Tensor):
            return self._ranked(outputs, queries)
        else:
            results, name = outputs, "predict"
        results = _plain(results)
        if not isinstance(results, list | tuple):
            raise errors.ModelError(
                f"the model's {name} returned a {type(results).__name__}, "
                "neither a tensor nor a list with one result an image"
            )
        return [_plain(result) for result in results]

    def _ranked(self, scores: Tensor, queries: Sequence[Query]) -> Sequence[Any]:
        wanted = (len(queries), len(self.labels))
        if scores.shape != wanted:
            raise errors.ModelError(
                f"the model's predict returned a tensor of shape {tuple(scores.shape)}; "
                f"{wanted[0]} images and {wanted[1]} labels make {wanted}"
            )
        return ranking.likeliest(scores, self.labels, queries)


def _names(method: Callable[..., Any], parameter: str) -> bool:
    return parameter in inspect.signature(method).parameters


def _form(name: str) -> str:
    arguments, extra = _FORMS[name]
    forms = [arguments, (*arguments, extra)] if extra else [arguments]
    return " or ".join(f"{name}({', '.join(form)})" for form in forms)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor | np.ndarray) else value
