"""Rolling upgrades: of the server, and of the usual recipe beside it.

The balancer hears of it at the same moment as the instance, or seconds later, as it does wherever
an endpoint's removal and the SIGTERM travel on different roads.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from rollout.instances import Ends
from rollout.lane import Lane
from rollout.stage import Row, Stage
from tests.server import Server

LAGS = (0, 1, 5, 15)
MARGIN_SECONDS = 3  # DRAIN_SECONDS is the lag and this
PLATFORM = {"DRAIN_SECONDS": 60, "GRACEFUL_SECONDS": 25, "PLATFORM_GRACE_SECONDS": 90}
PLATFORM_LAG = 50


def upgrades(lane: Lane) -> Iterator[Row]:
    """Replace every instance, once for each lag; before that, reload and replace nothing."""
    live: list[Server] = [*lane.start(lane.scale.instances, DRAIN_SECONDS=_drain(LAGS[0]))]
    yield from _control(lane, live)
    for lag, following in zip(LAGS, [*LAGS[1:], 0], strict=True):
        drain = _drain(following)
        with lane.stage(live) as stage:
            stage.wait_more(50)
            live, ends = _roll(
                lane,
                stage,
                live,
                lag,
                lambda: lane.fleet.start(DRAIN_SECONDS=drain),  # noqa: B023
            )
            stage.wait_total(lane.scale.requests)
            yield from stage.finish(
                f"rolling upgrade, balancer told {_when(lag)}",
                f"DRAIN_SECONDS={_drain(lag)}; {_told(ends)}", faults=tuple(ends.faults),
            )  # fmt: skip


def full_length(lane: Lane) -> Iterator[Row]:
    """Replace an instance with the deadlines of a platform that kills after 90 seconds."""
    live: list[Server] = [*lane.start(2, **PLATFORM)]
    with lane.stage(live) as stage:
        stage.wait_more(50)
        _, ends = _roll(lane, stage, live[:1], PLATFORM_LAG, lambda: lane.fleet.start(**PLATFORM))
        stage.wait_total(lane.scale.requests)
        faults = [*ends.faults, *(f"took {s:.0f} s" for s in ends.seconds if s > 90)]
        yield from stage.finish(
            f"rolling upgrade at full length, balancer told {_when(PLATFORM_LAG)}",
            f"60 + 25 s; {_told(ends)}", faults=tuple(faults),
        )  # fmt: skip
    lane.fleet.destroy()


def recipes(lane: Lane) -> Iterator[Row]:
    """Do the same to gunicorn's own worker, with the usual recipe and without it."""
    for lag in LAGS:
        yield from _recipe(lane, lag, _drain(lag), f"sleeps {_drain(lag)} s, then kills")
    for lag in LAGS[:2]:
        yield from _recipe(lane, lag, 0, "alone, no sleep")


def _recipe(lane: Lane, lag: int, sleep: int, how: str) -> Iterator[Row]:
    live: list[Server] = [*lane.start_plain(lane.scale.instances, sleep)]
    with lane.stage(live) as stage:
        stage.wait_more(50)
        live, ends = _roll(lane, stage, live, lag, lambda: lane.fleet.start_plain(sleep))
        stage.wait_total(lane.scale.requests)
        yield from stage.finish(
            f"plain gunicorn, {how}: balancer told {_when(lag)}", _told(ends), allowed=None
        )
    lane.fleet.destroy()
    for server in live:
        server.destroy()


def _control(lane: Lane, live: Sequence[Server]) -> Iterator[Row]:
    with lane.stage(live) as stage:
        for _ in range(lane.scale.reloads):
            stage.wait_more(100)
            stage.reload()
        stage.wait_total(lane.scale.requests)
        yield from stage.finish(
            "control: the balancer reloads, nothing stops", f"{lane.scale.reloads} reloads"
        )


def _roll(
    lane: Lane, stage: Stage, live: Sequence[Server], lag: int, start: Callable[[], Server]
) -> tuple[list[Server], Ends]:
    """Replace each in turn: the new one is ready, SIGTERM, the lag, the balancer is told."""
    after = [start() for _ in live]  # together, which spares the time in which nothing is to see
    for old, new in zip(live, after, strict=True):
        new.wait_ready()
        lane.fleet.retire(old)
        time.sleep(lag)
        stage.replace(old, new)
    return after, lane.fleet.wait_retired()


def _drain(lag: int) -> int:
    return lag + MARGIN_SECONDS


def _when(lag: int) -> str:
    return f"{lag} s after SIGTERM" if lag else "with SIGTERM"


def _told(ends: Ends) -> str:
    shown = " s, ".join(f"{seconds:.1f}" for seconds in sorted(ends.seconds))
    return f"gone {shown} s after SIGTERM"
