"""Makes one piece of many, without the GIL where that would take long. Linux."""

import os
from collections.abc import Sequence

LARGE = 1 << 20  # bytes


def gather(pieces: Sequence[bytes]) -> bytes:
    """Return the pieces in one.

    ``b"".join`` of 15 MB keeps the GIL for 5 to 15 ms, since each page of the result is touched for
    the first time; the kernel's copies do it without.
    """
    if sum(map(len, pieces)) < LARGE:
        return b"".join(pieces)
    with open(os.memfd_create("pieces"), "w+b") as file:
        file.writelines(pieces)
        file.seek(0)
        return file.read()
