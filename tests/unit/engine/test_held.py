"""The files that are held open: the same ones for every respawn, whatever their path names."""

import gc
import os
from pathlib import Path

import pytest

from app.engine.held import Held
from app.settings import Settings


def read(descriptor: int) -> bytes:
    return Path(f"/proc/self/fd/{descriptor}").read_bytes()


def open_(path: Path) -> Held:
    held = Held.open(Settings.read({"MODEL": "torchvision/resnet18", "MODEL_PATH": str(path)}))
    assert held
    return held


def test_weights_and_labels_are_those_of_one_moment(tmp_path: Path) -> None:
    for name in ("m.pth", "labels.txt"):
        (tmp_path / name).write_text(f"old {name}")
    held = open_(tmp_path)
    for name in ("m.pth", "labels.txt"):
        (tmp_path / "new").write_text("new")
        (tmp_path / "new").replace(tmp_path / name)
    assert held.names == ("m.pth", "labels.txt")
    assert [read(one) for one in held.descriptors] == [b"old m.pth", b"old labels.txt"]
    held.close()


def test_what_is_not_there_is_not_held(tmp_path: Path) -> None:
    (tmp_path / "m.pth").touch()
    held = open_(tmp_path / "m.pth")
    assert (held.names, len(held.descriptors)) == (("m.pth",), 1)
    held.close()
    assert Held.open(Settings.read({"MODEL": "torchvision/resnet18"})) is None


def test_the_code_of_a_class_is_held_as_it_was_whatever_is_written_into_its_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.py"
    path.write_text("old")
    settings = {"MODEL": f"{path}:Mine"}
    held = Held.open(Settings.read(settings))
    assert held
    path.write_text("new")
    assert (held.names, held.has_source) == ((), True)
    assert [read(one) for one in held.descriptors] == [b"old"]
    held.close()
    (tmp_path / "m.pth").write_text("weights")
    held = Held.open(Settings.read({**settings, "MODEL_PATH": str(tmp_path)}))
    assert held
    assert held.names == ("m.pth",)
    assert [read(one) for one in held.descriptors] == [b"weights", b"new"]
    held.close()
    path.unlink()
    assert Held.open(Settings.read(settings)) is None, "the engine says that there is none"


def test_a_failure_leaves_nothing_open(tmp_path: Path) -> None:
    gc.collect()  # what other tests have left goes now, and not in between
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        open_(tmp_path / "m.pth")
    (tmp_path / "m.pth").touch()
    (tmp_path / "labels.txt").symlink_to("labels.txt")
    with pytest.raises(OSError, match="symbolic links"):
        open_(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
