"""The record of a request: who is suspected, what is forgotten, when it is answered."""

import numpy as np

from app.engine.record import Image, Request
from app.input_spec import InputSpec

SPEC = InputSpec(mode="RGB", resize=(2, 2))
HELLO = {"result_key": "predictions", "version": "abc"}
TIMINGS = {"queue_ms": 1.0, "inference_ms": 5.0, "batch": 2}


def request(images: int) -> Request:
    pixels = np.zeros((2, 2, 3), np.uint8)
    record = Request([Image(pixels, (2, 2)) for _ in range(images)], SPEC, {}, deadline=100)
    record.numbers = [10 + index for index in range(images)]
    return record


def test_it_is_answered_when_every_image_is_and_in_the_order_of_the_request() -> None:
    record = request(2)
    assert not record.note(11, b"second", TIMINGS)
    assert record.note(10, b"first", {**TIMINGS, "queue_ms": 9.0})
    answer = record.answer(HELLO)
    assert (answer.results, answer.result_key, answer.version) == (
        [b"first", b"second"], "predictions", "abc",
    )  # fmt: skip
    assert (answer.queue_ms, answer.inference_ms, answer.batch) == (9.0, 5.0, 2)


def test_only_an_image_that_had_started_is_suspected() -> None:
    record = request(2)
    record.image_of(10).started = True
    assert record.survive() == 1
    assert [image.victims for image in record.images] == [1, 0]


def test_an_image_that_was_answered_is_no_suspect_but_runs_again() -> None:
    record = request(2)
    record.image_of(10).started = True
    record.note(10, b"x", TIMINGS)
    assert record.survive() == 0
    assert [image.result for image in record.images] == [None, None], "one engine answers all"


def test_victims_add_up() -> None:
    record = request(1)
    for expected in (1, 2):
        record.image_of(10).started = True
        assert record.survive() == expected
    assert record.replays == 2
