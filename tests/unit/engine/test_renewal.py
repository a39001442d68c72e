"""What an exchange is begun for, and what the new engines are told; the fleet is played."""

from typing import cast

import pytest

from app import limits
from app.engine.channel import Channel
from app.engine.held import Held
from app.engine.order import Order
from app.engine.renewal import Renewal
from app.engine.slot import Engine, Slot
from app.engine.swap import Outcome
from app.lifecycle import Stage
from app.metrics import Counts
from app.settings import Settings


def engine(precision: str = "", stage: Stage = Stage.LOADING) -> Engine:
    order = Order("cuda", 1, "", precision=precision)
    return Engine(order, cast("Channel", None), 0.0, 0.0, stage=stage, was_ready=True)


def become_ready(one: Engine, precision: str, device: str = "cuda") -> None:
    one.stage, one.hello = Stage.READY, {"precision": precision, "device": device}


class Fleet:
    """Does at once what it is asked, and remembers it."""

    def __init__(self, engines: int = 1, **environ: str) -> None:
        self.slots = [Slot("cuda", engine(stage=Stage.READY)) for _ in range(engines)]
        self.launched: list[Engine] = []
        self.renewal = Renewal(Settings.read(environ), self, self.slots, lambda: None, Counts())
        self.outcomes: list[Outcome] = []

    def launch(self, slot: Slot, weights: Held | None, precision: str) -> Engine:
        self.launched.append(engine(precision))
        return self.launched[-1]

    def retire(self, slot: Slot, old: Engine) -> None:
        slot.engine = None

    def abandon(self, slot: Slot, new: Engine) -> None:
        pass

    def reload(self) -> None:
        self.renewal.reload(self.outcomes.append)


def test_the_first_choice_stands_for_the_weights_that_serve() -> None:
    fleet = Fleet()
    assert fleet.renewal.precisions == {}
    for precision in ("float16", "float32"):
        one = engine()
        become_ready(one, precision)
        fleet.renewal.note(one)
    assert fleet.renewal.precisions == {"cuda": "float16"}
    another = engine()
    become_ready(another, "float32", "cuda:1")
    fleet.renewal.note(another)
    assert fleet.renewal.precisions["cuda:1"] == "float32", "another device is another matter"


def test_new_weights_choose_anew_and_their_choice_stands_once_they_serve() -> None:
    fleet = Fleet()
    fleet.renewal.precisions = {"cuda": "float16"}
    fleet.reload()
    assert [new.order.precision for new in fleet.launched] == [""]
    assert fleet.renewal.precisions == {"cuda": "float16"}, "for an old one that dies meanwhile"
    become_ready(fleet.launched[0], "float32")
    fleet.renewal.advance()
    assert fleet.renewal.precisions == {"cuda": "float32"}


def test_a_fresh_engine_for_one_that_has_grown_takes_over_its_choice() -> None:
    fleet = Fleet()
    fleet.renewal.precisions = {"cuda": "float16"}
    old = fleet.slots[0].engine
    assert old
    old.host.ready, old.host.now = 1.0, 1e9
    fleet.renewal.tick(1000.0)
    assert [new.order.precision for new in fleet.launched] == ["float16"]


@pytest.mark.parametrize(
    ("engines", "environ", "reserved", "too_large"),
    [
        (1, {}, 7900, False),
        (1, {}, 8100, True),
        (2, {}, 4100, True),
        (1, {"MAX_ENGINE_MEMORY_MB": "5000"}, 5100, True),
        (1, {"MAX_ENGINE_MEMORY_MB": "9000"}, 8100, True),
    ],
)
def test_a_gpus_limit_is_its_own_and_the_variables_only_where_it_was_set(
    engines: int, environ: dict[str, str], reserved: float, too_large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(limits, "memory_bytes", lambda: 2 << 30)  # of a small pod
    fleet = Fleet(engines, **environ)
    serving = fleet.slots[0].engine
    assert serving
    serving.gpu = {"uuid": "0-1", "total_mb": 10000, "free_mb": 1000, "reserved_mb": reserved}
    serving.device.ready, serving.device.now = 2000, reserved
    fleet.renewal.tick(1000.0)
    assert fleet.renewal.running is too_large


@pytest.mark.parametrize("no_memory", [True, False])
def test_where_memory_holds_one_and_only_there_the_old_one_makes_room(no_memory: bool) -> None:
    fleet = Fleet()
    fleet.reload()
    fleet.slots[0].successor = None
    fleet.renewal.give_up("reload_failed", "in whatever words", no_memory=no_memory)
    assert fleet.renewal.running is no_memory
    assert len(fleet.launched) == 1 + no_memory
    assert len(fleet.outcomes) == 1 - no_memory


def test_of_new_ones_that_start_one_after_the_other_the_later_follow_the_first() -> None:
    fleet = Fleet(engines=2, SWAP="replace")
    kept = fleet.slots[1]
    kept.retired.append(engine())  # answers what it holds for longer
    fleet.reload()
    become_ready(fleet.launched[0], "float16")
    kept.retired.clear()
    fleet.renewal.advance()
    assert [new.order.precision for new in fleet.launched] == ["", "float16"]
