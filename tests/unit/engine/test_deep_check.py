"""The golden answer: what counts as different, when it is asked for, what is remembered."""

import math

import pytest

from app import errors
from app.engine.deep_check import RECHECK_SECONDS, DeepCheck, difference

GOLDEN = [0.1, 0.7, 0.2]


class Model:
    """Answers what it is told to."""

    def __init__(self) -> None:
        self.values, self.seconds, self.asked = GOLDEN, 0.01, 0
        self.error: errors.ServingError | None = None

    def ask(self) -> tuple[list[list[float]], float]:
        """Answer."""
        self.asked += 1
        if self.error:
            raise self.error
        return [self.values], self.seconds


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def check(model: Model) -> DeepCheck:
    check = DeepCheck(model.ask, period=30.0)
    check.record(100.0)
    return check


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (GOLDEN, ""),
        ([0.1001, 0.6999, 0.2], ""),
        ([0.1, 0.68, 0.22], "moved by 0.02"),
        ([0.5, 0.4, 0.1], "was number 1 and is number 0"),
        ([math.nan] * 3, "not finite"),
        ([0.1, math.inf, 0.2], "not finite"),
        ([0.1, 0.7], "there are 2 outputs in 1; there were 3 in 1"),
    ],
)
def test_what_counts_as_another_answer(values: list[float], words: str) -> None:
    assert bool(difference([GOLDEN], [values])) == bool(words)
    assert words in difference([GOLDEN], [values])


def test_a_model_that_answers_at_random_is_told_what_it_needs_at_the_load(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    DeepCheck(model.ask, period=30.0).record(100.0)
    assert not caplog.records
    drawn = iter(range(100))

    def ask() -> tuple[list[list[float]], float]:
        return [[float(next(drawn)), 0.5]], 0.01

    DeepCheck(ask, period=30.0).record(100.0)
    [line] = caplog.records
    assert line.getMessage() == "deep_check_unsteady"
    assert "needs DEEP_CHECK_SECONDS=0" in line.fields["message"]


def test_boxes_in_pixels_do_not_hide_what_happens_to_scores() -> None:
    golden = [[1300.0, 700.0], [0.9, 0.2]]
    assert difference(golden, [[1290.0, 700.0], [0.9, 0.2]]) == ""
    assert "moved by 0.1" in difference(golden, [[1300.0, 700.0], [0.8, 0.2]])
    assert difference(golden, [[1300.0, 700.0, 0.9], [0.2]]), "the shape is part of the answer"


def test_two_classes_that_tie_may_change_places() -> None:
    assert difference([[0.5, 0.50001]], [[0.50001, 0.5]]) == ""


def test_a_tolerance_goes_with_the_size_of_the_outputs() -> None:
    assert difference([[400.0, 10.0]], [[401.0, 10.0]]) == ""
    assert "moved by 5" in difference([[400.0, 10.0]], [[405.0, 10.0]])


def test_the_load_itself_is_a_check(check: DeepCheck) -> None:
    state = check.state()
    assert state is not None
    assert (state["healthy"], state["at"], state["failures"], state["runs"]) == (True, 100.0, 0, 0)


def test_a_model_that_answers_no_numbers_does_not_load(model: Model) -> None:
    model.values = [math.nan]
    with pytest.raises(errors.ModelError, match="not finite"):
        DeepCheck(model.ask, 30.0).record(0.0)


def test_it_is_due_every_period_and_lets_requests_go_first(check: DeepCheck) -> None:
    assert not check.due(129.9, idle=True)
    assert check.due(130.0, idle=True)
    assert not check.due(159.9, idle=False)
    assert check.due(160.0, idle=False), "where requests never end it takes its turn"
    assert check.wait_seconds(120.0) == 10.0


def test_a_failure_is_told_and_looked_at_again_soon(check: DeepCheck, model: Model) -> None:
    model.values = [0.7, 0.1, 0.2]
    for number in range(1, 4):
        check.run(130.0)
        assert check.finding is not None
        assert (check.finding.healthy, check.finding.failures) == (False, number)
        assert check.due(130.0 + RECHECK_SECONDS, idle=True)
    model.values = GOLDEN
    check.run(140.0)
    assert (check.finding.healthy, check.finding.failures) == (True, 0)
    assert (check.finding.runs, check.finding.failed) == (4, 3)
    assert not check.due(165.0, idle=True)


def test_requests_that_never_end_do_not_hide_for_long_that_it_goes_wrong(
    check: DeepCheck, model: Model
) -> None:
    model.error = errors.ModelError("the model raised RuntimeError")
    check.hasten(110.0)
    assert not check.due(110.0 + RECHECK_SECONDS - 0.1, idle=False)
    assert check.due(110.0 + RECHECK_SECONDS, idle=False)
    check.run(115.0)
    assert not check.due(115.0 + 2 * RECHECK_SECONDS - 0.1, idle=False)
    assert check.due(115.0 + 2 * RECHECK_SECONDS, idle=False)
    model.error = None
    check.run(125.0)
    assert not check.due(184.9, idle=False), "as usual again"


def test_one_that_is_far_slower_than_at_its_load_fails(check: DeepCheck, model: Model) -> None:
    model.seconds = 0.9  # ten times the usual, but a busy machine does that
    check.run(130.0)
    assert check.finding
    assert check.finding.healthy
    model.seconds = 1.1
    check.run(160.0)
    assert not check.finding.healthy
    assert "1.100 s" in check.finding.reason


def test_one_that_raises_fails(check: DeepCheck, model: Model) -> None:
    model.error = errors.ModelError("the model raised RuntimeError")
    check.run(130.0)
    assert check.finding
    assert check.finding.reason == "the model raised RuntimeError"


def test_a_request_that_the_model_failed_brings_the_check_forward(check: DeepCheck) -> None:
    check.hasten(110.0)
    assert check.due(110.0, idle=True)


def test_requests_that_fail_all_the_time_do_not_make_it_run_all_the_time(
    check: DeepCheck,
) -> None:
    check.run(110.0)
    check.hasten(110.1)
    assert not check.due(110.0 + RECHECK_SECONDS - 0.1, idle=True)
    assert check.due(110.0 + RECHECK_SECONDS, idle=True)


def test_none_is_due_where_it_is_turned_off(model: Model) -> None:
    check = DeepCheck(model.ask, period=0.0)
    check.record(100.0)
    check.hasten(101.0)
    assert not check.due(1e9, idle=True)
    assert check.wait_seconds(1e9) is None
    assert check.state(), "the load was one"
