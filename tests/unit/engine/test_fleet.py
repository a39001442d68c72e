"""What the fleet orders, and what it makes of what engines say; the nursery is played."""

import selectors
import socket
import time
from collections.abc import Iterator

import pytest

from app.engine.fleet import Fleet
from app.engine.order import Order
from app.engine.protocol import Decoder, Frame, Type
from app.engine.slot import Engine, Slot
from app.lifecycle import Stage
from app.metrics import Counts
from app.settings import Settings

GONE = "DEVICE=cuda, but PyTorch finds no usable CUDA device"
FULL = "the self-test failed: no device memory for 1 images"


class Nursery:
    """Takes orders and plays the engines; none is forked."""

    def __init__(self, fleet: Fleet, line: socket.socket) -> None:
        self.fleet = fleet
        self._line = line
        self._engine = socket.socket()

    def take_order(self) -> Order:
        """Return the next order, and be its engine from now on."""
        order, [descriptor, *files], _, _ = socket.recv_fds(self._line, 65536, 9)
        self._engine.close()
        self._engine = socket.socket(fileno=descriptor)
        for held in files:
            socket.close(held)
        [frame] = Decoder().feed(order)
        return Order(**frame.head)

    def say(self, stage: Stage, cause: str = "", **hello: str) -> None:
        """Be in a stage."""
        self.say_as(self.engine, stage, cause, **hello)

    def say_as(self, engine: Engine, stage: Stage, cause: str = "", **hello: str) -> None:
        """The same, where the engine has no place yet."""
        head = {
            "stage": stage,
            "pid": 2**30,
            "cause": cause,
            "version": "",
            "wrong_setting": cause == GONE,
            "no_memory": cause == FULL,
            "hello": hello,
        }
        self._engine.sendall(Frame(Type.STAGE, head=head).encode())
        self.fleet.read(engine.control)

    @property
    def slot(self) -> Slot:
        """The only one."""
        return self.fleet.slots[0]

    @property
    def engine(self) -> Engine:
        """The one that was ordered last."""
        assert self.slot.engine
        return self.slot.engine

    def close(self) -> None:
        """Leave nothing open."""
        self._engine.close()
        self._line.close()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with selectors.DefaultSelector() as selector, ours:
        fleet = Fleet(Settings.read({}), selector, lambda: None, Counts())
        fleet._launcher._line = ours
        played = Nursery(fleet, theirs)
        yield played
        played.close()
        if fleet.renewal.weights:
            fleet.renewal.weights.close()
        for slot in fleet.slots:
            for engine in slot.engines():
                engine.control.close()


def serve_and_die(nursery: Nursery) -> None:
    """Have an engine serve on the GPU that `auto` has found, and end."""
    nursery.fleet.tick(time.monotonic())
    assert nursery.take_order().device == "auto"
    for stage in (Stage.LOADING, Stage.WARMING, Stage.SELF_TEST):
        nursery.say(stage)
    nursery.say(Stage.READY, device="cuda", precision="float16")
    nursery.fleet._ended(nursery.slot, nursery.engine, 71)


def test_a_successor_is_ordered_onto_the_device_and_into_the_precision_of_its_predecessor(
    nursery: Nursery,
) -> None:
    serve_and_die(nursery)
    nursery.fleet.tick(time.monotonic())
    order = nursery.take_order()
    assert (order.device, order.precision) == ("cuda", "float16")


def test_a_gpu_that_is_gone_fails_the_load_and_does_not_end_the_container(
    nursery: Nursery,
) -> None:
    serve_and_die(nursery)
    nursery.fleet.served = False  # as where its READY were its last words
    nursery.fleet.tick(time.monotonic())
    nursery.take_order()
    nursery.say(Stage.FAILED, GONE)
    assert nursery.slot.cause == GONE
    assert nursery.fleet.refused == ""


def test_a_new_engine_without_memory_beside_the_old_one_has_it_make_room(nursery: Nursery) -> None:
    nursery.fleet.tick(time.monotonic())
    nursery.take_order()
    nursery.say(Stage.LOADING)
    old = nursery.engine
    nursery.fleet.renewal.reload(lambda _: None)
    nursery.take_order()
    new = nursery.slot.successor
    assert new
    nursery.say_as(new, Stage.FAILED, FULL)
    nursery.fleet._ended(nursery.slot, new, 1)
    assert nursery.slot.retired == [old]


def test_a_device_that_never_was_ends_the_start(nursery: Nursery) -> None:
    nursery.fleet.tick(time.monotonic())
    nursery.take_order()
    nursery.say(Stage.FAILED, GONE)
    assert nursery.fleet.refused == GONE
