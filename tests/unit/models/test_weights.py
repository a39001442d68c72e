"""What an operator is told about a weights file, and that no file runs code."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from app.models.weights import WeightsError, damaged, fill, load_state_dict, version_of


def network() -> nn.Sequential:
    """Return a small network with a batch norm."""
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def pth(content: object) -> bytes:
    """Return what torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def safe(state: dict[str, Tensor]) -> bytes:
    """Return a safetensors file."""
    return safetensors.torch.save(state)


class RunsCode:
    """Pickles into a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        """Keep the path of the file to leave."""
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return the call."""
        return os.mkdir, (str(self.path),)


def sentence(content: bytes, filename: str) -> str:
    """Return the refusal of a file, which must be one short line that starts with its name."""
    with pytest.raises(WeightsError) as caught:
        load_state_dict(content, filename)
    text = str(caught.value)
    assert text.startswith(filename)
    assert "\n" not in text
    assert len(text) < 300
    return text


@pytest.mark.parametrize(("filename", "write"), [("w.safetensors", safe), ("w.pth", pth)])
def test_a_saved_state_dict_comes_back_equal(
    filename: str, write: Callable[[dict[str, Tensor]], bytes]
) -> None:
    saved = network().state_dict()
    loaded = load_state_dict(write(saved), filename)
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_checkpoint_is_unwrapped(wrapper: str) -> None:
    saved = network().state_dict()
    loaded = load_state_dict(pth({"epoch": 3, wrapper: saved}), "w.pth")
    assert loaded.keys() == saved.keys()


@pytest.mark.parametrize(("filename", "write"), [("w.safetensors", safe), ("w.pth", pth)])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_called_truncated_or_damaged(
    filename: str, write: Callable[[dict[str, Tensor]], bytes], share: float
) -> None:
    content = write(network().state_dict())
    text = sentence(content[: int(share * len(content))], filename)
    assert "is truncated or damaged: " in text


def test_what_a_reader_says_is_cut_visibly_and_never_a_bare_name() -> None:
    assert damaged("a.pth", ValueError("x" * 500)).endswith("xxx…")
    assert damaged("a.pth", ValueError("one line.\nand more")).endswith(": one line")
    assert damaged("a.pth", EOFError()).endswith(": it ends too early")


@pytest.mark.parametrize("filename", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize(
    "content", [b"<html>404</html>", b"\0" * 4096, b"version https://git-lfs.github.com/spec/v1"]
)
def test_a_file_of_something_else_is_called_damaged(filename: str, content: bytes) -> None:
    assert "is truncated or damaged: " in sentence(content, filename)


def test_a_pickle_that_wants_to_run_code_is_refused_and_not_run(tmp_path: Path) -> None:
    left_behind = tmp_path / "left"
    text = sentence(pth({"weight": RunsCode(left_behind)}), "w.pth")
    assert not left_behind.exists()
    assert "not run" in text
    assert "torch.save(model.state_dict()" in text


def test_a_whole_pickled_module_is_refused_with_the_way_to_convert_it() -> None:
    assert "torch.save(model.state_dict()" in sentence(pth(network()), "w.pth")


def test_a_file_with_other_things_than_tensors_is_refused_by_their_names() -> None:
    text = sentence(pth({"epoch": 3, "weight": torch.zeros(1)}), "w.pth")
    assert "1 entries that are no tensors (epoch)" in text


def test_a_lone_tensor_is_no_state_dict() -> None:
    assert "holds a Tensor instead of a state dict" in sentence(pth(torch.zeros(1)), "w.pth")


def test_an_unknown_ending_is_refused() -> None:
    assert "named *.safetensors, *.pth or *.pt" in sentence(b"", "w.onnx")


def test_fill_takes_half_precision_into_a_module_that_stays_float32() -> None:
    source, target = network(), network()
    fill(target, {k: v.half() for k, v in source.state_dict().items()}, "w.pth")
    weight = target[0].weight
    assert isinstance(weight, Tensor)
    assert weight.dtype is torch.float32
    assert torch.equal(weight, source.state_dict()["0.weight"].half().float())


def test_fill_needs_no_batch_counters() -> None:
    state = network().state_dict()
    del state["1.num_batches_tracked"]
    fill(network(), state, "w.pth")


def test_fill_names_the_first_missing_and_unexpected_tensors_and_counts_them() -> None:
    state = {f"module.{k}": v for k, v in network().state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        fill(network(), state, "w.pth", "MODEL=mnist")
    text = str(caught.value)
    assert text.startswith("w.pth does not fit MODEL=mnist: ")
    assert "8 missing (0.weight, 0.bias, 1.weight and 5 more)" in text
    assert "9 unexpected (module.0.weight, module.0.bias, module.1.weight and 6 more)" in text


def test_fill_names_both_shapes_and_leaves_the_module_as_it_was() -> None:
    target = network()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    state = {**network().state_dict(), "2.weight": torch.zeros(10, 4)}
    with pytest.raises(WeightsError, match=r"2\.weight is \(10, 4\) instead of \(2, 4\)"):
        fill(target, state, "w.pth")
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_the_version_is_the_first_12_hex_digits_of_sha256() -> None:
    assert version_of(b"abc") == version_of(b"abc", None) == "ba7816bf8f01"


def test_the_version_tells_apart_what_else_decides_the_answer() -> None:
    versions = {
        version_of(b"abc"), version_of(b"abc", b"d"), version_of(b"abc", b"d", b"e"),
        version_of(b"abc", None, b"d"), version_of(b"abc", b"", None), version_of(b"abcd"),
    }  # fmt: skip
    assert {len(version) for version in versions} == {12}
    assert len(versions) == 6


def test_a_file_for_a_network_that_knows_its_own_version_is_taken() -> None:
    saved = get_model("mnasnet0_5", weights=None).state_dict()
    other = get_model("mnasnet0_5", weights=None)
    fill(other, load_state_dict(pth(dict(saved)), "w.pth"), "w.pth")
    assert torch.equal(other.state_dict()["classifier.1.weight"], saved["classifier.1.weight"])
