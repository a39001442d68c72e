"""Exported programs: the answers of the network that was exported, and no Python is ever run."""

import io
import json
import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.engine.runner import Pixels, Runner
from app.models.exported import Exported
from app.models.interface import Query, Weights
from app.models.registry import WrongSetting
from app.models.weights import WeightsError
from tests.programs import Colours, described, edited, pt2, torchscript

# Colours, exported by torch 2.6 and 2.8, which laid their archives out in other ways.
EXPORTED = Path(__file__).parent.parent.parent / "data" / "exported"
BATCH = torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8)


def runner(content: bytes, filename: str = "m.pt2", beside: bytes | None = described()) -> Runner:
    made = Runner(Exported(), "cpu", 4)
    made.load(Weights(content, filename, "DEFAULT", beside))
    return made


def ask(made: Runner, batch: Tensor = BATCH) -> list[Any]:
    query = Query(8, 8, {**made.model.input_spec.defaults, "top_k": 3})
    images = [Pixels((8, 8, 3), bytes(image.flatten().tolist()), query) for image in batch]
    return [json.loads(answer) for answer in made.run(images)]


def scores(answers: list[Any]) -> Tensor:
    rows = [sorted(answer, key=lambda one: one["class_id"]) for answer in answers]
    return torch.tensor([[one["score"] for one in row] for row in rows])


def expected(activation: nn.Module) -> Tensor:
    pixels = BATCH.permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        return activation(Colours()((pixels - 0.5) / 0.5))


SOFTMAX = nn.Softmax(dim=1)


@pytest.mark.parametrize(
    "dynamic", [None, torch.export.Dim("n"), torch.export.Dim("n", max=2)], ids=["2", "any", "max"]
)
def test_a_pt2_answers_as_its_network_whatever_batch_it_was_exported_for(dynamic: object) -> None:
    made = runner(pt2(dynamic=dynamic))
    made.warm_up(60)
    made.self_test()
    torch.testing.assert_close(scores(ask(made)), expected(SOFTMAX), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        scores(ask(made, BATCH[:1])), expected(SOFTMAX)[:1], atol=1e-5, rtol=0
    )
    assert [len(answer) for answer in ask(made)] == [3] * 5
    assert {one["label"] for one in ask(made)[0]} == {"red", "green", "blue"}


def test_torchscript_answers_as_its_network() -> None:
    made = runner(torchscript(), "m.pt")
    torch.testing.assert_close(scores(ask(made)), expected(SOFTMAX), atol=1e-5, rtol=0)


def test_scores_are_what_model_json_says() -> None:
    sigmoid = ask(runner(pt2(), beside=described(scores="sigmoid")))
    torch.testing.assert_close(scores(sigmoid), expected(nn.Sigmoid()), atol=1e-5, rtol=0)
    plain = ask(runner(pt2(), beside=described(scores="as_is")))
    torch.testing.assert_close(scores(plain), expected(nn.Identity()), atol=1e-5, rtol=0)


def test_values_are_the_programs_numbers() -> None:
    made = runner(pt2(), beside=described(task="values", labels=...))
    assert made.model.result_key == "values"
    torch.testing.assert_close(torch.tensor(ask(made)), expected(nn.Identity()))


def test_it_is_called_by_its_file_and_its_version_is_the_files() -> None:
    content = pt2()
    model = runner(content, "flowers.pt2").model
    assert (model.name, len(model.version)) == ("flowers", 12)
    assert model.version == runner(content).model.version
    assert model.version != runner(pt2(images=3)).model.version
    other = described(labels=["blue", "green", "red"])
    assert model.version != runner(content, beside=other).model.version


def sentence(content: bytes, filename: str = "m.pt2", beside: bytes | None = described()) -> str:
    with pytest.raises(WeightsError) as caught:
        runner(content, filename, beside)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


class TwoInputs(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        (None, "m.pt2 needs a model.json beside it"),
        (b"{", "model.json is not JSON"),
        (b"[]", "model.json is [] instead of an object"),
        (
            described(lables=["a"]),
            'model.json has no member "lables"; its members are task, labels',
        ),
        (described(labels=...), "model.json lacks labels"),
        (described(resize=...), "model.json lacks resize, which is the shorter side"),
        (described(std=[1, 1, 0]), "has std = [1, 1, 0]; allowed is a list of one number over 0"),
        (described(std=[1, 1, 10**400]), "has std = [1, 1, 1000"),
        (described(std=[10**30, 1, 1]), "over 0, of at most 1e9, a channel"),
        (described(mean=[123, 116, 103]), "one number from -1 to 1 a channel; pixels are from 0"),
        (described(mean=[0.5]), "has 1 numbers in mean; mode RGB has 3"),
        (described(task="detection"), 'task = "detection"; allowed is one of classification'),
        (described(task="values"), "has labels or scores, which go with task = classification"),
        (described(labels=["a", "b"]), "has 2 labels and m.pt2 returns a tensor of shape (1, 3)"),
        (described(resize=[8, 9]), "images of 3 × 8 × 9 and m.pt2 takes 3 × 8 × 8"),
        (described(resize=8), "images of 3 × any × any and m.pt2 takes 3 × 8 × 8"),
        (described(mode="L", mean=[0.5], std=[1]), "images of 1 × 8 × 8 and m.pt2 takes 3"),
    ],
)
def test_a_wrong_model_json_is_told_so_in_one_sentence(beside: bytes | None, words: str) -> None:
    assert words in sentence(pt2(), beside=beside)


