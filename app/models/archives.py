"""Archives of programs, checked part by part and written anew.

PyTorch's loaders unpickle, evaluate and even link what they find in an archive, and each reads it
with another parser. So only parts that are known to be harmless are carried over into a new
archive, and that is what PyTorch gets to see. Runs in the engine process.
"""

import io
import re
import zipfile
from collections.abc import Callable, Mapping

from app.models import graphs, scripts
from app.models.graphs import NotRun
from app.models.weights import WeightsError, damaged

Check = Callable[[bytes], bytes]
_WRITTEN_BY_ALL = r"version|byteorder|\.data/(?:version|serialization_id)"


def _as_it_is(part: bytes) -> bytes:
    return part


# What torch.export.save writes, by the names below the archive's folder; first that of 2.8 and
# later, then that of 2.6 and 2.7, which has no folder. None: known, and of no use here.
_EXPORTED: Mapping[str, Check | None] = {
    r"models/model\.json": graphs.checked_graph,
    r"data/(?:weights/model_weights|constants/model_constants)_config\.json": (
        graphs.checked_payload
    ),
    r"data/weights/weight_\d+|data/constants/tensor_\d+": _as_it_is,
    r"data/(?:weights|constants|sample_inputs)/model\.pt": _as_it_is,
    rf"archive_format|archive_version|{_WRITTEN_BY_ALL}": _as_it_is,
    r"extra/.+": None,
}
_EXPORTED_EARLIER: Mapping[str, Check | None] = {
    r"serialized_exported_program\.json": graphs.checked_graph,
    r"serialized_(?:state_dict|constants|example_inputs)\.pt": _as_it_is,
    r"version": _as_it_is,
    r"extra_files/.+": None,
}
# What torch.jit.save writes.
_TORCHSCRIPT: Mapping[str, Check | None] = {
    r"code/.+\.py": scripts.checked,
    r"(?:data|constants)\.pkl|(?:data|constants)/\w+": _as_it_is,
    _WRITTEN_BY_ALL: _as_it_is,
    r"code/.+\.debug_pkl|extra/.+|traced_inputs(?:\.pkl|/\w+)": None,
    r"bytecode\.pkl|mobile_debug_handles\.pkl": None,
}


def exported(content: bytes, filename: str) -> bytes:
    """Return what of a ``.pt2`` PyTorch may load.

    Raises:
        WeightsError: it is damaged, or holds what would be run.
    """
    return _rewritten(content, filename, _EXPORTED, _EXPORTED_EARLIER)


def torchscript(content: bytes, filename: str) -> bytes:
    """Return what of a TorchScript program PyTorch may load.

    Raises:
        WeightsError: it is damaged, or holds what would be run.
    """
    return _rewritten(content, filename, _TORCHSCRIPT, {})


def _rewritten(
    content: bytes,
    filename: str,
    in_a_folder: Mapping[str, Check | None],
    in_none: Mapping[str, Check | None],
) -> bytes:
    buffer = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
            names = old.namelist()
            if len(names) != len(set(names)):
                raise ValueError("two parts have one name")
            folder = f"{names[0].partition('/')[0]}/" if names else ""
            has_folder = bool(in_a_folder) and all(name.startswith(folder) for name in names)
            for name in names:
                below = name.removeprefix(folder) if has_folder else name
                check = _check_of(below, in_a_folder if has_folder else in_none)
                if check:
                    part = _checked(check, old.read(name), filename)
                    new.writestr(f"archive/{below}" if has_folder else below, part)
    except NotRun as error:
        raise WeightsError(
            f"{filename} has a part {error.args[0][:80]!r}, which no program of tensors and "
            "operators has, and is not loaded"
        ) from error
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(damaged(filename, error)) from error
    return buffer.getvalue()


def _check_of(name: str, known: Mapping[str, Check | None]) -> Check | None:
    for pattern, check in known.items():
        if re.fullmatch(pattern, name, re.ASCII):
            return check
    raise NotRun(name)


def _checked(check: Check, part: bytes, filename: str) -> bytes:
    try:
        return check(part)
    except NotRun as error:
        raise WeightsError(
            f"{filename} asks for {error.args[0][:80]!r}, which is none of PyTorch's operators "
            "on tensors, no size and no name, and is not run"
        ) from error
