"""The exchange of engines: all or none, beside or in place; the fleet is played."""

from typing import cast

import pytest

from app.engine.channel import Channel
from app.engine.held import Held
from app.engine.order import Order
from app.engine.slot import Engine, Slot
from app.engine.swap import Outcome, Swap
from app.lifecycle import DEEP_CHECK, GPU_MEMORY, Stage


def engine(version: str, stage: Stage = Stage.LOADING) -> Engine:
    order = Order("cpu", 1, "")
    return Engine(order, cast("Channel", None), 0.0, 0.0, stage=stage, version=version)


class Fleet:
    """Does at once what it is asked, and remembers it."""

    def __init__(self) -> None:
        self.launched: list[Engine] = []
        self.abandoned: list[Engine] = []

    def launch(self, slot: Slot, weights: Held | None, precision: str) -> Engine:
        self.launched.append(engine("new"))
        return self.launched[-1]

    def retire(self, slot: Slot, old: Engine) -> None:
        slot.engine = None if slot.engine is old else slot.engine
        slot.retired.append(old)

    def abandon(self, slot: Slot, new: Engine) -> None:
        self.abandoned.append(new)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def slots() -> list[Slot]:
    return [Slot("cpu", engine("old", Stage.READY)), Slot("cpu", engine("old", Stage.READY))]


@pytest.fixture
def outcomes() -> list[Outcome]:
    return []


def begin(fleet: Fleet, slots: list[Slot], outcomes: list[Outcome], *, beside: bool) -> Swap:
    swap = Swap(fleet, slots, None, precisions={}, beside=beside, reply=outcomes.append)
    swap.begin()
    return swap


def versions(slots: list[Slot]) -> list[str]:
    return [slot.engine.version if slot.engine else "" for slot in slots]


def test_the_old_ones_serve_until_all_new_ones_are_ready(
    fleet: Fleet, slots: list[Slot], outcomes: list[Outcome]
) -> None:
    swap = begin(fleet, slots, outcomes, beside=True)
    fleet.launched[0].stage = Stage.READY
    assert not swap.advance()
    assert versions(slots) == ["old", "old"]
    fleet.launched[1].stage = Stage.READY
    assert not swap.advance()
    assert versions(slots) == ["new", "new"]
    assert outcomes == [], "the old ones still answer what they hold"
    for slot in slots:
        slot.retired.clear()
    assert swap.advance()
    assert [(outcome.code, outcome.version) for outcome in outcomes] == [("", "new")]


def test_new_ones_that_lack_memory_beside_the_old_ones_take_over_all_the_same(
    fleet: Fleet, slots: list[Slot], outcomes: list[Outcome]
) -> None:
    swap = begin(fleet, slots, outcomes, beside=True)
    fleet.launched[0].stage, fleet.launched[0].cause = Stage.DEGRADED, GPU_MEMORY
    assert not swap.unsound
    swap.advance()
    assert versions(slots) == ["old", "old"]
    fleet.launched[1].stage = Stage.READY
    swap.advance()
    assert versions(slots) == ["new", "new"], "or the old ones would never make room"


def test_a_new_one_that_fails_its_deep_check_while_it_waits_is_told(
    fleet: Fleet, slots: list[Slot], outcomes: list[Outcome]
) -> None:
    swap = begin(fleet, slots, outcomes, beside=True)
    assert not swap.unsound
    fleet.launched[0].stage, fleet.launched[0].cause = Stage.DEGRADED, DEEP_CHECK
    assert swap.unsound


def test_one_that_fails_ends_the_others_and_the_old_ones_serve_on(
    fleet: Fleet, slots: list[Slot], outcomes: list[Outcome]
) -> None:
    swap = begin(fleet, slots, outcomes, beside=True)
    fleet.launched[0].stage = Stage.READY
    slots[1].successor = None
    swap.give_up("reload_failed", "made of cheese")
    assert fleet.abandoned == [fleet.launched[0]]
    assert versions(slots) == ["old", "old"]
    assert [(outcome.code, outcome.cause) for outcome in outcomes] == [
        ("reload_failed", "made of cheese")
    ]


def test_in_place_the_old_one_leaves_before_the_new_one_starts(
    fleet: Fleet, slots: list[Slot], outcomes: list[Outcome]
) -> None:
    swap = begin(fleet, slots[:1], outcomes, beside=False)
    assert fleet.launched == []
    assert swap.holds(slots[0])
    assert not swap.holds(slots[1])
    slots[0].retired.clear()
    swap.advance()
    assert len(fleet.launched) == 1
    fleet.launched[0].stage = Stage.READY
    assert swap.advance()
    assert versions(slots) == ["new", "old"]


def test_what_has_taken_over_cannot_be_given_up(
    fleet: Fleet, slots: list[Slot], outcomes: list[Outcome]
) -> None:
    swap = begin(fleet, slots, outcomes, beside=True)
    for new in fleet.launched:
        new.stage = Stage.READY
    swap.advance()
    swap.give_up("draining", "the container is leaving")
    assert versions(slots) == ["new", "new"]
    assert [outcome.code for outcome in outcomes] == [""]