def test_a_program_that_returns_something_else_is_told_so() -> None:
    assert "m.pt2 returns no tensor" in sentence(pt2(network=TwoInputs()))


@pytest.mark.parametrize("filename", ["m.pt2", "m.pt"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", pt2()[:3000]])
def test_a_damaged_file_is_told_so(filename: str, content: bytes) -> None:
    assert sentence(content, filename).startswith(filename)


@pytest.mark.parametrize(
    ("content", "filename"), [(None, ""), (b"", "m.pth"), (b"", "m.safetensors")]
)
def test_a_model_path_that_is_no_programs_stops_the_start(
    content: bytes | None, filename: str
) -> None:
    with pytest.raises(WrongSetting, match=r"allowed is \*\.pt2"):
        Exported().load(torch.device("cpu"), Weights(content, filename, "DEFAULT"))


def test_a_state_dict_named_pt_is_told_what_it_goes_with_before_a_model_json_is_asked_for() -> None:
    buffer = io.BytesIO()
    torch.save(Colours().state_dict(), buffer)
    for beside in (None, described()):
        text = sentence(buffer.getvalue(), "m.pt", beside)
        assert "a state dict goes with the MODEL that it fills" in text


@pytest.mark.parametrize("version", ["2.6", "2.8"])
def test_a_pt2_that_an_older_pytorch_wrote_answers_as_its_network(version: str) -> None:
    made = runner((EXPORTED / f"torch-{version}.pt2").read_bytes())
    torch.testing.assert_close(scores(ask(made)), expected(SOFTMAX), atol=1e-5, rtol=0)


def test_a_pt2_of_another_format_is_told_so() -> None:
    other = edited(pt2(), "model.json", lambda part: part.replace(b'"major": 8', b'"major": 7'))
    text = sentence(other, "m.pt2")
    assert f", or was exported by a PyTorch too far from {torch.__version__}: " in text


# ---- no Python in a file is ever run


class RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_of_code_named_pt_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"weight": RunsCode(tmp_path / "left")}, tmp_path / "m.pt")
    for content in ((tmp_path / "m.pt").read_bytes(), pickle.dumps(RunsCode(tmp_path / "left"))):
        text = sentence(content, "m.pt")
        assert "is no TorchScript program" in text
        assert "torch.export.save" in text
        assert "torch.save(model.state_dict()" in text
    assert not (tmp_path / "left").exists()


def test_a_pickle_of_code_inside_a_pt2_is_not_run(tmp_path: Path) -> None:
    torch.save({"weight": RunsCode(tmp_path / "left")}, tmp_path / "code")
    code = (tmp_path / "code").read_bytes()
    text = sentence(edited(pt2(), "sample_inputs/model.pt", lambda _: code))
    assert not (tmp_path / "left").exists()
    assert "a pickle of more than tensors, which is not run" in text
    assert "torch.export.save" in text
    pickled = edited(
        edited(pt2(), "/weight_0", lambda _: code),
        "weights_config.json",
        lambda part: re.sub(rb'("use_pickle": ?)false', rb"\1true", part),
    )
    sentence(pickled)
    assert not (tmp_path / "left").exists()


def test_a_text_inside_a_pt2_is_not_evaluated(tmp_path: Path) -> None:
    left = tmp_path / "left"
    attack = f"__import__('os').mkdir('{left}')"

    def size(part: bytes) -> bytes:
        return part.replace(b"Symbol('s", f"{attack} or Symbol('s".encode())

    whole = pt2(dynamic=torch.export.Dim("n"))
    assert edited(whole, "model.json", size) != edited(whole, "model.json", bytes)
    assert "is not run" in sentence(edited(whole, "model.json", size))
    assert not left.exists()


def test_guards_inside_a_pt2_are_not_evaluated(tmp_path: Path) -> None:
    left = tmp_path / "left"

    def guards(part: bytes) -> bytes:
        members = json.loads(part)
        members["guards_code"] = [f"__import__('os').mkdir('{left}') or True"]
        return json.dumps(members).encode()

    ask(runner(edited(pt2(), "models/model.json", guards)))
    assert not left.exists()


def test_an_archive_with_two_parts_of_one_name_is_refused() -> None:
    buffer = io.BytesIO(pt2())
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("archive/models/model.json", "{}")
    assert "two parts have one name" in sentence(buffer.getvalue())


@pytest.mark.parametrize("target", ["torch.os.system", "torch.ops.load_library", "torch.hub.load"])
def test_a_pt2_calls_nothing_but_operators(target: str) -> None:
    def calls(part: bytes) -> bytes:
        return part.replace(b"torch.ops.aten.linear.default", target.encode())

    assert f"asks for '{target}'" in sentence(edited(pt2(), "models/model.json", calls))
