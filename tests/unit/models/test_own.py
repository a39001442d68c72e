"""A class of the user's own: what it may leave out, and what is said when it is wrong."""

import hashlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from app import errors
from app.engine.runner import Pixels, Runner
from app.models import registry
from app.models.interface import Query, Weights
from app.models.lookup import why
from app.models.registry import UnknownModel, WrongSetting
from app.models.weights import version_of
from tests.stubs import own

SOURCE = Path(own.__file__)


def runner(name: str, content: bytes | None = None) -> Runner:
    made = Runner(registry.create(f"tests.stubs.own:{name}"), "cpu", 4)
    made.load(Weights(content, "w.pth" if content else "", "DEFAULT"))
    return made


def ask(made: Runner, *colours: tuple[int, int, int], **options: object) -> list[Any]:
    spec = made.model.input_spec
    height, width = spec.crop or spec.resize  # type: ignore[misc]
    query = Query(100, 50, {**spec.defaults, **options})
    images = [Pixels((height, width, 3), bytes(c) * height * width, query) for c in colours]
    return [json.loads(answer) for answer in made.run(images)]


def test_load_and_predict_are_enough() -> None:
    made = runner("Least")
    assert ask(made, (1, 2, 3), (7, 8, 9)) == [[1, 2, 3], [7, 8, 9]]
    model = made.model
    assert (model.name, model.result_key) == ("Least", "predictions")
    assert (model.input_spec.resize, model.input_spec.crop) == (256, (224, 224))
    assert model.version == hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]


def test_everything_that_a_class_may_have_is_used() -> None:
    made = runner("Whole")
    [answer] = ask(made, (255, 51, 0), digits=1)
    assert answer == {"rgb": [1.0, 0.2, 0.0], "width": 100}
    model = made.model
    assert (model.name, model.version, model.result_key) == ("colours", "v7", "colour")
    assert (model.input_spec.routes, model.input_spec.interpolation) == (("/colour",), "nearest")


def test_the_version_is_that_of_the_weights_file_and_the_class() -> None:
    source = SOURCE.read_bytes()
    version = runner("TakesWeights", b"abc").model.version
    assert version == version_of(b"abc", None, source)
    assert version not in (version_of(b"abc"), version_of(source))


def test_weights_that_nobody_takes_are_refused() -> None:
    with pytest.raises(WrongSetting, match=r"MODEL_PATH is for load\(device, weights\)"):
        runner("Least", b"abc")


def test_weights_go_to_a_load_that_has_a_parameter_of_that_name() -> None:
    class Seen(own.Least):
        def load(self, device: torch.device, weights: Weights) -> None:
            self.version = f"{device.type}-{weights.content!r}-{weights.filename}"

    own.Seen = Seen  # type: ignore[attr-defined]
    assert runner("Seen", b"abc").model.version == "cpu-b'abc'-w.pth"
    assert ask(runner("TwoForms"), (1, 2, 3)) == [[1, 2, 3]]


def test_labels_make_the_likeliest_classes_with_top_k() -> None:
    made = runner("Labelled")
    [best], (_, second) = ask(made, (9, 255, 8), top_k=1) + ask(made, (0, 51, 255), top_k=2)
    assert best == {"class_id": 1, "label": "green", "score": 1.0}
    assert second == {"class_id": 1, "label": "green", "score": 0.2}
    assert [option.name for option in made.model.input_spec.options] == ["top_k"]


def test_numpy_and_lists_are_results_as_well() -> None:
    assert ask(runner("Numpy"), (1, 2, 3)) == [[1, 2, 3]]
    assert ask(runner("Results"), (5, 2, 3)) == [{"red": 5}]


@pytest.mark.parametrize("name", ["Least", "Whole", "Labelled", "Numpy", "Results", "TwoForms"])
def test_warm_up_self_test_and_golden_answer_work(name: str) -> None:
    made = runner(name)
    made.warm_up(60)
    made.self_test()
    assert made.golden()[0]


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("few", "returned 0 results for 1 images"),
        ("many", "returned 2 results for 1 images"),
        ("set", "is not JSON: it holds a set"),
        ("tensor_inside", "is not JSON: it holds a Tensor"),
        ("nan", "is not JSON: a number is not finite"),
        ("key", "is not JSON: a member's name is no text"),
        ("none", "returned a NoneType, neither a tensor nor a list"),
        ("itself", "raised RecursionError; the server's log"),
        ("raises", "raised RuntimeError; the server's log"),
    ],
)
def test_a_wrong_result_is_a_model_error_that_helps_and_leaks_nothing(way: str, words: str) -> None:
    made = runner("Wrong")
    with pytest.raises(errors.ModelError) as caught:
        ask(made, (255, 0, own.Wrong.ways.index(way)))
    assert words in caught.value.message
    assert "secret" not in caught.value.message
    assert ask(made, (1, 2, 3)) == [[1, 2, 3]]


