"""The likeliest classes of an image: what every classifier answers."""

from collections.abc import Sequence

from torch import Tensor

from app.input_spec import Option
from app.models.interface import Query

TOP = 5
TOP_K = "top_k"


def top_k(labels: Sequence[str]) -> Option:
    """Return the parameter that says how many classes are asked for."""
    return Option(TOP_K, "integer", TOP, low=1, high=len(labels))


def likeliest(
    scores: Tensor, labels: Sequence[str], queries: Sequence[Query]
) -> list[list[dict[str, object]]]:
    """Return the ``top_k`` likeliest classes of each image, the likeliest first.

    Args:
        scores: shape (N, classes).
        labels: one for each class.
        queries: one for each image.
    """
    wanted = [min(query.options[TOP_K], len(labels)) for query in queries]
    values, classes = scores.topk(max(wanted))
    return [
        [
            {"class_id": c, "label": labels[c], "score": round(s, 6)}
            for c, s in zip(ids[:k], row[:k], strict=True)
        ]
        for ids, row, k in zip(classes.tolist(), values.tolist(), wanted, strict=True)
    ]
