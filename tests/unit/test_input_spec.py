"""What a model declares: parameters with their bounds, and the way over the wire."""

import json

import pytest

from app.errors import InvalidParameter
from app.input_spec import InputSpec, Option

SPEC = InputSpec(
    mode="L", resize=(28, 28), interpolation="lanczos", max_aspect=3.5, batch="list",
    routes=("/analyze",),
    options=(
        Option("top_k", "integer", 5, low=1, high=10),
        Option("score_threshold", "number", 0.5),
        Option("masks", "choice", choices=("rle", "png")),
    ),
)  # fmt: skip
DEFAULTS = {"top_k": 5, "score_threshold": 0.5, "masks": None}


@pytest.mark.parametrize("spec", [InputSpec(), SPEC, InputSpec(resize=256, crop=(224, 224))])
def test_it_survives_the_wire(spec: InputSpec) -> None:
    assert InputSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_without_a_query_the_defaults_count() -> None:
    assert SPEC.parse([]) == SPEC.defaults == DEFAULTS


def test_what_is_named_is_parsed_and_the_rest_keeps_its_default() -> None:
    query = [("score_threshold", "0"), ("masks", "rle")]
    assert SPEC.parse(query) == {"top_k": 5, "score_threshold": 0.0, "masks": "rle"}
    assert SPEC.parse([("top_k", "10")]) == {**DEFAULTS, "top_k": 10}


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("top_k", "0", "a whole number from 1 to 10"),
        ("top_k", "11", "a whole number from 1 to 10"),
        ("top_k", "1.5", "a whole number from 1 to 10"),
        ("top_k", "", "a whole number from 1 to 10"),
        ("top_k", "9" * 5000, "a whole number from 1 to 10"),
        ("top_k", "1_0", "a whole number from 1 to 10"),
        ("top_k", "\N{ARABIC-INDIC DIGIT FIVE}", "a whole number from 1 to 10"),
        ("top_k", " 5 ", "a whole number from 1 to 10"),
        ("top_k", "5\n", "a whole number from 1 to 10"),
        ("score_threshold", "nan", "a number from 0 to 1"),
        ("score_threshold", "0.1_1", "a number from 0 to 1"),
        ("score_threshold", " 0.5", "a number from 0 to 1"),
        ("score_threshold", "\N{FULLWIDTH DIGIT ZERO}.5", "a number from 0 to 1"),
        ("score_threshold", ".", "a number from 0 to 1"),
        ("score_threshold", "-0.1", "a number from 0 to 1"),
        ("masks", "svg", "one of rle, png"),
        ("colour", "red", "top_k, score_threshold, masks"),
    ],
)
def test_a_wrong_one_is_named_with_its_value_and_what_is_allowed(
    name: str, text: str, allowed: str
) -> None:
    with pytest.raises(InvalidParameter) as caught:
        SPEC.parse([(name, text)])
    message = caught.value.message
    assert f"{name}={text[:100]}: " in message
    assert allowed in message
    assert len(message) < 300
    assert caught.value.details == {"parameter": name}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("top_k", "+5", 5), ("top_k", "007", 7), ("score_threshold", "1", 1.0),
        ("score_threshold", "5e-1", 0.5), ("score_threshold", ".5", 0.5),
        ("score_threshold", "1.", 1.0), ("score_threshold", "-0", 0.0),
    ],
)  # fmt: skip
def test_a_number_may_have_a_sign_and_an_exponent(name: str, text: str, value: float) -> None:
    assert SPEC.parse([(name, text)])[name] == value


def test_one_that_is_sent_twice_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="once"):
        SPEC.parse([("top_k", "3"), ("top_k", "4")])


def test_a_model_without_parameters_says_so() -> None:
    with pytest.raises(InvalidParameter, match="are: none"):
        InputSpec().parse([("top_k", "3")])
