"""Members of an object that a user wrote, each checked; a refusal is one sentence. Pure."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.input_spec import InputSpec, Option

_SHOWN_LENGTH = 60
_MAX_SIDE = 8192


class WrongMember(ValueError):
    """A member is unknown, missing or has a value that is not allowed; the sentence says which."""


@dataclass(frozen=True)
class Member:
    """What a member may be.

    Args:
        convert: returns the value as the server uses it; raises ValueError or TypeError.
        allowed: the same in words.
    """

    convert: Callable[[Any], Any]
    allowed: str


def check(
    members: object, allowed: Mapping[str, Member], what: str, required: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the members as the server uses them.

    Args:
        members: what the user wrote.
        allowed: by name.
        what: how to call the whole in a sentence.
        required: names that must be there.

    Raises:
        WrongMember: about the first member that is wrong.
    """
    if not isinstance(members, Mapping):
        raise WrongMember(f"{what} is {shown(members)} instead of an object")
    for name in members:
        if name not in allowed:
            raise WrongMember(f"{what} has no member {shown(name)}; its members are "
                              f"{', '.join(allowed)}")  # fmt: skip
    for name in required:
        if name not in members:
            raise WrongMember(f"{what} lacks {name}, which is {allowed[name].allowed}")
    checked = {}
    for name, value in members.items():
        try:
            checked[name] = allowed[name].convert(value)
        except WrongMember as error:
            raise WrongMember(f"{what}: {error}") from None
        except (ValueError, TypeError):
            raise WrongMember(
                f"{what} has {name} = {shown(value)}; allowed is {allowed[name].allowed}"
            ) from None
    return checked


def shown(value: object) -> str:
    """Return how a sentence shows a value: as JSON where it can be, and not at length."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 2] + " …"


def whole(value: object, low: int, high: int) -> int:
    """Return a whole number within bounds; ``True`` is none."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(value)
    return value


def number(value: Any) -> float:
    """Return a finite number, which a float can hold."""
    try:
        is_finite = type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        is_finite = False
    if not is_finite:
        raise ValueError(value)
    return float(value) if isinstance(value, float) else int(value)


def one_of(*words: str) -> Member:
    """One of a few words."""

    def convert(value: object) -> object:
        if value not in words:
            raise ValueError(value)
        return value

    return Member(convert, "one of " + ", ".join(words))


def texts(value: object) -> tuple[str, ...]:
    """Return a list of texts that is not empty."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(value)
    if not all(isinstance(text, str) and text for text in value):
        raise ValueError(value)
    return tuple(value)


def _pair(value: object) -> tuple[int, int]:
    if not isinstance(value, list | tuple):
        value = [value, value]
    height, width = value
    return whole(height, 1, _MAX_SIDE), whole(width, 1, _MAX_SIDE)


def _resize(value: object) -> int | tuple[int, int] | None:
    return whole(value, 1, _MAX_SIDE) if isinstance(value, int) else _optional(_pair)(value)


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _aspect(value: object) -> float:
    if number(value) < 1:
        raise ValueError(value)
    return number(value)


def _routes(value: object) -> tuple[str, ...]:
    routes = texts(value) if value else ()
    if not all(
        route.startswith("/") and not route.endswith("/") and route.isascii() for route in routes
    ):
        raise ValueError(value)
    return routes


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.isidentifier():
        raise ValueError(value)
    return value


def _option_value(value: object) -> object:
    return value if value is None or isinstance(value, str) else number(value)


_OPTION = {
    "name": Member(_name, "a name of letters, digits and _"),
    "kind": one_of("integer", "number", "choice"),
    "default": Member(_option_value, "a number, a text or null"),
    "low": Member(number, "a number"),
    "high": Member(number, "a number"),
    "choices": Member(lambda value: texts(value) if value else (), "a list of texts"),
}


def _options(value: object) -> tuple[Option, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(value)
    checked = [check(one, _OPTION, "an option", required=("name", "kind")) for one in value]
    return tuple(Option(**members) for members in checked)


def labels(value: object) -> tuple[str, ...]:
    """Return the names of classes that a user wrote.

    Raises:
        WrongMember: it is no list of texts.
    """
    try:
        return texts(value) if value != () else ()
    except ValueError:
        raise WrongMember(f"labels is {shown(value)}; allowed is a list of texts") from None


PICTURE = {
    "mode": one_of("RGB", "L"),
    "resize": Member(
        _resize, "the shorter side in pixels, [height, width] or null to keep the size"
    ),
    "crop": Member(_optional(_pair), "a side in pixels, [height, width] or null for none"),
    "interpolation": one_of("nearest", "bilinear", "bicubic", "lanczos"),
}
_SPEC = {
    **PICTURE,
    "max_aspect": Member(_optional(_aspect), "a number of at least 1, or null"),
    "batch": one_of("stack", "list"),
    "options": Member(_options, "a list of options"),
    "routes": Member(_routes, "a list of paths that begin with / and do not end with one"),
}


def input_spec(value: object) -> InputSpec:
    """Return the spec that a user wrote: an InputSpec, or an object with its members.

    Raises:
        WrongMember: it is not what ``app.input_spec.InputSpec`` allows.
    """
    members = value.to_json() if isinstance(value, InputSpec) else value
    return InputSpec(**check(members, _SPEC, "input_spec"))
