"""The declarations of metrics, and what counts them."""

import json
import re
from pathlib import Path

import pytest

from app import errors, metrics, reference
from app.metrics import MAX_SERIES, OTHER, Counts, Metric

DOCS = Path(__file__).parent.parent.parent / "docs" / "reference"


@pytest.mark.parametrize("metric", metrics.ALL, ids=lambda metric: metric.name)
def test_names_have_the_prefix_and_base_units_and_say_what_they_are(metric: Metric) -> None:
    assert re.fullmatch(r"unbroken_[a-z_]+", metric.name)
    assert metric.help.endswith(".")
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert (metric.kind == "histogram") == bool(metric.buckets)
    assert not re.search(r"_(ms|milliseconds|mb|percent)(_|$)", metric.name)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert not metric.values or len(metric.labels) == 1


def test_every_metric_is_declared_once_and_listed() -> None:
    declared = [value for value in vars(metrics).values() if isinstance(value, Metric)]
    assert sorted(metric.name for metric in declared) == sorted(metrics.BY_NAME)
    assert len(metrics.ALL) == len(metrics.BY_NAME)


def test_what_was_counted_is_told_once() -> None:
    counts = Counts()
    counts.count(metrics.ERRORS, "queue_full")
    counts.count(metrics.ERRORS, "queue_full", by=2)
    assert counts.take() == {metrics.ERRORS.name: [[("queue_full",), [3]]]}
    assert counts.take() == {}


def test_a_value_falls_into_the_first_bucket_that_holds_it() -> None:
    counts = Counts()
    for size in (1, 2, 3, 1000):
        counts.observe(metrics.BATCH_SIZE, size)
    [[_, [whole, *buckets]]] = counts.rows()[metrics.BATCH_SIZE.name]
    assert whole == 1006
    assert buckets == [1, 1, 1, 0, 0, 0, 0, 0, 1]


def test_sums_over_the_wire_are_the_sums_of_all() -> None:
    total, first, second = Counts(), Counts(), Counts()
    for worker, seconds in ((first, 0.5), (second, 0.25), (second, 100.0)):
        worker.count(metrics.HTTP_REQUESTS, "/predict", "POST", "200")
        worker.observe(metrics.HTTP_DURATION, seconds, "/predict")
    for worker in (first, second):
        total.add(json.loads(json.dumps(worker.take())))
    assert total.rows()[metrics.HTTP_REQUESTS.name] == [[("/predict", "POST", "200"), [3]]]
    [[_, cells]] = total.rows()[metrics.HTTP_DURATION.name]
    assert cells[0] == 100.75
    assert sum(cells[1:]) == 3


def test_a_rate_finds_a_zero_before_the_first_count() -> None:
    counts = Counts()
    counts.begin()
    rows = counts.rows()
    assert [list(part) for part in rows[metrics.REQUESTS_SHED.name][0]] == [[], [0]]
    assert {labels[0] for labels, _ in rows[metrics.ERRORS.name]} == set(errors.BY_CODE)
    assert metrics.READY.name not in rows, "what is now is not counted"
    assert metrics.HTTP_REQUESTS.name not in rows, "its labels are not known beforehand"


def test_a_metric_of_another_version_is_left_out() -> None:
    counts = Counts()
    counts.add({"unbroken_of_tomorrow": [[[], [1]]]})
    assert counts.take() == {}


def test_labels_beyond_the_cap_are_one() -> None:
    counts = Counts()
    for label in range(MAX_SERIES + 5):
        counts.count(metrics.RESULTS, str(label))
    counts.count(metrics.RESULTS, "7")
    rows = dict(counts.rows()[metrics.RESULTS.name])
    assert len(rows) == MAX_SERIES + 1
    assert (rows[(OTHER,)], rows[("7",)]) == ([5], [2])


def test_the_reference_page_is_what_the_declarations_say() -> None:
    assert (DOCS / "metrics.md").read_text() == reference.metrics_markdown()


def test_what_newer_code_has_counted_in_another_form_is_left_out() -> None:
    counts = Counts()
    counts.add({"unbroken_of_tomorrow": [[[], [1]]], metrics.BATCH_SIZE.name: [[[], [1] * 99]]})
    assert counts.rows() == {}
