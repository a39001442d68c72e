"""From ``MODEL=path/to/file.py:Class`` or ``package.module:Class`` to an object of that class.

Runs in the engine process, at each load: what changed in the file is read anew.
"""

import importlib
import importlib.util
import inspect
import linecache
import sys
import traceback
from importlib.machinery import SourceFileLoader
from importlib.util import decode_source
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from app import errors
from app.models.registry import UnknownModel, WrongSetting

_HOUSE = Path(__file__).parents[1]
_FILES_MODULE = "own_model"  # not the file's name, which may be another module's
_WORDS_LENGTH = 160


def build(setting: str, source: bytes | None = None) -> tuple[Any, bytes]:
    """Return an object of the class that MODEL names, and the code that the class is written in.

    Args:
        setting: MODEL.
        source: the content of the file that it names, where it is held; else it is read.

    Raises:
        UnknownModel: there is no such file, module or class.
        WrongSetting: its code raises before there is an object.
    """
    place, _, name = setting.rpartition(":")
    module = _module(setting, place, source)
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        there = [key for key, value in vars(module).items()
                 if inspect.isclass(value) and value.__module__ == module.__name__]  # fmt: skip
        hint = f"its classes are {', '.join(there[:5])}" if there else "it has no class"
        raise UnknownModel(f"MODEL={setting}: {place} has no class {name}; {hint}")
    try:
        made = found()
    except (Exception, SystemExit) as error:
        raise WrongSetting(f"MODEL={setting}: {name}() raised {why(error)}") from error
    if source is not None and found.__module__ == _FILES_MODULE:
        return made, source
    path = inspect.getsourcefile(sys.modules.get(found.__module__, module))
    return made, Path(path).read_bytes() if path else b""


def _module(setting: str, place: str, source: bytes | None) -> ModuleType:
    try:
        return _file(place, source) if place.endswith(".py") else importlib.import_module(place)
    except FileNotFoundError as error:
        if error.filename != place:
            raise WrongSetting(f"MODEL={setting}: its import raised {why(error)}") from error
        words = f"MODEL={setting}: there is no file {Path(place).absolute()}"
        raise UnknownModel(words) from None
    except ModuleNotFoundError as error:
        raise UnknownModel(f"MODEL={setting}: {error}") from None
    except (Exception, SystemExit) as error:
        raise WrongSetting(f"MODEL={setting}: its import raised {why(error)}") from error


class _Held(SourceFileLoader):
    """Runs a file's content as it was when it was read, whatever the file has come to be."""

    def __init__(self, path: str, source: bytes) -> None:
        super().__init__(_FILES_MODULE, path)
        self._source = source
        # For tracebacks, and for TorchScript, which compiles from the source.
        lines = decode_source(source).splitlines(keepends=True)
        linecache.cache[path] = (len(source), None, lines, path)

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002  importlib's
        """Return the content compiled, past every cache."""
        code: CodeType = self.source_to_code(self._source, self.path)
        return code


def _file(place: str, source: bytes | None) -> ModuleType:
    path = Path(place).absolute()
    if source is None:
        if not path.is_file():
            raise FileNotFoundError(0, "", place)
        source = path.read_bytes()
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # what lies beside it; at the end, so that it hides nothing of ours
    loader = _Held(str(path), source)
    spec = importlib.util.spec_from_file_location(_FILES_MODULE, path, loader=loader)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_FILES_MODULE] = module  # dataclasses and pickle look it up there
    spec.loader.exec_module(module)
    return module


def why(error: BaseException) -> str:
    """Return what was raised and where, in one line: ``ValueError: no (model.py, line 7)``.

    For the operator: to a client, the text of an exception is a leak.
    """
    if isinstance(error, errors.ModelError):
        return f"the model raised {why(error.__cause__)}" if error.__cause__ else error.message
    lines = str(error).strip().splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0][:_WORDS_LENGTH]}".rstrip(": ")
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.endswith(".py")
        and "/site-packages/" not in frame.filename
        and not Path(frame.filename).is_relative_to(_HOUSE)
    ]
    if isinstance(error, SyntaxError) or not own:  # the first says where itself
        return text
    return f"{text} ({Path(own[-1].filename).name}, line {own[-1].lineno})"
