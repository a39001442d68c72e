"""``labels.txt`` beside a state dict: the names of its classes, one a line, in order. Pure."""

from app.models.weights import WeightsError


def parse(content: bytes) -> list[str]:
    """Return the lines; empty ones at the end do not count.

    Raises:
        WeightsError: there is no line, an empty one between others, or it is not UTF-8.
    """
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise WeightsError(f"labels.txt is not UTF-8: {error.reason}") from None
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise WeightsError("labels.txt is empty; it has the name of one class a line")
    if "" in lines:
        raise WeightsError(f"labels.txt has nothing in line {lines.index('') + 1}")
    return lines
