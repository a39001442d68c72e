"""What an archive of a program may hold: nothing that PyTorch's loaders would run or link."""

import io
import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._export.serde import schema, serialize

from app.models import programs
from app.models.weights import WeightsError
from tests.programs import Colours, edited, pt2, torchscript

DEVICE = torch.device("cpu")


class RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def sentence(content: bytes, filename: str = "m.pt2") -> str:
    with pytest.raises(WeightsError) as caught:
        programs.load(content, filename, DEVICE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_part(content: bytes, name: str, part: bytes) -> bytes:
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(f"archive/{name}", part)
    return buffer.getvalue()


def renamed(content: bytes, old: str, new: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as read, zipfile.ZipFile(buffer, "w") as written:
        for name in read.namelist():
            written.writestr(name.replace(old, new), read.read(name))
    return buffer.getvalue()


def changed(change: Callable[[Any], None], content: bytes | None = None) -> bytes:
    """Return a program whose JSON is changed."""

    def edit(part: bytes) -> bytes:
        members = json.loads(part)
        change(members)
        return json.dumps(members).encode()

    return edited(content or pt2(), "models/model.json", edit)


class Composed(nn.Module):
    """What else an archive may rightly have: constants, branches, texts, odd names of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("conv-1", nn.Conv2d(3, 3, 1))
        self.scale = torch.tensor([2.0])

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = getattr(self, "conv-1")(x)
        x = torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))
        return torch.einsum("nchw->nc", x) * self.scale + torch.tensor([1.0, 2.0, 3.0])


def test_what_torch_export_writes_is_loaded_whatever_the_program() -> None:
    network = Composed().eval()
    images = torch.rand(2, 3, 8, 8)
    buffer = io.BytesIO()
    program = torch.export.export(network, (images,))
    torch.export.save(program, buffer, extra_files={"notes/a.txt": "of people"})
    loaded = programs.load(buffer.getvalue(), "m.pt2", DEVICE)
    torch.testing.assert_close(loaded.call(images), network(images))


def test_what_torch_2_7_and_earlier_wrote_is_loaded() -> None:
    network = Colours().eval()
    images = torch.rand(2, 3, 8, 8)
    written = serialize.serialize(torch.export.export(network, (images,)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("version", ".".join(map(str, schema.SCHEMA_VERSION)))
        archive.writestr("serialized_exported_program.json", written.exported_program)
        archive.writestr("serialized_state_dict.pt", written.state_dict)
        archive.writestr("serialized_constants.pt", written.constants)
        archive.writestr("serialized_example_inputs.pt", written.example_inputs)
        archive.writestr("extra_files/a.txt", "of people")
    loaded = programs.load(buffer.getvalue(), "m.pt2", DEVICE)
    torch.testing.assert_close(loaded.call(images), network(images))


@pytest.mark.parametrize("kind", ["opaque_obj_0", "custom_obj_0"])
@pytest.mark.parametrize("has_part", [True, False])
def test_a_pickled_constant_is_refused(tmp_path: Path, kind: str, has_part: bool) -> None:
    left = tmp_path / "left"
    meta = {"path_name": kind, "is_param": False, "use_pickle": True, "tensor_meta": None}
    content = edited(
        pt2(), "constants_config.json", lambda _: json.dumps({"config": {"c": meta}}).encode()
    )
    if has_part:
        pickled = pickle.dumps(RunsCode(left))
        content = with_part(content, f"data/constants/{kind}", pickled)
    assert kind in sentence(content)
    assert not left.exists()


@pytest.mark.parametrize(
    "name",
    [
        "models/model.jsox",
        "models/other.json",
        "data/aotinductor/model/model.so",
        "data/aotinductor/model/model.wrapper_metadata.json",
        "data/executorch/model.pte",
        "data/weights/../../models/model.json",
        "data/weights/weight_0/",
        "anything",
    ],
)
def test_a_part_that_is_none_of_a_programs_is_refused(name: str) -> None:
    assert f"has a part '{name}'" in sentence(with_part(pt2(), name, b"{}"))


def test_a_program_under_another_name_is_refused(tmp_path: Path) -> None:
    left = tmp_path / "left"
    attack = f"__import__('os').mkdir('{left}')"
    content = changed(
        lambda members: members["graph_module"]["graph"]["tensor_values"]["x"]["sizes"].__setitem__(
            0, {"as_expr": {"expr_str": attack, "hint": {"as_int": 2}}}
        )
    )
    assert "models/model.jsox" in sentence(renamed(content, "model.json", "model.jsox"))
    assert "is not run" in sentence(content)
    assert not left.exists()


def test_a_name_that_would_be_written_into_source_is_refused(tmp_path: Path) -> None:
    left = tmp_path / "left"
    attack = json.dumps(f"x=__import__('os').mkdir('{left}')").encode()
    content = edited(pt2(), "models/model.json", lambda part: part.replace(b'"x"', attack))
    assert "asks for" in sentence(content)
    assert not left.exists()


@pytest.mark.parametrize(
    "operator",
    ["torch.os.mkdir", "torch.ops.aten.from_file.default", "torch.ops.image.write_file.default",
     "torch.ops.aten.add.py_impl", "torch.ops.higher_order.wrap"],
)  # fmt: skip
def test_an_operator_on_files_or_on_python_is_refused_as_target_and_as_argument(
    operator: str,
) -> None:
    def target(members: Any) -> None:
        members["graph_module"]["graph"]["nodes"][0]["target"] = operator

    def argument(members: Any) -> None:
        node = members["graph_module"]["graph"]["nodes"][0]
        node["inputs"][0]["arg"] = {"as_operator": operator}

    for change in (target, argument):
        assert f"asks for '{operator}'" in sentence(changed(change))


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("collections.defaultdict", '{"default_factory_module": "antigravity"}'),
        ("builtins.dict", '[{"__enum__": true, "fqn": "antigravity:A", "name": "B"}]'),
    ],
)
def test_a_tree_that_would_be_imported_is_refused(kind: str, context: str) -> None:
    tree = json.dumps([1, {"type": kind, "context": context, "children_spec": []}])

    def change(members: Any) -> None:
        entry = members["graph_module"]["module_call_graph"][0]
        entry["signature"]["out_spec"] = tree

    assert "asks for" in sentence(changed(change))


class Saves(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, self.path)
        return x


class Maps(Saves):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_file(self.path, True, 4)


def scripted(network: nn.Module) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(("network", "operator"), [(Saves, "save"), (Maps, "from_file")])
def test_torchscript_that_writes_files_is_refused(
    tmp_path: Path, network: type[Saves], operator: str
) -> None:
    content = scripted(nn.Sequential(network(str(tmp_path / "left"))))
    assert f"asks for '{operator}'" in sentence(content, "m.pt")


@pytest.mark.parametrize("hidden", ['"sa" "ve"', '"sa"\n  "ve"', '"sa" # c\n  "ve"', r'"sa\166e"'])
def test_torchscript_that_hides_an_operators_name_is_refused(hidden: str) -> None:
    line = f'    getattr(torch, {hidden})(x, "left")\n    return '
    content = edited(torchscript(), "code/__torch__/tests/programs.py", lambda part: re.sub(
        rb"    return ", lambda _: line.encode(), part
    ))  # fmt: skip
    assert content != torchscript()
    assert "is not run" in sentence(content, "m.pt")


def test_torchscript_with_an_unknown_part_is_refused() -> None:
    with zipfile.ZipFile(io.BytesIO(torchscript())) as archive:
        folder = archive.namelist()[0].partition("/")[0]
    content = renamed(torchscript(), f"{folder}/", "archive/")
    assert "has a part 'model.json'" in sentence(with_part(content, "model.json", b"{}"), "m.pt")


def test_torchscript_reaches_pytorch_as_a_new_archive() -> None:
    loaded = programs.load(b"PTMF in front of it" + torchscript(), "m.pt", DEVICE)
    assert loaded.call(torch.zeros(1, 3, 8, 8)).shape == (1, 3)
