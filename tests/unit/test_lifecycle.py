"""The verdict on the engines, for every state they can be in."""

import pytest

from app.lifecycle import EngineView, Health, Stage, judge, may_follow

NOW = 1000.0
SERVING = EngineView(Stage.READY, heard_at=NOW - 1)


def test_a_ready_engine_that_reports_can_serve() -> None:
    assert judge([SERVING], NOW, 6.0) == Health(True, "ready")


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (EngineView(Stage.LOADING), "loading"),
        (EngineView(Stage.WARMING), "warming"),
        (EngineView(Stage.SELF_TEST), "self_test"),
        (EngineView(Stage.FAILED, "truncated"), "load_failed: truncated"),
        (EngineView(Stage.LOADING, "truncated"), "load_failed: truncated"),
        (EngineView(Stage.GONE), "engine_gone"),
        (EngineView(Stage.RETIRING), "engine_gone"),
        (EngineView(Stage.READY), "engine_gone"),
        (EngineView(Stage.DEGRADED, "deep_check", heard_at=NOW), "deep_check"),
        (EngineView(Stage.DEGRADED, "gpu_memory", heard_at=NOW), "gpu_memory"),
        (EngineView(Stage.DEGRADED, "gpu_memory", heard_at=NOW - 4.1), "engine_stale"),
        (EngineView(Stage.READY, heard_at=NOW - 4.1), "engine_stale"),
        (EngineView(Stage.READY, heard_at=NOW, batch_age=4.1), "engine_stale"),
    ],
)
def test_anything_else_cannot_and_says_why(engine: EngineView, reason: str) -> None:
    health = judge([engine], NOW, 6.0)
    assert (health.can_serve, health.reason) == (False, reason)


def test_no_engine_at_all_cannot_serve() -> None:
    assert judge([], NOW, 6.0).reason == "engine_gone"


def test_one_engine_that_can_serve_is_enough() -> None:
    assert judge([EngineView(Stage.GONE), SERVING, EngineView(Stage.LOADING)], NOW, 6.0).can_serve


def test_of_several_that_cannot_the_most_hopeful_speaks() -> None:
    assert judge([EngineView(Stage.GONE), EngineView(Stage.WARMING)], NOW, 6.0).reason == "warming"


def test_nothing_follows_the_end() -> None:
    assert not any(may_follow(Stage.GONE, stage) for stage in Stage)


def test_every_living_stage_can_end() -> None:
    assert all(may_follow(stage, Stage.GONE) for stage in Stage if stage is not Stage.GONE)


def test_a_batch_that_may_take_long_is_not_stale_before_half_of_hang_seconds() -> None:
    slow = EngineView(Stage.READY, heard_at=NOW, batch_age=9.0)
    assert judge([slow], NOW, 20.0).can_serve
    assert judge([slow], NOW, 17.0).reason == "engine_stale"
