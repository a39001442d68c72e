"""The outline of what lies above a level in a small grid of numbers: marching squares. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

Grid = Sequence[Sequence[float]]
Point = tuple[float, float]
Edge = tuple[int, int, int, int]  # a cell's side: row and column of its two ends


def outline(grid: Grid, level: float) -> list[Point]:
    """Return the outline of the largest part of a grid that reaches a level.

    Args:
        grid: rows of numbers; its border must be below the level, so that every outline closes.
        level: where the outline runs.

    Returns:
        Points (x, y) in the grid's own columns and rows, without the first one again at the end;
        empty if nothing reaches the level. Holes are left out.
    """
    neighbours: dict[Edge, list[Edge]] = defaultdict(list)
    for row, column in _mixed(grid, level):
        for one, other in _segments(grid, level, row, column):
            neighbours[one].append(other)
            neighbours[other].append(one)
    loops = [[_crossing(grid, level, edge) for edge in loop] for loop in _loops(neighbours)]
    return max(loops, key=area, default=[])


def area(points: Sequence[Point]) -> float:
    """Return the area that a closed line encloses."""
    following = [*points[1:], *points[:1]]
    twice = sum(x * v - u * y for (x, y), (u, v) in zip(points, following, strict=True))
    return abs(twice) / 2


def _mixed(grid: Grid, level: float) -> list[list[int]]:
    """Return row and column of the cells that the outline crosses, few of all there are."""
    above = np.asarray(grid) >= level
    reaching = sum(
        part.astype(np.int8)
        for part in (above[:-1, :-1], above[:-1, 1:], above[1:, :-1], above[1:, 1:])
    )
    places: list[list[int]] = np.argwhere((reaching > 0) & (reaching < 4)).tolist()
    return places


def _segments(grid: Grid, level: float, row: int, column: int) -> Iterator[tuple[Edge, Edge]]:
    """Yield the pairs of a cell's sides that the outline joins, where it crosses the cell."""
    corners = [(row, column), (row, column + 1), (row + 1, column + 1), (row + 1, column)]
    values = [grid[y][x] for y, x in corners]
    above = [value >= level for value in values]
    sides: list[Edge] = [
        min((*corners[i], *corners[i - 3]), (*corners[i - 3], *corners[i])) for i in range(4)
    ]
    crossed = [side for i, side in enumerate(sides) if above[i] != above[i - 3]]
    if len(crossed) == 2:
        yield crossed[0], crossed[1]
        return
    # A saddle: two corners across are above. The middle says whether they are one part.
    if (sum(values) / 4 >= level) == above[0]:
        yield sides[0], sides[1]
        yield sides[2], sides[3]
    else:
        yield sides[3], sides[0]
        yield sides[1], sides[2]


def _loops(neighbours: dict[Edge, list[Edge]]) -> Iterator[list[Edge]]:
    left = dict.fromkeys(neighbours)
    while left:
        loop = []
        edge: Edge | None = next(iter(left))
        while edge is not None:
            del left[edge]
            loop.append(edge)
            edge = next((other for other in neighbours[edge] if other in left), None)
        yield loop


def _crossing(grid: Grid, level: float, edge: Edge) -> Point:
    """Return where between its two ends a side crosses the level."""
    y1, x1, y2, x2 = edge
    here, there = grid[y1][x1], grid[y2][x2]
    share = (level - here) / (there - here)
    return x1 + share * (x2 - x1), y1 + share * (y2 - y1)
