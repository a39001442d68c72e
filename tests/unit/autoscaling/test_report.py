"""The rehearsal's own judgement, and its tables."""

import math

from autoscaling import report
from autoscaling.record import Moment, Record, Script
from rollout.balancer import Log
from rollout.instances import Ends
from rollout.traffic import Seen

QUEUE = "unbroken_queue_length"


def moment(at: float, wanted: int, ready: int, asked: int) -> Moment:
    """Return what there was, of one metric."""
    return Moment(at, 4, wanted, ready, {QUEUE: 112.0}, {QUEUE: asked})


def record(**members: object) -> Record:
    """Return a rehearsal that went as promised; it began at second 100."""
    moments = [moment(1, 1, 1, 1), moment(5, 4, 1, 7), moment(9, 4, 4, 4), moment(20, 1, 4, 1)]
    base = {
        "targets": {QUEUE: 16.0}, "script": Script(), "began": 100.0, "moments": moments,
        "few": Seen([(101.0, 101.1), (112.0, 112.2)]), "many": Seen([(105.0, 106.0)]),
        "step": (4.0, 10.0),
    }  # fmt: skip
    return Record(**{**base, **members})  # type: ignore[arg-type]


def test_a_rehearsal_to_the_most_and_back_without_a_loss_is_as_promised() -> None:
    assert record().faults == []


def test_a_lost_request_counts_whoever_noticed_it() -> None:
    failure = {"id": "few-3", "outcome": "502", "reused": True, "began": 104.0, "ended": 105.0}

    assert record(few=Seen(failures=[failure])).faults == ["1 requests lost"]
    assert record(log=Log(failed=2)).faults == ["2 requests lost"]


def test_too_few_instances_too_many_in_the_end_and_a_bad_end_are_faults() -> None:
    assert record(moments=[moment(1, 1, 1, 1)]).faults == ["1 instances at most"]
    assert record(moments=[moment(1, 4, 4, 4)]).faults == ["4 instances in the end"]
    assert record(ends=Ends(faults=["exit code 1"])).faults == ["exit code 1"]


def test_the_tables_tell_phases_and_changes() -> None:
    text = report.tables(record())

    assert "| few clients | 0 to 4 | 1 | 0 | 0 | 0.10 s |" in text
    assert "| the step | 4 to 10 | 1 | 0 | 0 | 1.00 s |" in text
    assert f"| 5 | 1 → 4 | `{QUEUE}` asks for 7 | 110 | 16 |" in text
    assert f"| 20 | 4 → 1 | `{QUEUE}` asks for 1 | 110 | 16 |" in text


def test_answers_are_binned_by_their_end() -> None:
    middles, rates, p95s = report.bins(record(), 2.0)

    assert middles[:4] == [1, 3, 5, 7]
    assert rates[:4] == [0.5, 0, 0, 0.5]
    assert math.isclose(p95s[0], 0.1, abs_tol=1e-9)
    assert math.isnan(p95s[1])
