"""What follows from a failure in the computing thread: a check that is hastened, or not."""

import socket
import time

import pytest

from app.engine.batcher import Item
from app.engine.channel import Channel
from app.engine.compute import Compute
from app.engine.deep_check import RECHECK_SECONDS, DeepCheck
from app.engine.protocol import Decoder, Type
from app.engine.runner import Runner
from app.models.interface import Weights
from tests.stubs import models


@pytest.mark.parametrize(
    ("model", "code", "hastened"),
    [
        (models.Refuses(), "invalid_parameter", False),
        (models.RefusesAll(), "invalid_parameter", False),
        (models.Raises(), "model_error", True),
    ],
)
def test_only_a_failure_of_the_model_hastens_its_check_and_is_logged(
    model: models.Echo, code: str, hastened: bool, caplog: pytest.LogCaptureFixture
) -> None:
    runner = Runner(model, "cpu", 4)
    runner.load(Weights(None, "", ""))
    deep = DeepCheck(runner.golden, 60.0)
    now = time.monotonic()
    deep.record(now)
    compute = Compute()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        marked = bytes(models.MARK) * 64
        compute.put(Item((Channel(theirs), 1), (8, 8, 3), (8, 8), {}, now + 60, False, now, marked))
        compute.stop()
        compute.run(runner, deep, lambda: False)
        frames = Decoder().feed(ours.recv(1 << 16))
    [failed] = [frame for frame in frames if frame.type is Type.FAILED]
    assert failed.head["code"] == code
    assert deep.due(now + RECHECK_SECONDS, idle=True) == hastened
    assert ("batch_failed" in caplog.text) == hastened


def test_large_images_share_no_batch_that_the_warm_up_has_not_tried() -> None:
    runner = Runner(models.Varied(), "cpu", 4)
    runner.load(Weights(None, "", ""))
    height, width, _ = runner.sample().shape
    now = time.monotonic()
    compute = Compute()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(theirs)
        for number, factor in enumerate([3, 1, 2, 1, 1, 1], 1):
            shape = (height * factor, width, 3)
            compute.put(Item((channel, number), shape, (width, height), {}, now + 60, False, now,
                             bytes(height * factor * width * 3)))  # fmt: skip
        compute.stop()
        compute.run(runner, DeepCheck(runner.golden, 0.0), lambda: False)
        frames = Decoder().feed(ours.recv(1 << 16))
    batches = [frame.head["ids"] for frame in frames if frame.type is Type.STARTED]
    assert batches == [[1, 2], [3, 4, 5], [6]], "no more than four images of the usual size"
