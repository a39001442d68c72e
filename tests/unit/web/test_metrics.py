"""The label that a model's answer comes down to."""

import json
from typing import Any

import pytest

from app.metrics import MAX_LABEL
from app.web.metrics import label_of

TOP = [{"class_id": 3, "label": 'tabby, "tabby" cat', "score": 0.9}, {"label": "tiger"}]


@pytest.mark.parametrize(
    ("result", "label"),
    [
        (7, "7"), ("cat", "cat"), (TOP, 'tabby, "tabby" cat'), (TOP[0], 'tabby, "tabby" cat'),
        ("é" * 100, "é" * MAX_LABEL),
        ("half \ud800 of a pair", "half ? of a pair"),
        ([1, 2, 3], None), ([], None), ({}, None), (0.5, None), (None, None), (True, None),
        ([[{"label": "cat"}]], None), ([{"label": 0.5}], None),
        ({"label": "x", "mask": [0] * 9999}, None),
    ],
)  # fmt: skip
def test_a_result_is_counted_under_its_first_label_or_not_at_all(
    result: Any, label: str | None
) -> None:
    assert label_of(json.dumps(result).encode()) == label
