"""The files that engines load from, held open by the supervisor from the first load to a reload.

A respawn loads the very files that serve, so that a half-written or renamed successor cannot slip
in (design, invariant 9), and labels never come from another time than their weights. Of a user's
own class the file's content is held: editors write into the file that is there.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app import files
from app.models import registry
from app.settings import Settings


@dataclass(frozen=True)
class Held:
    """Descriptors of open files and their names: the weights first, then what lies beside them.

    Where ``has_source``, one more descriptor has the code of the user's own class.
    """

    descriptors: tuple[int, ...]
    names: tuple[str, ...]
    has_source: bool = False

    @classmethod
    def open(cls, settings: Settings) -> Self | None:
        """Open what the settings name now; None where the model brings all that it needs.

        Raises:
            OSError: the weights cannot be opened, or what lies beside them cannot be read.
        """
        path = registry.weights_path(settings.model, settings.model_path)
        descriptors, names = _open_weights(path, settings.model) if path else ([], ())
        source = _copy_of(registry.source_path(settings.model))
        if source is not None:
            descriptors.append(source)
        return cls(tuple(descriptors), names, source is not None) if descriptors else None

    def close(self) -> None:
        """Hold them no longer."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def _open_weights(path: Path, model: str) -> tuple[list[int], tuple[str, ...]]:
    weights = files.choose(path)
    descriptors = [os.open(weights, os.O_RDONLY | os.O_CLOEXEC)]
    beside = files.beside(weights, model)
    try:
        descriptors.append(os.open(beside, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        pass  # it is up to the model whether it needs one
    except OSError:
        os.close(descriptors[0])
        raise
    return descriptors, (weights.name, beside.name)[: len(descriptors)]


def _copy_of(path: Path | None) -> int | None:
    """Return a descriptor of a copy in memory; None where the engine will say what is wrong."""
    with contextlib.suppress(OSError):
        if path and path.is_file():
            content = path.read_bytes()
            descriptor = os.memfd_create("source", os.MFD_CLOEXEC)
            with os.fdopen(descriptor, "wb", closefd=False) as copy:
                copy.write(content)
            return descriptor
    return None
