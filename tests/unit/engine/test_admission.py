"""Admission: bounded by the share, but never shut to a request that is alone."""

import pytest

from app import errors
from app.engine.admission import Admission, Hold


@pytest.fixture
def admission() -> Admission:
    admission = Admission()
    admission.share(images=4, size=1000)
    return admission


def test_what_the_share_allows_is_let_in_and_the_next_is_not(admission: Admission) -> None:
    with Hold(admission) as first, Hold(admission) as second:
        first.add_images(3)
        second.add_images(1)
        first.add_bytes(600)
        second.add_bytes(400)
        with pytest.raises(errors.QueueFull, match="MAX_CONCURRENT_REQUESTS"):
            Hold(admission).add_images(1)
        with pytest.raises(errors.QueueFull, match="MAX_INFLIGHT_MB"):
            second.add_bytes(1)


def test_a_request_that_is_alone_is_let_in_however_much_it_holds(admission: Admission) -> None:
    with Hold(admission) as hold:
        hold.add_bytes(900)
        hold.add_bytes(5000)
        hold.add_images(9)
        with pytest.raises(errors.QueueFull):
            Hold(admission).add_bytes(1)


def test_everything_is_given_back_at_the_end_also_after_an_error(admission: Admission) -> None:
    hold = Hold(admission)
    hold.add_images(2)
    hold.add_bytes(700)
    hold.drop_bytes(300)
    assert (admission.images, admission.bytes) == (2, 400)
    with pytest.raises(errors.ImageUnreadable), hold:
        raise errors.ImageUnreadable("truncated")
    assert (admission.images, admission.bytes) == (0, 0)
