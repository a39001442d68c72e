"""``model.json``: what an exported program does not say itself, its pixels and its classes.

Every member is checked, and an unknown one refused: a transform that is not the training's makes
wrong answers, and nothing else would tell. docs/reference/model-json.md has the members for users.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.input_spec import InputSpec
from app.models import members
from app.models.members import Member, WrongMember

CHANNELS = {"RGB": 3, "L": 1}
_MOST = 1e9  # of a pixel from 0 to 1, nothing would be left beside more in 32 bits


@dataclass(frozen=True)
class Description:
    """What the file says.

    Args:
        task: ``classification`` answers the likeliest labels, ``values`` the program's numbers.
        labels: of the classes, in the order of the program's outputs; none for values.
        scores: how outputs become scores: ``softmax``, ``sigmoid`` or ``as_is``.
        mean, std: of each channel, for pixels from 0 to 1.
        spec: the rest.
    """

    task: str
    labels: tuple[str, ...]
    scores: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    spec: InputSpec


def _numbers(value: object) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise TypeError(value)
    numbers = tuple(members.number(each) for each in value)
    if not all(abs(each) <= _MOST for each in numbers):
        raise ValueError(value)
    return numbers


def _means(value: object) -> tuple[float, ...]:
    if not all(abs(each) <= 1 for each in _numbers(value)):
        raise ValueError(value)
    return _numbers(value)


def _positive(value: object) -> tuple[float, ...]:
    if not all(each > 0 for each in _numbers(value)):
        raise ValueError(value)
    return _numbers(value)


MEMBERS: Mapping[str, Member] = {
    "task": members.one_of("classification", "values"),
    "labels": Member(members.texts, "a list of texts"),
    **members.PICTURE,
    "mean": Member(_means, "a list of one number from -1 to 1 a channel; pixels are from 0 to 1"),
    "std": Member(_positive, "a list of one number over 0, of at most 1e9, a channel"),
    "scores": members.one_of("softmax", "sigmoid", "as_is"),
}
_REQUIRED = ("resize", "mean", "std")


def parse(content: bytes) -> Description:
    """Return what the file says.

    Raises:
        WrongMember: it is no JSON, or a member is wrong; the sentence names it.
    """
    try:
        written: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WrongMember(f"model.json is not JSON: {error}") from None
    checked = members.check(written, MEMBERS, "model.json", _REQUIRED)
    task = checked.get("task", "classification")
    spec = InputSpec(**{name: checked[name] for name in members.PICTURE if name in checked})
    if task == "values" and not {"labels", "scores"}.isdisjoint(checked):
        raise WrongMember("model.json has labels or scores, which go with task = classification")
    if task == "classification" and "labels" not in checked:
        raise WrongMember("model.json lacks labels, a text for each class")
    for name in ("mean", "std"):
        if len(checked[name]) != CHANNELS[spec.mode]:
            raise WrongMember(
                f"model.json has {len(checked[name])} numbers in {name}; "
                f"mode {spec.mode} has {CHANNELS[spec.mode]} of them"
            )
    return Description(
        task, checked.get("labels", ()), checked.get("scores", "softmax"),
        checked["mean"], checked["std"], spec,
    )  # fmt: skip
