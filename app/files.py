"""Which files a model is loaded from: the one that MODEL_PATH names, and the one beside it."""

import errno
from pathlib import Path

SUFFIXES = ("pth", "safetensors", "pt2", "pt")
_PROGRAMS = (".pt2", ".pt")
_BESIDE_A_PROGRAM = "model.json"
_BESIDE_A_STATE_DICT = "labels.txt"


def is_program(path: str) -> bool:
    """Return whether a file of this name brings its own network: torch.export's or TorchScript."""
    return path.endswith(_PROGRAMS)


def choose(path: Path) -> Path:
    """Return the weights file that a path means: itself, or the only one in a directory.

    Raises:
        OSError: a directory has none or several, or cannot be read.
    """
    if not path.is_dir():
        return path
    found = sorted(
        file
        for file in path.iterdir()
        if file.suffix[1:] in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"*.{suffix}" for suffix in SUFFIXES)
    if found:
        names = ", ".join(file.name for file in found[:4]) + (" …" if len(found) > 4 else "")
        words = f"the directory has {len(found)} files of {known} ({names}); name one of them"
    else:
        words = f"the directory has no file of {known}"
    raise FileNotFoundError(errno.ENOENT, words, str(path))


def beside(weights: Path, model: str) -> Path:
    """Return the file that may lie beside a weights file and say what its numbers mean.

    Args:
        weights: the file.
        model: MODEL, which knows what it is; a class of the user's own takes either kind.
    """
    fills_a_network = model == "mnist" or model.startswith("torchvision/")
    of_a_program = is_program(weights.name) and not fills_a_network
    return weights.parent / (_BESIDE_A_PROGRAM if of_a_program else _BESIDE_A_STATE_DICT)
