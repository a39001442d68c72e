"""What the JSON inside a ``.pt2`` may say: PyTorch's loader makes Python of much of it.

It looks operators up in ``torch`` by name, has sympy evaluate sizes, imports what a tree names,
and writes the names of nodes into source that it compiles. So every text is held against a list
of what may stand there. Runs in the engine process.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload

_NAME = re.compile(r"(?:[A-Za-z_]\w*)?", re.ASCII)
# Of parameters and layers, such as `layers.0.conv-1.weight`: attributes, looked up as texts.
_PATH = re.compile(r"[\w .:/+-]*", re.ASCII)
_STORED = re.compile(r"(?:weight|tensor)_\d+")
# Sizes such as `Mul(Integer(2), Symbol('s77', positive=True))` or `2*s77`: sympy would evaluate
# anything else as Python. The last + keeps the search from trying every way to cut a long number.
_SIZE = re.compile(
    r"(?:Symbol\('[a-z]+\d+'|[a-z]+=(?:True|False)|[a-z]+\d+|[A-Z][A-Za-z]*|\d+(?:\.\d+)?"
    r"|[\s+\-*/(),<>=!&|~%])*+"
)
_ARITHMETIC = (
    "abs add and_ eq floordiv ge getitem gt index le lshift lt mod mul ne neg not_ or_ pos pow "
    "rshift sub truediv xor"
)
_ON_NUMBERS = re.compile(
    rf"torch\.sym_\w+|math\.[a-z]\w*|_operator\.(?:{'|'.join(_ARITHMETIC.split())})"
)
_OPERATOR = re.compile(r"torch\.ops\.([a-z_]\w*)\.([a-z_]\w*)\.([a-z_]\w*)", re.ASCII | re.I)
_HIGHER_ORDER = re.compile(r"torch\.ops\.higher_order\.(\w+)")
_LIBRARIES = (
    "aten prim prims torchvision quantized _quantized quantized_decomposed onednn mkldnn mkl"
)
_ON_GRAPHS = (
    "associative_scan auto_functionalized auto_functionalized_v2 cond hints_wrapper "
    "invoke_subgraph map map_impl out_dtype scan strict_mode while_loop wrap_with_autocast "
    "wrap_with_set_grad_enabled"
)
# Operators that read or write a file.
ON_FILES = ("from_file", "save", "read_file", "write_file", "load_tensor")
_TREES = ("builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", None)
_KEYS = re.compile(r'null|\[(?:"\w+"(?:, ?"\w+")*)?\]', re.ASCII)


class NotRun(ValueError):
    """A text is none of those that may stand in its place; it is the error's argument."""


def checked_graph(content: bytes) -> bytes:
    """Return a program's JSON as it may be loaded: without what is for people and debuggers.

    Raises:
        NotRun: a text in it is no operator, size, name or tree.
    """
    program = json.loads(content)
    _drop(program, {"metadata": {}, "guards_code": [], "treespec_namedtuple_fields": {}})
    _check(program, key=_NAME)
    return json.dumps(program).encode()


def checked_payload(content: bytes) -> bytes:
    """Return the JSON that says which part holds which tensor.

    Raises:
        NotRun: it names something that is no tensor's part.
    """
    payload = json.loads(content)
    _check(payload, key=_PATH)
    return json.dumps(payload).encode()


def _drop(value: Any, instead: dict[str, Any]) -> None:
    if isinstance(value, dict):
        value.update((name, empty) for name, empty in instead.items() if name in value)
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            _drop(inner, instead)


def _check(value: Any, key: re.Pattern[str], under: str = "") -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _require(bool(key.fullmatch(name)), name)
            _check(inner, key, name)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, key, under)
    elif isinstance(value, str):
        _require(_ALLOWED.get(under, _matches(_PATH))(value), value)


def _require(allowed: bool, text: str) -> None:
    if not allowed:
        raise NotRun(text)


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def _is_operator(target: str) -> bool:
    if higher := _HIGHER_ORDER.fullmatch(target):
        found = getattr(torch.ops.higher_order, higher[1], None)
        return higher[1] in _ON_GRAPHS.split() and isinstance(found, HigherOrderOperator)
    if named := _OPERATOR.fullmatch(target):
        library, name, overload = named.groups()
        if library not in _LIBRARIES.split() or name in ON_FILES:
            return False
        packet = getattr(getattr(torch.ops, library), name, None)
        return isinstance(getattr(packet, overload, None), OpOverload)
    return _ON_NUMBERS.fullmatch(target) is not None


def _is_tree(text: str) -> bool:
    """Return whether a text describes nested tuples, lists and dicts, and nothing to import."""
    if not text:
        return True
    _, tree = json.loads(text)
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if one["type"] not in _TREES or not _KEYS.fullmatch(one["context"] or "null"):
            return False
        waiting += one["children_spec"]
    return True


# By the member that a text stands under; all others are paths. Texts that a program computes with
# reach the source quoted.
_ALLOWED: dict[str, Callable[[str], bool]] = {
    "name": _matches(_NAME),
    "as_name": _matches(_NAME),
    "forward_arg_names": _matches(_NAME),
    "target": _is_operator,
    "as_operator": _is_operator,
    "expr_str": _matches(_SIZE),
    "in_spec": _is_tree,
    "out_spec": _is_tree,
    "path_name": _matches(_STORED),
    "as_string": lambda _: True,
    "as_strings": lambda _: True,
}
