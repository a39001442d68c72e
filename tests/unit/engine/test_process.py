"""What an engine tells of its stages; neither loaded nor forked here."""

import socket
import threading
from typing import Any

import pytest

from app import logs
from app.engine.gpu import Reading
from app.engine.order import Order
from app.engine.process import EngineProcess
from app.engine.protocol import Decoder
from app.lifecycle import Stage
from app.settings import Settings

SHORT = Reading(
    uuid="0-1", name="Some GPU", total_mb=16000.0, used_mb=15900.0, free_mb=100.0,
    reserved_mb=0.0, reusable_mb=0.0, utilization=None, temperature=None,
)  # fmt: skip


def test_it_says_whether_the_thread_that_computes_is_alive() -> None:
    ours, theirs = socket.socketpair()
    made: list[EngineProcess] = []

    def compute() -> None:
        made.append(EngineProcess(Order("cpu", 1, ""), Settings.read({}), theirs, ()))
        assert made[0].state()["computing"]

    with ours, theirs:
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
        assert not made[0].state()["computing"]


def test_one_that_is_degraded_in_the_moment_it_is_ready_says_it_in_this_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        engine = EngineProcess(Order("cpu", 1, ""), Settings.read({}), theirs, None)
        talking = threading.Thread(target=engine._judge, args=(SHORT,))

        def log(event: str, **members: Any) -> None:
            if members.get("stage") is Stage.READY:  # the other thread's beat falls in here
                talking.start()
                talking.join(0.2)

        monkeypatch.setattr(logs, "event", log)
        engine._enter(Stage.READY)
        talking.join()
        frames = Decoder().feed(ours.recv(1 << 16))
    assert [frame.head["stage"] for frame in frames] == [Stage.READY, Stage.DEGRADED]
