"""The HorizontalPodAutoscaler's decisions, as Kubernetes documents them."""

import pytest

from autoscaling.autoscaler import Autoscaler, Bounds, Direction, Policy, desired, stretched

QUICK = Direction(0, (Policy("Percent", 1000, 15),))
AT_ONCE = Bounds(1, 10, up=QUICK, down=Direction(0, (Policy("Percent", 100, 15),)))


def pods(*values: float | None) -> dict[str, float | None]:
    """Return the values of so many pods."""
    return {f"pod-{number}": value for number, value in enumerate(values)}


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        (pods(200), 100, 2),  # the two examples of Kubernetes' documentation
        (pods(50, 50), 100, 1),
        (pods(10, 20), 10, 3),  # the average counts
        (pods(31, 31, 31), 10, 10),  # 9.3, rounded up
        (pods(0, 0, 0), 10, 0),
    ],
)
def test_a_metric_asks_for_current_times_value_by_target_rounded_up(
    values: dict[str, float | None], target: float, expected: int
) -> None:
    assert desired(len(values), values, target) == expected


@pytest.mark.parametrize(("value", "expected"), [(110, 4), (110.1, 5), (90, 4), (74, 3), (89, 4)])
def test_within_a_tenth_of_the_target_nothing_changes(value: float, expected: int) -> None:
    assert desired(4, pods(value, value, value, value), 100) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pods(300, None), 3),  # (300 + 0) / 2 = 1.5 × the target, for 2 pods
        (pods(120, None), 2),  # with 0 for the new one it would be scaled down: it stays
        (pods(10, None), 2),  # (10 + 100) / 2 = 0.55 × the target: 1.1 pods
        (pods(10, 10, None, None), 3),
        (pods(None, None), 2),
    ],
)
def test_a_pod_without_a_value_only_softens_the_decision(
    values: dict[str, float | None], expected: int
) -> None:
    assert desired(len(values), values, 100) == expected


def test_the_metric_that_asks_for_most_is_heard() -> None:
    autoscaler = Autoscaler({"queue": 10, "latency": 1}, AT_ONCE)

    assert autoscaler.decide(0, 2, {"queue": pods(40, 40), "latency": pods(0.1, 0.1)}) == 8


def test_bounds_hold() -> None:
    autoscaler = Autoscaler({"queue": 10}, Bounds(2, 5, up=QUICK))

    assert autoscaler.decide(0, 2, {"queue": pods(400, 400)}) == 5
    assert autoscaler.decide(1000, 2, {"queue": pods(0, 0)}) == 2


def test_with_a_metric_that_cannot_be_read_pods_are_added_and_never_taken() -> None:
    targets = {"queue": 10.0, "latency": 1.0}

    assert Autoscaler(targets, AT_ONCE).decide(0, 2, {"queue": pods(0, 0)}) == 2
    assert Autoscaler(targets, AT_ONCE).decide(0, 2, {"queue": pods(20, 20)}) == 4


def test_pods_go_only_when_the_whole_window_asked_for_fewer() -> None:
    bounds = Bounds(1, 10, up=QUICK)  # 300 seconds down
    autoscaler = Autoscaler({"queue": 10}, bounds)
    busy, idle, less = pods(10, 10, 10, 10), pods(0, 0, 0, 0), pods(5, 5, 5, 5)

    assert autoscaler.decide(0, 4, {"queue": busy}) == 4
    assert autoscaler.decide(15, 4, {"queue": idle}) == 4
    assert autoscaler.decide(150, 4, {"queue": less}) == 4
    assert autoscaler.decide(301, 4, {"queue": idle}) == 2  # what was asked for at 150
    assert autoscaler.decide(451, 2, {"queue": pods(0, 0)}) == 1


def test_pods_come_only_when_the_whole_window_asked_for_more() -> None:
    up = Direction(60, QUICK.policies)
    autoscaler = Autoscaler({"queue": 10}, Bounds(1, 10, up=up))

    assert autoscaler.decide(0, 1, {"queue": pods(10)}) == 1
    assert autoscaler.decide(15, 1, {"queue": pods(40)}) == 1
    assert autoscaler.decide(45, 1, {"queue": pods(30)}) == 1
    assert autoscaler.decide(61, 1, {"queue": pods(40)}) == 3


def test_by_default_the_number_doubles_or_grows_by_four_in_15_seconds() -> None:
    autoscaler = Autoscaler({"queue": 1}, Bounds(1, 100))
    crowd = {"queue": pods(1000)}

    assert autoscaler.decide(0, 1, crowd) == 5
    assert autoscaler.decide(10, 5, {"queue": pods(*[1000] * 5)}) == 5  # the period is used up
    assert autoscaler.decide(16, 5, {"queue": pods(*[1000] * 5)}) == 10


@pytest.mark.parametrize(("select", "expected"), [("Max", 5), ("Min", 9), ("Disabled", 10)])
def test_the_policy_that_is_selected_bounds_the_way_down(select: str, expected: int) -> None:
    down = Direction(0, (Policy("Percent", 50, 60), Policy("Pods", 1, 60)), select)
    autoscaler = Autoscaler({"queue": 10}, Bounds(1, 10, down=down))

    assert autoscaler.decide(0, 10, {"queue": pods(*[0] * 10)}) == expected


def test_stretched_bounds_have_the_same_numbers_and_other_times() -> None:
    bounds = stretched(Bounds(1, 10), 0.1)

    assert bounds == Bounds(
        1, 10, Direction(0, (Policy("Percent", 100, 1.5), Policy("Pods", 4, 1.5))),
        Direction(30, (Policy("Percent", 100, 1.5),)),
    )  # fmt: skip
