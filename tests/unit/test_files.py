"""Which file a MODEL_PATH means, and which one is looked for beside it."""

from pathlib import Path

import pytest

from app import files


def filled(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_a_file_means_itself_even_where_there_is_none(tmp_path: Path) -> None:
    assert files.choose(tmp_path / "none.pth") == tmp_path / "none.pth"


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.pt2", "a.pt"])
def test_a_directory_means_its_one_file_of_a_known_kind(tmp_path: Path, name: str) -> None:
    filled(tmp_path, name, "model.json", "labels.txt", "README.md", "._a.pth")
    assert files.choose(tmp_path) == tmp_path / name


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "has no file of *.pth, *.safetensors, *.pt2, *.pt"),
        (("a.bin", "labels.txt"), "has no file of"),
        (("b.pth", "a.pt"), "has 2 files of *.pth, *.safetensors, *.pt2, *.pt (a.pt, b.pth)"),
    ],
)
def test_a_directory_with_none_or_several_is_refused_by_name(
    tmp_path: Path, names: tuple[str, ...], words: str
) -> None:
    with pytest.raises(OSError, match="directory") as caught:
        files.choose(filled(tmp_path, *names))
    assert words in caught.value.strerror
    assert caught.value.filename == str(tmp_path)


@pytest.mark.parametrize(
    ("model", "name", "beside"),
    [("exported", "a.pt2", "model.json"), ("exported", "a.pt", "model.json"),
     ("torchvision/resnet18", "a.pt", "labels.txt"), ("mnist", "a.pt", "labels.txt"),
     ("torchvision/resnet18", "a.pth", "labels.txt"), ("mine.py:Mine", "a.pt", "model.json"),
     ("mine.py:Mine", "a.safetensors", "labels.txt")],
)  # fmt: skip
def test_what_lies_beside_goes_by_the_model_and_the_kind_of_the_file(
    model: str, name: str, beside: str
) -> None:
    assert files.beside(Path("/m", name), model) == Path("/m", beside)
