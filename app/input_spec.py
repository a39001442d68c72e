"""What an HTTP worker must know of a model to ask it; travels in the engine's HELLO. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, Self

from app import errors, kinds

SHOWN_LENGTH = 100  # characters of a client's words in our answer


@dataclass(frozen=True)
class Option:
    """A query parameter that a model understands.

    Args:
        name: as in ``?name=value``.
        kind: how the text becomes a value.
        default: the value without the parameter, which need not be an allowed one.
        low, high: bounds of an integer or a number, both included.
        choices: of a choice.
    """

    name: str
    kind: Literal["integer", "number", "choice"]
    default: int | float | str | None = None
    low: float = 0
    high: float = 1
    choices: tuple[str, ...] = ()

    @cached_property
    def _kind(self) -> kinds.Kind:
        if self.kind == "choice":
            return kinds.choice(*self.choices)
        if self.kind == "integer":
            return kinds.integer(int(self.low), self.high)
        return kinds.number(self.low, self.high)

    def parse(self, text: str) -> int | float | str:
        """Return the value that a text stands for.

        Raises:
            app.errors.InvalidParameter: it is not allowed.
        """
        try:
            value: int | float | str = self._kind.parse(text)
        except ValueError:
            raise errors.InvalidParameter(
                f"{self.name}={text[:SHOWN_LENGTH]}: {self.name} is {self._kind.allowed}",
                parameter=self.name,
            ) from None
        return value


@dataclass(frozen=True)
class InputSpec:
    """How an HTTP worker turns a request into the model's input.

    Without a crop and an exact size, images keep their aspect ratio and their shapes vary.

    Args:
        mode: ``RGB`` gives arrays of shape (H, W, 3), ``L`` (H, W, 1).
        resize: pixels of the shorter side (one number, as torchvision's Resize takes it), an
            exact (height, width), or None to keep the size.
        crop: (height, width) of the centre crop, or None.
        interpolation: Pillow's filter.
        max_aspect: the longer side divided by the shorter one may be no more; None for any.
        batch: ``stack`` gives the model one tensor of images of one shape, ``list`` a list of
            tensors of any shapes.
        options: the query parameters that it understands.
        routes: paths that are answered as ``/predict`` is, such as ``/analyze``.
    """

    mode: Literal["RGB", "L"] = "RGB"
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    max_aspect: float | None = None
    batch: Literal["stack", "list"] = "stack"
    options: tuple[Option, ...] = ()
    routes: tuple[str, ...] = ()

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """The options of a request that names none."""
        return {option.name: option.default for option in self.options}

    def parse(self, query: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
        """Return a value for every option.

        Args:
            query: names and values of a request's query string.

        Raises:
            app.errors.InvalidParameter: one is unknown, sent twice or not allowed.
        """
        if not query:
            return self.defaults
        known = {option.name: option for option in self.options}
        values: dict[str, Any] = {}
        for name, text in query:
            shown = name[:SHOWN_LENGTH]
            if name not in known:
                allowed = ", ".join(known) or "none"
                raise errors.InvalidParameter(
                    f"{shown}={text[:SHOWN_LENGTH]}: this model knows no {shown}; "
                    f"its parameters are: {allowed}",
                    parameter=shown,
                )
            if name in values:
                raise errors.InvalidParameter(
                    f"{name}={text[:SHOWN_LENGTH]}: send {name} once", parameter=name
                )
            values[name] = known[name].parse(text)
        return {**self.defaults, **values}

    def check_body(self, names: Collection[str]) -> None:
        """Refuse parameters that came in the body, where nobody would read them.

        Args:
            names: of what the body holds beside its images.

        Raises:
            app.errors.InvalidParameter: one of them is a parameter's.
        """
        for option in self.options:
            if option.name in names:
                raise errors.InvalidParameter(
                    f"{option.name} came in the body, and goes into the query string: "
                    f"?{option.name}=VALUE",
                    parameter=option.name,
                )

    def to_json(self) -> dict[str, Any]:
        """Return the members for HELLO."""
        return asdict(self)

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> Self:
        """Return the spec that ``to_json`` wrote (JSON has lists where we have tuples)."""
        options = [Option(**_tupled(option)) for option in members.get("options", ())]
        return cls(**{**_tupled(members), "options": tuple(options)})


def _tupled(members: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in members.items()}
