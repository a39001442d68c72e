"""Many pieces come out as one."""

import pytest

from app.web.gather import LARGE, gather


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("size", [1, LARGE - 1, LARGE, 5 * LARGE + 1])
def test_the_pieces_are_in_it_in_their_order(count: int, size: int) -> None:
    pieces = [bytes([number]) * size for number in range(count)]
    assert gather(pieces) == b"".join(pieces)
