"""What one batch may spend on drawing: meanwhile its engine answers nobody, and must not hang."""

from collections.abc import Iterable

from app import errors

# Masks of so many pixels take about a second on a slow core; HANG_SECONDS is six by default.
BATCH_PIXELS = 128_000_000


def check_batch(pixels: Iterable[int]) -> None:
    """Refuse a batch that would be drawn for too long; the engine then halves it.

    Args:
        pixels: what is drawn for each image. One that is alone is let in: what one image may
            cost, its model says.

    Raises:
        app.errors.InvalidParameter: too many for one batch.
    """
    counts = list(pixels)
    if len(counts) > 1 and sum(counts) > BATCH_PIXELS:
        raise errors.InvalidParameter(
            f"{len(counts)} images have {sum(counts)} pixels to draw; {BATCH_PIXELS} are drawn "
            "in one batch"
        )
