"""What the supervisor asks the nursery for: plain values, for both sides of the fork."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """Which engine to fork.

    Args:
        device: DEVICE for this engine.
        generation: unique in the life of the supervisor.
        path: Unix socket to listen on once ready.
        files: names of the open files that come with it, the weights first.
        has_source: whether the code of the user's own class comes behind them.
        precision: what an engine with the same weights has chosen to compute in; empty where none
            has, and this one finds out.
    """

    device: str
    generation: int
    path: str
    files: Sequence[str] = ()
    has_source: bool = False
    precision: str = ""
