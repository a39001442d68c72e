"""The files that engines load from, held open by the supervisor from the first load to a reload.

A respawn loads the very files that serve, so that a half-written or renamed successor cannot slip
in (design, invariant 9), and labels never come from another time than their weights.
"""

import os
from dataclasses import dataclass
from typing import Self

from app import files
from app.models import registry
from app.settings import Settings


@dataclass(frozen=True)
class Held:
    """Descriptors of open files and their names: the weights first, then what lies beside them."""

    descriptors: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def open(cls, settings: Settings) -> Self | None:
        """Open what the settings name now; None where the model brings its own weights.

        Raises:
            OSError: the weights cannot be opened, or what lies beside them cannot be read.
        """
        path = registry.weights_path(settings.model, settings.model_path)
        if path is None:
            return None
        weights = files.choose(path)
        descriptors = [os.open(weights, os.O_RDONLY | os.O_CLOEXEC)]
        beside = files.beside(weights, settings.model)
        try:
            descriptors.append(os.open(beside, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            pass  # it is up to the model whether it needs one
        except OSError:
            os.close(descriptors[0])
            raise
        names = (weights.name, beside.name)[: len(descriptors)]
        return cls(tuple(descriptors), names)

    def close(self) -> None:
        """Hold them no longer."""
        for descriptor in self.descriptors:
            os.close(descriptor)