def test_scores_that_do_not_fit_the_labels_are_told() -> None:
    with pytest.raises(errors.ModelError, match=r"shape \(1, 3\); 1 images and 2 labels"):
        ask(runner("OtherLabels"), (1, 2, 3))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nobody", "tests.stubs.own has no class Nobody; its classes are Least, Whole"),
        ("MARK", "has no class MARK"),
        ("NoPredict", "NoPredict has no method predict(batch)"),
        ("NoLoad", "has no method load(device) or load(device, weights)"),
        ("NeedsMore", "has load(device, path); load(device) or load(device, weights) is wanted"),
        ("TakesNothing", "has predict(); predict(batch) is wanted"),
        ("IsAsync", "has a predict that is no plain method"),
        ("WantsArguments", "WantsArguments() raised TypeError"),
        ("FailsToBegin", "raised KeyError: 'size' (own.py, line "),
        ("WrongSpec", 'input_spec has crop = [64, "wide"]; allowed is a side in pixels'),
        ("UnknownSpec", 'input_spec has no member "size"; its members are mode, resize'),
        ("WrongRoute", 'has routes = ["/analyze/"]; allowed is a list of paths that begin with /'),
        ("WrongNumber", "has max_aspect = 1000"),
        ("WrongLabels", "labels is [1, 2]; allowed is a list of texts"),
        ("WrongKey", "has result_key"),
        ("WrongVersion", "has version"),
    ],
)
def test_a_wrong_class_is_told_so_in_one_sentence(name: str, words: str) -> None:
    with pytest.raises(WrongSetting) as caught:
        runner(name)
    text = str(caught.value)
    assert text.startswith(f"MODEL=tests.stubs.own:{name}: ")
    assert words in text
    assert "\n" not in text


def test_what_load_raises_is_one_line_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    with pytest.raises(OSError, match="cheese") as caught:
        runner("FailsToLoad")
    assert why(caught.value).startswith("OSError: the weights are (own.py, line ")


def test_what_predict_raises_at_the_start_is_told_to_the_operator() -> None:
    with pytest.raises(errors.ModelError) as caught:
        runner("FailsToPredict").warm_up(60)
    assert "the model raised RuntimeError: " in why(caught.value)
    assert "own.py, line " in why(caught.value)


def write(folder: Path, text: str) -> str:
    (folder / "mine.py").write_text(text)
    return f"{folder}/mine.py:Mine"


CLASS = """
import beside

class Mine:
    def load(self, device): ...
    def predict(self, batch): return [beside.ANSWER] * len(batch)
"""


def test_a_file_is_served_and_finds_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("ANSWER = 42\n")
    setting = write(tmp_path, CLASS)
    made = Runner(registry.create(setting), "cpu", 4)
    made.load(Weights(None, "", "DEFAULT"))
    assert ask(made, (1, 2, 3)) == [42]
    assert made.model.version == hashlib.sha256(CLASS.encode()).hexdigest()[:12]


def test_code_that_is_held_is_run_and_shown_whatever_its_file_has_come_to_be(
    tmp_path: Path,
) -> None:
    (tmp_path / "beside.py").write_text("ANSWER = 42\n")
    setting = write(tmp_path, "nothing of that kind")
    made = Runner(registry.create(setting, CLASS.encode()), "cpu", 4)
    made.load(Weights(None, "", "DEFAULT"))
    assert made.model.version == hashlib.sha256(CLASS.encode()).hexdigest()[:12]
    source = inspect.getsource(sys.modules["own_model"])
    assert source.strip() == CLASS.strip()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class Mine:\n  def load(", "raised SyntaxError: '(' was never closed (mine.py, line 2)"),
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("1 / 0", "raised ZeroDivisionError: division by zero (mine.py, line 1)"),
        ("import sys\nsys.exit(4)", "raised SystemExit: 4 (mine.py, line 2)"),
        ("open('nowhere')", "raised FileNotFoundError"),
        ("", "has no class Mine; it has no class"),
    ],
)
def test_a_file_that_cannot_be_imported_is_told_so(tmp_path: Path, text: str, words: str) -> None:
    setting = write(tmp_path, text)
    with pytest.raises(WrongSetting) as caught:
        registry.create(setting)
    assert str(caught.value).startswith(f"MODEL={setting}: ")
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_named_in_full() -> None:
    with pytest.raises(UnknownModel, match=r"there is no file /.*/nowhere/mine\.py"):
        registry.create("nowhere/mine.py:Mine")
